"""Call the functions of a row's steps in turn: each gets the row's columns and what those before returned."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flownb.api.job import Job
from flownb.api.spending import NOTHING
from flownb.errors import FlowError, JobElsewhere, RateLimitError, UnrecoverableError
from flownb.files import references
from flownb.files.folder_of_flow import slug
from flownb.tasks import setup
from flownb.tasks.binding import UnknownTask
from flownb.tasks.row_values import RowValues, StepParameters
from flownb.wire import codec
from flownb.wire.outcomes import Outcome
from flownb.wire.plain_json import AS_IT_IS
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.file_values import NoFolder, files_of
from flownb.worker.row_calls import RowCalls
from flownb.worker.run_outcomes import held, outcome_of_error, rate_limited
from flownb.worker.steps_so_far import NOT_BEGUN, NoteStep, RowSoFar
from flownb.worker.weighing import weights_of
from flownb.worker.work import NEVER_AWAITED, Work, WorkStep


class RowsWithSteps(RowCalls):
    """What calls of steps share, for one row or for many: where each row has come to, and what its next step sees."""

    def __init__(self, taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any]) -> None:
        super().__init__(taken, work, store, await_)
        self._so_far: Mapping[int, RowSoFar] = {}
        self._note_step: NoteStep = lambda position, text, seconds, spent: None

    def begin(self, so_far: Mapping[int, RowSoFar], note_step: NoteStep) -> None:
        """Go on with rows where their steps have come to; each step that ends before the last one is noted."""
        self._so_far = so_far
        self._note_step = note_step

    def row_at(self, position: int, returned: Sequence[str]) -> RowValues:
        """Return what the next step of a row sees whose steps have returned these JSON texts."""
        row = RowValues(self.job(position).data if self._large else self.rows[position])
        for name, text in zip(self._work.names, returned, strict=False):
            row.add(name, self._read(text))
        return row

    def _read(self, text: str) -> Any:
        """Return what a step has returned as the next ones see it: as JSON has it, also if large; files as `File`."""
        value = codec.decode(text)
        if references.MARK not in text:
            return value
        folder = files_of(self._store, self._taken.record.flow or "").folder
        return references.with_files(value, folder, as_given=references.whole_if_plain)


class StepCalls(RowsWithSteps):
    """The rows of one run of a job whose rows have steps, in the process that runs them."""

    def __init__(self, taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any]) -> None:
        super().__init__(taken, work, store, await_)
        self._parameters = [StepParameters.of(step.task) for step in work.steps]
        self._ways = [f".{slug(step.task.name)}" for step in work.steps]

    def call(self, position: int) -> str | Outcome:
        """Run the steps of a row that are not done, and this job's: return the JSON text of what all have returned so
        far, or an outcome.

        What the outcome means is as in `RowCalls.call`; attempts are those of the step that failed.
        """
        if self._log is not None:
            self._log.begin_row(self._positions[position])
        work, so_far, clock = self._work, self._so_far.get(position, NOT_BEGUN), time.monotonic
        texts = list(so_far.texts)
        try:
            row = self.row_at(position, texts)
        except Exception as error:  # what an earlier step has returned is in a file that cannot be read
            return self._failed(error, position, work.step(min(len(texts), work.last_step - 1)), so_far.tried)
        began = clock()
        for at in range(len(texts), work.last_step):
            tried = so_far.tried if at == len(so_far.texts) else 0
            end = self._call_step(position, at, row, tried)
            if not isinstance(end, str):
                return end
            texts.append(end)
            if at < len(work.names) - 1:
                now = clock()
                spent = self.account.take_row() if self.account.of_row else NOTHING
                self._note_step(position, end, now - began, spent)
                began = now
        return f"[{','.join(texts)}]"

    def _call_step(self, position: int, at: int, row: RowValues, tried: int) -> str | Outcome:
        """Run a step; add what it returns to the row, and return its text."""
        step = self._work.step(at)
        task = step.task
        parameters = self._parameters[at - self._work.first_step]
        try:
            if self._taken.is_unweighed:  # that has failed, and fails its row
                weights_of(task, row)
            arguments = parameters.filled(row)
            if parameters.takes_job:
                arguments["job"] = self._job_of(position, step, tried)
            if task.setup:
                value = setup.call(task.runs, task.setup, task.name, arguments)
            else:
                value = task.runs(**arguments)
            if type(value) not in NEVER_AWAITED and inspect.isawaitable(value):
                value = self._await(value)
            text = self._text_of_step(value, position, self._ways[at - self._work.first_step])
            is_plain = type(value) in AS_IT_IS and value == value  # a NaN is null
            row.add(task.name, value if is_plain else self._read(text))
            return text
        except NoFolder as error:
            return held(self._taken, error, self._store)
        except RateLimitError as error:
            return rate_limited(self._taken, error, step.retry, self._job_of(position, step, tried))
        except (UnknownTask, JobElsewhere, setup.SetupFailed):
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            return self._failed(error, position, step, tried)

    def _failed(self, error: BaseException, position: int, step: WorkStep, tried: int) -> Outcome:
        taken = self._taken_by(step, tried)
        return outcome_of_error(taken, error, step.retry, self._job_of(position, step, tried))

    def _text_of_step(self, value: Any, position: int, way: str) -> str:
        try:
            return self._returned.text_of(value, self._positions[position], way)
        except FlowError as error:
            raise UnrecoverableError(str(error)) from None

    def _taken_by(self, step: WorkStep, tried: int) -> Taken:
        """Return the job as if it were one of this step alone."""
        record = dataclasses.replace(self._row_record, opts=step.opts, attempts_made=tried)
        return self._taken._replace(record=record)

    def _job_of(self, position: int, step: WorkStep, tried: int) -> Job:
        record = dataclasses.replace(
            self._row_record, opts=step.opts, attempts_made=tried, name=step.task.name
        )
        return self._job(record).holding(self.rows[position])


def calls_for(taken: Taken, work: Work, store: Store, await_: Callable[[Any], Any]) -> RowCalls:
    """Return what calls the functions of a job's rows."""
    return (StepCalls if work.steps else RowCalls)(taken, work, store, await_)


def outcome_of_crash(taken: Taken, work: Work, store: Store, error: Exception, row: RowSoFar) -> Outcome:
    """Return what the end of its process means for a row: an attempt of the step that ran."""
    step = work.step(min(len(row.texts), work.last_step - 1))
    record = dataclasses.replace(taken.record, opts=step.opts, attempts_made=row.tried, stacktrace="[]")
    return outcome_of_error(taken._replace(record=record), error, step.retry, Job(record, store=store))
