"""Run a many-row job: each row as if it were a job of its own; what is done is kept while others are still open.

Two threads see to a run. The slot's thread runs the rows, or waits for the process that does; the thread of
`row_watch.py` saves what is done, and delegates the rows that have not begun when one of them takes long.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from flownb.adding.child_jobs import Run
from flownb.api.job import Job
from flownb.errors import FlownbError, JobElsewhere, ServerError
from flownb.tasks.binding import UnknownTask
from flownb.wire import codec
from flownb.wire.many_rows import MOST_ROWS, data_of
from flownb.wire.outcomes import Outcome
from flownb.wire.records import crashed
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.delegate_rows import delegate_rows
from flownb.worker.row_results import RowResults
from flownb.worker.row_runners import RowRunner
from flownb.worker.row_watch import row_watch
from flownb.worker.run_outcomes import (
    completed_with,
    failed,
    failed_by,
    outcome_of_error,
    put_off,
    returned,
)
from flownb.worker.work import GivenUp, Work

SLICE_SECONDS = 0.1  # for which a row may hold up those behind it
FEW_ROWS = 4  # among which a slow one counts as all others
SAVE_SECONDS = 1.0  # of work after which the rows that are done are written down
TRIES_OF_SERVER = 300  # while it is away
PAUSE_BETWEEN_TRIES = 0.2  # seconds


def run_rows(taken: Taken, work: Work, store: Store, runner: RowRunner) -> Outcome:
    """Run the rows of a job that are open yet and return the job's outcome; whatever happens, this returns."""
    run = _RowsRun(taken, store, runner)
    try:
        run.resume()
        run.results.run_by(work.version, run.open)
        if taken.deferred is not None:
            return run.with_open_rows(failed_by(taken, taken.deferred))
        return run.run()
    except UnknownTask:
        return put_off(taken)
    except (JobElsewhere, GivenUp):  # the run does not count: its rows are another run's by now
        return returned(taken)
    except BaseException as error:
        job = Job(taken.record, store=store, run=run.of_job)
        return run.broken_off(outcome_of_error(taken, error, work.retry, job))


class _RowsRun:
    """One run of a many-row job. What the watch may change meanwhile is changed under the runner's lock."""

    def __init__(self, taken: Taken, store: Store, runner: RowRunner) -> None:
        self.taken = taken
        self.store = store
        self.runner = runner
        self.record = taken.record
        self.bind: dict[str, Any] = json.loads(taken.record.bind or "{}")
        self.of_job = Run(taken)
        self.slice = self.bind.get("slice", 0) / 1000 or SLICE_SECONDS
        # What changes while the rows run:
        self.open: list[int] = []  #: positions of the rows that this run has to run
        self.results = RowResults.empty(0)
        self.to_retry: list[
            int
        ] = []  #: positions of rows that failed in this run and are worth another attempt
        self.last_retry: Outcome | None = (
            None  #: what the last of these would have ended a job of its own with
        )
        self.may_delegate: bool | None = None  #: found out when it is asked first
        self.is_over = False
        self.error: BaseException | None = None  #: of the watch, for the slot to raise
        # What the watch knows, in monotonic time:
        self.began = self.saved = self.last_move = 0.0
        self.left_then = -1  #: rows that had not begun at the last look

    def resume(self) -> None:
        """Find out which rows are open: all of them, or those that an earlier run has left."""
        left = None
        if self.record.attempts_started > 1:
            left = _patiently(lambda: self.store.jobs.read_part(self.record.key))
        if left is None or left.part is None:
            self.open = list(range(self.bind["rows"]))
            self.results = RowResults.empty(len(self.open))
        else:
            self._go_on_from(left.part)
        if left is not None:
            self._give_up_rows(left.dead)
        if self.taken.is_suspect and not (left and left.died) and len(self.open) > 1 and self._may_delegate():
            self._delegate_from(
                1, 1
            )  # one of its rows kills its workers: each is to show that it is not the one

    def _go_on_from(self, part: str) -> None:
        self.results = RowResults.read(part)
        saved = self.results.value
        self.open = sorted(saved.errors) if saved.open is None else saved.open
        self.results.reopen(self.open)
        if saved.rest:  # the earlier run had begun to delegate the others
            self._delegate_rest(saved.rest)

    def _give_up_rows(self, dead: Mapping[int, int]) -> None:
        """Rows that have crashed their workers too often fail unrun."""
        for row in self.open[:]:
            if row in dead:
                self._note(row, failed_by(self.taken, crashed(dead[row])), 0.0)
                self.open.remove(row)

    def run(self) -> Outcome:
        """Run the open rows, one after the other, and return the job's outcome."""
        self.began = self.saved = self.last_move = time.monotonic()
        self.runner.begin(self.open, self._note)
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

    def broken_off(self, outcome: Outcome) -> Outcome:
        """Return the outcome of a run that ends before all of its rows have; what they have come to is kept."""
        if self.results.done or self.results.value.errors:
            with contextlib.suppress(FlownbError):
                self._save()
        return self.with_open_rows(outcome)

    def with_open_rows(self, outcome: Outcome) -> Outcome:
        """Return the outcome with the rows that it ends: where the job as a whole fails, those that are open fail."""
        if outcome.kind != "failed":
            return outcome
        return outcome._replace(rows=(0, len(self.open) - sum(self.results.saved)))

    def _note(self, position: int, end: str | Outcome, seconds: float) -> None:
        """A row has ended: with the text of its value, or an error."""
        if isinstance(end, str):
            self.results.note_value(position, end, seconds, self.record.attempts_made)
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
        if now - self.saved > SAVE_SECONDS:
            self.runner.note_ended()
            self._save()
            self.saved = time.monotonic()

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
        self._delegate_from(rest[0], max(1, min(fit or begun, MOST_ROWS)))

    def _delegate_from(self, first: int, rows_a_job: int) -> None:
        self.results.cut(first, rows_a_job)
        del self.open[first:]
        self._save()
        self._delegate_rest(rows_a_job)

    def _may_delegate(self) -> bool:
        """Whether this is a first run, whose rows are whole, of a job for whose rows no other flow waits."""
        if self.may_delegate is None:
            self.may_delegate = len(self.open) == len(self.results.texts) and not self.results.value.rest
            if self.may_delegate:
                parents = _patiently(lambda: self.store.shared.read_further_parents([self.record.key]))
                self.may_delegate = not parents[self.record.key]
        return self.may_delegate

    def _delegate_rest(self, rows_a_job: int) -> None:
        """Store the jobs for the rest, then forget the rest here; each step may be done again after a crash."""
        kept = len(self.results.texts)
        rows = [codec.encode(row, "row") for row in codec.decode(self.record.data)["rows"]]
        rest = rows[kept:]
        if not rest:
            return
        _patiently(lambda: delegate_rows(self.store, self.taken, self.bind, kept, rest, rows_a_job))
        self._write("data", data_of(rows[:kept]))
        self.may_delegate = False

    # ---- what becomes of the job --------------------------------------------------------------------

    def _save(self) -> None:
        self._save_part(*self.results.so_far(self.to_retry))

    def _save_part(self, part: str, done: int, failed: int) -> None:
        _patiently(
            lambda: self.store.jobs.save_rows(
                self.taken.base, self.record.id, part, done=done, failed=failed, own_run=self.of_job.own
            )
        )
        self.results.saved = done, failed

    def _write(self, field: str, text: str) -> None:
        _patiently(
            lambda: self.store.jobs.update(
                self.taken.base, self.record.id, field, text, own_run=self.of_job.own
            )
        )

    def _note_run_time(self, seconds: float) -> None:
        """Let the batch's next jobs hold as many rows as fit into a slice; the slowest row of many says little."""
        rows = len(self.open)
        if "slice" in self.bind and rows:
            if rows > FEW_ROWS:
                rows, seconds = rows - 1, seconds - max(self.results.value.seconds)
            with contextlib.suppress(ServerError):
                self.store.batch_rows.write_seconds(
                    self.record.queue, self.record.name, max(seconds, 0.0) / rows
                )

    def _outcome(self) -> Outcome:
        results = self.results
        if self.to_retry and self.last_retry:
            self._save()
            return self.last_retry._replace(reason=results.summary(len(results.texts)), rows=results.ended)
        text = results.text(None)
        if results.value.errors and '"fpof":' in (self.record.parent or ""):
            self._save_part(text, results.done, results.failed)
            return failed(self.taken, results.summary(len(results.texts)))._replace(rows=results.ended)
        return completed_with(self.taken, text)._replace(rows=results.ended)


def _patiently(ask: Callable[[], Any]) -> Any:
    """Ask a server that may be away for a while: what the rows have come to must not be lost with it."""
    for _ in range(TRIES_OF_SERVER):
        with contextlib.suppress(ServerError):
            return ask()
        time.sleep(PAUSE_BETWEEN_TRIES)
    return ask()
