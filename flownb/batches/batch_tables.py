"""Which DataFrame a handle gives of a stored batch: results, table, groups, page; `results.py` makes their columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from flownb.arguments import one_of
from flownb.batches import frame_kinds, frames, results
from flownb.batches.failures import read_failures
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import FlowFailed
from flownb.wire.records import COMPLETED

MOST_PAGE_ROWS = 200  #: of a table on a page


def check_failed(failed: str) -> None:
    """Raise `OptionError` for what is no answer to what becomes of failed rows."""
    one_of("failed", failed, ("missing", "drop", "raise"))


def checked_kind(frame: str | None) -> str | None:
    """Return the kind of frame that a caller asks for, None for the one that came in."""
    return None if frame is None else one_of("frame", frame, frame_kinds.KINDS)


def of_kind(stored: StoredBatch, frame: pd.DataFrame, kind: str | None = None) -> Any:
    """Return a frame of the batch's rows in the kind that they came in, or in this one."""
    with_labels = frame_kinds.has_labels(stored.spec)
    return frame_kinds.as_kind(frame, kind or stored.kind, with_labels=with_labels)


def table(stored: StoredBatch) -> Any:
    """Return `whole_table` in the kind of frame that the rows came in; the caller's own columns as they were."""
    whole, source = whole_table(stored), stored.source
    if source is None or source.native is None:
        return of_kind(stored, whole)
    return frame_kinds.beside(source.native, source.kind, whole.iloc[:, len(source.frame.columns) :])


def row_results(stored: StoredBatch, failed: str = "missing") -> pd.DataFrame:
    """Return what the rows returned; `failed` as in `Batch.results`."""
    values, index = stored.rows.values(), stored.index
    if failed != "missing" and results.NOTHING in values:
        if failed == "raise":
            raise _without_result(stored, values.count(results.NOTHING))
        values, index = results.without_missing(values, index)
    return results.of_values(values, index, stored.spec["task"])


def successful_results(stored: StoredBatch) -> pd.DataFrame:
    """Return what the rows returned; raise `FlowFailed` if there are rows and none of them succeeded."""
    values = stored.rows.values()
    if values and all(value is results.NOTHING for value in values):
        first = next((row.error for row in stored.rows.read() if row.error), "no reason was stored")
        raise FlowFailed(
            f"batch {stored.name!r} failed: none of its {stored.spec['rows']:,} rows succeeded; "
            f"the first failed with {first}"
        )
    return results.of_values(values, stored.index, stored.spec["task"])


def _without_result(stored: StoredBatch, count: int) -> FlowFailed:
    kinds = read_failures(stored.rows, stored.index)[1]["kind"].value_counts()
    shown = ", ".join(f"{kind} ({times:,})" for kind, times in kinds.head(5).items())
    more = f" and {len(kinds) - 5} kinds more" if len(kinds) > 5 else ""
    return FlowFailed(
        f"batch {stored.name!r}: {count:,} of {len(stored.rows):,} rows have no result: "
        f"{shown or 'they did not run'}{more}"
    )


def whole_table(stored: StoredBatch) -> pd.DataFrame:
    """Return the rows, their results so far and how they stand."""
    rows, spec = stored.rows, stored.spec
    if stored.source is not None:
        return frames.table_of(stored.source.frame, rows.read(), spec["task"], versions=True)
    read = rows.read(inputs=True)
    inputs = frames.inputs_of(read, spec, rows.index, stored.store, stored.id)
    return frames.table_of(inputs, read, spec["task"], versions=True)


def group_results(stored: StoredBatch) -> pd.DataFrame:
    """Return what the aggregates right above the rows returned, one row a group."""
    records = stored.store.jobs.read(stored.group_keys(), ("returnvalue",))
    values = [record.returnvalue if record else None for record in records]
    return results.values_frame(values, stored.group_index, stored.spec["stage_names"][0])


def group_results_of_kind(stored: StoredBatch) -> Any:
    """Return `group_results` in the kind of frame that the rows came in, behind the columns of `by`."""
    found = group_results(stored)
    if stored.kind == frame_kinds.PANDAS:
        return found
    return frame_kinds.as_kind(found.rename_axis(index=stored.spec["by"]), stored.kind, with_labels=True)


def page_table(stored: StoredBatch, root_value: Callable[[], Any]) -> pd.DataFrame:
    """Return what a page shows of the outcome: the root's value if it is a table, else the first rows."""
    table = None
    if stored.spec["stage_names"] and stored.flow_state.end().state == COMPLETED:
        table = group_results(stored) if stored.has_plain_root else _value_as_table(root_value())
    return (whole_table(stored) if table is None else table).head(MOST_PAGE_ROWS)


def _value_as_table(value: Any) -> pd.DataFrame | None:
    if isinstance(value, dict):
        return pd.DataFrame([value])
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        table = pd.DataFrame(value)
        return table.set_index(table.columns[0])  # instead of numbers that mean nothing
    return None
