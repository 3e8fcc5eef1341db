"""Call a task's function for one row of a many-row job, as if the row were a job of its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from flownb.adding.child_jobs import Run
from flownb.api.job import Job
from flownb.api.spending import Account
from flownb.errors import FlowError, JobElsewhere, RateLimitError, UnrecoverableError
from flownb.files.references import with_input_files
from flownb.tasks.binding import UnknownTask
from flownb.tasks.setup import SetupFailed
from flownb.wire import codec
from flownb.wire.amounts import Amounts
from flownb.wire.many_rows import note_files, positions_in, refer
from flownb.wire.outcomes import Outcome
from flownb.wire.records import JobRecord
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.file_values import WRITTEN_AT_ONCE, NoFolder, ReturnedValues
from flownb.worker.hosts import Host, at_once
from flownb.worker.job_files import rows_of
from flownb.worker.retry_policy import RetryPolicy
from flownb.worker.run_outcomes import held, outcome_of_error, rate_limited
from flownb.worker.steps_so_far import NoteStep, RowSoFar
from flownb.worker.telling import this_run
from flownb.worker.work import Work

MOST_NEW_CHARACTERS = 4_000_000  # of values after which a run delegates the rest of its rows


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


class RowCalls:
    """The rows of one run of a job, in the process that runs them."""

    def __init__(self, taken: Taken, work: Work, store: Store, host: Host) -> None:
        self.of_job = Run(taken)
        self._taken = taken
        self._work = work
        self._store = store
        self._host = host
        bind = json.loads(taken.record.bind or "{}")
        self._large = bind.get("large")
        self._has_files = "files" in bind
        self._positions = positions_in(bind)  # of the job's rows in the batch
        run = this_run()
        self._log = None if run is None else run.log
        if self._log is not None:
            self._log.data = lambda: {"rows": self.rows}
        self.account = run or Account()  #: what the rows spend
        self._spent_before: Mapping[int, Amounts] = {}  # and have spent in former runs
        self._returned = ReturnedValues(taken.record, store)
        self._row_record = dataclasses.replace(taken.record, bind=None, stacktrace="[]")
        self._is_async = work.is_async

    def begin(
        self, so_far: Mapping[int, RowSoFar], note_step: NoteStep, spent_before: Mapping[int, Amounts]
    ) -> None:
        """Make ready to run rows: where the steps of each have come to, if it has several, and what it has spent."""
        self._spent_before = spent_before

    def begin_rows(self, positions: Sequence[int]) -> None:
        """What is printed from now on is the first one's, what is spent is that of them all."""
        if self._log is not None:
            self._log.begin_row(self._positions[positions[0]])
        self.account.begin_rows(positions, self._spent_before)

    @property
    def may_wait(self) -> bool:
        """May the thread that runs the rows wait for the server?"""
        return self._host.may_wait

    def call(self, position: int) -> str | Outcome:
        """Run the row at a position of the job, in a slot's thread: as `calling` does."""
        return at_once(self.calling(position))

    async def calling(self, position: int) -> str | Outcome:
        """Run the row at a position of the job: return the JSON text of its value, or what its error means for it.

        An outcome that is ``returned`` is one of the job: its queue is held. Raises what says that this run of the
        job does not count, and `UnknownTask`.
        """
        self.begin_rows([position])
        job, host = self.job(position), self._host
        try:
            if self._large and not host.may_wait:
                await host.aside(getattr, job, "data")
            end = host.call(self._is_async, self._work.processor, job)
            value, error = end if isinstance(end, tuple) else await end
            if error is not None:
                raise error
            if host.may_wait or type(value) in WRITTEN_AT_ONCE:
                return self._text_of(value, position)
            return await host.aside(self._text_of, value, position)
        except (UnknownTask, JobElsewhere, SetupFailed):
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            return await host.aside(self._outcome_of, error, self._work.retry, job)

    def _outcome_of(self, error: BaseException, retry: RetryPolicy, job: Job) -> Outcome:
        """Return what it means for a row that its function has raised. Whoever is asked may take long."""
        if isinstance(error, NoFolder):
            return held(self._taken, error, self._store)
        if isinstance(error, RateLimitError):
            return rate_limited(self._taken, error, retry, job)
        return outcome_of_error(self._taken, error, retry, job)

    def _text_of(self, value: Any, position: int, way: str = "") -> str:
        try:
            return self._returned.text_of(value, self._positions[position], way)
        except FlowError as error:
            raise UnrecoverableError(str(error)) from None

    @cached_property
    def rows(self) -> list[Any]:
        """The rows of the job; read with the first one, so that a file that is gone is an error of the run."""
        return self.read_rows()

    def read_rows(self) -> list[Any]:
        """Read the rows of the job anew."""
        return rows_of(self._taken, self._store).read()

    def job(self, position: int) -> Job:
        """Return the job of a row, as its function sees it."""
        if self._large:  # the row itself stays as it is stored: it may be delegated
            text, bind = codec.encode(self.rows[position], "row"), refer(None, self._large)
            if self._has_files:
                bind = note_files(bind)
            return self._job(dataclasses.replace(self._row_record, data=text, bind=bind))
        row = self.rows[position]
        return self._job(self._row_record).holding(with_input_files(row) if self._has_files else row)

    def _job(self, record: JobRecord) -> _RowJob:
        return _RowJob(record, store=self._store, run=self.of_job)
