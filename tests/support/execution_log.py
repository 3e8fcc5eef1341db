"""What ran, and when, kept outside of Redis: a line for each begin and end, appended by every worker process.

A line is written with one call to a file that is open for appending, so lines of many processes do not mix, and what
a process has written outlives its death.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

FILE = "FLOWNB_EXECUTION_LOG"  # environment variables of a worker process: where to write,
PROCESS = "FLOWNB_EXECUTION_PROCESS"  # and as whom: the pid of the process that one kills, not of a slot's

_open: dict[str, int] = {}


class Run(NamedTuple):
    """One run of a job or a row; times are those of the machine's clock, in seconds."""

    key: str
    process: int
    begun: float
    ended: float | None


def note(kind: str, key: str) -> None:
    """Append a line: `kind` is ``+`` for a begin, ``-`` for an end."""
    path = os.environ[FILE]
    if path not in _open:
        _open[path] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    process = os.environ.get(PROCESS) or os.getpid()
    os.write(_open[path], f"{kind} {process} {time.clock_gettime(time.CLOCK_REALTIME):.6f} {key}\n".encode())


def read_runs(path: Path) -> dict[str, list[Run]]:
    """Return the runs of every key, the earliest first."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for kind, process, at, key in _lines(path):
        if kind == "+":
            runs[key].append(Run(key, process, at, None))
        else:
            latest = max(i for i, run in enumerate(runs[key]) if run.process == process)
            runs[key][latest] = runs[key][latest]._replace(ended=at)
    return runs


def _lines(path: Path) -> Iterable[tuple[str, int, float, str]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            kind, process, at, key = line.split(maxsplit=3)
            yield kind, int(process), float(at), key.strip()


class Kill(NamedTuple):
    """The end of a worker process by the hand of a test."""

    process: int
    sent: float  #: when the signal was sent; others may run the process's jobs again before its parent
    seen: float  #: sees, on a busy machine, that it is dead


def not_explained(runs: Iterable[list[Run]], kills: Iterable[Kill]) -> list[str]:
    """Return the runs of a key that came after another one although its process had not been killed meanwhile."""
    killed = {kill.process: kill for kill in kills}
    return [
        f"{after.key} began at {after.begun:.3f} in {after.process}, and before at {before.begun:.3f} in {before.process}"
        for of_key in runs
        for before, after in itertools.pairwise(of_key)
        if not _explains(killed.get(before.process), before, after)
    ]


def _explains(kill: Kill | None, before: Run, after: Run) -> bool:
    return kill is not None and before.begun <= kill.seen and kill.sent <= after.begun


def begun_at(kill: Kill, runs: Iterable[list[Run]], ended_at: dict[str, float]) -> set[str]:
    """Return the keys that had begun in a killed process, and whose end the server had not written by then."""
    return {
        run.key
        for of_key in runs
        for run in of_key
        if run.process == kill.process
        and run.begun <= kill.seen
        and ended_at.get(run.key, float("inf")) > kill.sent
    }
