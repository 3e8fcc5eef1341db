"""Which jobs of a flow that has completed another program removed before they ended, as BullMQ's drain does."""

from __future__ import annotations

from flownb.state.flow_state import FlowState
from flownb.wire.records import COMPLETED, FAILED
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
