"""Run a many-row job: each row as if it were a job of its own; what is done is kept while others are still open.

Two threads see to a run. The slot's thread runs the rows, or waits for the process that does; the thread of
`row_watch.py` saves what is done, and delegates the rows that have not begun when one of them takes long.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flownb.adding.child_jobs import Run
from flownb.api.job import Job
from flownb.errors import FlownbError, JobElsewhere, ServerError
from flownb.tasks.binding import UnknownTask
from flownb.tasks.setup import SetupFailed
from flownb.wire import stored_steps
from flownb.wire.amounts import Amounts
from flownb.wire.many_rows import MOST_ROWS
from flownb.wire.outcomes import Outcome
from flownb.wire.records import crashed
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.wire.store.jobs import PartOfRows
from flownb.worker.calls_of_rows import calls_of, halves
from flownb.worker.delegate_rows import delegate_rows
from flownb.worker.job_files import JobFiles
from flownb.worker.patient_calls import patiently
from flownb.worker.row_results import RowResults
from flownb.worker.row_runners import RowRunner, RowsToRun
from flownb.worker.row_spending import spent_before, tell_spent
from flownb.worker.row_watch import row_watch
from flownb.worker.rows_going_on import RowsGoingOn
from flownb.worker.run_outcomes import (
    completed_with,
    failed,
    failed_by,
    outcome_of_error,
    put_off,
    returned,
    without_setup,
)
from flownb.worker.steps_so_far import RowSoFar, StepsSoFar
from flownb.worker.work import GivenUp, Work, options_of

SLICE_SECONDS = 0.1  # for which a row may hold up those behind it
FEW_ROWS = 4  # among which a slow one counts as all others
SAVE_SECONDS = 1.0  # of work after which the rows that are done are written down
STEP_SECONDS = 0.05  # that a step takes at least after which the steps that are done are written down at once
SAVING_SHARE = 0.05  # of the time that writing down steps may take


def run_rows(taken: Taken, work: Work, store: Store, runner: RowRunner) -> Outcome:
    """Run the rows of a job that are open yet and return the job's outcome; whatever happens, this returns."""
    run = RowsRun(taken, store, runner, work)
    try:
        run.resume()
        run.results.run_by(work.version, run.open)
        if taken.deferred is not None:
            return run.with_open_rows(failed_by(taken, taken.deferred))
        return run.run()
    except UnknownTask:
        return put_off(taken)
    except SetupFailed as error:
        return run.broken_off(without_setup(taken, str(error)))
    except (JobElsewhere, GivenUp):  # the run does not count: its rows are another run's by now
        return returned(taken)
    except BaseException as error:
        job = Job(taken.record, store=store, run=run.of_job)
        return run.broken_off(outcome_of_error(taken, error, work.retry, job))


class RowsRun:
    """One run of a many-row job. What the watch may change meanwhile is changed under the runner's lock."""

    def __init__(self, taken: Taken, store: Store, runner: RowRunner, work: Work) -> None:
        self.taken = taken
        self.steps = len(work.names)  # of each row, where there are several
        self.rows_a_call = work.rows_a_call or 1
        # Does it make one call a run, whose timeout is the job's?
        self.is_one_call = work.rows_a_call is not None and bool(options_of(taken).timeout)
        self.later: list[list[int]] = []  #: calls for the runs after this one, where it is one call
        self.store = store
        self.runner = runner
        self.record = taken.record
        self.bind: dict[str, Any] = json.loads(taken.record.bind or "{}")
        self.of_job = Run(taken)
        self.files = JobFiles(taken, store)
        self.going_on = RowsGoingOn(taken, work, store, self.bind, self.files.rows)
        self.slice = self.bind.get("slice", 0) / 1000 or SLICE_SECONDS
        # What changes while the rows run:
        self.open: list[int] = []  #: positions of the rows that this run has to run
        self.results = RowResults.empty(0)
        self.to_retry: list[int] = []  #: positions of rows that failed in this run, but not for good
        self.last_retry: Outcome | None = None  #: with which the last of these would have ended its own job
        self.waiting: list[int] = []  #: positions of open rows that are put off beyond this run
        self.may_delegate: bool | None = None  #: found out when it is asked first
        self.is_over = False
        self.error: BaseException | None = None  #: of the watch, for the slot to raise
        # What the watch knows, in monotonic time:
        self.began = self.saved = self.last_move = self.next_save_of_steps = 0.0
        self.left_then = -1  #: rows that had not begun at the last look

    def resume(self) -> None:
        """Find out which rows are open: all of them, or those that an earlier run has left."""
        left = None
        if self.record.attempts_started > 1:
            left = patiently(lambda: self.store.jobs.read_part(self.record.key))
        if left is None or left.part is None:
            self.open = list(range(self.bind["rows"]))
            self.results = RowResults.empty(len(self.open), self._kept_steps())
            self.results.value.spent = self._spent_before(left)
        else:
            self._go_on_from(left.part, left)
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

    def _run_first_call_alone(self) -> None:
        """One of the calls kills its workers: each is to show that it is not the one."""
        first = self.rows_a_call
        if first < len(self.open) and self._may_delegate():
            self._delegate_from(first, first)

    def _kept_steps(self) -> StepsSoFar | None:
        if not self.steps:
            return None
        kept = self.files.rows.kept if self.bind.get("kept") else ()
        return StepsSoFar.kept(self.steps, kept)

    def _spent_before(self, left: PartOfRows | None) -> dict[int, dict[str, int]]:
        by_job = {} if left is None else left.spent
        return spent_before(self.bind, self.files.rows, self.results.value.spent, by_job)

    def _go_on_from(self, part: str, left: PartOfRows) -> None:
        self.results = RowResults.of(self.files.read(part), self.steps, self.record.attempts_made)
        saved = self.results.value
        saved.spent = self._spent_before(left)
        open = sorted(saved.errors) if saved.open is None else saved.open
        if self.files.is_in_file(part):
            self._save_part(self.results.text(open), (0, 0))  # the file goes
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
                self._note(row, failed_by(self.taken, crashed(dead[row])), 0.0, {})
                self.open.remove(row)

    def run(self) -> Outcome:
        """Run the open rows, one after the other, and return the job's outcome."""
        self.began = self.saved = self.last_move = time.monotonic()
        self.runner.begin(RowsToRun(self.open, self._note, self.results.steps, self._note_step))
        row_watch.add(self)
        try:
            early_end = self._run_all()
        finally:
            row_watch.remove(self)
            with self.runner.lock:  # a look that has begun ends first
                self.is_over = True
        if self.error is not None:
            raise self.error
        if early_end is not None:
            return self.broken_off(early_end)
        self._note_run_time(time.monotonic() - self.began)
        return self._outcome()

    def _run_all(self) -> Outcome | None:
        early_end = None
        while early_end is None and self.runner.left():
            early_end = self.runner.run()
            if early_end is None and self.runner.left():  # much was returned
                with self.runner.lock:
                    self._take_and_delegate(time.monotonic() - self.began)
        return early_end

    def after_overdue_call(self, end: Outcome, seconds: float) -> Outcome:
        """Return the outcome of a run that is given up in its call."""
        if len(self.open) > 1:
            self.later = [*map(list, halves(self.open)), *self.later]
            self.results.value.calls = self.later
        else:
            self._note(self.open[0], end, seconds, {})
        return self._outcome()

    def after_overdue_step(self, end_of: Callable[[RowSoFar], Outcome], seconds: float) -> Outcome:
        """Return the outcome of a run that is given up in a step of its row."""
        if self.results.steps is not None:
            for place in self.open:
                self._note(place, end_of(self.results.steps.row(place)), seconds, {})
        return self._outcome()

    def broken_off(self, outcome: Outcome) -> Outcome:
        """Return the outcome of a run that ends before all of its rows have; what they have come to is kept."""
        if self.results.has_news:
            with contextlib.suppress(FlownbError):
                self._save(is_end=True)
        return self.with_open_rows(outcome)

    def with_open_rows(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the rows that it ends: where the job as a whole fails, those that are open fail."""
        if outcome.kind != "failed":
            return outcome
        left = [
            *self.open,
            *self.going_on.places,
            *(row for rows in self.later for row in rows),
            *self.waiting,
        ]
        return outcome._replace(rows=self.results.left_by(left))

    def _note(self, position: int, end: str | Outcome, seconds: float, spent: Amounts) -> None:
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

    def _note_step(self, position: int, text: str, seconds: float, spent: Amounts) -> None:
        """A step of a row has ended, and another one follows."""
        steps = self.results.steps
        if steps is None:
            return
        if spent:
            self.results.note_spent(position, spent)
        steps.note(position, text, seconds)
        if seconds >= STEP_SECONDS:
            steps.is_worth_saving = True
            if self.runner.notes_at_once:
                with self.runner.lock:
                    self._save_steps(steps, time.monotonic())

    def _save_steps(self, steps: StepsSoFar, now: float) -> None:
        if steps.is_worth_saving and now >= self.next_save_of_steps:
            steps.is_worth_saving = False
            self._save()
            self.saved = time.monotonic()
            self.next_save_of_steps = self.saved + (self.saved - now) / SAVING_SHARE

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
        if now - self.saved > SAVE_SECONDS:
            self.runner.note_ended()
            self._save()
            self.saved = time.monotonic()
        elif self.results.steps is not None:
            self.runner.note_ended()
            self._save_steps(self.results.steps, now)

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

    def _delegate_from(self, first: int, rows_a_job: int) -> None:
        self.results.cut(first, rows_a_job)
        del self.open[first:]
        self._save()
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
        patiently(lambda: delegate_rows(self.store, self.taken, self.bind, kept, rows, rows_a_job))
        self._write("data", rows.data(0, kept))
        self.may_delegate = False

    # ---- what becomes of the job --------------------------------------------------------------------

    def _save(self, *, is_end: bool = False) -> None:
        part, open, counts = self.results.so_far(self.to_retry)
        self._save_part(self.files.keep(part, open) if is_end else part, counts)

    def _save_part(self, part: str, counts: Sequence[int]) -> None:
        tell_spent(self.taken, self.store, self.results)
        (done, failed, *steps), own = counts, self.of_job.own
        base, id, save = self.taken.base, self.record.id, self.store.jobs.save_rows
        patiently(lambda: save(base, id, part, done=done, failed=failed, own_run=own, steps=steps))
        self.results.saved = counts

    def _write(self, field: str, text: str) -> None:
        base, id, own = self.taken.base, self.record.id, self.of_job.own
        patiently(lambda: self.store.jobs.update(base, id, field, text, own_run=own))

    def _note_run_time(self, seconds: float) -> None:
        """Let the batch's next jobs hold as many rows as fit into a slice; the slowest row of many says little."""
        rows = len(self.open)
        if "slice" in self.bind and rows:
            if rows > FEW_ROWS:
                rows, seconds = rows - 1, seconds - max(self.results.value.ms) / 1000
            with contextlib.suppress(ServerError):
                name = stored_steps.timed_name(self.record.name, stored_steps.steps_in(self.bind))
                self.store.batch_rows.write_seconds(self.record.queue, name, max(seconds, 0.0) / rows)

    def _outcome(self) -> Outcome:
        results = self.results
        if moved := self.going_on.note_moved(results):
            self._save()  # the job says where its rows are before these jobs are stored
            self.going_on.store_moved(moved, results)
        if self.later and not self.to_retry:
            self._save()
            return returned(self.taken)
        if self.to_retry and self.last_retry:
            self._save(is_end=True)
            return self.last_retry._replace(reason=results.summary(len(results.texts)), rows=results.ended)
        if results.value.due:
            self._save(is_end=True)
            wait = max(min(results.value.due.values()) - _now(), 1)
            return put_off(self.taken, wait)._replace(rows=results.ended)
        text = self.files.keep(results.text(None))
        if results.value.errors and '"fpof":' in (self.record.parent or ""):
            self._save_part(text, results.all_ended)
            return failed(self.taken, results.summary(len(results.texts)))._replace(rows=results.ended)
        return completed_with(self.taken, text)._replace(rows=results.ended)


def _now() -> int:
    """Return the time in ms, for what is to be run later."""
    return round(time.time() * 1000)
