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

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, _PAUSE_GROWTH = 0.002, 0.25, 1.3
_FIELDS = ("name", "finishedOn", "returnvalue", "failedReason")


def job_end(store: Store, job: JobRecord, timeout: Any) -> Any:
    """Return the value of a job that completes; raise what its end, or the end of the wait, means."""
    limit = None if timeout is None else seconds(timeout, "timeout")
    deadline, pause = None if limit is None else time.monotonic() + limit, _FIRST_PAUSE_SECONDS
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
        left = _LONGEST_PAUSE_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"job {job.name!r} has not ended after {limit:g} s: {state}")
        time.sleep(min(pause, left))
        pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)


def _value(store: Store, job: JobRecord, flow: str | None) -> Any:
    if job.state != COMPLETED:
        raise FlowFailed(f"job {job.name!r} failed: {describe(job.failed_reason)}")
    return None if job.returnvalue is None else decoded(store, flow, job.returnvalue)
