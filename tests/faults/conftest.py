"""What the tests of faults share: a server to harm, workers to harm, ways to harm, and the check of everything at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flownb as fn
from tests.support.checked_work import LEAF, MIDDLE, TOTAL, Runs, Work, keep_events, wrong_at_the_end
from tests.support.execution_log import Kill, Run, read_runs
from tests.support.fleet import FleetWorker
from tests.support.kernel_process import Kernel
from tests.support.lossy_proxy import Proxy
from tests.support.server import OwnServer

QUICK = {"lock_duration": 1, "stalled_interval": 0.3}  # so that what waits for a lease is over soon


class Scene:
    """A server, worker processes with an execution log, and work whose right outcome is known."""

    def __init__(self, server: OwnServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.log = folder / "executions"
        self.words = folder / "words"  # what workers logged
        self.connection = fn.Connection(server.url)
        self.client = server.client()
        self.work = Work("faults")
        self.kills: list[Kill] = []
        self._to_close: list[Any] = []
        keep_events(self.client, 100_000)

    def way(self, share: float = 0.0, **more: Any) -> Proxy:
        """Return a way to the server that is no good."""
        self._to_close.append(Proxy(self.server.socket, share, **more))
        return self._to_close[-1]

    def worker(
        self, *, url: str | None = None, failpoint: str = "", queues: Any = None, **more: Any
    ) -> FleetWorker:
        """Start a worker process, with a short lease; `asked` as `tests.support.fleet` reads it."""
        asked = {"queues": queues or [LEAF, MIDDLE, TOTAL], "words": str(self.words), **more}
        asked["options"] = {"concurrency": 4, **QUICK, **more.get("options", {})}
        worker = FleetWorker(url or self.server.url, self.log, asked, {"FLOWNB_FAILPOINT": failpoint})
        self._to_close.insert(0, worker)
        return worker if failpoint else worker.ready()  # that may die before it says that it serves

    def kill(self, worker: FleetWorker, **how: Any) -> None:
        self.kills.append(worker.kill(**how))

    def add(self, n: int, seconds: float = 0.0) -> Any:
        """Add `n` leaves of this length below a root."""
        number = len(self.work.trees)
        jobs = self.work.jobs(f"{number}.t", n, {seconds: 1.0})
        return self.work.add_tree(jobs, f"tree-{number}", connection=self.connection)

    def runs(self) -> dict[str, list[Run]]:
        return read_runs(self.log)

    def begun(self) -> int:
        return len(self.runs())

    def running(self) -> int:
        """Say how many runs have begun and not ended."""
        return sum(run.ended is None for of_key in self.runs().values() for run in of_key)

    def charged(self) -> int:
        """Say how many deaths of a worker were charged to leaves."""
        keys = [key for key in self.client.scan_iter(f"bull:{LEAF}:*") if self.client.type(key) == b"hash"]
        return sum(int(self.client.hget(key, "stc") or 0) for key in keys)

    def complaints(self) -> list[str]:
        return self.words.read_text().splitlines() if self.words.exists() else []

    def check(self, seconds: float = 60) -> Runs:
        """Wait for all flows; see that nothing is lost, failed, doubled, mixed up or left; return what ran."""
        for flow in self.work.flows:
            flow.wait(timeout=seconds)
        wrong, runs = wrong_at_the_end(
            self.work, self.client, self.log, self.kills, connection=self.connection
        )
        assert wrong == []
        return runs

    def close(self) -> None:
        for each in self._to_close:
            if isinstance(each, FleetWorker):
                each.kill()  # in peace it would wait for a server that is dead
            each.close()
        self.client.close()
        self.connection.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Give a scene on a server of the test's own, whose death takes nothing along that it has answered for."""
    with tempfile.TemporaryDirectory(prefix="flownb-scene-") as folder:  # a short path, for the socket
        server = OwnServer(Path(folder), fsync="always")
        made = Scene(server, tmp_path)
        yield made
        made.close()
        server.kill()


@pytest.fixture
def ended(scene: Scene) -> Callable[[], int]:
    """Give what counts the leaves that have ended on the server."""
    return lambda: int(scene.client.zcard(f"bull:{LEAF}:completed"))


@pytest.fixture
def start_kernel(server_folder: Path, connection: fn.Connection) -> Iterator[Callable[[str], Kernel]]:
    """Start kernels of one folder that know the tasks; those that a test leaves are killed."""
    started: list[Kernel] = []

    def start(tasks: str) -> Kernel:
        started.append(Kernel(server_folder))
        assert started[-1].run(tasks)[1] is None
        return started[-1]

    yield start
    for kernel in started:
        kernel.kill()
