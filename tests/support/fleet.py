"""Worker processes to kill, freeze and replace, and who does that: with a seed, so that a run can be had again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import processes
from tests.support.execution_log import FILE, PROCESS, Kill

ROOT = str(Path(__file__).parents[2])


class FleetWorker:
    """A process with a worker of queues, and perhaps one of tasks, which ends with its stdin."""

    def __init__(
        self,
        url: str,
        log: Path,
        asked: dict[str, Any],
        env: dict[str, str] | None = None,
        *,
        command: list[str] | None = None,  #: of a worker of another client
    ) -> None:
        own = [sys.executable, "-m", "tests.support.fleet", json.dumps({"url": url, **asked})]
        self.process = subprocess.Popen(
            command or own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": ROOT, FILE: str(log), **(env or {})},
        )
        self.keeper: int | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready(self) -> FleetWorker:
        """Wait until it serves."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the worker ended with {self.process.wait()} before it served"
        self.keeper = int(line)
        return self

    def kill(self, *, keeper: bool = False) -> Kill:
        """SIGKILL it; with its keeper it is as if the machine were gone."""
        sent = time.time()
        if keeper and self.keeper:
            os.kill(self.keeper, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        return Kill(self.pid, sent, time.time())

    def freeze(self, *, keeper: bool = False) -> None:
        for pid in [self.pid, *([self.keeper] if keeper and self.keeper else [])]:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        processes.thaw(*filter(None, [self.pid, self.keeper]))

    def close(self) -> None:
        """Let it end in peace, or kill it."""
        assert self.process.stdin
        assert self.process.stdout
        if self.process.poll() is None:
            self.thaw()
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()


class Fleet:
    """Workers of one kind of settings; a seeded killer picks among them."""

    def __init__(self, url: str, log: Path, asked: Sequence[dict[str, Any]], seed: int) -> None:
        self._chance = random.Random(seed)
        self._url, self._log = url, log
        self.workers = [(how, FleetWorker(url, log, how)) for how in asked]
        for _, worker in self.workers:
            worker.ready()
        self.kills: list[Kill] = []

    def kill_one(self, *, keeper: bool = False) -> Kill:
        """Kill one worker at random and put another in its place."""
        self.replace_ended()
        victim = self._chance.randrange(len(self.workers))
        how, worker = self.workers[victim]
        self.kills.append(worker.kill(keeper=keeper))
        worker.close()
        self.workers[victim] = how, FleetWorker(self._url, self._log, how)
        return self.kills[-1]

    def replace_ended(self) -> None:
        """Start those anew that ended by themselves, as a worker does that finds no server when it starts."""
        for i, (how, worker) in enumerate(self.workers):
            if worker.process.poll() is not None:
                worker.close()
                self.workers[i] = how, FleetWorker(self._url, self._log, how)

    def close(self) -> None:
        for _, worker in self.workers:
            worker.close()


def main() -> None:
    """Serve as asked until stdin ends."""
    import flownb as fn
    from flownb.worker.lease_keeper import keeper
    from tests.support import failpoints, fault_functions

    asked = json.loads(sys.argv[1])
    if ahead := asked.get("clock_ahead"):  # seconds: this process has the time wrong
        right = time.time
        time.time = lambda: right() + ahead
    if limit := asked.get("memory"):  # bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    logging.basicConfig(filename=asked.get("words"), level=logging.WARNING)
    os.environ.setdefault(PROCESS, str(os.getpid()))
    os.environ[fault_functions.LEAK] = asked.get("leak", "")
    fn.connect(asked["url"])
    failpoints.install()
    function = getattr(fault_functions, asked.get("function", "run"))
    with contextlib.ExitStack() as serving:
        if asked.get("tasks"):
            fault_functions.tasks()
            serving.enter_context(fn.workers(**asked["tasks"]))
        serving.enter_context(fn.Worker(asked["queues"], function, **asked.get("options", {})))
        print(keeper.pid, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    from flownb import ServerError

    try:
        main()
    except ServerError as error:  # there is no server just now: whoever started it starts it anew
        sys.exit(f"a worker found no server: {error}")
