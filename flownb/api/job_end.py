"""Waits for the end of one job, of a flow or of none."""

from __future__ import annotations

import time
from typing import Any

from flownb.arguments import seconds
from flownb.connection import patience
from flownb.errors import FlowFailed, ServerUnreachable, job_missing
from flownb.files.stored_values import decoded
from flownb.state.failed_jobs import describe
from flownb.wire import keys
from flownb.wire.records import COMPLETED, JobRecord
from flownb.wire.store import Store

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.002, 0.25  # between two questions whether something has ended
PAUSE_SHARE = 0.1  # of the time waited so far: an end is seen so much later, at most
_FIELDS = ("name", "finishedOn", "returnvalue", "failedReason")


def pause_after(waited: float) -> float:
    """Return in how many seconds one who has waited for so many asks again."""
    return min(max(waited * PAUSE_SHARE, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


def job_end(store: Store, job: JobRecord, timeout: Any) -> Any:
    """Return the value of a job that completes; raise what its end, or the end of the wait, means."""
    limit = None if timeout is None else seconds(timeout, "timeout")
    started = time.monotonic()
    deadline = None if limit is None else started + limit
    while True:
        try:
            with patience.until(deadline):
                found = store.jobs.read([job.key], _FIELDS)[0]
            if found is None:
                raise job_missing(keys.short(job.key, store.prefix))
            if found.finished_on is not None:
                return _value(store, found, job.flow)
            state = found.state
        except ServerUnreachable as error:
            if limit is None:
                raise
            state = str(error)
        left = LONGEST_PAUSE_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"job {job.name!r} has not ended after {limit:g} s: {state}")
        time.sleep(min(pause_after(time.monotonic() - started), left))


def _value(store: Store, job: JobRecord, flow: str | None) -> Any:
    if job.state != COMPLETED:
        raise FlowFailed(f"job {job.name!r} failed: {describe(job.failed_reason)}")
    return None if job.returnvalue is None else decoded(store, flow, job.returnvalue)
