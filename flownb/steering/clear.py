"""Clears jobs away by their queue and state, as BullMQ's drain, clean and obliterate; and children nobody waits for.

Each call of the script removes up to 100 jobs. A job of a flow goes as by `remove_job`: the flow's counts follow, and
its parent goes on without it. A root goes with its whole flow; so does a parent in the same queue whose last pending
child would go.
"""

from __future__ import annotations

from collections.abc import Sequence

from flownb.errors import FlowError
from flownb.steering.remove import remove_job
from flownb.wire import keys
from flownb.wire.records import ACTIVE, COMPLETED, DELAYED, FAILED, PRIORITIZED, WAITING, WAITING_CHILDREN
from flownb.wire.store import Store
from flownb.wire.store.job_moves import Cleared
from flownb.wire.store.limits import JOBS_A_CHANGE, in_pieces

ENDED = (COMPLETED, FAILED)
IN_LINE = (WAITING, PRIORITIZED, DELAYED)
CLEANED = (*ENDED, *IN_LINE, ACTIVE)


def drain(store: Store, base: str, *, delayed: bool) -> None:
    """Remove all jobs that wait for a worker; delayed ones too if asked."""
    for state in (WAITING, PRIORITIZED, *((DELAYED,) if delayed else ())):
        _clear_state(store, base, state)


def clean(store: Store, base: str, state: str, *, grace_ms: int, limit: int) -> list[str]:
    """Remove up to `limit` jobs (0: all) that are in one state since `grace_ms`; return their ids."""
    before = store.server.read_time() - grace_ms
    removed = _clear_state(store, base, state, before=before, most=limit or None)
    store.queues.tell_cleaned(base, len(removed))
    return removed


def obliterate(store: Store, base: str, *, force: bool) -> None:
    """Remove a queue with all its jobs; without `force` only where none runs. Parents that wait for children stay."""
    store.queues.pause(base)
    if not force and (running := store.queues.read_ids(base, ACTIVE, 0, 0)):
        found = store.jobs.read([keys.job_in(base, running[0])], ("name",))[0]
        raise FlowError(
            f"queue {keys.queue_of_base(base)!r} is paused now, but job {found.name if found else running[0]!r} of it "
            "still runs; call obliterate again when it has ended, or obliterate(force=True)"
        )
    for state in (ACTIVE, DELAYED, COMPLETED, WAITING, PRIORITIZED, FAILED):
        _clear_state(store, base, state, whole=True)
    store.queues.forget(base)


def remove_unprocessed_children(store: Store, parent: str) -> None:
    """Remove the children that a parent waits for, with theirs; those that run or have failed stay."""
    children = store.children.read_pending(parent)
    for some in in_pieces(children, JOBS_A_CHANGE):
        by_line: dict[tuple[str, str], list[str]] = {}
        for key, job in zip(some, store.jobs.read(some, ("name",)), strict=True):
            if job and job.state in IN_LINE:
                by_line.setdefault((keys.base_of(key), job.state), []).append(key)
            elif job and job.state == WAITING_CHILDREN:
                _remove_unless_it_runs(store, key)
        for (base, state), jobs in by_line.items():
            ids = [keys.id_of(key) for key in jobs]
            cleared = store.moves.clear(base, state, ids, spared=parent, tell=True)
            _remove_larger(store, base, cleared)


def _clear_state(
    store: Store,
    base: str,
    state: str,
    *,
    before: int | None = None,
    most: int | None = None,
    whole: bool = False,
) -> list[str]:
    """Remove jobs of one state, the oldest first; return their ids."""
    removed, start, until = list[str](), 0, before if state in ENDED else None
    while most is None or len(removed) < most:
        count = JOBS_A_CHANGE if most is None else min(most - len(removed), JOBS_A_CHANGE)
        ids = store.queues.read_oldest(base, state, start, count, until)
        if not ids:
            break
        cleared = store.moves.clear(base, state, ids, before=before, whole=whole)
        gone = {*cleared.removed, *_remove_larger(store, base, cleared, ids)}
        removed += [id for id in ids if id in gone]
        start += len(ids) - len(gone)
    return removed


def _remove_larger(store: Store, base: str, cleared: Cleared, ids: Sequence[str] = ()) -> list[str]:
    """Remove those to which more belongs than themselves; return which of the `ids` are gone by that."""
    if not (cleared.larger or cleared.parents):
        return []
    for key in (*(_top_of(store, parent) for parent in cleared.parents), *cleared.larger):
        _remove_unless_it_runs(store, key)
    removed = set(cleared.removed)
    left = [id for id in ids if id not in removed]
    found = store.jobs.read([keys.job_in(base, id) for id in left], ("name",))
    return [id for id, job in zip(left, found, strict=True) if job is None]


def _top_of(store: Store, parent: str) -> str:
    """Return the highest job of a queue that would wait for nobody without this one."""
    base = keys.base_of(parent)
    while True:
        job = store.jobs.read([parent], ("name", "parentKey"))[0]
        above = job.parent_key if job else None
        if above is None or keys.base_of(above) != base or store.children.counts([above])[0].pending != 1:
            return parent
        parent = above


def _remove_unless_it_runs(store: Store, job: str) -> None:
    try:
        remove_job(store, job)
    except FlowError:  # it, or a job below it, runs
        return
