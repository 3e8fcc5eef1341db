"""What steps of rows have returned in earlier batches of a name: it goes on with rows whose other steps run."""

from __future__ import annotations

from typing import Any

from flownb.batches.batch_request import BatchRequest, earlier_steps
from flownb.batches.earlier_rows import EarlierRows
from flownb.batches.jobs_of_rows import END_FIELDS, JobsOfRows, Row, RowLocation
from flownb.batches.rows import Rows
from flownb.wire import codec, keys


def read_steps_done(request: BatchRequest, rows: Rows, earlier: EarlierRows) -> dict[int, list[Any]]:
    """Return what the steps that are done of rows have returned, by position, of rows that have no job yet.

    A row that failed has a new job, and its steps before that are kept; where a step is another one by now, those
    before it are.
    """
    kept = request.steps_kept() if rows.ids_before else 0
    if not request.job.steps and not kept:
        return {}
    new = [position for position, found in enumerate(earlier.found) if found is None]
    failed = {at: earlier.failed[at] for at in new if at in earlier.failed}
    done = _read(request, failed, len(request.job.steps))
    if kept:
        before = _earlier_locations(request, rows, earlier, [at for at in new if at not in done])
        done |= _read(request, before, kept)
    return done


def _earlier_locations(
    request: BatchRequest, rows: Rows, earlier: EarlierRows, new: list[int]
) -> dict[int, RowLocation]:
    """Return where these rows were in the newest batch of the name, which had other steps."""
    place = earlier_steps(request.earlier)[0].place
    base = keys.base(request.store.prefix, place.rpartition("/")[0])
    ids = [rows.ids_before[position] for position in new]
    there = EarlierRows(request.store, request.name, base, ids, lambda: request.folder, earlier.many)
    there.find()
    last = {at: found[0] for at, found in enumerate(there.found) if found}
    while there.renew_failed():
        there.find()
        last |= {at: found[0] for at, found in enumerate(there.found) if found}
    return {new[at]: location for at, location in last.items()}


def _read(request: BatchRequest, locations: dict[int, RowLocation], most: int) -> dict[int, list[Any]]:
    has_steps = "steps" in request.earlier
    jobs = JobsOfRows(request.store, END_FIELDS, lambda: request.folder, has_steps=has_steps)
    found = jobs.rows(list(locations.values()))
    done = zip(locations, (_values(row, has_steps)[:most] for row in found), strict=True)
    return {position: values for position, values in done if values}


def _values(row: Row, has_steps: bool) -> list[Any]:
    text = row.value or row.partial
    if text is None:
        return []
    value = codec.decode(text)
    if has_steps:
        return value if isinstance(value, list) else []
    return [] if row.value is None else [value]
