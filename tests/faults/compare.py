"""Three clients under one injector: flownb and BullMQ for Node and Python. `python -m tests.faults.compare [--write]`

Each client's own producer adds the same flows to a fresh server; two processes of ten slots run them while the same faults
happen at the same seeded moments. All three have a lease of 2 s and a check every second, and their own defaults for the
rest. `--write` puts the table into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import execution_log
from tests.support.execution_log import FILE
from tests.support.fleet import ROOT, FleetWorker
from tests.support.lossy_proxy import Proxy
from tests.support.server import OwnServer

PAGE = Path(ROOT) / "docs" / "reliability.md"
NODE_WORKER = Path(ROOT) / "tests" / "interop" / "node" / "fault_worker.mjs"
PARENTS, CHILDREN, SECONDS = 4, 500, 0.1
LEASE, CHECK, SLOTS = 2.0, 1.0, 10
SILENCE = 40.0  # seconds without an end after which the rest is given up: 20 leases
NUMBER = 7  # what each child adds to its parent's sum
CLIENTS = {"flownb": "flownb", "node": "BullMQ, Node", "python": "BullMQ, Python"}


class Outcome(NamedTuple):
    """What one client did under one fault."""

    completed: int
    failed: int
    unfinished: int
    parents: int  #: that completed with the right sum
    again: int  #: runs but the first of a job
    seconds: float  #: from the first job to the last end

    def __str__(self) -> str:
        return (
            f"{self.completed:,} / {self.failed} / {self.unfinished}; {self.parents} of {PARENTS}; "
            f"{self.again}; {self.seconds:.0f} s"
        )


class Client:
    """One client's workers on a server, by a way that may be bad."""

    def __init__(self, kind: str, server: OwnServer, log: Path, node: str) -> None:
        self.kind, self.server, self.log, self.node = kind, server, log, node
        self.way = Proxy(server.socket)
        self.workers = [self._start(), self._start()]
        for worker in self.workers:
            worker.ready()

    def _start(self) -> FleetWorker:
        options = {
            "flownb": {"lock_duration": LEASE, "stalled_interval": CHECK, "concurrency": SLOTS},
            "other": {
                "lockDuration": int(LEASE * 1000),
                "stalledInterval": int(CHECK * 1000),
                "concurrency": SLOTS,
                "runRetryDelay": 1000,
            },
        }
        if self.kind == "flownb":
            asked = {"queues": ["leaf", "total"], "options": options["flownb"]}
            return FleetWorker(self.way.url, self.log, asked)
        return FleetWorker(
            self.way.url, self.log, {}, command=self._command(self.way.socket, {"options": options["other"]})
        )

    def _command(self, socket: str, asked: dict[str, Any]) -> list[str]:
        program = (
            [self.node, str(NODE_WORKER)]
            if self.kind == "node"
            else [sys.executable, "-m", "tests.faults.bullmq_worker"]
        )
        return [*program, socket, json.dumps(asked)]

    def add(self, trees: list[dict[str, Any]]) -> None:
        """Have this client's own producer add the trees, by the good way."""
        if self.kind == "flownb":
            import flownb as fn

            with fn.Connection(self.server.url) as connection:
                for tree in trees:
                    fn.add(tree, connection=connection)
        else:
            env = {**os.environ, "PYTHONPATH": ROOT, FILE: str(self.log)}
            (self.log.parent / "trees").write_text(json.dumps(trees))  # too long for a command line
            asked = {"trees": str(self.log.parent / "trees")}
            subprocess.run(self._command(self.server.socket, asked), env=env, check=True)

    def replace(self, victim: int) -> None:
        self.workers[victim].kill()
        self.workers[victim].close()
        self.workers[victim] = self._start()

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.close()
        self.way.close()


# ---- the faults -------------------------------------------------------------------------------------


def kill_workers(client: Client, chance: random.Random, ended: Callable[[], int]) -> None:
    """12 kills of workers, about a second apart."""
    for _ in range(12):
        time.sleep(chance.uniform(0.5, 1.5))
        client.replace(chance.randrange(2))


def kill_the_server(client: Client, chance: random.Random, ended: Callable[[], int]) -> None:
    """5 kills of the server in 5 s, started again at once."""
    for _ in range(5):
        time.sleep(chance.uniform(0.5, 1.5))
        client.server.kill()
        client.server.start()


def lose_replies(client: Client, chance: random.Random, ended: Callable[[], int]) -> None:
    """1 % of the replies to workers are lost."""
    client.way.share = 0.01
    time.sleep(10)


def freeze_a_worker(client: Client, chance: random.Random, ended: Callable[[], int]) -> None:
    """One worker process is stopped for four leases, and goes on."""
    time.sleep(1)
    client.workers[0].freeze()
    time.sleep(4 * LEASE)
    client.workers[0].thaw()


FAULTS = (kill_workers, kill_the_server, lose_replies, freeze_a_worker)


def run(kind: str, fault: Callable[..., None], folder: Path, node: str) -> Outcome:
    """Run one client under one fault."""
    server = OwnServer(folder, fsync="everysec")
    log = folder / "executions"
    client = Client(kind, server, log, node)

    def ended() -> int:
        with server.client() as asking:
            return sum(
                asking.zcard(f"bull:{queue}:{state}")
                for queue in ("leaf", "total")
                for state in ("completed", "failed")
            )

    try:
        began = time.monotonic()
        client.add([_tree(i) for i in range(PARENTS)])
        fault(client, random.Random("compare"), ended)
        last, latest = ended(), time.monotonic()
        while last < PARENTS * (CHILDREN + 1) and time.monotonic() < latest + SILENCE:
            time.sleep(0.1)
            if (now := ended()) > last:
                last, latest = now, time.monotonic()
        return _outcome(server, log, latest - began)
    finally:
        client.close()
        server.kill()


def _tree(number: int) -> dict[str, Any]:
    children = [
        {
            "name": "leaf",
            "queueName": "leaf",
            "data": {"key": f"{number}.t.{i}", "number": NUMBER, "seconds": SECONDS},
        }
        for i in range(CHILDREN)
    ]
    return {"name": "total", "queueName": "total", "data": {}, "children": children}


def _outcome(server: OwnServer, log: Path, seconds: float) -> Outcome:
    with server.client() as client:
        completed, failed = (
            sum(client.zcard(f"bull:{queue}:{state}") for queue in ("leaf", "total"))
            for state in ("completed", "failed")
        )
        right = {"sum": NUMBER * CHILDREN, "n": CHILDREN}
        values = [
            client.hget(f"bull:total:{id.decode()}", "returnvalue")
            for id in client.zrange("bull:total:completed", 0, -1)
        ]
    runs = execution_log.read_runs(log)
    return Outcome(
        completed,
        failed,
        PARENTS * (CHILDREN + 1) - completed - failed,
        sum(json.loads(value) == right for value in values),
        sum(len(of_key) - 1 for of_key in runs.values()),
        seconds,
    )


# ---- the table --------------------------------------------------------------------------------------


def table(found: dict[tuple[str, str], Outcome]) -> str:
    """Return the table of the page."""
    lines = [
        f"| fault | {' | '.join(CLIENTS.values())} |",
        "|---" * (len(CLIENTS) + 1) + "|",
    ]
    for fault in FAULTS:
        cells = [str(found[kind, fault.__name__]) for kind in CLIENTS]
        lines.append(f"| {(fault.__doc__ or '').rstrip('.')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Put the table between its marks in docs/reliability.md."""
    page = PAGE.read_text(encoding="utf-8")
    marks = (
        "<!-- comparison: from here to the next mark, written by the command above -->",
        "<!-- end of comparison -->",
    )
    pattern = re.compile(f"({re.escape(marks[0])}).*?({re.escape(marks[1])})", re.DOTALL)
    PAGE.write_text(pattern.sub(lambda found: f"{found[1]}\n\n{text}\n\n{found[2]}", page), encoding="utf-8")


def main() -> int:
    """Run all three clients under all faults, and print the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("--write", action="store_true", help="into docs/reliability.md")
    given = asked.parse_args()
    beside = Path(sys.executable).parent / "node"
    node = str(beside) if beside.exists() else shutil.which("node") or sys.exit("Node.js is missing")
    found: dict[tuple[str, str], Outcome] = {}
    for fault in FAULTS:
        for kind in CLIENTS:
            with tempfile.TemporaryDirectory(prefix="flownb-compare-") as folder:
                found[kind, fault.__name__] = run(kind, fault, Path(folder), node)
            print(f"{fault.__name__:16} {kind:8} {found[kind, fault.__name__]}", flush=True)
    text = table(found)
    print(text)
    print(f"{os.cpu_count()} cores, {platform.platform()}")
    if given.write:
        write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
