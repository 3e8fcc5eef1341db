"""In a job process: run the rows of a job that the worker has sent, as far as their shared page lets them begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

from flownb.api.current_run import current
from flownb.api.job import Job
from flownb.errors import JobElsewhere
from flownb.tasks.binding import UnknownTask
from flownb.tasks.setup import SetupFailed
from flownb.wire.amounts import Amounts
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.calls_of_rows import CallsOfRows
from flownb.worker.captured_output import log_of
from flownb.worker.hosts import GivenUp, InSlot
from flownb.worker.row_calls import MOST_NEW_CHARACTERS, RowCalls
from flownb.worker.rows_page import RowsInPage
from flownb.worker.run_log import RunLog
from flownb.worker.run_outcomes import outcome_of_error, put_off, returned, without_setup
from flownb.worker.step_calls import calls_for
from flownb.worker.step_of_rows import calls_of_work
from flownb.worker.steps_so_far import RowSoFar
from flownb.worker.telling import RunOfJob
from flownb.worker.work import Work


class SentRows(NamedTuple):
    """Which rows of a job to run."""

    positions: Sequence[int]  #: in the job, in this order
    page: int  #: file descriptor of the page that the worker shares with the process
    so_far: Mapping[int, RowSoFar]  #: what their steps have come to, where they have several
    spent: Mapping[int, Amounts]  #: what rows have spent in former runs
    spent_so_far: Amounts  #: what all rows have spent in this one: the account goes on from there


def run_sent_rows(
    taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any], rows: SentRows
) -> Outcome | None:
    """Run rows until the page says stop, or much was returned; return what the job's run ends early with."""
    try:
        log = log_of(taken, work)
        this = RunOfJob(taken, store, log)
        this.spent = dict(rows.spent_so_far)
        token = current.set(this)
        try:
            if work.rows_a_call is not None:
                calls = calls_of_work(taken, work, store, InSlot(await_))
                return _make_calls(calls, work.rows_a_call, rows, log)
            return _run_each(calls_for(taken, work, store, InSlot(await_)), rows, log)
        finally:
            current.reset(token)
    except UnknownTask:
        return put_off(taken)
    except SetupFailed as error:
        return without_setup(taken, str(error))
    except (JobElsewhere, GivenUp):
        return returned(taken)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: the process lives
        return outcome_of_error(taken, error, work.retry, Job(taken.record, store=store))


def _run_each(calls: RowCalls, rows: SentRows, log: RunLog | None) -> Outcome | None:
    page, call, began, characters = RowsInPage(rows.page), calls.call, monotonic(), 0
    account = calls.account
    calls.begin(rows.so_far, lambda position, *step: page.note_step(*step), rows.spent)
    for n, position in enumerate(rows.positions):
        if characters >= MOST_NEW_CHARACTERS or not page.may_begin(n):
            break
        end = call(position)
        if isinstance(end, str):
            characters += len(end)
        elif end.kind == "returned":
            return end
        now = monotonic()
        spent = account.take_row() if account.of_row else None
        page.note(end, now - began, () if log is None else log.take(), spent)
        began = now
    return None


def _make_calls(calls: CallsOfRows, size: int, rows: SentRows, log: RunLog | None) -> Outcome | None:
    """The same for a task that takes many rows at a time: all of a call begin together."""
    page, characters = RowsInPage(rows.page), 0
    calls.begin(rows.so_far, lambda position, *step: page.note_step(*step), rows.spent)
    for start in range(0, len(rows.positions), size):
        positions = rows.positions[start : start + size]
        if characters >= MOST_NEW_CHARACTERS or not page.may_begin(start + len(positions) - 1):
            break
        for position, end, seconds in calls.call_each(positions):
            if isinstance(end, str):
                characters += len(end)
            elif end.kind == "returned":
                return end
            page.note(end, seconds, () if log is None else log.take(), calls.take_spent(position))
    return None
