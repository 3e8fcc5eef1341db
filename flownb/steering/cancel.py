"""Cancels a flow: it ends at once, then its waiting jobs are taken out of their queues, in calls of 100.

Cut short, nothing is lost: a worker that meets one of these jobs ends it instead of running it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flownb.errors import job_missing
from flownb.state.shape import levels_below
from flownb.steering.pending_run import refuse_next_run
from flownb.wire import keys
from flownb.wire.flow_log import log_flow
from flownb.wire.records import COMPLETED, FAILED, WAITING_CHILDREN
from flownb.wire.store import Store
from flownb.wire.store.limits import JOBS_A_CHANGE


def cancel_flow(store: Store, flow: str, record: Mapping[str, str]) -> None:
    """Cancel what has not run yet; nothing to do when the flow has completed."""
    root = record["root"]
    if store.flows.cancel(keys.base_of(root), flow) != COMPLETED:
        log_flow("is cancelled", flow=flow)
        cancel_below(store, [root])


def cancel_job(store: Store, job: str) -> bool:
    """Cancel one job, and what it waits for alone; a root with its flow. Say whether there was something to cancel."""
    found = store.jobs.read([job], ("name", "fl", "finishedOn"))[0]
    if found is None:
        raise job_missing(keys.short(job, store.prefix))
    if found.finished_on is not None:
        return False
    refuse_next_run(store, found)
    record = store.flows.read(found.flow) if found.flow else {}
    if found.flow and record.get("root") == job:
        cancel_flow(store, found.flow, record)
        return True
    state = store.moves.cancel_job(job)
    if state == WAITING_CHILDREN:
        cancel_below(store, [job])
    return state not in (COMPLETED, FAILED)


def cancel_below(store: Store, tops: Sequence[str]) -> None:
    """End the jobs below these that nobody needs any more. Each level from its newest job on: that is where a
    line is read from.
    """
    for level in levels_below(store, tops):
        for end in range(len(level), 0, -JOBS_A_CHANGE):
            store.jobs.cancel(level[max(end - JOBS_A_CHANGE, 0) : end])
