"""The retry policy: one method that says when a failed run is followed by another attempt, or why by none.

A job's policy is the `retry` of its `Work`. The thread or process that ran the job asks it after each run that failed;
several threads may ask one policy at once. A policy that raises fails its job, with both reasons.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

from flownb.api.job import Job
from flownb.arguments import seconds
from flownb.errors import FlownbError, UnrecoverableError
from flownb.options import CUSTOM, JobOptions
from flownb.tasks.retry_on import Classes, Judge
from flownb.wire.store.job_records import Taken

log = logging.getLogger("flownb.worker")

# Called with attempts made, type of backoff, error and job; returns how long to wait, None for no further attempt.
AskForBackoff = Callable[[int, str, BaseException, Job], Any]


class FailedRun(NamedTuple):
    """What a retry policy decides on."""

    taken: Taken
    job: Job  #: as the function saw it
    options: JobOptions
    attempts_made: int  #: with this one
    error: BaseException


class NoAttempt(Enum):
    """Why no further attempt is made."""

    USED_UP = "the job has had all its attempts"
    POINTLESS = "another attempt would fail too"


class RetryPolicy(Protocol):
    """Decides on the attempt after a failed run."""

    def next_attempt(self, run: FailedRun) -> int | NoAttempt:
        """Return in how many milliseconds the job is to run again, or why it is not."""


@dataclass(frozen=True, slots=True)
class BackoffRetry:
    """BullMQ's policy: as many attempts as the job's options say, after the wait that their backoff says."""

    #: only these are worth another attempt, or those of which it says so
    retry_on: Classes | Judge | None = None
    ask: AskForBackoff | None = None  #: for jobs whose backoff is of type ``custom``

    def next_attempt(self, run: FailedRun) -> int | NoAttempt:
        """Return the wait in milliseconds, or why there is no further attempt."""
        if not self._is_worth_another(run.error):
            return NoAttempt.POINTLESS
        if run.attempts_made >= max(run.options.attempts, 1):
            return NoAttempt.USED_UP
        if run.options.backoff.type != CUSTOM:
            return run.options.backoff.wait_ms(run.attempts_made)
        return self._custom_wait(run)

    def _is_worth_another(self, error: BaseException) -> bool:
        """Flownb's own errors always are: the server was away, the time was over, the process died."""
        if isinstance(error, UnrecoverableError):
            return False
        if self.retry_on is None or isinstance(error, FlownbError):
            return True
        if isinstance(self.retry_on, tuple):
            return isinstance(error, self.retry_on)
        return bool(self.retry_on(error))

    def _custom_wait(self, run: FailedRun) -> int | NoAttempt:
        if self.ask is None:
            log.warning(
                "job %s asks for a backoff of its own, for which this worker has no function: it waits %d ms",
                run.taken.record.key,
                run.options.backoff.delay,
            )
            return run.options.backoff.delay
        type_ = json.loads(run.taken.record.opts)["backoff"]["type"]
        wait = self.ask(run.attempts_made, type_, run.error, run.job)
        if inspect.isawaitable(wait):
            wait = asyncio.run(_to_end(wait))  # no loop runs in this thread
        return NoAttempt.POINTLESS if wait is None else round(seconds(wait, "backoff") * 1000)


async def _to_end(awaitable: Any) -> Any:
    return await awaitable


BULLMQ = BackoffRetry()  # nothing asked of the worker: what the job's own options say
