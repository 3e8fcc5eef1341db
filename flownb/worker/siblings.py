"""Adds jobs in which rows of a running job go on, below each of its parents: delegated, or at a later step."""

from __future__ import annotations

from collections.abc import Sequence

from flownb.wire import child_list
from flownb.wire.job_rows import JobRow
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken

FIRST_PIECE_BEHIND = 1_000_000_000  # pieces of children that were added later come after those of the plan


def add_siblings(
    store: Store, taken: Taken, *, base: str, jobs: Sequence[JobRow], opts: str, piece: int
) -> None:
    """Add jobs of one queue below each parent of the job that was taken, in one go; it adds nothing twice.

    Later batches of the name may hold its rows, too. They are declared children of each parent, as this `piece`.
    """
    packed = child_list.pack([base] * len(jobs), [job.id for job in jobs])
    store.jobs.add_siblings(base, taken.record.key, jobs=jobs, opts=opts, piece=piece, packed=packed)
