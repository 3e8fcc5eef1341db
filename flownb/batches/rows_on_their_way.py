"""Rows of an earlier call that go from job to job: a batch that kept them now would not hear of the jobs to come."""

from __future__ import annotations

import time

from flownb.api.job_end import pause_after
from flownb.batches.row_plan import RowPlan
from flownb.errors import FlowError
from flownb.wire import keys

PATIENCE_SECONDS = 10.0  #: for which nobody may serve the rows while they are waited for


def refuse_rows_on_their_way(plan: RowPlan) -> None:
    """Raise `FlowError` where rows of the plan are on their way in another batch of the name."""
    if _flows_of_rows(plan):
        name = repr(plan.request.name)
        raise FlowError(
            f"batch {name} has rows that go from job to job at their steps, and have not ended: {_way_out(plan)}, "
            f"or cancel them with attach({name}).cancel(), then call again"
        )


def await_rows_on_their_way(plan: RowPlan, *, is_said: bool) -> bool:
    """Wait until rows of the plan that are on their way have ended, and say so once; those that fail run again.

    Returns whether that is said by now. Raises `FlowError` where their batch is paused, or nobody serves them, so that
    they do not end.
    """
    started, store = time.monotonic(), plan.request.store
    while flows := _flows_of_rows(plan):
        if not is_said:
            is_said = True
            print(f"batch {plan.request.name!r}: waits for rows of the call before, which go from job to job")
        waited = time.monotonic() - started
        is_held = any(store.flows.read_counts(flow).paused for flow in flows)
        if is_held or (waited > PATIENCE_SECONDS and not _is_served(plan)):
            refuse_rows_on_their_way(plan)
        time.sleep(pause_after(waited))
        plan.earlier.find_again()
        while plan.earlier.renew_failed():
            pass
    return is_said


def _flows_of_rows(plan: RowPlan) -> set[str]:
    is_split = any(step.begins for step in plan.request.job.steps)
    return plan.earlier.open_elsewhere(plan.flow) if is_split else set()


def _is_served(plan: RowPlan) -> bool:
    """Does some worker serve each queue of the rows, as far as that may be known?"""
    store = plan.request.store
    served = store.queues.read_served()
    return served is None or {keys.base(store.prefix, queue) for queue in plan.request.job.queues} <= served


def _way_out(plan: RowPlan) -> str:
    name = plan.request.name
    newest = plan.request.store.flows.find(name)
    if newest and "stored" in plan.request.store.flows.read(newest, "stored"):
        return f"let them end with attach({name!r}).wait()"
    return f"let them end, as attach({name!r}).explain() and its table() show"  # it is half stored, and does not end
