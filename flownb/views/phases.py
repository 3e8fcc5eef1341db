"""When a job waited and ran, and which jobs decide how long a flow takes (the critical path)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from flownb.wire.records import ACTIVE, COMPLETED, FAILED, JobLine, JobRecord

MAX_JOBS_ON_PATH = 12
IDLE, RUNNING, RETRYING = "waiting", "running", "retrying"


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a job's life; `end` is None while it lasts."""

    kind: str  #: ``waiting``, ``running`` or ``retrying``: waiting for another run after one that failed
    start: int
    end: int | None


def phases(record: JobRecord) -> list[Phase]:
    """When the job waited and when it ran, run by run.

    Of a job that other programs' workers retried only the last run is known, and of a long history the newest 20.

    >>> record = JobRecord(key="k", id="1", queue="q", name="n", state="active", timestamp=1, processed_on=5)
    >>> phases(record)
    [Phase(kind='waiting', start=1, end=5), Phase(kind='running', start=5, end=None)]
    """
    created = record.timestamp or record.processed_on
    if created is None:
        return []
    found = _known_runs_and_waits(created, _runs(record))
    last = found[-1] if found else Phase(IDLE, created, created)
    at = last.start if last.end is None else last.end
    end = None if record.finished_on is None else max(record.finished_on, at)
    if found and last.end in (None, end):
        return found
    retrying = found or (record.attempts_made and not _is_run_over_or_on(record))
    return [*found, Phase(RETRYING if retrying else IDLE, at, end)]


def _known_runs_and_waits(created: int, runs: list[tuple[int, int | None]]) -> list[Phase]:
    """Each run that is known, and the wait before it."""
    found: list[Phase] = []
    at, idle = created, IDLE
    for began, ended in runs:
        if began < at:  # the clock went back
            continue
        until = None if ended is None else max(ended, began)
        found += [Phase(idle, at, began), Phase(RUNNING, began, until)]
        at, idle = until or began, RETRYING
    return found


def failed_runs(record: JobRecord | JobLine) -> list[tuple[int, int]]:
    """When each run began and ended that failed and had another one after it.

    >>> failed_runs(JobRecord(key="k", id="1", queue="q", name="n", state="active", runs="5-9 12-14"))
    [(5, 9), (12, 14)]
    """
    if not record.runs:
        return []
    return [(int(began), int(ended)) for began, ended in re.findall(r"(\d+)-(\d+)", record.runs)]


def waited_and_ran(record: JobRecord | JobLine) -> tuple[int | None, int | None]:
    """How long a job waited until its last start, and how long all its runs took; None for what is not over.

    A clock that went back gives 0.

    >>> about = {"key": "k", "id": "1", "queue": "q", "name": "n", "state": "completed"}
    >>> job = JobRecord(**about, timestamp=1, processed_on=12, finished_on=20, runs="5-9")
    >>> waited_and_ran(job)
    (7, 12)
    """
    created, last, ended = record.timestamp, record.processed_on, record.finished_on
    if not last:
        return None, None
    runs = dict(failed_runs(record)) if record.runs else {}
    ran_before = sum(max(until - began, 0) for began, until in runs.items() if began != last) if runs else 0
    waited = max(last - created - ran_before, 0) if created else None
    if not ended:
        return waited, None
    # The last run may be among the failed ones: a job that was cancelled after it has ended without another.
    return waited, ran_before + max(runs.get(last, ended) - last, 0)


def _runs(record: JobRecord) -> list[tuple[int, int | None]]:
    """When each run that is known began, and when it ended unless it lasts."""
    runs: list[tuple[int, int | None]] = [*failed_runs(record)]
    last = record.processed_on
    if last is not None and _is_run_over_or_on(record) and last not in [began for began, _ in runs]:
        runs.append((last, record.finished_on))
    return runs


def _is_run_over_or_on(record: JobRecord) -> bool:
    """Say whether a job's last run lasts or ended it; else the job has been put back since."""
    return record.state in (None, ACTIVE, COMPLETED, FAILED)


def critical_path(records: Sequence[JobRecord]) -> list[JobRecord]:
    """The jobs that decide how long a flow takes: from the root down, each time the child that ends last.

    What has not ended yet ends last. At most `MAX_JOBS_ON_PATH` jobs.

    >>> one = JobRecord(key="b", id="b", queue="q", name="slow", state="completed", finished_on=9, parent_key="a")
    >>> two = JobRecord(key="c", id="c", queue="q", name="fast", state="completed", finished_on=5, parent_key="a")
    >>> root = JobRecord(key="a", id="a", queue="q", name="root", state="completed", finished_on=12)
    >>> [record.name for record in critical_path([root, one, two])]
    ['root', 'slow']
    """
    children: dict[str | None, list[JobRecord]] = {}
    known = {record.key for record in records}
    for record in records:
        children.setdefault(record.parent_key if record.parent_key in known else None, []).append(record)
    path: list[JobRecord] = []
    step: str | None = None
    while step in children and len(path) < MAX_JOBS_ON_PATH:
        last = max(children.pop(step), key=lambda r: math.inf if r.finished_on is None else r.finished_on)
        path.append(last)
        step = last.key
    return path
