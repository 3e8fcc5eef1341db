"""Store the jobs that run the rest of a many-row job's rows, when it has had its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flownb.wire import child_list, keys
from flownb.wire.job_rows import FieldRow, FlowRecord, JobDetails, JobRow, ParentRow
from flownb.wire.many_rows import bind_of, data_of, refer
from flownb.wire.records import POLICIES
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken

FIRST_PIECE_BEHIND = 1_000_000_000  # pieces of children that were added later come after those of the plan


def delegate_rows(
    store: Store, taken: Taken, bind: dict[str, Any], kept: int, rows: Sequence[str], rows_a_job: int
) -> None:
    """Add sibling jobs ``<id>-1``, ``<id>-2``, ... for `rows`, those behind the first `kept` of their job.

    The ids follow from the job's, so this may be done again after a crash: it adds nothing twice.
    """
    record, base = taken.record, taken.base
    first = bind["first"] + kept
    jobs, ids = [], []
    for number, start in enumerate(range(0, len(rows), rows_a_job), 1):
        some = list(rows[start : start + rows_a_job])
        ids.append(f"{record.id}-{number}")
        own_bind = bind_of(len(some), first + start, bind.get("slice"))
        if "large" in bind:
            own_bind = refer(own_bind, bind["large"])
        details = JobDetails(priority=record.priority, bind=own_bind)
        jobs.append(JobRow(1, ids[-1], record.name, data_of(some), 1, 1, details))
    policy = next(word for word in POLICIES if f'"{word}":' in (record.parent or ""))
    children = keys.own(store.prefix, "children", record.parent_key or "")
    piece = child_list.pack([base] * len(ids), ids)
    store.jobs.add(
        [base],
        jobs=jobs,
        opts=[record.opts],
        parents=[ParentRow(record.parent_key or "", record.parent or "", policy, is_outside=True)],
        record=FlowRecord(id=record.flow or "", fields={}),
        fields=[FieldRow(children, str(FIRST_PIECE_BEHIND + first), piece)],
    )
