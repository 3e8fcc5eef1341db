"""In a job process: run the rows of a job that the worker has sent, as far as their shared page lets them begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple

from flownb.api.job import Job
from flownb.errors import JobElsewhere
from flownb.tasks.binding import UnknownTask
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.captured_output import captured, log_of
from flownb.worker.row_calls import MOST_NEW_CHARACTERS, RowCalls
from flownb.worker.rows_page import RowsInPage
from flownb.worker.run_log import RunLog
from flownb.worker.run_outcomes import outcome_of_error, put_off, returned
from flownb.worker.work import GivenUp, Work


class SentRows(NamedTuple):
    """Which rows of a job to run."""

    positions: Sequence[int]  #: in the job, in this order
    page: int  #: file descriptor of the page that the worker shares with the process


def run_sent_rows(
    taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any], rows: SentRows
) -> Outcome | None:
    """Run rows until the page says stop, or much was returned; return what the job's run ends early with."""
    try:
        log = log_of(taken, work)
        with captured(log):
            return _run_each(RowCalls(taken, work, store, await_), rows, log)
    except UnknownTask:
        return put_off(taken)
    except (JobElsewhere, GivenUp):
        return returned(taken)
    except BaseException as error:  # also SystemExit and KeyboardInterrupt: the process lives
        return outcome_of_error(taken, error, work.retry, Job(taken.record, store=store))


def _run_each(calls: RowCalls, rows: SentRows, log: RunLog | None) -> Outcome | None:
    page, call, began, characters = RowsInPage(rows.page), calls.call, monotonic(), 0
    for n, position in enumerate(rows.positions):
        if characters >= MOST_NEW_CHARACTERS or not page.may_begin(n):
            break
        end = call(position)
        if isinstance(end, str):
            characters += len(end)
        elif end.kind == "returned":
            return end
        now = monotonic()
        page.note(end, now - began, () if log is None else log.take())
        began = now
    return None
