"""What the tests of connections share: folders, other processes that use them, servers on a TCP port."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from flownb.connection import server_files
from flownb.connection.folder import find_server

ROOT = str(Path(__file__).parents[2])

USER = """
import sys
from flownb.connection import Connection
connection = Connection(path=sys.argv[1])
print(connection.client().info("server")["process_id"], flush=True)
sys.stdin.read()
"""


class Watch:
    """Looks at processes and waits for conditions."""

    @staticmethod
    def until(condition: Callable[[], object], seconds: float = 30.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not so after {seconds} s"
            time.sleep(0.01)
        return value

    @staticmethod
    def alive(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    @staticmethod
    def children(pid: int) -> list[int]:
        return [process.pid for process in psutil.process_iter(["ppid"]) if process.info["ppid"] == pid]

    @staticmethod
    def link(folder: Path) -> dict[str, Any]:
        return json.loads((folder / server_files.LINK_FILE).read_text())

    def gone(self, folder: Path) -> None:
        """Wait until nobody holds the folder: server and supervisor have ended."""
        import fcntl

        def free() -> bool:
            with open(folder / server_files.LOCK_FILE) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            return True

        self.until(free)

    def kill_everything(self, folder: Path) -> None:
        """Supervisor, guard and server, all at once, as a power cut would."""
        link = self.link(folder)
        for pid in (link["supervisor_pid"], *self.children(link["supervisor_pid"])):
            os.kill(pid, signal.SIGKILL)
        self.gone(folder)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLOWNB_URL", "FLOWNB_PASSWORD", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, watch: Watch) -> Iterator[Path]:
    """A folder for an embedded server, which must have ended some time after the test."""
    folder = tmp_path / ".flownb"
    yield folder
    if not (folder / server_files.LOCK_FILE).exists():
        return
    left = server_files.read_link(str(folder)) or {}
    if supervisor := left.get("supervisor_pid"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGTERM)  # the grace is not worth waiting for
    watch.gone(folder)
    if left and not watch.alive(supervisor):  # killed by the test; the next start would have cleaned up
        shutil.rmtree(left["runtime"], ignore_errors=True)


@pytest.fixture
def start_user(folder: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start another process that uses the folder's server until its stdin is closed."""
    users: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        user = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ROOT},
        )
        users.append(user)
        return user

    yield start
    for user in users:
        user.kill()
        user.wait()
        user.stdin.close()
        user.stdout.close()


@pytest.fixture
def tcp_server(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start a server of the user's own; gives its port on this machine."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(*options: str, password: str | None = None) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        secret = ["--requirepass", password] if password else []
        command = [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", *secret, *options]
        servers.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL))
        with redis.Redis(port=port, password=password) as client:
            Watch.until(lambda: _answers(client))
        return port

    yield start
    for server in servers:
        server.kill()
        server.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
