"""Run one job: call its function, or the function for each of its rows, and say how that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from flownb.api.current_run import current
from flownb.api.job import Job
from flownb.errors import JobElsewhere, RateLimitError, WaitingChildren
from flownb.tasks.binding import UnknownTask
from flownb.tasks.setup import SetupFailed
from flownb.wire.many_rows import holds_rows
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.file_values import WRITTEN_AT_ONCE, NoFolder
from flownb.worker.hosts import GivenUp, Host, InLoop, InSlot, at_once
from flownb.worker.retry_policy import BackoffRetry
from flownb.worker.row_runners import CallsInThread, RowRunner, RowsInThread
from flownb.worker.run_outcomes import (
    completed,
    failed_by,
    held,
    outcome_of_error,
    parked,
    put_off,
    rate_limited,
    returned,
    without_setup,
)
from flownb.worker.run_rows import run_rows
from flownb.worker.step_calls import calls_for
from flownb.worker.step_of_rows import calls_of_work
from flownb.worker.telling import RunOfJob
from flownb.worker.weighed_rows import weighed_rows
from flownb.worker.work import Work


def run(
    this: RunOfJob,
    work: Work,
    store: Store,
    await_: Callable[[Any], Any],
    note_row: Callable[[int], None] = lambda row: None,
) -> Outcome:
    """Run a job and return its outcome; whatever the function does, this returns.

    `note_row` is called with the position of each row of a many-row job that begins; what is printed goes into the log
    of `this` run, what is spent into its account.
    """
    token = current.set(this)
    try:
        outcome = _run(this, work, store, await_, note_row)
    finally:
        current.reset(token)
    return this.with_what_it_left(outcome)


def _run(
    this: RunOfJob,
    work: Work,
    store: Store,
    await_: Callable[[Any], Any],
    note_row: Callable[[int], None],
) -> Outcome:
    taken = this.taken
    bind = taken.record.bind
    if bind is not None and holds_rows(bind):
        return at_once(_run_rows(this, work, store, InSlot(await_), note_row))
    if taken.deferred is not None:
        return failed_by(taken, taken.deferred)
    job = Job(taken.record, store, this)
    try:
        outcome = completed(taken, work.call(job, await_), store, work.version)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: the job failed, the worker lives
        outcome = _outcome_of(taken, error, work, store, job)
    # A function that catches everything cannot keep its job from waiting: its children are stored.
    return parked(taken, this) if this.waits else outcome


async def _run_rows(
    this: RunOfJob, work: Work, store: Store, host: Host, note_row: Callable[[int], None]
) -> Outcome:
    taken = this.taken
    weighed = await host.aside(weighed_rows, taken, work, store) if taken.is_unweighed else None
    if weighed is not None:
        return weighed
    runner: RowRunner
    if work.rows_a_call is None:
        runner = RowsInThread(calls_for(taken, work, store, host), note_row)
    else:
        runner = CallsInThread(calls_of_work(taken, work, store, host), work.rows_a_call)
    outcome = await run_rows(taken, work, store, runner, host)
    if this.untold and outcome.kind != "completed":
        with suppress(GivenUp):
            await host.aside(this.tell_untold)
    return outcome


def _outcome_of(taken: Taken, error: BaseException, work: Work, store: Store, job: Job) -> Outcome:
    """Return what it means for a job that its function has raised."""
    if isinstance(error, WaitingChildren):
        return returned(taken)  # whoever called sees that the job waits
    if isinstance(error, (JobElsewhere, GivenUp)):  # its job is another run's by now, or has ended
        return returned(taken)
    if isinstance(error, RateLimitError):
        return rate_limited(taken, error, work.retry, job)
    if isinstance(error, NoFolder):
        return held(taken, error, store)
    if isinstance(error, UnknownTask):
        return put_off(taken)
    if isinstance(error, SetupFailed):
        return without_setup(taken, str(error))
    outcome = outcome_of_error(taken, error, work.retry, job)
    return outcome if taken.record.flow is None else outcome._replace(version=work.version)


# ---- in the loop ------------------------------------------------------------------------------------------


async def run_in_loop(
    this: RunOfJob,
    work: Work,
    store: Store,
    is_given_up: Callable[[], bool],
    note_row: Callable[[int], None],
) -> Outcome:
    """Run a job of an `async` function in the loop that runs, as `run` does in a slot's thread."""
    token = current.set(this)  # in a context of its own: each job is a task of the loop
    try:
        outcome = await _run_in_loop(this, work, store, is_given_up, note_row)
    finally:
        current.reset(token)
    return this.with_what_it_left(outcome)


async def _run_in_loop(
    this: RunOfJob,
    work: Work,
    store: Store,
    is_given_up: Callable[[], bool],
    note_row: Callable[[int], None],
) -> Outcome:
    taken = this.taken
    if holds_rows(taken.record.bind):
        return await _run_rows(this, work, store, InLoop(is_given_up), note_row)
    if taken.deferred is not None:
        return failed_by(taken, taken.deferred)
    job = Job(taken.record, store, this)
    try:
        value = await work.processor(job)
        if type(value) in WRITTEN_AT_ONCE:
            outcome = completed(taken, value, store, work.version)
        else:  # a frame or a picture is written to a file
            outcome = await asyncio.to_thread(completed, taken, value, store, work.version)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_given_up():
            return returned(taken)
        outcome = await _outcome_in_loop(taken, error, work, store, job)
    return parked(taken, this) if this.waits else outcome


async def _outcome_in_loop(taken: Taken, error: BaseException, work: Work, store: Store, job: Job) -> Outcome:
    if isinstance(work.retry, BackoffRetry) and work.retry.ask is None:
        return _outcome_of(taken, error, work, store, job)
    # Whoever is asked may take long, or be async.
    return await asyncio.to_thread(_outcome_of, taken, error, work, store, job)
