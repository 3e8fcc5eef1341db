"""An hour of mixed flows: memory, threads, files, processes and keys stay as they are. `python -m tests.faults.soak [--minutes N]`

Round after round a producer adds, watches, draws, pauses, cancels, retries and removes flows and batches, while two worker
processes serve them and one of them is killed every ten minutes. At the end of each round nothing is left of its
flows, and each process and the server are measured. What grows from the second quarter of the time to the last is a leak.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

import flownb as fn
from tests.support import fault_functions
from tests.support.checked_work import LEAF, MIDDLE, QUEUES, TOTAL, Work, keep_events
from tests.support.fleet import Fleet
from tests.support.server import OwnServer

KILL_SECONDS = 600.0  # between two kills of a worker
KEPT_EVENTS = 500  # of a queue: a stream that has not reached its length looks like a leak
FEWEST = 8  # measurements of a thing by which its growth can be judged
#: what may come on top from the second quarter of the time to the last: caches and pools of connections breathe
ALLOWED = {
    "memory": 3_000_000,
    "server memory": 1_000_000,
    "threads": 2,
    "files": 8,  # a keeper connects to each queue when it first has to do there
    "processes": 1,
    "keys": 0,
}


@dataclass
class Report:
    """Series of measurements: (process or server, measure) -> values, one a round."""

    series: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)
    rounds: int = 0
    jobs: int = 0
    kills: int = 0

    def note(self, what: str, measures: dict[str, float]) -> None:
        for measure, value in measures.items():
            self.series[what, measure].append(value)

    def growth(self) -> list[str]:
        """Return what has grown."""
        return [
            f"{what}: {measure} grew from {before:,.0f} to {after:,.0f} in {len(values)} rounds"
            for (what, measure), values in self.series.items()
            if len(values) >= FEWEST
            for before, after in [quarters(values)]
            if after - before > ALLOWED[measure]
        ]

    def __str__(self) -> str:
        lines = [f"{self.rounds} rounds, {self.jobs} jobs, {self.kills} kills of workers"]
        for (what, measure), values in self.series.items():
            if len(values) >= FEWEST:
                before, after = quarters(values)
                lines.append(f"  {what:12} {measure:14} {before:14,.0f} -> {after:14,.0f}")
        return "\n".join(lines)


def quarters(values: list[float]) -> tuple[float, float]:
    """Return the medians of the second and of the last quarter: the first one warms up."""
    n = len(values) // 4
    return median(values[n : 2 * n]), median(values[-n:])


def measured(process: psutil.Process) -> dict[str, float]:
    """Measure a process now."""
    return {
        "memory": process.memory_info().rss,
        "threads": process.num_threads(),
        "files": process.num_fds(),
        "processes": len(process.children()),
    }


def measured_server(client: Any) -> dict[str, float]:
    """Measure what the server holds, its own buffers for clients aside, and the notes of the last sweeps: they come and go."""
    client.execute_command("MEMORY PURGE")
    return {
        "server memory": int(client.memory_stats()["dataset.bytes"]),
        "keys": sum(not key.endswith(b":stalled-check") for key in client.scan_iter(count=1000)),
    }


# ---- one round --------------------------------------------------------------------------------------


class Producer:
    """What a notebook does with flows, once a round."""

    def __init__(self, tasks: dict[str, Any]) -> None:
        self._tasks = tasks

    def one_round(self, number: int) -> int:
        """Add, look at and remove flows; return how many jobs there were."""
        work = Work(f"soak {number}", self._tasks)
        lengths = {0.0: 0.9, 0.01: 0.1}
        tree = work.add_tree(work.jobs(f"{number}.t", 120, lengths), f"tree-{number}")
        work.add_batch("one_row", 1, work.jobs(f"{number}.o", 60, lengths), f"one-row-{number}")
        work.add_batch("many_rows", "auto", work.jobs(f"{number}.m", 200, lengths), f"many-rows-{number}")
        events = fn.QueueEvents(LEAF)
        heard: list[Any] = []
        events.on("completed", heard.append)
        failing = fn.add({"name": "bad", "queueName": "bad", "data": {"seconds": 0}})
        cancelled = fn.add({"name": "late", "queueName": LEAF, "opts": {"delay": 60_000}})
        tree.pause()
        tree.resume()
        cancelled.cancel()
        for flow in [*work.flows, failing, cancelled]:
            flow.wait(timeout=60)
            flow.progress()
            flow.to_html()
        failing.retry()
        failing.wait(timeout=60)
        events.close()
        assert work.wrong_values() == []
        fn.flows()
        for flow in [*work.flows, failing, cancelled]:
            flow.remove()
        return 120 + 60 + 200 + 2


def run(
    minutes: float,
    folder: Path,
    *,
    rounds: int = 4 * FEWEST,
    say: Callable[[str], None] = print,
    leak: str = "",
    seed: int = 1,
) -> Report:
    """Soak for a while, and for so many rounds at least; `leak` plants one into the workers."""
    report = Report()
    server = OwnServer(folder, fsync="everysec")
    client = server.client()
    keep_events(client, KEPT_EVENTS, [*QUEUES, "bad", "flownb-batch"])
    asked = {
        "queues": [LEAF, MIDDLE, TOTAL, "bad"],
        "options": {"concurrency": 4},
        "tasks": {"concurrency": 4},
        "leak": leak,
    }
    connection = fn.connect(server.url)
    fleet = Fleet(server.url, folder / "executions", [asked, asked], seed)
    producer = Producer(fault_functions.tasks())
    began, next_kill = time.monotonic(), time.monotonic() + KILL_SECONDS
    try:
        while time.monotonic() < began + minutes * 60 or report.rounds < rounds:
            report.jobs += producer.one_round(report.rounds)
            report.rounds += 1
            if not (found := fn.doctor()).empty:
                report.problems.append(found.to_string())
            _measure(report, fleet, client)
            if time.monotonic() > next_kill:
                next_kill += KILL_SECONDS
                report.kills += 1
                fleet.kill_one()
            if report.rounds % 20 == 0:
                say(f"{(time.monotonic() - began) / 60:.1f} min: {report.rounds} rounds, {report.jobs} jobs")
    finally:
        fleet.close()
        connection.close()
        client.close()
        server.kill()
    report.problems += report.growth()
    return report


def _measure(report: Report, fleet: Fleet, client: Any) -> None:
    gc.collect()
    report.note("producer", measured(psutil.Process()))
    for _, worker in fleet.workers:
        report.note(f"worker {worker.pid}", measured(psutil.Process(worker.pid)))
        if worker.keeper:
            report.note(f"keeper {worker.keeper}", measured(psutil.Process(worker.keeper)))
    report.note("server", measured_server(client))


def main() -> int:
    """Soak, and say what has grown."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("--minutes", type=float, default=60)
    asked.add_argument("--leak", default="", help="plant one: memory, threads, files, keys, or several")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="flownb-soak-") as folder:
        report = run(given.minutes, Path(folder), say=lambda line: print(line, flush=True), leak=given.leak)
    print(report)
    for problem in report.problems:
        print(f"  - {problem}")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
