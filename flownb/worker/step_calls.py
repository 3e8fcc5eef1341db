"""Call the functions of a row's steps in turn: each gets the row's columns and what those before returned."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flownb.api.job import Job
from flownb.errors import JobElsewhere, RateLimitError
from flownb.files import references
from flownb.files.folder_of_flow import slug
from flownb.tasks import setup
from flownb.tasks.binding import UnknownTask
from flownb.tasks.row_values import RowValues, StepParameters
from flownb.tasks.task import Task
from flownb.wire import codec
from flownb.wire.amounts import NOTHING, Amounts
from flownb.wire.outcomes import Outcome
from flownb.wire.plain_json import AS_IT_IS
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.file_values import WRITTEN_AT_ONCE, NoFolder, files_of
from flownb.worker.hosts import Host
from flownb.worker.row_calls import RowCalls
from flownb.worker.run_outcomes import outcome_of_error
from flownb.worker.steps_so_far import NOT_BEGUN, NoteStep, RowSoFar
from flownb.worker.weighing import weights_of
from flownb.worker.work import Work, WorkStep


class RowsWithSteps(RowCalls):
    """What calls of steps share, for one row or for many: where each row has come to, and what its next step sees."""

    def __init__(self, taken: Taken, work: Work, store: Store, host: Host) -> None:
        super().__init__(taken, work, store, host)
        self._so_far: Mapping[int, RowSoFar] = {}
        self._note_step: NoteStep = lambda position, text, seconds, spent: None

    def begin(
        self, so_far: Mapping[int, RowSoFar], note_step: NoteStep, spent_before: Mapping[int, Amounts]
    ) -> None:
        """Go on with rows where their steps have come to; each step that ends before the last one is noted."""
        super().begin(so_far, note_step, spent_before)
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

    def __init__(self, taken: Taken, work: Work, store: Store, host: Host) -> None:
        super().__init__(taken, work, store, host)
        self._parameters = [StepParameters.of(step.task) for step in work.steps]
        self._ways = [f".{slug(step.task.name)}" for step in work.steps]

    async def calling(self, position: int) -> str | Outcome:
        """Run those steps of a row that are this job's and not done; return the JSON text of what all have returned.

        Or an outcome, as `RowCalls.calling` does; attempts are those of the step that failed.
        """
        self.begin_rows([position])
        work, so_far, clock = self._work, self._so_far.get(position, NOT_BEGUN), time.monotonic
        texts = list(so_far.texts)
        try:
            is_quick = self._host.may_wait or not (texts or self._large or self._has_files)
            read = self.row_at
            row = read(position, texts) if is_quick else await self._host.aside(read, position, texts)
        except Exception as error:  # what an earlier step has returned is in a file that cannot be read
            return await self._host.aside(
                self._failed, error, position, work.step(min(len(texts), work.last_step - 1)), so_far.tried
            )
        began = clock()
        for at in range(len(texts), work.last_step):
            tried = so_far.tried if at == len(so_far.texts) else 0
            end = await self._call_step(position, at, row, tried)
            if not isinstance(end, str):
                return end
            texts.append(end)
            if at < len(work.names) - 1:
                now = clock()
                spent = self.account.take_row() if self.account.of_row else NOTHING
                if write_down := self._note_step(position, end, now - began, spent):
                    await self._host.aside(write_down)
                    now = clock()
                began = now
        return f"[{','.join(texts)}]"

    async def _call_step(self, position: int, at: int, row: RowValues, tried: int) -> str | Outcome:
        """Run a step; add what it returns to the row, and return its text."""
        step, host = self._work.step(at), self._host
        task = step.task
        parameters = self._parameters[at - self._work.first_step]
        try:
            if self._taken.is_unweighed:  # that has failed, and fails its row
                weights_of(task, row)
            arguments = parameters.filled(row)
            if parameters.takes_job:
                arguments["job"] = self._job_of(position, step, tried)
            end = host.call(task.is_async, _called, task, arguments)
            value, raised = end if isinstance(end, tuple) else await end
            if raised is not None:
                raise raised
            way = self._ways[at - self._work.first_step]
            is_quick, keep = host.may_wait or type(value) in WRITTEN_AT_ONCE, self._text_and_seen
            text, seen = (
                keep(value, position, way) if is_quick else await host.aside(keep, value, position, way)
            )
            row.add(task.name, seen)
            return text
        except (UnknownTask, JobElsewhere, setup.SetupFailed):
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            return await self._host.aside(self._end_by, error, position, step, tried)

    def _text_and_seen(self, value: Any, position: int, way: str) -> tuple[str, Any]:
        """Return the text of what a step has returned, and what the next one sees of it."""
        text = self._text_of(value, position, way)
        is_plain = type(value) in AS_IT_IS and value == value  # a NaN is null
        return text, value if is_plain else self._read(text)

    def _end_by(self, error: BaseException, position: int, step: WorkStep, tried: int) -> Outcome:
        if isinstance(error, NoFolder | RateLimitError):
            return self._outcome_of(error, step.retry, self._job_of(position, step, tried))
        return self._failed(error, position, step, tried)

    def _failed(self, error: BaseException, position: int, step: WorkStep, tried: int) -> Outcome:
        taken = self._taken_by(step, tried)
        return outcome_of_error(taken, error, step.retry, self._job_of(position, step, tried))

    def _taken_by(self, step: WorkStep, tried: int) -> Taken:
        """Return the job as if it were one of this step alone."""
        record = dataclasses.replace(self._row_record, opts=step.opts, attempts_made=tried)
        return self._taken._replace(record=record)

    def _job_of(self, position: int, step: WorkStep, tried: int) -> Job:
        record = dataclasses.replace(
            self._row_record, opts=step.opts, attempts_made=tried, name=step.task.name
        )
        return self._job(record).holding(self.rows[position])


def _called(task: Task, arguments: dict[str, Any]) -> Any:
    if task.setup:
        return setup.call(task.runs, task.setup, task.name, arguments)
    return task.runs(**arguments)


def calls_for(taken: Taken, work: Work, store: Store, host: Host) -> RowCalls:
    """Return what calls the functions of a job's rows."""
    return (StepCalls if work.steps else RowCalls)(taken, work, store, host)


def outcome_of_crash(taken: Taken, work: Work, store: Store, error: Exception, row: RowSoFar) -> Outcome:
    """Return what the end of its process means for a row: an attempt of the step that ran."""
    step = work.step(min(len(row.texts), work.last_step - 1))
    record = dataclasses.replace(taken.record, opts=step.opts, attempts_made=row.tried, stacktrace="[]")
    return outcome_of_error(taken._replace(record=record), error, step.retry, Job(record, store=store))
