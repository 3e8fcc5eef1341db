"""`dry_run`: what `fan_out` would do, row by row and in one sentence. Nothing is written."""

from __future__ import annotations

import pandas as pd

from flownb.batches.row_plan import NEW, RUNNING, Layout
from flownb.wire.records import COMPLETED, FAILED

RUN, RETRY, REUSE, JOIN, STAY_FAILED = "run", "retry", "reuse", "join", "stay failed"
_IN_WORDS = {
    REUSE: "{} kept",
    RUN: "{} would run",
    RETRY: "{} would run again after a failure",
    JOIN: "{} wait or run already",
    STAY_FAILED: "{} would stay failed",
}


def rehearse(layout: Layout, frame: pd.DataFrame) -> pd.DataFrame:
    """Print what storing the batch would do, and return the rows with ``_would``."""
    asked = list(layout.ids)
    there = layout.settle()
    would = pd.Series(
        [
            _fate(state, renewed=id != first)
            for (state, _), id, first in zip(layout.states(), layout.ids, asked, strict=True)
        ],
        index=frame.index,
        dtype="str",
    )
    counts = would.value_counts()
    parts = [words.format(f"{counts[fate]:,}") for fate, words in _IN_WORDS.items() if fate in counts]
    rows = f"{len(would):,} rows: {', '.join(parts)}" if parts else "no rows"
    print(f"batch {layout.name!r}, dry run: {rows}{_above(layout, there)}")
    layout.announce_edited(int(would.isin([REUSE, JOIN, STAY_FAILED]).sum()))
    layout.announce_edited_stages(there)
    return frame.assign(_would=would)


def _fate(state: str | None, *, renewed: bool) -> str:
    if state is None:
        return RETRY if renewed else RUN
    return {COMPLETED: REUSE, FAILED: STAY_FAILED}.get(state, JOIN)


def _above(layout: Layout, there: str) -> str:
    """Say what would run above the rows."""
    if there == RUNNING:
        return "; the batch runs already"
    if there != NEW:
        return ""
    groups = layout.rows.groups
    names = [stage.name for stage in layout.stages]
    if names and groups is not None:
        names[0] += f" for each of {len(groups):,} groups"
    return f"; then {', then '.join(names)}" if names else ""
