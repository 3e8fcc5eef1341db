"""The fields of a job's hash, and the records that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from flownb.wire import keys
from flownb.wire.records import JobLine, JobRecord

# Field -> what `JobRecord` calls it.
_TEXTS = {
    "name": "name",
    "data": "data",
    "opts": "opts",
    "progress": "progress",
    "returnvalue": "returnvalue",
    "failedReason": "failed_reason",
    "stacktrace": "stacktrace",
    "parentKey": "parent_key",
    "parent": "parent",
    "fl": "flow",
    "bind": "bind",
    "why": "why",
    "keep": "keep",
    "part": "part",
    "runs": "runs",
    "cv": "version",
    "spent": "spent",
    "rspent": "spent_by_rows",
}
_NUMBERS = {
    "timestamp": "timestamp",
    "processedOn": "processed_on",
    "finishedOn": "finished_on",
    "delay": "delay",
    "priority": "priority",
    "atm": "attempts_made",
    "ats": "attempts_started",
    "stc": "stalled",
}
ALL_FIELDS = (*(field for field in _TEXTS if field not in ("keep", "rspent")), *_NUMBERS)
#: what tables and pictures show: everything but the payload
BRIEF_FIELDS = ("name", "failedReason", "parent", "parentKey", "why", *_NUMBERS)
TIMELINE_FIELDS = (*BRIEF_FIELDS, "runs")


#: what a `JobLine` is made of, in the order of `lines_of`
LINE_FIELDS = ("name", "failedReason", "atm", "timestamp", "processedOn", "finishedOn", "runs")


class Taken(NamedTuple):
    """A job a worker has just started, and the right to run it."""

    record: JobRecord
    base: str
    token: str
    deferred: str | None  #: `defa`: fail it with this text, do not run it
    is_suspect: bool = False  #: it runs alone: its workers have died too often
    is_ahead: bool = False  #: it was taken before a slot was free for it
    scheduler: str | None = None  #: the job scheduler of BullMQ's that added it
    is_unweighed: bool = False  #: its worker is to say what it weighs, before it begins


def record_of(key: str, state: str | None, fields: Mapping[str, Any]) -> JobRecord:
    """Make a record of a job's fields; a value that is False or None is not stored."""
    _, queue, id = keys.split(key)
    made: dict[str, Any] = {}
    for field, value in fields.items():
        if value is False or value is None:
            continue
        if field in _NUMBERS:
            made[_NUMBERS[field]] = number(value)
        else:
            made[_TEXTS[field]] = value
    made.setdefault("name", "")
    return JobRecord(key=key, id=id, queue=queue, state=state, **made)


def lines_of(keys_of_jobs: Sequence[str], found: Sequence[Any]) -> list[JobLine | None]:
    """Make lines of jobs; `found` has of each its state and `LINE_FIELDS`, or False where it is not there."""
    queues: dict[str, str] = {}  # by base: most jobs of a flow are in few queues
    lines: list[JobLine | None] = []
    for key, job in zip(keys_of_jobs, found, strict=True):
        if not job:
            lines.append(None)
            continue
        base = keys.base_of(key)
        queue = queues.get(base) or queues.setdefault(base, keys.queue_of_base(base))
        state, (name, reason, made, created, begun, ended, runs) = job
        lines.append(
            JobLine(
                name or "",
                queue,
                state,
                number(made) if made else 0,
                reason or None,
                number(created) if created else 0,
                number(begun) if begun else None,
                number(ended) if ended else None,
                runs or None,
            )
        )
    return lines


def number(text: Any) -> int:
    """Read a number as BullMQ's clients do, which store what their caller gave: 1.5, nan, a date.

    >>> number("3"), number("1.5"), number("nan"), number("tomorrow")
    (3, 1, 0, 0)
    """
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        return 0


_shared_number = lru_cache(maxsize=1024)(number)  # jobs that were added together share their numbers


#: what ``lua/lib/fetch.lua`` answers of a job, in the order of its FIELDS
FETCHED_FIELDS = (
    *("name", "data", "opts", "timestamp", "priority", "atm", "ats", "defa"),
    *("parentKey", "parent", "stacktrace", "fl", "bind", "rjk", "suspect"),
)


def taken_of(base: str, queue: str, id: str, fields: Sequence[Any], token: str) -> Taken:
    """Make a record of a job that was fetched; `fields` are `FETCHED_FIELDS`, and whether it is ahead or unweighed."""
    (
        name,
        data,
        opts,
        timestamp,
        priority,
        atm,
        ats,
        defa,
        parent_key,
        parent,
        stacktrace,
        flow,
        bind,
        scheduler,
        suspect,
        is_ahead,
        *unweighed,
    ) = fields
    record = JobRecord(
        keys.job_in(base, id),
        id,
        queue,
        name,
        "active",
        data,
        opts or "{}",
        _shared_number(timestamp) if timestamp else 0,
        _shared_number(priority) if priority else 0,
        _shared_number(atm) if atm else 0,
        ats,
        stacktrace or "[]",
        parent_key or None,
        parent or None,
        flow or None,
        bind or None,
    )
    taken = record, base, token, defa or None, bool(suspect), is_ahead, scheduler or None, bool(unweighed)
    return tuple.__new__(Taken, taken)  # as `Taken(*taken)`, in half the time
