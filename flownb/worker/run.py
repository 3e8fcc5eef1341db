"""Run one job: call its function, or the function for each of its rows, and say how that ended."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flownb.adding.child_jobs import Run
from flownb.api.job import Job
from flownb.errors import JobElsewhere, RateLimitError, WaitingChildren
from flownb.tasks.binding import UnknownTask
from flownb.wire.many_rows import holds_rows
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.captured_output import captured
from flownb.worker.file_values import NoFolder
from flownb.worker.row_calls import RowCalls
from flownb.worker.row_runners import RowsInThread
from flownb.worker.run_log import RunLog
from flownb.worker.run_outcomes import (
    completed,
    failed_by,
    held,
    outcome_of_error,
    parked,
    put_off,
    rate_limited,
    returned,
    with_lines,
)
from flownb.worker.run_rows import run_rows
from flownb.worker.work import GivenUp, Work


def run(
    taken: Taken,
    work: Work,
    store: Store,
    await_: Callable[[Any], Any],
    note_row: Callable[[int], None] = lambda row: None,
    log: RunLog | None = None,
) -> Outcome:
    """Run a job and return its outcome; whatever the function does, this returns.

    `note_row` is called with the position of each row of a many-row job that begins; what is printed goes into `log`.
    """
    if log is None:
        return _run(taken, work, store, await_, note_row)
    with captured(log):
        outcome = _run(taken, work, store, await_, note_row)
    return with_lines(taken, outcome, log.take())


def _run(
    taken: Taken,
    work: Work,
    store: Store,
    await_: Callable[[Any], Any],
    note_row: Callable[[int], None],
) -> Outcome:
    if holds_rows(taken.record.bind):
        return run_rows(taken, work, store, RowsInThread(RowCalls(taken, work, store, await_), note_row))
    if taken.deferred is not None:
        return failed_by(taken, taken.deferred)
    this = Run(taken)
    outcome = _call(taken, Job(taken.record, store=store, run=this), work, store, await_)
    # A function that catches everything cannot keep its job from waiting: its children are stored.
    return parked(taken, this) if this.waits else outcome


def _call(taken: Taken, job: Job, work: Work, store: Store, await_: Callable[[Any], Any]) -> Outcome:
    try:
        value = work.processor(job)
        if inspect.isawaitable(value):
            value = await_(value)
        return completed(taken, value, store, work.version)
    except WaitingChildren:
        return returned(taken)  # `run` sees that the job waits
    except (JobElsewhere, GivenUp):  # the run does not count: its job is another run's by now, or has ended
        return returned(taken)
    except RateLimitError as error:
        return rate_limited(taken, error, work.retry, job)
    except NoFolder as error:
        return held(taken, error, store)
    except UnknownTask:
        return put_off(taken)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: the job failed, the worker lives
        outcome = outcome_of_error(taken, error, work.retry, job)
        return outcome if taken.record.flow is None else outcome._replace(version=work.version)
