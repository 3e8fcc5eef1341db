"""Run a many-row job: each row as if it were a job of its own; what is done is kept while others are still open.

Two threads see to a run. The slot's thread runs the rows, or waits for the process that does; rows of `async` functions
run in the worker's loop, which hands to other threads what waits for the server. The thread of `row_watch.py` saves
what is done, and delegates the rows that have not begun when one of them takes long.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from itertools import chain

from flownb.api.job import Job
from flownb.errors import FlownbError, JobElsewhere
from flownb.files.rows_in_files import SMALL_BYTES
from flownb.tasks.binding import UnknownTask
from flownb.tasks.setup import SetupFailed
from flownb.wire.amounts import NOTHING, Amounts
from flownb.wire.many_rows import MOST_ROWS
from flownb.wire.outcomes import Outcome
from flownb.wire.records import crashed
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.wire.store.jobs import PartOfRows
from flownb.worker.calls_of_rows import calls_of, halves
from flownb.worker.delegate_rows import delegate_rows
from flownb.worker.hosts import GivenUp, Host
from flownb.worker.patient_calls import patiently
from flownb.worker.row_results import RowResults
from flownb.worker.row_runners import End, RowRunner, RowsToRun
from flownb.worker.row_watch import row_watch
from flownb.worker.run_outcomes import (
    completed_with,
    failed,
    failed_by,
    outcome_of_error,
    put_off,
    returned,
    with_spent,
    without_setup,
)
from flownb.worker.saved_rows import SavedRows
from flownb.worker.steps_so_far import RowSoFar, StepsSoFar
from flownb.worker.work import Work, options_of

SLICE_SECONDS = 0.1  # for which a row may hold up those behind it
_ALL_COUNTED = (0, 0)  # an outcome's ``rows`` once the run has saved all that has ended in it
SAVE_SECONDS = 1.0  # of work after which the rows that are done are written down


async def run_rows(taken: Taken, work: Work, store: Store, runner: RowRunner, host: Host) -> Outcome:
    """Run the rows of a job that are open yet and return the job's outcome; whatever happens, this returns."""
    run = RowsRun(taken, store, runner, work)
    try:
        is_quick = host.may_wait or run.begins_with_nothing
        unrun = run.resume_open() if is_quick else await host.aside(run.resume_open)
        outcome = unrun or await run.run(host)
    except BaseException as error:
        outcome = await host.aside(run.outcome_of, error)
    return with_spent(outcome, run.results.spent_now)


class RowsRun(SavedRows):
    """One run of a many-row job. What the watch may change meanwhile is changed under the runner's lock."""

    def __init__(self, taken: Taken, store: Store, runner: RowRunner, work: Work) -> None:
        super().__init__(taken, store, runner, work)
        self.steps = len(work.names)  # of each row, where there are several
        self.rows_a_call = work.rows_a_call or 1
        # Does it make one call a run, whose timeout is the job's?
        self.is_one_call = work.rows_a_call is not None and bool(options_of(taken).timeout)
        self.later: list[list[int]] = []  #: calls for the runs after this one, where it is one call
        self.work = work
        self.slice = self.bind.get("slice", 0) / 1000 or SLICE_SECONDS
        # What changes while the rows run:
        #: with which the last of `to_retry` would have ended a job of its own
        self.last_retry: Outcome | None = None
        self.waiting: list[int] = []  #: positions of open rows that are put off beyond this run
        self.may_delegate: bool | None = None  #: found out when it is asked first
        self.is_over = False
        self.error: BaseException | None = None  #: of the watch, for the slot to raise
        # What the watch knows, in monotonic time:
        self.began = self.last_move = 0.0
        self.left_then = -1  #: rows that had not begun at the last look

    @property
    def begins_with_nothing(self) -> bool:
        """Has the run nothing to read from the server or a file before it begins?"""
        is_first = self.record.attempts_started <= 1 and not self.taken.is_suspect
        return is_first and not ("kept" in self.bind or self.files.rows.are_in_file)

    def _ends_with_nothing(self) -> bool:
        """Has the run nothing to ask the server, or to write to a file, once its rows have ended? Then it is over."""
        results = self.results
        is_open = self.going_on.places or self.later or self.to_retry or results.value.due
        if is_open or "slice" in self.bind or results.value.errors or self.error is not None:
            return False
        if sum(len(text or "") for text in results.texts) > SMALL_BYTES:
            return False
        self.is_over = self.runner.lock.acquire(blocking=False)  # not while the watch saves it
        if self.is_over:
            self.runner.lock.release()
        return self.is_over

    def resume_open(self) -> Outcome | None:
        """Make ready to run the open rows; return the outcome of a job that is to fail unrun."""
        self.resume()
        self.results.run_by(self.work.version, self.open)
        if self.taken.deferred is None:
            return None
        return self.with_open_rows(failed_by(self.taken, self.taken.deferred))

    def resume(self) -> None:
        """Find out which rows are open: all of them, or those that an earlier run has left."""
        left = None
        if self.record.attempts_started > 1:
            left = self.read_left()
        if left is None or left.part is None:
            self.open = list(range(self.bind["rows"]))
            self.results = RowResults.empty(len(self.open), self._kept_steps())
            self.results.value.spent = self.spent_before(left)
            self._take_kept_values()
        else:
            self._go_on_from(left.part, left)
        self.results.spent_by_rows_known = dict(self.results.value.spent)
        if left is not None:
            self.files.remove_earlier()
            self._give_up_rows(left.dead)
        self.open = self.results.without_rows_through(self.open)
        if self.taken.is_suspect and not (left and left.died):
            self._run_first_call_alone()
        self.open = self.going_on.taken_out_of(self.open, self.results.steps)
        if self.is_one_call:
            self.open, *self.later = calls_of(self.open, self.rows_a_call, self.results.value.calls or ())
            self.results.value.calls = self.later
            if self.results.steps is not None:
                self.results.steps.note_attempts(self.open, self.record.attempts_made)

    def _run_first_call_alone(self) -> None:
        """One of the calls kills its workers: each is to show that it is not the one."""
        first = self.rows_a_call
        if first < len(self.open) and self._may_delegate():
            self._delegate_from(first, first)

    def _take_kept_values(self) -> None:
        """Rows of one task that was the first of several steps in an earlier batch: they have what it returned."""
        if not self.steps and self.bind.get("kept"):
            self.results.take_values(self.files.rows.kept)
            self.open = [row for row in self.open if self.results.texts[row] is None]

    def _kept_steps(self) -> StepsSoFar | None:
        if not self.steps:
            return None
        kept = self.files.rows.kept if self.bind.get("kept") else ()
        return StepsSoFar.kept(self.steps, kept)

    def _go_on_from(self, part: str, left: PartOfRows) -> None:
        self.results = RowResults.of(self.files.read(part), self.steps, self.record.attempts_made)
        saved = self.results.value
        saved.spent = self.spent_before(left)
        open = sorted(saved.errors) if saved.open is None else saved.open
        # Rows of a job that was cancelled before it had stored those in which they go on are these jobs' all the same.
        open = [row for row in open if row not in saved.moved_places]
        if self.files.is_in_file(part):
            self.save_part(self.results.text(open), (0, 0))  # the file goes
        self.results.reopen(open)
        now = _now()
        saved.due = {row: due for row, due in saved.due.items() if due > now}
        self.open = [row for row in open if row not in saved.due]
        self.waiting = [row for row in open if row in saved.due]
        self.going_on.store_again(self.results)
        if saved.rest:  # the earlier run had begun to delegate the others
            self._delegate_rest(saved.rest)

    def _give_up_rows(self, dead: Mapping[int, int]) -> None:
        """Rows that have crashed their workers too often fail unrun."""
        for row in self.open[:]:
            if row in dead:
                self._note(row, failed_by(self.taken, crashed(dead[row])), 0.0, NOTHING)
                self.open.remove(row)

    async def run(self, host: Host) -> Outcome:
        """Run the open rows, one after the other, and return the job's outcome."""
        self.began = self.saved = self.last_move = time.monotonic()
        before = dict(self.results.value.spent)
        steps, so_far = self.results.steps, self.spent_so_far
        self.runner.begin(RowsToRun(self.open, self._note, steps, self.note_step, before, so_far))
        row_watch.add(self)
        try:
            early_end = await self._run_all(host)
        except BaseException:
            await host.aside(self._end_looks)
            raise
        if host.may_wait or (early_end is None and self._ends_with_nothing()):
            return self._end(early_end)
        return await host.aside(self._end, early_end)

    async def _run_all(self, host: Host) -> Outcome | None:
        early_end = None
        while early_end is None and self.runner.left():
            early_end = await self.runner.run()
            if early_end is None and self.runner.left():  # much was returned
                await host.aside(self._delegate_left)
        return early_end

    def _end_looks(self) -> None:
        row_watch.remove(self)
        with self.runner.lock:  # a look that has begun ends first
            self.is_over = True

    def _end(self, early_end: Outcome | None) -> Outcome:
        self._end_looks()
        if self.error is not None:
            raise self.error
        if self.runner.has_crashed:
            self.results.value.spent = self.spent_before(self.read_left())
        if early_end is not None:
            return self.broken_off(early_end)
        self.note_run_time(time.monotonic() - self.began)
        return self._outcome()

    def outcome_of(self, error: BaseException) -> Outcome:
        """Return the outcome of a run that has raised this."""
        if isinstance(error, UnknownTask):
            return put_off(self.taken)
        if isinstance(error, SetupFailed):
            return self.broken_off(without_setup(self.taken, str(error)))
        if isinstance(error, JobElsewhere | GivenUp):  # it does not count: its rows are another run's by now
            return returned(self.taken)
        job = Job(self.record, store=self.store, run=self.of_job)
        return self.broken_off(outcome_of_error(self.taken, error, self.work.retry, job))

    def after_overdue_call(self, end: Outcome, seconds: float) -> Outcome:
        """Return the outcome of a run that is given up in its call."""
        if len(self.open) > 1:
            self.later = [*map(list, halves(self.open)), *self.later]
            self.results.value.calls = self.later
        else:
            self._note(self.open[0], end, seconds, NOTHING)
        return self._outcome()

    def after_overdue_step(self, end_of: Callable[[RowSoFar], Outcome], seconds: float) -> Outcome:
        """Return the outcome of a run that is given up in a step of its row."""
        if self.results.steps is not None:
            for place in self.open:
                self._note(place, end_of(self.results.steps.row(place)), seconds, NOTHING)
        return self._outcome()

    def broken_off(self, outcome: Outcome) -> Outcome:
        """Return the outcome of a run that ends before all of its rows have; what they have come to is kept."""
        if self.results.has_news:
            with contextlib.suppress(FlownbError):
                self.save(is_end=True)
        return self.with_open_rows(outcome)

    def with_open_rows(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the rows that it ends: where the job as a whole fails, those that are open fail."""
        if outcome.kind != "failed":
            return outcome
        left = [*self.open, *self.going_on.places, *chain(*self.later), *self.waiting]
        return outcome._replace(rows=self.results.left_by(left))

    def _note(self, position: int, end: End, seconds: float, spent: Amounts) -> None:
        """A row has ended: with the text of its value, or an error."""
        if spent:
            self.results.note_spent(position, spent)
        if isinstance(end, str) and self.going_on.is_somewhere_else:
            self.results.note_passed(position, seconds)
            self.going_on.places.append(position)
            return
        if isinstance(end, str):
            self.results.note_value(position, end, seconds, self.record.attempts_made)
            return
        if end.kind == "put_off":  # it stays open
            self.results.value.due[position] = _now() + round(end.delay)
            return
        if end.kind == "retry":
            self.to_retry.append(position)
            self.last_retry = end
        self.results.note_error(position, end, seconds, self.record.attempts_made)

    # ---- while rows run -----------------------------------------------------------------------------

    def look(self, now: float) -> bool:
        """In the watch's thread: save what is done, and delegate what waits for a row that takes long."""
        with self.runner.lock:
            if self.is_over:
                return False
            try:
                self._look(now)
            except BaseException as error:  # the run does not count, or is cancelled
                self.error = error
                self.runner.take_rest()
                return False
        return True

    def _look(self, now: float) -> None:
        left = self.runner.left()
        if left != self.left_then:
            self.left_then, self.last_move = left, now
        if left and self._takes_long(now, left):
            self._take_and_delegate(now - self.began)
        if not left and self.going_on.places and set(self.open) <= set(self.going_on.places):
            return  # all go on in other jobs: the run ends now, and saves them itself
        if now - self.saved > SAVE_SECONDS:
            self.runner.note_ended()
            if self.results.has_news:
                self.save()
            self.saved = time.monotonic()
        elif self.results.steps is not None:
            self.runner.note_ended()
            self.save_steps(self.results.steps, now)

    def _takes_long(self, now: float, left: int) -> bool:
        """Whether a row runs for longer than a slice, or, where a job finds out how many rows it can hold, all do."""
        seconds, begun = now - self.began, len(self.open) - left
        if not begun or seconds < self.slice:
            return False
        if now - self.last_move >= self.slice:
            return True
        return "slice" in self.bind and seconds / begun * left > self.slice

    # ---- the rest of the rows -----------------------------------------------------------------------

    def _take_and_delegate(self, seconds: float) -> None:
        """Delegate the rows that have not begun, to jobs of as many as fit into a slice."""
        if not self._may_delegate():
            return
        begun = len(self.open) - self.runner.left()
        seconds_a_row = seconds / max(begun, 1)
        rest = self.runner.take_rest()
        if not rest:
            return
        self.runner.note_ended()
        fit = round(self.slice / seconds_a_row) if seconds_a_row else MOST_ROWS
        size = self.rows_a_call
        self._delegate_from(rest[0], max(1, min(fit or begun, MOST_ROWS) // size) * size)

    def _delegate_left(self) -> None:
        with self.runner.lock:
            self._take_and_delegate(time.monotonic() - self.began)

    def _delegate_from(self, first: int, rows_a_job: int) -> None:
        self.results.cut(first, rows_a_job)
        del self.open[first:]
        self.save()
        self._delegate_rest(rows_a_job)

    def _may_delegate(self) -> bool:
        """Whether this is a first run, whose rows are whole, of a job for whose rows no other flow waits."""
        if self.may_delegate is None:
            is_whole = len(self.open) == len(self.results.texts) and not self.going_on.stay_together
            self.may_delegate = is_whole and not self.results.value.rest
            if self.may_delegate:
                parents = patiently(lambda: self.store.shared.read_further_parents([self.record.key]))
                self.may_delegate = not parents[self.record.key]
        return self.may_delegate

    def _delegate_rest(self, rows_a_job: int) -> None:
        """Store the jobs for the rest, then forget the rest here; each step may be done again after a crash."""
        kept, rows = len(self.results.texts), self.files.rows
        if len(rows) <= kept:
            return
        spent = self.results.value.spent
        patiently(lambda: delegate_rows(self.store, self.taken, self.bind, kept, rows, rows_a_job, spent))
        self.write("data", rows.data(0, kept))
        self.may_delegate = False

    # ---- what becomes of the job --------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        results = self.results
        if moved := self.going_on.note_moved(results):
            self.save()  # the job says where its rows are before these jobs are stored
            self.going_on.store_moved(moved, results)
        if self.later and not self.to_retry:
            self.save()
            return returned(self.taken)
        if self.to_retry and self.last_retry:
            self.save(is_end=True)
            return self.last_retry._replace(reason=results.summary(len(results.texts)), rows=_ALL_COUNTED)
        if results.value.due:
            self.save(is_end=True)
            wait = max(min(results.value.due.values()) - _now(), 1)
            return put_off(self.taken, wait)._replace(rows=_ALL_COUNTED)
        text = self.files.keep(results.text(None))
        if results.value.errors and '"fpof":' in (self.record.parent or ""):
            self.save_part(text, results.all_ended)
            return failed(self.taken, results.summary(len(results.texts)))._replace(rows=results.ended)
        return completed_with(self.taken, text)._replace(rows=results.ended)


def _now() -> int:
    """Return the time in ms, for what is to be run later."""
    return round(time.time() * 1000)
