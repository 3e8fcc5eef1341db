"""A batch whose rows are all there: stored as a whole, or joined; `iterators` stores rows that come piece by piece."""

from __future__ import annotations

from flownb import hooks
from flownb.adding.send import store_plan
from flownb.batches import announcements, braking, file_options
from flownb.batches.planned_jobs import PlannedJobs
from flownb.batches.row_plan import NEW, RUNNING, RowPlan
from flownb.batches.rows_on_their_way import await_rows_that_end
from flownb.errors import Overtaken
from flownb.wire.records import FAILED


def store_at_once(plan: RowPlan) -> str | None:
    """Store what is not there yet; return the flow's id, None where somebody has stored rows since it was planned."""
    there = _choose_ids(plan)
    request = plan.request
    if there == NEW:
        jobs = PlannedJobs(plan)
        hooks.kernel_workers.keep_tasks(request.connection, request.name, plan.flow, request.tasks)
        try:
            store_plan(request.store, jobs.plan, request.name, jobs.record())
        except Overtaken:
            return None
        announcements.announce_repeats(plan)
        announcements.announce_kept(
            plan, len(plan.earlier), len(plan.rows), failed=plan.earlier.count(FAILED), again=plan.renewed
        )
        announcements.announce_steps(plan)
        if len(plan.earlier) < len(plan.rows) or plan.renewed:
            announcements.announce_behind(plan)
        return plan.flow
    request.store.flows.set_name(request.name, plan.flow)
    if there == RUNNING:
        if not hooks.kernel_workers.has_kept_tasks(request.connection, plan.flow):
            hooks.kernel_workers.take_over_batch(request.connection, request.name, plan.flow)
        announcements.announce_joined(plan)
        file_options.give_later(request, plan.flow)
        braking.join(request, plan.flow)
    else:
        total = len(plan.rows)
        announcements.announce_kept(plan, total, total, failed=plan.earlier.count(FAILED))
    announcements.announce_edited_stages(plan, there)
    return plan.flow


def _choose_ids(plan: RowPlan) -> str:
    """Choose them anew after each wait, in which rows have ended: those that failed get other ones."""
    there = plan.choose_ids()
    while there == NEW and await_rows_that_end(plan):
        there = plan.choose_ids()
    return there
