"""``removeOnComplete`` and ``removeOnFail`` of a flow's jobs: applied after the flow has ended, never before.

A root's removes the whole flow, any other job's removes that job and what is below it. `count` keeps the newest
among those of a queue that ask for it, `age` those that ended less than so many seconds ago.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from flownb.state.flow_state import OwnFlowState
from flownb.state.shape import Declared
from flownb.steering import remove
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS

LOOK_AGAIN_MS = 10_000  # while jobs of an ended flow are still to end
_FIELDS = ("name", "fl", "finishedOn", "keep")


def tidy(store: Store, flow: str, now: int) -> None:
    """Remove what a flow that has ended asks for, as far as it is due at `now` (ms); note when the rest is.

    While jobs of it are still to end, as after a failure that lets the others finish, nothing goes.
    """
    record = store.flows.read(flow)
    if "ended" not in record:
        return  # it was retried, or is gone: `claim_auto_remove` will see
    counts = OwnFlowState(store, flow).counts()  # also where other programs' workers ended its jobs
    if counts.count(COMPLETED) + counts.count(FAILED) < counts.total:
        return store.due_removals.postpone(flow, now + LOOK_AGAIN_MS)
    root = record["root"]
    later: list[int] = []
    jobs: Iterable[str] = [root] if record["tidy"] == "root" else Declared(store, root).jobs()
    for key in list(_due(store, jobs, now, later)):
        remove.remove_job(store, key)  # a root goes with its whole flow
    store.due_removals.postpone(flow, min(later, default=None))


def _due(store: Store, jobs: Iterable[str], now: int, later: list[int]) -> Iterator[str]:
    """Yield the jobs that go now, also those of other flows that are too many by now."""
    for some in _pieces(jobs, CHUNK_JOBS):
        for job in store.jobs.read(some, _FIELDS):
            rule = json.loads(job.keep).get(job.state) if job and job.keep else None
            if job is None or rule is None:
                continue
            count, age = rule
            ended = job.finished_on or now
            if count == 0 or (age is not None and ended + age * 1000 <= now):
                yield job.key
                continue
            if age is not None:
                later.append(int(ended + age * 1000))
            if count is not None:
                yield from store.due_removals.keep_newest(str(job.state), job.key, ended, count)


def _pieces(items: Iterable[str], size: int) -> Iterator[list[str]]:
    piece: list[str] = []
    for item in items:
        piece.append(item)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece
