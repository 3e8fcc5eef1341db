"""What `fan_out` prints: how many rows are there already, and which functions were edited since they ran."""

from __future__ import annotations

import json

from flownb import hooks
from flownb.batches.batch_request import BatchRequest
from flownb.batches.row_plan import WHOLE, RowPlan
from flownb.state.ahead import behind, read_ahead
from flownb.tasks.code import code_of, difference, in_brackets, is_edited
from flownb.wire.records import COMPLETED, FAILED


def announce_kept(plan: RowPlan, kept: int, total: int, *, failed: int = 0, again: int = 0) -> None:
    """Say how many of the rows are kept: `failed` of them have failed and do not run, `again` others run once more."""
    if not kept and not again and not plan.removed:
        return
    parts = [f"{total - kept:,} run" if kept < total else "none runs again"]
    if plan.removed:
        parts.append(f"{plan.removed:,} of them anew, as their jobs were removed")
    if again:
        parts.append(f"{again:,} of them once more after a failure")
    if failed:
        stay, them = ("stays", "it") if failed == 1 else ("stay", "them")
        parts.append(f"{failed:,} failed for good and {stay} failed: batch.retry() runs {them}")
    done = f"{kept - failed:,} of {total:,} rows are there already"
    print(f"batch {plan.request.name!r}: {', '.join([done, *parts])}")
    announce_edited(plan, kept - failed)


def announce_behind(plan: RowPlan) -> None:
    """Say what the rows come behind, unless this kernel has added that: it may be what a dead one has left."""
    request = plan.request
    ahead = read_ahead(request.store, plan.flow, request.base, request.store.server.read_time())
    what, cure = behind([one for one in ahead if _runs_before(request, one.flow)])
    if what:
        print(f"batch {request.name!r} comes {what}; {cure}")


def _runs_before(request: BatchRequest, other: str) -> bool:
    """Say whether another flow's rows are somebody else's, and run; a kernel leaves those of another function alone."""
    if hooks.kernel_workers.has_kept_tasks(request.connection, other):
        return False
    spec = request.store.flows.read(other, "spec").get("spec")
    if spec is None or not request.connection.embedded:
        return True
    added = json.loads(spec)
    return not is_edited(added.get("added_code") or added.get("code"), request.job.code)


def announce_joined(plan: RowPlan) -> None:
    """Say how far the batch is that runs already."""
    states = plan.request.store.flows.read_counts(plan.flow).by_stage.get(plan.request.job.queue, {})
    done, failed = states.get(COMPLETED, 0), states.get(FAILED, 0)
    but = f", {failed:,} have failed: batch.retry() runs them, or this call again once the others are done"
    print(
        f"batch {plan.request.name!r} goes on: {done:,} of {len(plan.rows):,} rows are done already"
        f"{but if failed else ''}"
    )
    announce_edited(plan, done)


def announce_edited(plan: RowPlan, kept: int) -> None:
    """Say that `kept` rows, which are done, ran another function than the one that is here now."""
    name, job = plan.request.name, plan.request.job
    before = plan.request.earlier_code()
    if kept and is_edited(before, job.code):
        what = difference(job.name, before, job.code)
        print(
            f"batch {name!r}: {what} since its first rows ran; {kept:,} rows are kept "
            'as they are: if_exists="rerun", or another version= on the task, runs them again'
        )


def announce_other_code(request: BatchRequest) -> None:
    """Say that the same rows ran under another name, because the function was another one then."""
    if request.twin is None:
        return
    store, job = request.store, request.job
    flow = store.flows.find(request.twin.name)
    done = store.flows.read_counts(flow).by_stage.get(job.queue, {}).get(COMPLETED, 0) if flow else 0
    print(
        f"batch {request.name!r}: other code, same rows{in_brackets(request.twin.changed)}: {done:,} done as "
        f"{request.twin.name!r}; name={request.twin.name!r} keeps them"
    )


def announce_edited_stages(plan: RowPlan, there: str) -> None:
    """Say that an aggregate whose value is kept was made by another function than the one that is here now."""
    stages = plan.request.stages
    if there != WHOLE or not stages:
        return
    before = json.loads(plan.request.store.flows.read(plan.flow)["spec"]).get("stage_codes", [])
    for stage, code in zip(stages, before, strict=False):
        now = code_of(stage.function)
        if is_edited(code, now):
            print(
                f"batch {plan.request.name!r}: {difference(stage.name, code, now)} since this batch was made; "
                "what it returned is kept: another version= on the task runs it again, and no row"
            )
