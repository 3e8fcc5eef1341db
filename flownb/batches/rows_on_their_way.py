"""Rows of an earlier call that have not ended, and are not simply joined.

A batch that kept rows which go from job to job would not hear of their jobs to come; one with other steps would run
again what they are about to do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from flownb import hooks
from flownb.api.job_end import pause_after
from flownb.batches import frames
from flownb.batches.row_plan import RowPlan
from flownb.batches.row_steps import names_in, row_queues
from flownb.errors import FlowError
from flownb.wire import keys
from flownb.wire.records import ACTIVE
from flownb.wire.store import Store

PATIENCE_SECONDS = 10.0  #: for which nobody may serve the rows while they are waited for


class _OnTheirWay(NamedTuple):
    """Flows of which rows of a plan have not ended."""

    going_on: list[str]  #: whose rows go on, or would if they were not paused
    ending: list[str]  #: that were cancelled, or stand still: only what runs in them comes to its end

    @property
    def flows(self) -> list[str]:
        return [*self.going_on, *self.ending]


def refuse_rows_on_their_way(plan: RowPlan) -> None:
    """Raise `FlowError` where rows of the plan go on in another batch of the name."""
    found = _on_their_way(plan)
    if found.going_on:
        raise _refusal(plan, found)


def await_rows_that_end(plan: RowPlan) -> bool:
    """Wait for what still runs in batches of the name that were cancelled, or stand still; say whether there was any.

    Raises `FlowError` where rows of the plan go on in another batch, or nobody serves those that run.
    """
    return _await(plan, is_said=False, waits_for_all=False)


def await_rows_on_their_way(plan: RowPlan, *, is_said: bool) -> bool:
    """Wait until rows of the plan that are on their way have ended; say whether there were any.

    Those that fail run again. Raises `FlowError` where they do not end: their batch is paused, or nobody serves them.
    """
    return _await(plan, is_said=is_said, waits_for_all=True)


def _await(plan: RowPlan, *, is_said: bool, waits_for_all: bool) -> bool:
    started, has_waited = time.monotonic(), False
    while (found := _on_their_way(plan)).flows:
        waited = time.monotonic() - started
        if found.going_on and not waits_for_all:
            raise _refusal(plan, found)
        if _is_held(plan, found) or (waited > PATIENCE_SECONDS and not _is_served(plan, found)):
            raise _refusal(plan, found)
        if not has_waited:
            _say_what_is_waited_for(plan, found, is_said=is_said)
            hooks.kernel_workers.start_kernel_worker(plan.request.connection)  # which may be who serves them
            has_waited = True
        time.sleep(pause_after(waited))
        plan.find_again()
    return has_waited


def _say_what_is_waited_for(plan: RowPlan, found: _OnTheirWay, *, is_said: bool) -> None:
    if not is_said:
        what = "go from job to job" if found.going_on else "still run"
        print(f"batch {plan.request.name!r}: waits for rows of the call before, which {what}")


def _on_their_way(plan: RowPlan) -> _OnTheirWay:
    """Find the flows with rows that go from job to job, and those with rows that go through other steps than these."""
    flows = _through_these_steps(plan) | _through_other_steps(plan)
    return _OnTheirWay(
        [flow for flow, is_ending in flows.items() if not is_ending],
        [flow for flow, is_ending in flows.items() if is_ending],
    )


def _through_these_steps(plan: RowPlan) -> dict[str, bool]:
    """Return the other flows whose rows go from job to job: is it only what runs that ends, as they have ended?"""
    if not any(step.begins for step in plan.request.job.steps):
        return {}
    flows = plan.earlier.open_by_flow(range(len(plan.rows))).keys() - {plan.flow}
    return {flow: _has_ended(plan.request.store, flow) for flow in flows}


def _through_other_steps(plan: RowPlan) -> dict[str, bool]:
    """Return the flows that take rows through other steps: is it only what runs that ends, as they stand still?"""
    if plan.before is None:
        return {}
    store = plan.request.store
    open_rows = plan.before.open_by_flow([at for at, row in enumerate(plan.earlier.found) if row is None])
    stand_still = {flow: _has_ended(store, flow) or _is_paused(store, flow) for flow in open_rows}
    return {flow: stands for flow, stands in stand_still.items() if not stands or ACTIVE in open_rows[flow]}


def _has_ended(store: Store, flow: str) -> bool:
    return "ended" in store.flows.read(flow, "ended")


def _is_paused(store: Store, flow: str) -> bool:
    return store.flows.read_counts(flow).paused


def _is_held(plan: RowPlan, found: _OnTheirWay) -> bool:
    return any(_is_paused(plan.request.store, flow) for flow in found.going_on)


def _is_served(plan: RowPlan, found: _OnTheirWay) -> bool:
    """Does some worker serve each queue of the rows, as far as that may be known?"""
    store = plan.request.store
    served = store.queues.read_served()
    specs = [frames.spec_of(record) for flow in found.flows if "spec" in (record := store.flows.read(flow))]
    wanted = {keys.base(store.prefix, queue) for spec in specs for queue in row_queues(spec)}
    return served is None or wanted <= served


def _refusal(plan: RowPlan, found: _OnTheirWay) -> FlowError:
    """Say what is on its way, and how to go on."""
    name, store = plan.request.name, plan.request.store
    if not found.going_on:
        return FlowError(
            f"batch {name!r} has rows that still run, and that no worker serves: start one, then call again"
        )
    flow = found.going_on[0]
    record = store.flows.read(flow)
    known_as = name if store.flows.find(name) == flow else keys.short(record["root"], store.prefix)
    handle = f"attach({known_as!r})"
    what = "that go from job to job at their steps, and have not ended"
    if plan.before is not None:
        steps = ", ".join(_steps_of(frames.spec_of(record)))
        what = f"on their way through {steps}; with other steps now they would go through some of these twice"
    return FlowError(
        f"batch {name!r} has rows {what}: {_way_out(store, flow, handle)}, or cancel them with {handle}.cancel(), then "
        "call again"
    )


def _steps_of(spec: Mapping[str, Any]) -> list[str]:
    return names_in(spec) or [spec["task"]]


def _way_out(store: Store, flow: str, handle: str) -> str:
    if "stored" not in store.flows.read(flow, "stored"):  # it is half stored, and does not end
        return f"let them end, as {handle}.explain() and its table() show"
    if _is_paused(store, flow):
        return f"let them go on with {handle}.resume(), and end with its wait()"
    return f"let them end with {handle}.wait()"
