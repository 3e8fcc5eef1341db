"""What `fan_out` prints: how many rows are there already, and which functions were edited since they ran."""

from __future__ import annotations

import json
import warnings
from collections import Counter

from flownb import hooks
from flownb.batches.batch_request import BatchRequest
from flownb.batches.row_plan import WHOLE, RowPlan
from flownb.batches.rows import Rows
from flownb.state.ahead import behind, read_ahead
from flownb.tasks.code import difference, in_brackets, is_edited
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.secret_names import MASK, is_secret


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


def announce_repeats(plan: RowPlan) -> None:
    """Say how many runs the rows are, where equal ones run once."""
    if plan.rows.repeats is not None:
        print(f"batch {plan.request.name!r}: {rows_in_words(plan)}: equal rows run once")


def rows_in_words(plan: RowPlan) -> str:
    """How many rows there are, and how many runs where equal ones run once."""
    rows, runs = plan.rows.height, len(plan.rows)
    return f"{rows:,} rows" if rows == runs else f"{rows:,} rows, {runs:,} run{'' if runs == 1 else 's'}"


def announce_steps(plan: RowPlan) -> None:
    """Say from which step on rows run of which steps are done."""
    names, counts = list(plan.request.job.codes), Counter(map(len, plan.steps_done.values()))
    parts = []
    for done, rows in sorted(counts.items()):
        kept = " and ".join(filter(None, [", ".join(names[: done - 1]), names[done - 1]]))
        on = f"from {names[done]} on" if done < len(names) else "at no step"
        whose = "1 row runs" if rows == 1 else f"{rows:,} rows run"
        parts.append(f"{whose} {on}, as {kept} {'is' if done == 1 else 'are'} done")
    if parts:
        print(f"batch {plan.request.name!r}: {'; '.join(parts)}")


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
    counts = plan.request.store.flows.read_counts(plan.flow)
    states = counts.by_stage.get(plan.request.job.queue, {})
    done, failed = states.get(COMPLETED, 0), states.get(FAILED, 0)
    but = f", {failed:,} have failed: batch.retry() runs them, or this call again once the others are done"
    goes_on = "" if counts.paused else " goes on"
    print(
        f"batch {plan.request.name!r}{goes_on}: {done:,} of {len(plan.rows):,} rows are done already"
        f"{but if failed else ''}"
    )
    announce_edited(plan, done)


def announce_edited(plan: RowPlan, kept: int) -> None:
    """Say that `kept` rows, which are done, ran another function than the one that is here now."""
    edited = plan.edited() if kept else []
    if edited:
        what = ", ".join(difference(*one) for one in edited)
        runs = "runs them again"
        if plan.request.job.steps:
            runs += f" from {edited[0].name} on"
        print(
            f"batch {plan.request.name!r}: {what} since some of its rows ran; {kept:,} rows are kept "
            f'as they are: if_exists="rerun", or another version= on the task, {runs}'
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
        now = stage.code_by_now()
        if is_edited(code, now):
            print(
                f"batch {plan.request.name!r}: {difference(stage.name, code, now)} since this batch was made; "
                "what it returned is kept: another version= on the task runs it again, and no row"
            )


def warn_of_secrets(rows: Rows) -> None:
    """Warn of columns that are named like secrets: each row would carry them to the server."""
    for name in rows.columns:
        if is_secret(name) and any(
            f'{json.dumps(name, ensure_ascii=False)}:"' in text for text in rows.texts
        ):
            warnings.warn(
                f"fan_out: column {name!r} is named like a secret, and is stored on the server with each row (logs and "
                f"reports show {MASK}); a key belongs into the task's setup: @flownb.task(setup={{{name!r}: load_it}})",
                UserWarning,
                stacklevel=3,
            )
