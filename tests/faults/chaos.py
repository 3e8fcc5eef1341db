"""The gate: 20,000 jobs, 25 kills of workers and 5 of the server. `python -m tests.faults.chaos [--seed N] [--jobs N] ...`

Jobs of three lengths (none at all, 10 ms, 2 s) come in waves, as trees and as batches with one row a job and with
many, while a fleet of worker processes is killed at moments that the seed decides; the server's data are its
append-only file, synced before each answer: what it has promised outlives its death. Three of the 25 kills take the worker's keeper too, as if a machine were gone. Checked
meanwhile, on copies of one moment: what must hold at every moment. At the end: nothing lost, nothing failed,
nothing stuck, each value its own job's, sums right, `doctor()` empty, one end of each job in the books, and no run
but the first that is not explained by a kill of the process in which the run before it had begun.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

import flownb as fn
from tests.support import fault_functions, invariants
from tests.support.checked_work import (
    LEAF,
    MIDDLE,
    NOTHING_RAN,
    TOTAL,
    Runs,
    Work,
    keep_events,
    wrong_at_the_end,
)
from tests.support.fleet import Fleet
from tests.support.server import OwnServer

LENGTHS = {0.0: 0.725, 0.01: 0.25, 2.0: 0.025}  # seconds of a job -> share of the jobs
TREES, ONE_ROW = (
    0.3,
    0.3,
)  # how many of a wave's jobs are in trees and in batches of one row a job; the rest share jobs
SLOTS = 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run of the gate is to be; times in seconds."""

    seed: int
    jobs: int = 20_000
    waves: int = 20
    kills: int = 25
    machine_kills: int = 3  #: of the kills, those that take the keeper along
    server_kills: int = 5
    kill_gap: float = 4.0  #: on average
    fleet: int = 4
    look_gap: float = 15.0  #: between two looks at a copy
    patience: float = 180.0  #: after the last kill

    @property
    def duration(self) -> float:
        """Until the last kill."""
        return self.kills * self.kill_gap


@dataclass
class Report:
    """What a run has found."""

    plan: Plan
    problems: list[str] = field(default_factory=list)
    looks: int = 0
    runs: Runs = NOTHING_RAN
    seconds: float = 0.0
    recovery: float = 0.0

    def __str__(self) -> str:
        plan = self.plan
        return (
            f"seed {plan.seed}: {'PASSED' if not self.problems else 'FAILED'} in {self.seconds:.0f} s; {plan.jobs} jobs, "
            f"{plan.kills} kills of workers ({plan.machine_kills} with keeper), {plan.server_kills} of the server; "
            f"begun at kills {sum(self.runs.begun_at_kills)}, run again {self.runs.again}; all had ended {self.recovery:.1f} s "
            f"after the last kill; {self.looks} looks at copies of a moment"
        )


# ---- the run ----------------------------------------------------------------------------------------


def run(plan: Plan, folder: Path, say: Any = print) -> Report:
    """Run the gate once, in an empty folder."""
    report = Report(plan)
    started = time.monotonic()
    for name in ("server", "copy"):
        (folder / name).mkdir()
    server = OwnServer(folder / "server")
    log = folder / "executions"
    asked = {
        "queues": [LEAF, MIDDLE, TOTAL],
        "options": {"concurrency": SLOTS},
        "tasks": {"concurrency": SLOTS},
        "words": str(folder / "words"),
    }
    connection = fn.connect(server.url)
    with server.client() as client:
        keep_events(client, 20 * plan.jobs)
    work = Work(plan.seed, fault_functions.tasks())
    fleet = Fleet(server.url, log, [asked] * plan.fleet, plan.seed)
    try:
        with _looking(server, folder / "copy", report):
            last_kill = _kill_and_add(plan, server, fleet, work, say)
            _wait_for_all(plan, work, fleet, report)
        report.recovery = time.time() - last_kill
        with server.client() as client:
            wrong, report.runs = wrong_at_the_end(work, client, log, fleet.kills)
        report.problems += wrong
    finally:
        fleet.close()
        connection.close()
        server.kill()
    report.seconds = time.monotonic() - started
    return report


def _kill_and_add(plan: Plan, server: OwnServer, fleet: Fleet, work: Work, say: Any) -> float:
    """Add the waves and kill, each at its time; return the time of the last kill."""
    chance = random.Random(f"kills {plan.seed}")
    kinds = ["machine"] * plan.machine_kills + ["worker"] * (plan.kills - plan.machine_kills)
    chance.shuffle(kinds)
    due = [(chance.uniform(1.0, plan.duration), kind) for kind in kinds + ["server"] * plan.server_kills]
    due += [(plan.duration * i / plan.waves, "wave") for i in range(plan.waves)]
    began, waves = time.monotonic(), iter(range(plan.waves))
    last_kill = time.time()
    for at, kind in sorted(due):
        time.sleep(max(0.0, began + at - time.monotonic()))
        fleet.replace_ended()
        if kind == "wave":
            _add_wave(plan, work, next(waves))
            continue
        if kind == "server":
            server.kill()
            time.sleep(chance.uniform(0.0, 1.0))
            server.start()
        else:
            fleet.kill_one(keeper=kind == "machine")
        last_kill = time.time()
        say(f"  {time.monotonic() - began:6.1f} s  killed a {kind}")
    return last_kill


def _add_wave(plan: Plan, work: Work, number: int) -> None:
    size = plan.jobs // plan.waves
    trees, one_row = round(size * TREES), round(size * ONE_ROW)
    work.add_tree(work.jobs(f"{number}.t", trees, LENGTHS), f"tree-{number}")
    work.add_batch("one_row", 1, work.jobs(f"{number}.o", one_row, LENGTHS), f"one-row-{number}")
    rest = work.jobs(f"{number}.m", size - trees - one_row, LENGTHS)
    work.add_batch("many_rows", "auto", rest, f"many-rows-{number}")


def _wait_for_all(plan: Plan, work: Work, fleet: Fleet, report: Report) -> None:
    deadline = time.monotonic() + plan.patience
    left = work.flows
    while left and time.monotonic() < deadline:
        fleet.replace_ended()
        left = [flow for flow in left if flow.state not in ("completed", "failed")]
        time.sleep(0.2)
    for flow in left:
        report.problems.append(f"stuck: {flow}\n{flow.explain().to_string()}")


@contextmanager
def _looking(server: OwnServer, folder: Path, report: Report) -> Iterator[None]:
    """Check at intervals, on copies of one moment, what must hold at every moment."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(report.plan.look_gap):
            try:
                with server.copy_at_one_moment(folder) as copy, copy.client() as client:
                    report.problems += [f"at a look: {wrong}" for wrong in invariants.violations(client)]
                    report.looks += 1
            except (redis.RedisError, OSError, AssertionError):
                continue  # the server was killed while it was copied

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join(60)


# ---- the command ------------------------------------------------------------------------------------


def main() -> int:
    """Run the gate, with one seed or with several in turn."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("--seed", type=int, default=None, help="another one each time if not given")
    asked.add_argument("--seeds", type=int, default=1, help="how many seeds, counted on from the first")
    asked.add_argument("--jobs", type=int, default=Plan.jobs)
    asked.add_argument("--kills", type=int, default=Plan.kills)
    asked.add_argument("--server-kills", type=int, default=Plan.server_kills)
    given = asked.parse_args()
    first = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    failed = 0
    for seed in range(first, first + given.seeds):
        print(f"seed {seed}; again with: make chaos SEED={seed}", flush=True)
        plan = Plan(seed=seed, jobs=given.jobs, kills=given.kills, server_kills=given.server_kills)
        with tempfile.TemporaryDirectory(prefix="flownb-chaos-") as folder:
            report = run(plan, Path(folder), say=lambda line: print(line, flush=True))
        print(report, flush=True)
        for problem in report.problems[:40]:
            print(f"  - {problem}", flush=True)
        failed += bool(report.problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
