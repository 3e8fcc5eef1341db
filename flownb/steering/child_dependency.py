"""Takes a child from its parent: it becomes a job of its own, and leaves their flow with all that is below it."""

from __future__ import annotations

from flownb.errors import job_missing
from flownb.state.shape import levels_below
from flownb.wire import keys
from flownb.wire.requests import Detachment, Removal
from flownb.wire.store import Store
from flownb.wire.store.limits import JOBS_A_CHANGE, in_pieces


def remove_child_dependency(store: Store, job: str) -> bool:
    """Let the parent go on without a child that it waits for; say whether it did wait for it."""
    found = store.jobs.read([job], ("name", "fl", "parentKey"))[0]
    if found is None:
        raise job_missing(keys.short(job, store.prefix))
    if found.parent_key is None:
        return False
    removed, leaves_flow = store.moves.remove_child_dependency(job, found.parent_key)
    if removed and leaves_flow and found.flow:
        _leave_flow(store, job)
    return removed


def _leave_flow(store: Store, top: str) -> None:
    """Let the jobs below `top`, which has left its flow, leave it too, unless somebody else of it uses them."""
    for level in levels_below(store, [top]):
        for some in in_pieces(level, JOBS_A_CHANGE):
            staying = [Detachment(job, []) for job in some]
            store.jobs.remove(keys.base_of(top), Removal(jobs=[], staying=staying))
