"""`dry_run`: what `fan_out` would do, row by row and in one sentence. Nothing is written."""

from __future__ import annotations

from typing import Any

import pandas as pd

from flownb.batches.announcements import (
    announce_edited,
    announce_edited_stages,
    announce_steps,
    rows_in_words,
)
from flownb.batches.frame_kinds import as_kind, beside, has_labels
from flownb.batches.row_plan import NEW, RUNNING, RowPlan
from flownb.batches.rows_on_their_way import refuse_rows_on_their_way
from flownb.batches.stored_batch import Source
from flownb.wire.records import COMPLETED, FAILED

RUN, RETRY, REUSE, JOIN, STAY_FAILED = "run", "retry", "reuse", "join", "stay failed"
_IN_WORDS = {
    REUSE: "{} kept",
    RUN: "{} would run",
    RETRY: "{} would run again after a failure",
    JOIN: "{} wait or run already",
    STAY_FAILED: "{} would stay failed",
}


def would_run(plan: RowPlan, source: Source) -> Any:
    """Print what storing the batch would do, and return the rows with ``_would``."""
    there = plan.choose_ids()
    if there == NEW:
        refuse_rows_on_their_way(plan)
    if plan.request.is_known():
        plan.earlier.find()
    through = plan.rows_through
    fates = [
        REUSE if at in through else _fate(state, renewed=plan.ids[at] != plan.rows.ids[at])
        for at, state in enumerate(plan.earlier.states())
    ]
    counts = pd.Series(fates, dtype="str").value_counts()
    parts = [words.format(f"{counts[fate]:,}") for fate, words in _IN_WORDS.items() if fate in counts]
    rows = f"{rows_in_words(plan)}: {', '.join(parts)}" if parts else "no rows"
    print(f"batch {plan.request.name!r}, dry run: {rows}{_above(plan, there)}")
    announce_steps(plan)
    announce_edited(plan, sum(fate in (REUSE, JOIN) for fate in fates))
    announce_edited_stages(plan, there)
    index = source.frame.index
    said = pd.DataFrame({"_would": pd.Series(_of_rows(plan, fates), index=index, dtype="str")})
    if plan.request.job.steps:
        steps = _of_rows(plan, _first_steps(plan, fates))
        said["_step"] = pd.Series(steps, index=index, dtype="str")
    if source.native is not None:
        return beside(source.native, source.kind, said)
    with_labels = has_labels({"index": plan.rows.index_spec})
    columns = {name: said[name] for name in said.columns}
    return as_kind(source.frame.assign(**columns), source.kind, with_labels=with_labels)


def _of_rows(plan: RowPlan, of_runs: list[Any]) -> list[Any]:
    """Return for each row of the frame what its run has."""
    repeats = plan.rows.repeats
    return of_runs if repeats is None else [of_runs[run] for run in repeats.runs]


def _first_steps(plan: RowPlan, fates: list[str]) -> list[str | None]:
    """Return the first step of each row that would run; None where none would."""
    names, done = list(plan.request.job.codes), plan.steps_done
    firsts = (names[len(done.get(at, ())) :] for at in range(len(fates)))
    return [
        next(iter(first), None) if fate in (RUN, RETRY) else None
        for first, fate in zip(firsts, fates, strict=True)
    ]


def _fate(state: str | None, *, renewed: bool) -> str:
    if state is None:
        return RETRY if renewed else RUN
    return {COMPLETED: REUSE, FAILED: STAY_FAILED}.get(state, JOIN)


def _above(plan: RowPlan, there: str) -> str:
    """Say what would run above the rows."""
    if there == RUNNING:
        return "; the batch runs already"
    if there != NEW:
        return ""
    groups = plan.rows.groups
    names = [stage.name for stage in plan.request.stages]
    if names and groups is not None:
        names[0] += f" for each of {len(groups):,} groups"
    return f"; then {', then '.join(names)}" if names else ""
