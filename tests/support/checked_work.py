"""Work whose right outcome is known in full: trees and batches of keyed jobs, and the checks after faults.

Each leaf has a key, a number and a length in seconds. A value holds its job's own key, a parent's value is the sum of its
leaves' numbers, and the execution log says what ran when; so a value that is lost, doubled, mixed up or made by a
run that no kill explains is seen.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

import flownb as fn
from tests.support import execution_log, invariants
from tests.support.execution_log import Kill

LEAF, MIDDLE, TOTAL = "leaf", "middle", "total"
QUEUES = (LEAF, MIDDLE, TOTAL, "one_row", "many_rows")


class Runs(NamedTuple):
    """What the execution log says of a stretch with kills."""

    begun_at_kills: list[int]  #: a kill each: what had begun in the killed process and was not written
    again: int  #: runs but the first of a key


NOTHING_RAN = Runs([], 0)


class Work:
    """Everything that is added, with the handles of its flows."""

    def __init__(self, seed: Any, tasks: dict[str, Any] | None = None) -> None:
        self._tasks = tasks or {}
        self._chance = random.Random(f"work {seed}")
        self.trees: list[tuple[Any, list[dict[str, Any]]]] = []
        self.batches: list[tuple[Any, pd.DataFrame]] = []

    def jobs(self, prefix: str, n: int, lengths: dict[float, float]) -> list[dict[str, Any]]:
        """Return `n` leaves; `lengths` gives the share of each length in seconds."""
        drawn = self._chance.choices([*lengths], [*lengths.values()], k=n)
        return [
            {"key": f"{prefix}.{i}", "number": self._chance.randrange(10_000), "seconds": seconds}
            for i, seconds in enumerate(drawn)
        ]

    def add_tree(self, jobs: list[dict[str, Any]], id: str, *, connection: Any = None) -> Any:
        """Add leaves below three parents and a root."""
        leaves = [{"name": job["key"], "queueName": LEAF, "data": job} for job in jobs]
        middles = [
            {"name": f"middle-{i}", "queueName": MIDDLE, "children": leaves[i::3]}
            for i in range(3)
            if leaves[i::3]
        ]
        tree = {"name": "total", "queueName": TOTAL, "children": middles, "opts": {"jobId": id}}
        flow = _insist(lambda: fn.add(tree, connection=connection))
        self.trees.append((flow, jobs))
        return flow

    def add_batch(self, task: str, rows_per_job: Any, jobs: list[dict[str, Any]], name: str) -> Any:
        """Add leaves as the rows of a batch."""
        frame = pd.DataFrame(jobs, index=[job["key"] for job in jobs])
        batch = _insist(lambda: fn.fan_out(frame, self._tasks[task], name=name, rows_per_job=rows_per_job))
        self.batches.append((batch, frame))
        return batch

    @property
    def flows(self) -> list[Any]:
        return [flow for flow, _ in self.trees] + [batch for batch, _ in self.batches]

    @property
    def keys(self) -> set[str]:
        of_trees = {job["key"] for _, jobs in self.trees for job in jobs}
        return of_trees | {key for _, frame in self.batches for key in frame["key"]}

    def wrong_values(self) -> list[str]:
        """Return what flows have failed, or say what they should not."""
        wrong: list[str] = []
        for flow, jobs in self.trees:
            wrong += _wrong_tree(flow, jobs)
        for batch, frame in self.batches:
            wrong += _wrong_batch(batch, frame)
        return wrong


def _insist(add: Callable[[], Any]) -> Any:
    """Add, and say the same call again if the server went away in the middle of it."""
    while True:
        try:
            return add()
        except fn.ServerError:
            time.sleep(0.1)


def wrong_at_the_end(
    work: Work, client: Any, log: Path, kills: Sequence[Kill] = (), *, connection: Any = None
) -> tuple[list[str], Runs]:
    """Check all there is once everything has ended; return what is wrong, and what ran."""
    wrong = work.wrong_values()
    runs = execution_log.read_runs(log)
    wrong += [f"never ran: {key}" for key in sorted(work.keys - runs.keys())[:5]]
    wrong += [str(each) for each in invariants.violations(client)]
    wrong += [str(each) for each in invariants.stuck(client)]
    ended_at, wrong_ends = ends_in_the_books(client)
    wrong += wrong_ends
    found = fn.doctor(connection=connection)
    if not found.empty:
        wrong.append(f"doctor() found:\n{found.to_string()}")
    wrong_runs, counted = _explain_runs(runs, kills, ended_at)
    return wrong + wrong_runs, counted


def keep_events(client: Any, most: int, queues: Iterable[str] = QUEUES) -> None:
    """Let the event streams keep so many entries: all, where their ends are to be counted."""
    for queue in queues:
        client.hset(f"bull:{queue}:meta", "opts.maxLenEvents", most)


def ends_in_the_books(client: Any) -> tuple[dict[str, float], list[str]]:
    """Return when each key's end was written, and what ended twice, failed or was charged."""
    ended_at: dict[str, float] = {}
    wrong: list[str] = []
    for queue in QUEUES:
        keys: dict[bytes, list[str]] = {}
        for id in client.zrange(f"bull:{queue}:completed", 0, -1):
            data, made = client.hmget(f"bull:{queue}:{id.decode()}", "data", "atm")
            keys[id] = _keys_in(data)
            if made != b"1":
                wrong.append(f"{queue}: {id.decode()} was charged {made!r} attempts")
        for id in client.zrange(f"bull:{queue}:failed", 0, -1):
            reason = client.hget(f"bull:{queue}:{id.decode()}", "failedReason")
            wrong.append(f"wrongly failed: {queue}: {id.decode()}: {reason!r}")
        ends: Counter[bytes] = Counter()
        for at, fields in client.xrange(f"bull:{queue}:events"):
            if fields[b"event"] in (b"completed", b"failed"):
                ends[fields[b"jobId"]] += 1
                seconds = int(at.split(b"-")[0]) / 1000
                for key in keys.get(fields[b"jobId"], ()):  # of a row that was handed on, the later end
                    ended_at[key] = max(seconds, ended_at.get(key, 0.0))
        wrong += [f"{queue}: {id.decode()} ended {n} times in the books" for id, n in ends.items() if n > 1]
    return ended_at, wrong


def _keys_in(data: bytes) -> list[str]:
    """Return the keys of the leaf or the rows that a job's data hold."""
    return [key.decode() for key in re.findall(rb'"(\d+\.[tom]\.\d+)"', data)]


def _wrong_tree(flow: Any, jobs: list[dict[str, Any]]) -> list[str]:
    if flow.state != "completed":
        return [f"{flow.state}: {flow}\n{flow.explain().head().to_string()}"]
    right = {"sum": sum(job["number"] for job in jobs), "n": len(jobs)}
    return [] if flow.result() == right else [f"{flow} says {flow.result()}, right is {right}"]


def _wrong_batch(batch: Any, frame: pd.DataFrame) -> list[str]:
    if not batch.failures.empty:
        return [f"wrongly failed in {batch}:\n{batch.failures.head().to_string()}"]
    if batch.state != "completed":
        return [f"{batch.state}: {batch}"]
    found = batch.results()
    wrong = [] if found.index.equals(frame.index) else [f"{batch}: another index"]
    if list(found["said"]) != list(frame["key"]):
        wrong.append(f"{batch}: values of other rows, or none")
    if list(found["square"]) != [number * number for number in frame["number"]]:
        wrong.append(f"{batch}: wrong values")
    return wrong


def _explain_runs(
    runs: dict[str, list[execution_log.Run]], kills: Iterable[Kill], ended_at: dict[str, float]
) -> tuple[list[str], Runs]:
    """Every run but the first has its kill, and none begins after the end of its job was written."""
    again = [after for of_key in runs.values() for after in of_key[1:]]
    unexplained = execution_log.not_explained(runs.values(), kills)
    wrong = [f"run again without a kill: {words}" for words in unexplained[:10]]
    if len(unexplained) > 10:
        wrong.append(f"and {len(unexplained) - 10} more runs without a kill")
    wrong += [
        f"{run.key} began at {run.begun:.3f}, after its end was written at {ended_at[run.key]:.3f}"
        for run in again
        if run.begun > ended_at.get(run.key, float("inf")) + 0.001
    ]
    begun = [len(execution_log.begun_at(kill, runs.values(), ended_at)) for kill in kills]
    if len(again) > sum(begun):
        wrong.append(f"{len(again)} runs again, but {sum(begun)} had begun at the kills")
    return wrong, Runs(begun, len(again))
