"""What steps of rows have returned in earlier batches of a name: it goes on with rows whose other steps run."""

from __future__ import annotations

from typing import Any

from flownb.batches.batch_request import BatchRequest, earlier_steps
from flownb.batches.earlier_rows import EarlierRows, RowLocations
from flownb.batches.jobs_of_rows import END_FIELDS, JobsOfRows, Row, RowLocation
from flownb.batches.rows import Rows
from flownb.wire import codec, keys


def find_rows_before(request: BatchRequest, rows: Rows, many: RowLocations | None) -> EarlierRows | None:
    """Find the rows as they stand in the newest batch of the name; None where that had the same steps, or all others.

    `many` says where rows are that many-row jobs hold, if that is known.
    """
    if not rows.ids_before:
        return None
    place = earlier_steps(request.earlier)[0].place
    base = keys.base(request.store.prefix, place.rpartition("/")[0])
    ids = list(rows.ids_before)
    found = EarlierRows(request.store, request.name, base, ids, lambda: request.folder, many)
    found.find_newest()
    return found


def read_steps_done(
    request: BatchRequest, earlier: EarlierRows, before: EarlierRows | None
) -> dict[int, list[Any]]:
    """Return what the steps that are done of rows have returned, by position, of rows that have no job yet.

    A row that failed has a new job, and its steps before that are kept; where a step is another one by now, those
    before it are: `before` has the rows as they stand where the steps were others.
    """
    if not request.job.steps and before is None:
        return {}
    new = [position for position, found in enumerate(earlier.found) if found is None]
    failed = {at: earlier.failed[at] for at in new if at in earlier.failed}
    done = _read(request, failed, len(request.job.steps))
    return done | _read_before(request, before, [at for at in new if at not in done])


def _read_before(request: BatchRequest, before: EarlierRows | None, new: list[int]) -> dict[int, list[Any]]:
    """Return what the steps that both lists begin with have returned of these rows, where `before` has them."""
    kept = request.steps_kept()
    if before is None or not kept:
        return {}
    last = {at: before.last(at) for at in new}
    return _read(request, {at: location for at, location in last.items() if location}, kept)


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
