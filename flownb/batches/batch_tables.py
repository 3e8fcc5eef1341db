"""Which DataFrame a handle gives of a stored batch: results, table, groups, page; `results.py` makes their columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.arguments import one_of
from flownb.batches import frame_kinds, frames, items, results
from flownb.batches.failures import read_failures
from flownb.batches.kept_values import KeptValues
from flownb.batches.row_steps import columns_of, names_in
from flownb.batches.stored_batch import StoredBatch
from flownb.batches.value_columns import ValueColumns
from flownb.errors import FlowFailed
from flownb.wire import secret_names
from flownb.wire.records import COMPLETED, REMOVED

MOST_PAGE_ROWS = 200  #: of a table on a page


def check_failed(failed: str) -> None:
    """Raise `OptionError` for what is no answer to what becomes of failed rows."""
    one_of("failed", failed, ("missing", "drop", "raise"))


def checked_kind(frame: str | None) -> str | None:
    """Return the kind of frame that a caller asks for, None for the one that came in."""
    return None if frame is None else one_of("frame", frame, frame_kinds.KINDS)


def of_kind(stored: StoredBatch, frame: pd.DataFrame, kind: str | None = None) -> Any:
    """Return a frame of the batch's rows in the kind that they came in, or in this one."""
    return items.of_kind(frame, kind or stored.kind, stored.spec)


def table(stored: StoredBatch) -> Any:
    """Return `whole_table` in the kind of frame that the rows came in; the caller's own columns as they were."""
    whole, source = whole_table(stored), stored.source
    if source is None or source.native is None:
        return of_kind(stored, whole)
    # Items have lines of their own, or rows went with their group.
    if stored.spec.get("yields") or len(whole) < len(source.frame):
        return of_kind(stored, whole)
    return frame_kinds.beside(source.native, source.kind, whole.iloc[:, len(source.frame.columns) :])


def exported(stored: StoredBatch) -> Iterator[tuple[str, Any]]:
    """Yield the tables of a batch that stand in its export, as frames that `write_parquet` takes."""
    kind = stored.kind if stored.kind != frame_kinds.PANDAS else frame_kinds.parquet_kind()
    rows = table(stored)
    if stored.kind == frame_kinds.PANDAS:
        rows = of_kind(stored, without_secrets(rows), kind)
    elif any(
        map(secret_names.is_secret, map(str, getattr(rows, "column_names", getattr(rows, "columns", ()))))
    ):
        rows = of_kind(stored, without_secrets(whole_table(stored)), kind)
    yield "rows", rows
    failed = read_failures(stored.rows, stored.index, names_in(stored.spec))[1]
    if len(failed):
        failed = failed if frame_kinds.has_labels(stored.spec) else failed.rename_axis(index="row")
        yield "failures", frame_kinds.as_kind(failed, kind, with_labels=True)
    if stored.spec["by"]:
        groups = group_results(stored).rename_axis(index=stored.spec["by"])
        yield "groups", frame_kinds.as_kind(groups, kind, with_labels=True)


def without_secrets(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table for others: texts are masked in columns that are named like secrets."""
    found = [n for n, name in enumerate(frame.columns) if secret_names.is_secret(str(name))]
    if not found:
        return frame
    frame = frame.copy()
    for n in found:
        masked = [secret_names.MASK if isinstance(value, str) else value for value in frame.iloc[:, n]]
        frame.isetitem(n, pd.Series(masked, dtype=object).array)
    return frame


def row_results(stored: StoredBatch, failed: str = "missing") -> pd.DataFrame:
    """Return what the rows returned; `failed` as in `Batch.results`. Warns of rows whose jobs were removed."""
    rows = stored.rows
    index, values = stored.index_of(rows), rows.values()
    there = values.there
    removed = _count_removed(stored, there)
    if failed == "raise" and (removed or not there.all()):
        raise _without_result(stored, there, removed)
    _warn_of_removed(stored, removed, "row")
    if failed == "drop":
        kept = np.flatnonzero(there)
        return _frame_of(stored, values, index.take(kept), kept)
    return _frame_of(stored, values, index)


def successful_results(stored: StoredBatch) -> pd.DataFrame:
    """Return what the rows returned; raise `FlowFailed` if there are rows and none of them succeeded."""
    rows = stored.rows
    index, values = stored.index_of(rows), rows.values()
    there = values.there
    removed = _count_removed(stored, there)
    if stored.spec["rows"] and not there.any():
        first = next((row.error for row in stored.rows.read() if row.error), None)
        failed = f"the first failed with {first or 'no reason that was stored'}"
        why = failed if first or not removed else _removed(removed, "row")
        raise FlowFailed(
            f"batch {stored.name!r} failed: none of its {stored.spec['rows']:,} rows succeeded; {why}"
        )
    _warn_of_removed(stored, removed, "row")
    return _frame_of(stored, values, index)


def _frame_of(
    stored: StoredBatch, values: ValueColumns, index: pd.Index[Any], rows: npt.NDArray[np.int64] | None = None
) -> pd.DataFrame:
    """Return the values of rows on their index, with `rows` of these alone; where they yield, one line an item."""
    if not stored.spec.get("yields"):
        return values.frame(index, rows)
    name = columns_of(stored.spec)
    lines = items.lines_of(values.in_order(rows), name)
    return results.of_values(lines.values, lines.labels(index), name)


def _count_removed(stored: StoredBatch, there: npt.NDArray[np.bool_]) -> int:
    """Count the rows that have no value because their jobs were removed, or a job above them."""
    missing: list[int] = np.flatnonzero(~there).tolist()
    return stored.count_gone() + sum(row.state == REMOVED for row in stored.rows.read(missing))


def _without_result(stored: StoredBatch, there: npt.NDArray[np.bool_], removed: int) -> FlowFailed:
    kinds = read_failures(stored.rows, stored.index, names_in(stored.spec))[1]["kind"].value_counts()
    shown = ", ".join(f"{kind} ({times:,})" for kind, times in kinds.head(5).items())
    more = f" and {len(kinds) - 5} kinds more" if len(kinds) > 5 else ""
    why = "; ".join(filter(None, [shown + more, _removed(removed, "row") if removed else ""]))
    count = int((~there).sum()) + stored.count_gone()
    return FlowFailed(
        f"batch {stored.name!r}: {count:,} of {stored.spec['rows']:,} rows have no result: "
        f"{why or 'they did not run'}"
    )


def _removed(count: int, what: str) -> str:
    """Say that the jobs of so many rows, or groups, are gone, and their values with them."""
    whose, them = (
        (f"the job of 1 {what} was", "it") if count == 1 else (f"the jobs of {count:,} {what}s were", "them")
    )
    return f"{whose} removed; the same fan_out again runs {them}"


def _warn_of_removed(stored: StoredBatch, count: int, what: str) -> None:
    """Warn of values that are missing because their jobs were removed."""
    if count:
        warnings.warn(f"batch {stored.name!r}: {_removed(count, what)}", UserWarning, stacklevel=4)


def tell_removed(stored: StoredBatch, positions: Iterable[int]) -> None:
    """Say of which of these rows, that have no value, the jobs were removed: no retry brings them back."""
    lost = (row for row in stored.rows.read(positions) if row.state == REMOVED and row.value is None)
    if gone := sum(1 for _ in lost):
        print(f"batch {stored.name!r}: {_removed(gone, 'row')}")


def whole_table(stored: StoredBatch) -> pd.DataFrame:
    """Return the rows, their results so far and how they stand."""
    rows, spec = stored.rows, stored.spec
    if stored.source is not None:
        return frames.table_of_rows(
            stored.source_frame(stored.source),
            rows.read(),
            spec,
            read=rows.returned,
            versions=True,
        )
    read = rows.read(inputs=True)
    inputs = frames.inputs_of(read, spec, rows.index, stored.store, stored.id)
    return frames.table_of_rows(inputs, read, spec, read=rows.returned, versions=True)


def group_results(stored: StoredBatch) -> pd.DataFrame:
    """Return what the aggregates right above the rows returned, one row a group."""
    groups = stored.group_keys()
    records = stored.store.jobs.read(groups, ("returnvalue",))
    found = {key: record.returnvalue for key, record in zip(groups, records, strict=True) if record}
    if gone := [key for key in groups if key not in found]:
        kept = KeptValues(stored.store, {stored.root: groups}).read(gone)
        found.update(kept)
        _warn_of_removed(stored, len(gone) - len(kept), "group")
    values = [found.get(key) for key in groups]
    return results.values_frame(
        values, stored.group_index, stored.spec["stage_names"][0], stored.rows.value_of
    )


def group_results_of_kind(stored: StoredBatch) -> Any:
    """Return `group_results` in the kind of frame that the rows came in, behind the columns of `by`."""
    found = group_results(stored)
    if stored.kind == frame_kinds.PANDAS:
        return found
    return frame_kinds.as_kind(found.rename_axis(index=stored.spec["by"]), stored.kind, with_labels=True)


def page_table(stored: StoredBatch, root_value: Callable[[], Any]) -> tuple[pd.DataFrame, int]:
    """Return what a page shows of the outcome, and how many rows that has: the root's value as a table, or the rows."""
    table = None
    if stored.spec["stage_names"] and stored.flow_state.end().state == COMPLETED:
        table = group_results(stored) if stored.has_plain_root else _value_as_table(root_value())
    table = whole_table(stored) if table is None else table
    return without_secrets(table.head(MOST_PAGE_ROWS)), len(table)


def _value_as_table(value: Any) -> pd.DataFrame | None:
    if isinstance(value, dict):
        return pd.DataFrame([value], index=[""])  # one row: a number before it would mean nothing
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        table = pd.DataFrame(value)
        return table.set_index(table.columns[0])  # instead of numbers that mean nothing
    return None
