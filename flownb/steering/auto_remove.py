"""``removeOnComplete`` and ``removeOnFail`` of a flow's jobs: applied after the flow has ended, never before.

A root's removes the whole flow, any other job's removes that job and what is below it. `count` keeps the newest
among those of a queue that ask for it, `age` those that ended less than so many seconds ago.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from flownb.state.flow_state import OwnFlowState
from flownb.state.shape import Declared
from flownb.steering import remove
from flownb.wire.records import COMPLETED, FAILED, JobRecord
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS

_RETRY_MS = 10_000  # while jobs of an ended flow are still to end
_FIELDS = ("name", "fl", "finishedOn", "keep")


def remove_due(store: Store, flow: str, now: int) -> None:
    """Remove what a flow that has ended asks for, as far as it is due at `now` (ms); note when the rest is.

    While jobs of it are still to end, as after a failure that lets the others finish, nothing is removed.
    """
    record = store.flows.read(flow)
    if "ended" not in record:
        return  # it was retried, or is gone: `claim_auto_remove` will see
    counts = OwnFlowState(store, flow).counts()  # also where other programs' workers ended its jobs
    if counts.count(COMPLETED) + counts.count(FAILED) < counts.total:
        return store.due_removals.postpone(flow, now + _RETRY_MS)
    root = record["root"]
    later: list[int] = []
    jobs: Iterable[str] = [root] if record["tidy"] == "root" else Declared(store, root).jobs()
    for key in list(_due(store, jobs, now, later)):
        remove.remove_job(store, key)  # a root goes with its whole flow
    store.due_removals.postpone(flow, min(later, default=None))


def _due(store: Store, jobs: Iterable[str], now: int, later: list[int]) -> Iterator[str]:
    """Yield the jobs to remove now, also those of other flows that are too many by now; note when others are due."""
    for some in _pieces(jobs, CHUNK_JOBS):
        for job in store.jobs.read(some, _FIELDS):
            rule = _Rule.of(job, now) if job else None
            if job and rule:
                yield from _due_by(rule, store, job, now, later)


def _due_by(rule: _Rule, store: Store, job: JobRecord, now: int, later: list[int]) -> Iterable[str]:
    """Return what a job's rule removes now: the job, or others of its queue."""
    if rule.most_kept == 0 or (rule.due is not None and rule.due <= now):
        return [job.key]
    if rule.due is not None:
        later.append(rule.due)
    if rule.most_kept is None:
        return []
    ended = job.finished_on or now
    return store.due_removals.keep_newest(str(job.state), job.key, ended, rule.most_kept)


class _Rule(NamedTuple):
    """What becomes of a job that has ended."""

    most_kept: int | None  #: so many of its queue's jobs stay
    due: int | None  #: ms; the job is removed then

    @classmethod
    def of(cls, job: JobRecord, now: int) -> _Rule | None:
        """Return the rule for the state in which a job ended; None where it stays."""
        found = json.loads(job.keep).get(job.state) if job.keep else None
        if found is None:
            return None
        count, age = found
        ended = job.finished_on or now
        return cls(count, None if age is None else int(ended + age * 1000))


def _pieces(items: Iterable[str], size: int) -> Iterator[list[str]]:
    piece: list[str] = []
    for item in items:
        piece.append(item)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece
