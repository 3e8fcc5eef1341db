"""Reads stored rows and hands them to `results.py`: for an aggregate task's DataFrame and for a batch's table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from flownb.api.job import Job, stored_job
from flownb.batches import items, results, typed_columns
from flownb.batches.jobs_of_rows import JOB_FIELDS, Row, rows_of
from flownb.batches.located_rows import LocatedRows
from flownb.batches.row_steps import columns_of, step_at
from flownb.batches.stored_rows import StoredRows
from flownb.batches.value_columns import NOTHING, Named
from flownb.wire import codec
from flownb.wire.child_list import ChildList
from flownb.wire.records import JobRecord
from flownb.wire.store import Store


def frame_of_children(job: Job) -> Any:
    """Return one row for each child of an aggregate's job, as a frame of the kind that the rows came in.

    Rows of a batch come as in `Batch.table`: the columns that travelled, their results, and ``_state _error
    _attempts _seconds``, on their own labels; the columns of `by` are there too. Jobs come as one row each,
    their columns of `by` first.
    """
    store, record = stored_job(job)
    spec = spec_of(store.flows.read(record.flow or "", "spec"))
    return items.of_kind(_frame_below(job, store, record, spec), spec["frame"], spec)


def _frame_below(job: Job, store: Store, record: JobRecord, spec: Mapping[str, Any]) -> pd.DataFrame:
    flow = record.flow or ""
    if codec.decode_object(record.bind or "{}").get("empty"):
        return _table_of_no_rows(store, record, spec, flow, _by_values(job.data, spec))
    pieces = [piece for piece in store.declared.read(record.key) if not piece.added]
    if any(piece.positions is not None for piece in pieces):
        by = _by_values(job.data, spec)
        return _table_of_rows(_rows_of(store, spec, {record.key: pieces}), spec, store, flow, by)
    if spec["stages"] and job.id == spec["stages"][0]:  # above no row at all
        return _table_of_rows(_rows_of(store, spec, {}), spec, store, flow, by={})
    jobs = store.jobs.read([key for piece in pieces for key in piece.keys], JOB_FIELDS)
    return _table_of_jobs(jobs, spec, _rows_of(store, spec, {}))


def _rows_of(
    store: Store, spec: Mapping[str, Any], children: Mapping[str, Sequence[ChildList]]
) -> StoredRows:
    return StoredRows(store, LocatedRows.of(spec, children))


def _table_of_no_rows(
    store: Store, record: JobRecord, spec: Mapping[str, Any], flow: str, by: Mapping[str, Any]
) -> pd.DataFrame:
    """The frame of a group without rows: no rows, and the columns of the group that it has waited for."""
    likes = [key for piece in store.declared.read(record.key) for key in piece.keys]
    pieces = {likes[0]: store.declared.read(likes[0])} if likes else {}
    return _table_of_rows(_rows_of(store, spec, pieces), spec, store, flow, by).head(0)


def _table_of_rows(
    below: StoredRows, spec: Mapping[str, Any], store: Store, flow: str, by: Mapping[str, Any]
) -> pd.DataFrame:
    """Rows with their inputs; columns of `by` that did not travel stand in front."""
    rows = below.read(inputs=True)
    base = inputs_of(rows, spec, below.index, store, flow)
    for at, (column, value) in enumerate(by.items()):
        if column not in base.columns:
            base.insert(at, column, value)
    return table_of_rows(base, rows, spec, read=below.returned)


def _table_of_jobs(
    records: Sequence[JobRecord | None], spec: Mapping[str, Any], rows: StoredRows
) -> pd.DataFrame:
    by = [_by_values(codec.decode(record.data) if record else {}, spec) for record in records]
    columns = {name: typed_columns.column([values.get(name) for values in by]) for name in spec["by"]}
    base = pd.DataFrame(columns, index=pd.RangeIndex(len(records)))
    name = next((record.name for record in records if record), spec["task"])
    return table_of(base, list(rows_of(records)), name, read=rows.value_of)


def spec_of(record: Mapping[str, str]) -> dict[str, Any]:
    """Return what a batch's record says of its rows."""
    spec: dict[str, Any] = json.loads(record["spec"])
    return spec


def inputs_of(
    rows: Sequence[Row], spec: Mapping[str, Any], index: pd.Index[Any], store: Store, flow: str
) -> pd.DataFrame:
    """Return the columns that travelled, from rows of a flow that were read with their inputs."""
    return results.inputs_frame(
        [row.data for row in rows],
        [name for name in spec["columns"] if name not in spec["key"]],
        index,
        whole_row=spec["whole_row"],
        read_large=partial(store.large_inputs.read, flow) if spec.get("refers") else None,
    )


def table_of_rows(
    base: pd.DataFrame,
    rows: Sequence[Row],
    spec: Mapping[str, Any],
    *,
    read: Callable[[str], Any],
    versions: bool = False,
) -> pd.DataFrame:
    """Return `table_of` rows of a batch; where they yield, one line an item, and one for a row that has none."""
    name = columns_of(spec)
    if not spec.get("yields"):
        return table_of(base, rows, name, read=read, versions=versions)
    texts = _texts_of(rows, name)
    values = [NOTHING if text is None else read(text) for text in texts]
    lines = items.lines_of(values, name, keeps_empty=True)
    spread = base.iloc[lines.rows].set_axis(lines.labels(base.index))
    return table_of(
        spread, [rows[row] for row in lines.rows.tolist()], name, values=lines.values, versions=versions
    )


def table_of(
    base: pd.DataFrame,
    rows: Sequence[Row],
    name: Named,
    *,
    values: Sequence[Any] | None = None,
    read: Callable[[str], Any] | None = None,
    versions: bool = False,
) -> pd.DataFrame:
    """Return `base` with the rows' results and how they ended, with `versions` also by which code.

    Where `name` has several steps, also at which of them a row is that is not through.

    `read` makes values of their JSON texts, unless `values` are given; without it they are plain JSON.
    """
    has_steps = isinstance(name, tuple)
    texts: Sequence[Any] = _texts_of(rows, name)
    if values is not None:
        texts, read = [None if value is NOTHING else value for value in values], _as_it_is
    return results.table(
        base,
        texts=texts,
        states=[row.state for row in rows],
        errors=[row.error for row in rows],
        attempts=[row.attempts for row in rows],
        seconds=[row.seconds for row in rows],
        name=name,
        versions=[row.version for row in rows] if versions else None,
        steps=[step_at(row, name) for row in rows] if has_steps else None,
        read=read,
        spent=[row.spent for row in rows],
    )


def _texts_of(rows: Sequence[Row], name: Named) -> list[str | None]:
    """What rows returned; of several steps also what those that are done have, of rows that are not through."""
    if isinstance(name, tuple):
        return [row.value or row.partial for row in rows]
    return [row.value for row in rows]


def _as_it_is(value: Any) -> Any:
    return value


def _by_values(data: Any, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in spec["by"] if isinstance(data, Mapping) and name in data}
