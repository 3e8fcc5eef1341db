"""What it means for a many-row job that its run is given up as it has run past its timeout."""

from __future__ import annotations

from collections.abc import Callable

from flownb.errors import FlownbError
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.row_runners import RowRunner
from flownb.worker.run_outcomes import returned
from flownb.worker.run_rows import RowsRun
from flownb.worker.steps_so_far import RowSoFar
from flownb.worker.work import Work


def after_overdue_call(taken: Taken, work: Work, store: Store, end: Outcome, seconds: float) -> Outcome:
    """Return the outcome of a run whose one call of many rows has run past its timeout in the last attempt.

    Its rows are halved, as after any other error, for the runs that follow: the thread or process is given up. `end`
    is what becomes of a row that stands alone.
    """
    return _outcome(taken, work, store, lambda run: run.after_overdue_call(end, seconds))


def after_overdue_step(
    taken: Taken, work: Work, store: Store, end_of: Callable[[RowSoFar], Outcome], seconds: float
) -> Outcome:
    """Return the outcome of a run whose row has run past its step's timeout: `end_of` says what this means for it."""
    return _outcome(taken, work, store, lambda run: run.after_overdue_step(end_of, seconds))


def _outcome(taken: Taken, work: Work, store: Store, of: Callable[[RowsRun], Outcome]) -> Outcome:
    run = RowsRun(taken, store, RowRunner(), work)  # a runner that runs nothing: the run is over
    try:
        run.resume()
        run.results.value.spent = run.spent_before(run.read_left())  # also in the run that is given up
        run.results.run_by(work.version, run.open)
        return of(run)
    except FlownbError:  # the server is away, or the run does not count any more
        return returned(taken)
