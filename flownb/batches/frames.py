"""Stored rows as DataFrames: what an aggregate task receives, and what a batch's table is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flownb.batches import labels, results
from flownb.flows.job import Job
from flownb.wire import codec
from flownb.wire.records import COMPLETED, FAILED, JobRecord

ROW_FIELDS = ("name", "data", "returnvalue", "failedReason", "atm", "processedOn", "finishedOn", "why")


def frame_of_children(job: Job) -> pd.DataFrame:
    """Return one row for each child of an aggregate's job.

    Rows of a batch come as in `Batch.table`: the columns that travelled, their results, and ``_state _error
    _attempts _seconds``, on their own labels; the columns of `by` are there too. Jobs come as one row each,
    their columns of `by` first.
    """
    store = job._store
    spec = spec_of(store.read_flow(job._record.flow or ""))
    pieces = store.read_children(job._record.key)
    keys = [key for piece in pieces for key in piece.keys]
    records = store.read_jobs(keys, ROW_FIELDS)
    if pieces and pieces[0].positions is not None:
        base = _inputs(records, spec, index_of(pieces, spec))
        by = _by_values(job.data, spec)
    elif spec["stages"] and job.id == spec["stages"][0]:  # above no row at all
        base = _inputs([], spec, index_of([], spec))
        by = {}
    else:
        base = pd.DataFrame(
            {
                name: results.column([_by_values(_data(r), spec).get(name) for r in records])
                for name in spec["by"]
            },
            index=pd.RangeIndex(len(records)),
        )
        by = {}
    for place, (name, value) in enumerate(by.items()):
        if name not in base.columns:
            base.insert(place, name, value)
    return table_of(base, records, _name_of(records, spec))


def spec_of(record: Mapping[str, str]) -> dict[str, Any]:
    """Return what a batch's record says of its rows."""
    spec: dict[str, Any] = json.loads(record["spec"])
    return spec


def index_of(pieces: Sequence[codec.Children], spec: Mapping[str, Any]) -> pd.Index[Any]:
    """Return the labels of the rows in `pieces`, in their order."""
    positions = [position for piece in pieces for position in piece.positions or ()]
    if spec["index"]["kind"] == "range":
        return labels.index_from_json(spec["index"], []).take(positions)
    found = [label for piece in pieces for label in piece.labels or ()]
    return labels.index_from_json({**spec["index"], "length": len(found)}, found)


def table_of(base: pd.DataFrame, records: Sequence[JobRecord | None], name: str) -> pd.DataFrame:
    """Return `base` with the records' results and how they ended."""
    return results.table(
        base,
        texts=[r.returnvalue if r and r.state == COMPLETED else None for r in records],
        states=[(r.state if r else None) or "removed" for r in records],
        errors=[r.failed_reason if r and r.state == FAILED else None for r in records],
        attempts=[r.attempts_made if r else None for r in records],
        seconds=[seconds_of(r) for r in records],
        name=name,
    )


def seconds_of(record: JobRecord | None) -> float | None:
    """Return how long a job's last attempt ran."""
    if record is None or record.finished_on is None or record.processed_on is None:
        return None
    return (record.finished_on - record.processed_on) / 1000


def _inputs(
    records: Sequence[JobRecord | None], spec: Mapping[str, Any], index: pd.Index[Any]
) -> pd.DataFrame:
    texts = [record.data if record else "{}" for record in records]
    return results.inputs_frame(texts, spec["columns"], index, whole_row=spec["whole_row"])


def _by_values(data: Any, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in spec["by"] if isinstance(data, Mapping) and name in data}


def _data(record: JobRecord | None) -> Any:
    return codec.decode(record.data) if record else {}


def _name_of(records: Sequence[JobRecord | None], spec: Mapping[str, Any]) -> str:
    return next((record.name for record in records if record), spec["task"])
