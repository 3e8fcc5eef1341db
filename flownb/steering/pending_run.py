"""Keeps the job that a job scheduler has added last from going: its run adds the next one."""

from __future__ import annotations

from flownb.errors import FlowError
from flownb.wire import keys
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, JobRecord
from flownb.wire.store import Store


def refuse_next_run(store: Store, job: JobRecord) -> None:
    """Raise FlowError for the job that a job scheduler has added last and that waits: without it that would end."""
    if (scheduled := keys.scheduler_of(job.id)) and job.state not in (ACTIVE, COMPLETED, FAILED):
        scheduler, due = scheduled
        if store.schedules.read_due(keys.base_of(job.key), scheduler) == due:
            raise FlowError(
                f"job {job.name!r} is the next one of job scheduler {scheduler!r} in queue {job.queue!r}; end that by "
                f"Queue({job.queue!r}).remove_job_scheduler({scheduler!r})"
            )
