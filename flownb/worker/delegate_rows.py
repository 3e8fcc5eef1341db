"""Store the jobs that run the rest of a many-row job's rows, when it has had its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flownb.wire import child_list, keys
from flownb.wire.job_rows import FieldRow, FlowRecord, JobDetails, JobRow, ParentRow
from flownb.wire.many_rows import bind_of, data_of, refer
from flownb.wire.records import POLICIES
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken

FIRST_PIECE_BEHIND = 1_000_000_000  # pieces of children that were added later come after those of the plan


def delegate_rows(
    store: Store, taken: Taken, bind: Mapping[str, Any], kept: int, rows: Sequence[str], rows_a_job: int
) -> None:
    """Add sibling jobs ``<id>-1``, ``<id>-2``, ... for `rows`, those behind the first `kept` of their job.

    The ids follow from the job's, so this may be done again after a crash: it adds nothing twice.
    """
    record = taken.record
    first = bind["first"] + kept
    slices = {start: list(rows[start : start + rows_a_job]) for start in range(0, len(rows), rows_a_job)}
    jobs = [
        _job_row(taken, bind, number, some, first + start)
        for number, (start, some) in enumerate(slices.items(), 1)
    ]
    policy = next(word for word in POLICIES if f'"{word}":' in (record.parent or ""))
    children = keys.own(store.prefix, "children", record.parent_key or "")
    piece = child_list.pack([taken.base] * len(jobs), [job.id for job in jobs])
    store.jobs.add(
        [taken.base],
        jobs=jobs,
        opts=[record.opts],
        parents=[ParentRow(record.parent_key or "", record.parent or "", policy, is_outside=True)],
        record=FlowRecord(id=record.flow or "", fields={}),
        fields=[FieldRow(children, str(FIRST_PIECE_BEHIND + first), piece)],
    )


def _job_row(taken: Taken, bind: Mapping[str, Any], number: int, rows: list[str], first: int) -> JobRow:
    record = taken.record
    own_bind = bind_of(len(rows), first, bind.get("slice"))
    if "large" in bind:
        own_bind = refer(own_bind, bind["large"])
    details = JobDetails(priority=record.priority, bind=own_bind)
    return JobRow(1, f"{record.id}-{number}", record.name, data_of(rows), 1, 1, details)
