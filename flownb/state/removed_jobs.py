"""Jobs of a flow that are gone: those that ended before, and those that another program removed before they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from flownb.state.flow_state import FlowState
from flownb.state.shape import REMOVED_NAME
from flownb.wire import keys
from flownb.wire.records import COMPLETED, FAILED, JobLine
from flownb.wire.store import Store
from flownb.wire.store.limits import in_pieces

_ENDS = (f"{COMPLETED}@", f"{FAILED}@")


def count_removed(store: Store, flow_state: FlowState) -> int:
    """Count the children that are gone and whose parent kept no end of theirs; one small read where all have ended.

    flownb's own removals take a job out of the counts, those of other programs do not.
    """
    if flow_state.flow is None:
        return 0  # nobody wrote down which children there were
    counts = store.flows.read_job_counts(flow_state.flow)
    if all(n <= 0 or field.startswith(_ENDS) for field, n in counts.items()):
        return 0
    branches = [(parent, groups) for parent, groups in flow_state.shape.branches() if groups]
    kept = store.children.counts([parent for parent, _ in branches])
    return sum(
        _count_gone(store, parent, flow_state)
        for (parent, groups), count in zip(branches, kept, strict=True)
        if sum(count) < sum(group["count"] for group in groups)
    )


def _count_gone(store: Store, parent: str, flow_state: FlowState) -> int:
    gone = 0
    for some in in_pieces(list(flow_state.shape.children(parent))):
        missing = [
            key for key, job in zip(some, store.jobs.read(some, ("name",)), strict=True) if job is None
        ]
        gone += store.children.read_ends(parent, missing).count(None)
    return gone


def read_removed(
    store: Store, flow_state: FlowState, jobs: Mapping[str, JobLine | None]
) -> dict[str, JobLine]:
    """Return those of a flow's `jobs` that are gone and still counted, as their parents have kept how they ended.

    flownb's own removals take a job out of the counts, those of other programs do not.
    """
    counts = flow_state.counts()
    left = Counter(
        {(queue, state): n for queue, states in counts.by_stage.items() for state, n in states.items()}
    )
    home = {other: queue for queue, others in counts.more_queues.items() for other in others}
    left.subtract((job.queue, job.state) for job in jobs.values() if job)
    found: dict[str, JobLine] = {}
    for key, end in _kept_ends(store, flow_state, jobs):
        queue = keys.queue_of(key)
        if key not in found and (home.get(queue, queue) in counts.rows_a_job or left[queue, end] > 0):
            found[key] = JobLine(REMOVED_NAME, queue, end, 0, None, 0, None, None, None)
            left[queue, end] -= 1
    return found


def _kept_ends(
    store: Store, flow_state: FlowState, jobs: Mapping[str, JobLine | None]
) -> Iterator[tuple[str, str]]:
    """Yield those of the jobs that are gone with how they ended, where a parent of theirs has kept it."""
    for parent, groups in flow_state.shape.branches():
        children = flow_state.shape.children(parent) if groups else []
        gone = [key for key in children if key in jobs and not jobs[key]]
        for key, end in zip(gone, store.children.read_ends(parent, gone), strict=True):
            if end:
                yield key, end
