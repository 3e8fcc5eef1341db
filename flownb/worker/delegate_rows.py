"""Store the jobs that run the rest of a many-row job's rows, when it has had its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flownb.files.rows_in_files import RowsOfJob
from flownb.wire import stored_steps
from flownb.wire.amounts import Amounts
from flownb.wire.job_rows import JobDetails, JobRow
from flownb.wire.many_rows import bind_of, positions_in, with_notes_of
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.siblings import FIRST_PIECE_BEHIND, add_siblings


def delegate_rows(
    store: Store,
    taken: Taken,
    bind: Mapping[str, Any],
    kept: int,
    rows: RowsOfJob,
    rows_a_job: int,
    spent: Mapping[int, Amounts],
) -> None:
    """Add sibling jobs ``<id>-1``, ``<id>-2``, ... for those of a job's `rows` behind the first `kept`.

    What these have `spent` in runs that broke off goes along.
    The ids follow from the job's, so this may be done again after a crash: it adds nothing twice.
    """
    record = taken.record
    all_rows = len(rows)
    slices = [range(start, min(start + rows_a_job, all_rows)) for start in range(kept, all_rows, rows_a_job)]
    jobs = [_job_row(taken, bind, number, rows, some, spent) for number, some in enumerate(slices, 1)]
    piece = FIRST_PIECE_BEHIND + positions_in(bind)[kept]
    add_siblings(store, taken, base=taken.base, jobs=jobs, opts=record.opts, piece=piece)


def _job_row(
    taken: Taken,
    bind: Mapping[str, Any],
    number: int,
    rows: RowsOfJob,
    some: range,
    spent: Mapping[int, Amounts],
) -> JobRow:
    record = taken.record
    labels = bind.get("labels")
    if labels is not None:
        labels = labels[some.start : some.stop]
    own_bind = bind_of(
        positions_in(bind)[some.start : some.stop],
        bind.get("slice"),
        labels,
        stored_steps.packed(stored_steps.steps_in(bind)) if "steps" in bind else "",
        in_file=rows.are_in_file,
        has_kept="kept" in bind,
    )
    details = JobDetails(priority=record.priority, bind=with_notes_of(bind, own_bind))
    data = rows.data(some.start, some.stop, [spent.get(place, {}) for place in some])
    return JobRow(1, f"{record.id}-{number}", record.name, data, 1, 1, details)
