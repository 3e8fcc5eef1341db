"""Fixtures for every test: a real server, emptied before each test, and programs that may be missing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")

from tests.support.programs import OLD_SERVERS, missing, old_server  # noqa: E402
from tests.support.server import OwnServer, client_for_all  # noqa: E402
from tests.support.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: E402, F401

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from redis import Redis

    from flownb.connection import Connection


# A loaded machine is slow: no example fails for its time.
settings.register_profile("patient", settings(deadline=None))
settings.load_profile("patient")


def pytest_configure() -> None:
    """Forget the developer's own server: tests must not reach it."""
    for name in ("FLOWNB_URL", "FLOWNB_PASSWORD"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder: a server started by mistake leaves no `.flownb/` in the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _own_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no task of another test: this process would serve its queue, and say so."""
    from flownb.tasks import registry

    monkeypatch.setattr(registry, "_by_queue", {})


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give the folder of one embedded server for all tests of this process, kept running till they end."""
    from flownb.connection import Connection

    folder = tmp_path_factory.mktemp("server") / ".flownb"
    held = Connection(path=folder)
    held.client().ping()
    yield folder
    held.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat what is marked `every_server` on the oldest servers that flownb supports."""
    if metafunc.definition.get_closest_marker("every_server") and "connection" in metafunc.fixturenames:
        metafunc.parametrize("server", ["embedded", *OLD_SERVERS], indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Give what to connect to: the embedded server, or an old one where a test is repeated on it."""
    name = getattr(request, "param", "embedded")
    if name == "embedded":
        yield {"path": request.getfixturevalue("server_folder")}
        return
    with tempfile.TemporaryDirectory(prefix="flownb-old-") as folder:
        old = OwnServer(Path(folder), keeps_data=False, program=old_server(name))
        yield {"url_or_redis_client": old.url}
        old.kill()


@pytest.fixture
def connection(server: dict[str, Any]) -> Iterator[Connection]:
    """Give the default connection, on a server without data (its scripts stay loaded)."""
    from flownb.connection import connect

    default = connect(**server)
    with client_for_all(default) as client:
        client.flushall()
    if default.path is not None:
        shutil.rmtree(default.path / "files", ignore_errors=True)
    yield default
    default.close()


@pytest.fixture
def redis(connection: Connection) -> Redis:
    """Give a plain client of the same server that may do everything: look at keys, plant them, change settings."""
    return client_for_all(connection)


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """Give a server that a test may kill, fill or make read-only."""
    with tempfile.TemporaryDirectory(prefix="flownb-own-") as folder:  # a short path, for the socket
        server = OwnServer(Path(folder))
        yield server
        server.kill()


@pytest.fixture(scope="session")
def shared_server() -> Iterator[OwnServer]:
    """Give a server that every client may use, kept running till the tests of this process end."""
    with tempfile.TemporaryDirectory(prefix="flownb-shared-") as folder:
        server = OwnServer(Path(folder), keeps_data=False)
        yield server
        server.kill()


@pytest.fixture
def in_loop() -> Callable[[Any], Any]:
    """Run an awaitable in the loop of a thread of its own: in this one a browser's tests may have left theirs."""

    def run(awaitable: Any) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, awaitable).result()

    return run


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for a condition with a deadline; give what it returned."""

    def wait(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not so after {seconds} s"
            time.sleep(0.003)
        return found

    return wait


@pytest.fixture(scope="session")
def node() -> str:
    """Give the path of Node.js 20 or newer: this environment's, or the machine's."""
    path = shutil.which("node", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout if path else ""
    if path and (found := re.match(r"v(\d+)", version)) and int(found[1]) >= 20:
        return path
    missing("Node.js 20 or newer", "python scripts/install_peers.py")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Give the path of a Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    missing("Chromium", "apt-get install chromium fonts-dejavu-core")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """Give a headless Chromium: one for all tests of this process, as Playwright allows no second."""
    from playwright.sync_api import sync_playwright

    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
        )
        yield started
        started.close()
