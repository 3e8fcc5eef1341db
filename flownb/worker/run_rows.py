"""Run a many-row job: each row as if it were a job of its own; what is done is kept while others are still open."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

from flownb.adding.child_jobs import Run
from flownb.api.job import Job
from flownb.errors import FlowError, JobElsewhere, RateLimitError, ServerError
from flownb.tasks.binding import UnknownTask
from flownb.wire import codec
from flownb.wire.many_rows import MOST_ROWS, data_of, refer
from flownb.wire.outcomes import Outcome
from flownb.wire.records import JobRecord
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.delegate_rows import delegate_rows
from flownb.worker.row_results import RowResults
from flownb.worker.run_outcomes import (
    completed_with,
    failed,
    failed_by,
    outcome_of_error,
    put_off,
    rate_limited,
    returned,
)
from flownb.worker.work import GivenUp, Work

SAVE_SECONDS = 1.0  # of work after which the rows that are done are written down
MOST_NEW_CHARACTERS = 4_000_000  # of values after which a job delegates the rest of its rows
TRIES_OF_SERVER = 300  # while it is away
PAUSE_BETWEEN_TRIES = 0.2  # seconds


def run_rows(taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any]) -> Outcome:
    """Run the rows of a job that are open yet and return the job's outcome; whatever happens, this returns."""
    run = _RowsRun(taken, work, store)
    try:
        run.resume()
        if taken.deferred is not None:
            return run.with_row_counts(failed_by(taken, taken.deferred))
        return run.run(await_)
    except UnknownTask:
        return put_off(taken)
    except (JobElsewhere, GivenUp):  # the run does not count: its rows are another run's by now
        return returned(taken)
    except BaseException as error:
        return run.with_row_counts(outcome_of_error(taken, error, work.retry, run.job))


class _RowJob(Job):
    """A row's job, as the function sees it."""

    __slots__ = ()

    def holding(self, data: Any) -> Self:
        """Give the job its data, which are decoded already."""
        self._data = data
        return self

    def update_data(self, data: Any) -> None:
        raise FlowError("update_data: this row shares its job with others; give rows_per_job=1")

    def add_children(self, children: Iterable[Any]) -> list[Any]:
        raise FlowError("add_children: this row shares its job with others; give rows_per_job=1")


class _RowsRun:
    """One run of a many-row job; everything is written by the thread that runs it."""

    def __init__(self, taken: Taken, work: Work, store: Store) -> None:
        self.taken = taken
        self.work = work
        self.store = store
        self.record = taken.record
        self.bind: dict[str, Any] = json.loads(taken.record.bind or "{}")
        self.of_job = Run(taken)
        self.job = self._job(taken.record)
        self.row_record = dataclasses.replace(taken.record, bind=None, stacktrace="[]")
        # What changes while the rows run:
        self.rows: list[Any] = []
        self.open: list[int] = []  #: positions of the rows that this run has to run
        self.results = RowResults.empty(0)
        self.to_retry: list[
            int
        ] = []  #: positions of rows that failed in this run and are worth another attempt
        self.last_retry: Outcome | None = (
            None  #: what the last of these would have ended a job of its own with
        )

    def resume(self) -> None:
        """Find out which rows are open: all of them, or those that an earlier run has left."""
        self.rows = codec.decode(self.record.data)["rows"]
        part = None
        if self.record.attempts_started > 1:
            part = _patiently(lambda: self.store.jobs.read_part(self.record.key))
        if part is None:
            self.open = list(range(len(self.rows)))
            self.results = RowResults.empty(len(self.rows))
            return
        self.results = RowResults.read(part)
        saved = self.results.value
        self.open = sorted(saved.errors) if saved.open is None else saved.open
        if saved.rest:  # the earlier run had begun to delegate the others
            self._delegate_rest(saved.rest)

    def run(self, await_: Callable[[Any], Any]) -> Outcome:
        """Run the open rows, one after the other, and return the job's outcome."""
        began = saved = time.monotonic()
        for n, position in enumerate(self.open):
            now, left = time.monotonic(), self.open[n:]
            if n and self._has_had_its_time(now - began, n, len(left)):
                self._keep_rows_before(position, (now - began) / n)
                break
            if now - saved > SAVE_SECONDS:
                self._save([*self.to_retry, *left])
                saved = now
            early_end = self._run_row(position, await_)
            if early_end is not None:
                self._save([*self.to_retry, *left])
                return self.with_row_counts(early_end)
            self.results.value.seconds[position] = round(time.monotonic() - now, 3)
        self._note_run_time(time.monotonic() - began)
        return self._outcome()

    def with_row_counts(self, outcome: Outcome) -> Outcome:
        """Return the outcome of the job as a whole: where it fails, all rows that are open fail with it."""
        return outcome._replace(rows=(0, len(self.open))) if outcome.kind == "failed" else outcome

    # ---- one row ------------------------------------------------------------------------------------

    def _run_row(self, position: int, await_: Callable[[Any], Any]) -> Outcome | None:
        """Run one row; return the outcome with which the run ends before the others, if it does."""
        job = self._row_job(position)
        try:
            value = self.work.processor(job)
            if inspect.isawaitable(value):
                value = await_(value)
            self.results.note_value(position, value, self.record.attempts_made)
        except RateLimitError as error:
            outcome = rate_limited(self.taken, error, self.work.retry, job)
            if outcome.kind == "returned":
                return outcome._replace(rows=self.results.ended)
            self._note_error(position, outcome)
        except (UnknownTask, JobElsewhere):
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self._note_error(position, outcome_of_error(self.taken, error, self.work.retry, job))
        return None

    def _note_error(self, position: int, outcome: Outcome) -> None:
        """A row has failed, with what this would be for a job of its own."""
        self.results.note_error(position, outcome, self.record.attempts_made)
        if outcome.kind == "retry":
            self.to_retry.append(position)
            self.last_retry = outcome

    def _row_job(self, position: int) -> Job:
        if "large" in self.bind:  # the row itself stays as it is stored: it may be delegated
            text, bind = codec.encode(self.rows[position], "row"), refer(None, self.bind["large"])
            return self._job(dataclasses.replace(self.row_record, data=text, bind=bind))
        return self._job(self.row_record).holding(self.rows[position])

    def _job(self, record: JobRecord) -> _RowJob:
        return _RowJob(record, store=self.store, run=self.of_job)

    # ---- the rest of the rows -----------------------------------------------------------------------

    def _has_had_its_time(self, seconds: float, run: int, left: int) -> bool:
        """Whether as much is left as the job has run for. Only a first run, whose rows are whole, delegates."""
        if len(self.open) < len(self.rows) or self.results.value.rest:
            return False
        slice_ = self.bind.get("slice", 0) / 1000
        is_long = slice_ and seconds >= slice_ and seconds / run * left > slice_
        if not (is_long or self.results.new_characters > MOST_NEW_CHARACTERS):
            return False
        parents = _patiently(lambda: self.store.shared.read_further_parents([self.record.key]))
        return not parents[self.record.key]  # another flow waits for all of its rows

    def _keep_rows_before(self, position: int, seconds_a_row: float) -> None:
        """Delegate the rows from `position` on, to jobs of as many as fit into the time of one."""
        fit = round(self.bind.get("slice", 0) / 1000 / seconds_a_row) if seconds_a_row else MOST_ROWS
        rows_a_job = max(1, min(fit or position, MOST_ROWS))
        self.results.cut(position, rows_a_job)
        self._save(self.to_retry)
        self._delegate_rest(rows_a_job)

    def _delegate_rest(self, rows_a_job: int) -> None:
        """Store the jobs for the rest, then forget the rest here; each step may be done again after a crash."""
        kept = len(self.results.texts)
        rest = [codec.encode(row, "row") for row in self.rows[kept:]]
        if not rest:
            return
        _patiently(lambda: delegate_rows(self.store, self.taken, self.bind, kept, rest, rows_a_job))
        self.rows = self.rows[:kept]
        self._write("data", data_of([codec.encode(row, "row") for row in self.rows]))
        self.open = [position for position in self.open if position < kept]

    # ---- what becomes of the job --------------------------------------------------------------------

    def _save(self, open: list[int]) -> None:
        self._write("part", self.results.text(open))

    def _write(self, field: str, text: str) -> None:
        _patiently(
            lambda: self.store.jobs.update(
                self.taken.base, self.record.id, field, text, own_run=self.of_job.own
            )
        )

    def _note_run_time(self, seconds: float) -> None:
        """Let the batch's next jobs hold as many rows as fit into a slice of time."""
        if "slice" in self.bind and self.open:
            with contextlib.suppress(ServerError):
                self.store.batch_rows.write_seconds(
                    self.record.queue, self.record.name, seconds / len(self.open)
                )

    def _outcome(self) -> Outcome:
        results, rows = self.results, self.results.ended
        if self.to_retry and self.last_retry:
            self._save(self.to_retry)
            return self.last_retry._replace(reason=results.summary(len(self.rows)), rows=rows)
        text = results.text(None)
        if results.value.errors and '"fpof":' in (self.record.parent or ""):
            self._write("part", text)
            return failed(self.taken, results.summary(len(self.rows)))._replace(rows=rows)
        return completed_with(self.taken, text)._replace(rows=rows)


def _patiently(ask: Callable[[], Any]) -> Any:
    """Ask a server that may be away for a while: what the rows have come to must not be lost with it."""
    for _ in range(TRIES_OF_SERVER):
        with contextlib.suppress(ServerError):
            return ask()
        time.sleep(PAUSE_BETWEEN_TRIES)
    return ask()
