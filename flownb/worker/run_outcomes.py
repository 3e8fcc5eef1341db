"""How a run ended: completed, retry, failed, returned (or rate limited), put off (an unknown task) or parked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flownb.adding.child_jobs import Run
from flownb.api.job import Job
from flownb.arguments import seconds
from flownb.errors import (
    Cancelled,
    FlowError,
    JobCrashed,
    JobTimeout,
    OptionError,
    RateLimitError,
    ServerRefused,
    ServerUnreachable,
    UnrecoverableError,
)
from flownb.options import Keep
from flownb.tasks.delayed import Delayed
from flownb.wire.amounts import Amounts, flat
from flownb.wire.codec import text_of_number
from flownb.wire.outcomes import Outcome, Retention
from flownb.wire.records import CRASHED
from flownb.wire.secret_names import secrets_in, without
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.wire.store.queue_facts import PUT_OFF_MS
from flownb.worker.error_texts import reason_of, stacktrace_with
from flownb.worker.file_values import NoFolder, json_of
from flownb.worker.retry_after import hold_seconds
from flownb.worker.retry_policy import FailedRun, NoAttempt, RetryPolicy
from flownb.worker.weighing import Weighed
from flownb.worker.work import options_of

# Starts of a job beyond its attempts, after which not finding a server is a failed attempt:
MOST_UNCHARGED = 20
AWAY = ("BUSY ", "MASTERDOWN ")  # how a server begins that refuses everything for a while

SETUP = "setup"  # why a run was returned: the task cannot run here

_WHY: dict[type[BaseException], str] = {JobTimeout: "timeout", JobCrashed: "crashed"}


def completed(taken: Taken, value: Any, store: Store, version: str | None = None) -> Outcome:
    """The function returned `value`; `version` names its code. Raises UnrecoverableError when JSON cannot hold it."""
    text = "null" if value is None else text_of_number(value)  # what most functions return
    if text is None:
        nan = "null" if taken.record.bind or taken.record.flow else "refuse"
        try:
            text = json_of(value, taken.record, store, nan=nan, by_task=version is not None)
        except FlowError as error:
            raise UnrecoverableError(str(error)) from None
    record = taken.record
    if record.flow is not None:  # its retention is the flow's
        return Outcome(
            taken.base, record.id, taken.token, record.attempts_started, "completed", text, version
        )
    return Outcome(*_run(taken), "completed", text, retention=_retention(taken, "remove_on_complete"))


def completed_with(taken: Taken, text: str) -> Outcome:
    """The job's value is this JSON text. Only for jobs of flows, which go with their flow."""
    return Outcome(*_run(taken), "completed", text)


def outcome_of_error(taken: Taken, error: BaseException, retry: RetryPolicy, job: Job) -> Outcome:
    """Return what an exception means for its job: another attempt, or the end.

    Where the function's own calls found no server, the job goes back and is charged no attempt. Its runs are counted
    all the same: the server that is away may be another one, for good.
    """
    if isinstance(error, Weighed):
        return Outcome(*_run(taken), "unbegun", error.weights, ran=0)
    if _found_no_server(error) and _uncharged_starts(taken) <= MOST_UNCHARGED:
        return returned(taken)
    if isinstance(error, Delayed):
        try:
            return put_off(taken, round(seconds(error.wait, "Delayed") * 1000))
        except OptionError as problem:
            error.args = (str(problem).removeprefix("Delayed: "),)
    options = options_of(taken)
    reason = reason_of(error)
    stacktrace = stacktrace_with(error, taken.record.stacktrace, options.stack_trace_limit)
    if secrets := _secrets_of(job):
        reason, stacktrace = without(reason, secrets), without(stacktrace, secrets)
    if isinstance(error, Cancelled):
        return failed(taken, reason, stacktrace, "cancelled")
    try:
        wait = retry.next_attempt(FailedRun(taken, job, options, taken.record.attempts_made + 1, error))
    except Exception as problem:
        return failed(taken, f"{reason} (and its retry policy: {reason_of(problem)})", stacktrace)
    if isinstance(wait, NoAttempt):
        why = "unrecoverable" if wait is NoAttempt.POINTLESS else _WHY.get(type(error))
        return failed(taken, reason, stacktrace, why)
    ending = Outcome(*_run(taken), "retry", reason=reason, stacktrace=stacktrace)
    return ending._replace(delay=wait, lifo=options.lifo)


def _secrets_of(job: Job) -> list[str]:
    """What the job's data hold under names like ``password``: an error is shown to others."""
    try:
        return secrets_in(job.data)
    except Exception:  # another program's data, or gone
        return []


def _found_no_server(error: BaseException) -> bool:
    is_busy = isinstance(error, ServerRefused) and str(error).startswith(AWAY)
    return is_busy or isinstance(error, ServerUnreachable)


def _uncharged_starts(taken: Taken) -> int:
    return taken.record.attempts_started - taken.record.attempts_made


def rate_limited(taken: Taken, error: RateLimitError, retry: RetryPolicy, job: Job) -> Outcome:
    """The function asks that its queue be held for a while: the job goes back, no attempt charged.

    Where what it says is no time, this is a failed attempt like any other.
    """
    try:
        hold = hold_seconds(error.retry_after, datetime.now(UTC))
    except OptionError as problem:
        error.args = (str(problem).removeprefix("RateLimitError: "),)
        return outcome_of_error(taken, error, retry, job)
    return Outcome(*_run(taken), "returned", hold=0 if hold is None else max(round(hold * 1000), 1))


def failed(taken: Taken, reason: str, stacktrace: str | None = None, why: str | None = None) -> Outcome:
    """The job has failed for good: no further attempt."""
    return Outcome(
        *_run(taken),
        "failed",
        reason=reason,
        stacktrace=stacktrace or taken.record.stacktrace,
        attempts=max(options_of(taken).attempts, 1),
        why=why,
        retention=_retention(taken, "remove_on_fail"),
    )


def failed_by(taken: Taken, deferred: str) -> Outcome:
    """The job fails without a run, with the reason that was stored for it: a child failed, its workers died, or it was
    cancelled.
    """
    why = "child"
    if deferred == "cancelled":
        why = "cancelled"
    elif deferred.startswith(CRASHED):
        why = "crashed"
    elif "stalled" in deferred:  # another program's word
        why = "stalled"
    return failed(taken, deferred, why=why)


def failed_as_stored(taken: Taken, error: BaseException) -> Outcome:
    """The job cannot be run: its own fields, also its options, raise `error` where the worker reads them."""
    reason = f"the job cannot be run as it is stored: {reason_of(error)}; remove it and add it again"
    return Outcome(*_run(taken), "failed", reason=reason, stacktrace="[]", attempts=1, why="unrecoverable")


def returned(taken: Taken) -> Outcome:
    """The job did not run: back to the head of the list, no attempt charged."""
    return Outcome(*_run(taken), "returned")


def without_setup(taken: Taken, why: str) -> Outcome:
    """What the job's task needs could not be loaded here: the job goes back, and the task stops on this worker."""
    return Outcome(*_run(taken), "returned", reason=why, why=SETUP)


def held(taken: Taken, error: NoFolder, store: Store) -> Outcome:
    """The job's batch cannot go on as it is: it is paused, and the job goes back, no attempt charged."""
    flow = taken.record.flow or ""
    store.flows.pause(taken.base, flow, str(error))
    return returned(taken)


def unbegun(taken: Taken, held_since: float) -> Outcome:
    """The job's function was not called: back to the head of the list, as if nobody had taken it."""
    return Outcome(*_run(taken), "unbegun", ran=_ms_since(held_since))


def begun(taken: Taken, started: float) -> Outcome:
    """The job, taken ahead, has begun; `started` is monotonic time."""
    return Outcome(*_run(taken), "begun", ran=_ms_since(started))


def _ms_since(at: float) -> int:
    return round((time.monotonic() - at) * 1000)


def put_off(taken: Taken, wait: int | None = None) -> Outcome:
    """The job's function asks to be called later, in `wait` ms; or nobody here knows the job, and later somebody may.

    `explain()` tells the second by its wait, which the first therefore never has.
    """
    if wait is None:
        return Outcome(*_run(taken), "put_off", delay=PUT_OFF_MS)
    return Outcome(*_run(taken), "put_off", delay=wait + 1 if wait in (0, PUT_OFF_MS) else wait)


def parked(taken: Taken, run: Run) -> Outcome:
    """The job waits for children that it added, without a slot; no attempt charged."""
    return Outcome(*_run(taken), "parked", eager=run.eager)


def as_failure(outcome: Outcome, reason: str, why: str | None) -> Outcome:
    """Return what an outcome becomes that the server refused: a failure of the same run."""
    base, id, token, attempts_started = outcome[:4]
    return Outcome(
        base,
        id,
        token,
        attempts_started,
        "failed",
        reason=reason,
        stacktrace="[]",
        attempts=1,
        why=why,
        printed=outcome.printed,
        keep_logs=outcome.keep_logs,
        spent=outcome.spent,
    )


def with_lines(taken: Taken, outcome: Outcome, lines: Sequence[str]) -> Outcome:
    """Return the outcome of a run that has printed these lines."""
    if not lines:
        return outcome
    keep = options_of(taken).keep_logs
    return outcome._replace(printed=lines if keep is None else lines[-keep:], keep_logs=keep)


def with_spent(outcome: Outcome, spent: Amounts) -> Outcome:
    """Return the outcome of a run that has spent this; the server was told of it, unless it was away."""
    return outcome._replace(spent=flat(spent)) if spent else outcome


def _run(taken: Taken) -> tuple[str, str, str, int]:
    """Return the fields of an outcome that say whose it is."""
    return taken.base, taken.record.id, taken.token, taken.record.attempts_started


def _retention(taken: Taken, option: str) -> Retention | None:
    """BullMQ's removal at once, where the job's options ask for it; jobs of flownb's flows go with their flow."""
    if taken.record.flow is not None:
        return None
    rule: Keep | None = getattr(options_of(taken), option)
    if rule is None:
        return None
    return Retention(rule.count, None if rule.age is None else rule.age * 1000, rule.limit)
