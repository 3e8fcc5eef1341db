"""Which runs a slot's jobs: the slot's thread, a process of its own (`job_process.py`), or somebody's executor."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from flownb.api.current_run import JobInSlot
from flownb.api.job import Job
from flownb.arguments import shown
from flownb.errors import JobCrashed, JobTimeout, OptionError, UnrecoverableError
from flownb.tasks import registry
from flownb.wire.amounts import Amounts
from flownb.wire.many_rows import holds_rows
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.captured_output import log_of
from flownb.worker.hosts import GivenUp, InSlot, at_once
from flownb.worker.job_process import JobProcess
from flownb.worker.lease_keeper import keeper
from flownb.worker.overdue_rows import after_overdue_call, after_overdue_step
from flownb.worker.packed_job import PackedJob, UnknownWork, WorkPacker, need_cloudpickle, run_packed
from flownb.worker.row_runners import RowsInProcess
from flownb.worker.run import run
from flownb.worker.run_outcomes import outcome_of_error, returned, with_lines, without_setup
from flownb.worker.run_rows import run_rows
from flownb.worker.sent_rows import SentRows
from flownb.worker.step_calls import outcome_of_crash
from flownb.worker.steps_so_far import RowSoFar
from flownb.worker.telling import RunOfJob
from flownb.worker.work import Work, options_of

log = logging.getLogger("flownb.worker")

Submit = Callable[[Any], "Future[Any]"]  # starts an awaitable in the worker's loop

PAUSE_AFTER_REFUSAL = 1.0  # seconds before an executor that takes no jobs is given another


class Runner:
    """Runs a slot's jobs, one at a time; the base of those below."""

    def __init__(self, work_for: Callable[[Taken], Work], store: Store, submit: Submit) -> None:
        self._work_for = work_for
        self._store = store
        self._submit = submit
        self._coroutine: Future[Any] | None = None  # written by the thread that runs the job; `kill` reads it
        self._is_given_up = False  # written by `kill`
        self._problem: str | None = None  # why what the job needs could not be loaded
        # The run in this process, if there is one; who begins it writes, `give_up` reads:
        self._run: RunOfJob | None = None

    runs_elsewhere = False  #: in another process

    def prepare(self, taken: Taken) -> None:
        """Get ready for a job; what this takes is no part of the job's time. Where it fails, `run` says so."""
        is_to_load = taken.record.queue in registry.to_prepare
        self._problem = self._load(taken, self._work_for(taken)) if is_to_load else None

    def _load(self, taken: Taken, work: Work) -> str | None:
        """Load what the job's function needs; return why that failed."""

    def run(self, taken: Taken, entry: int, slot: JobInSlot) -> Outcome:
        """Run a job, which holds a slot, and return its outcome; whatever happens, this returns.

        `entry` is the job's in the page of held jobs, where rows that begin in this process are noted.
        """
        raise NotImplementedError

    def give_up(self, taken: Taken, error: Exception) -> Outcome:
        """Return what it means for a job that its run is given up, with what the run has printed and spent."""
        if self._run is None:
            return self._outcome_given_up(taken, error)
        self._run.tell_untold()
        return self._run.with_what_it_left(self._outcome_given_up(taken, error))

    def _outcome_given_up(self, taken: Taken, error: Exception) -> Outcome:
        work = self._work_for(taken)
        outcome = outcome_of_error(taken, error, work.retry, Job(taken.record, store=self._store))
        is_call = work.rows_a_call is not None and holds_rows(taken.record.bind)
        if is_call and outcome.kind == "failed" and isinstance(error, JobTimeout):
            seconds = (options_of(taken).timeout or 0) / 1000
            return after_overdue_call(taken, work, self._store, outcome, seconds)
        if work.steps and not is_call and isinstance(error, JobTimeout):
            end_of = partial(outcome_of_crash, taken, work, self._store, error)
            return after_overdue_step(
                taken, work, self._store, end_of, (options_of(taken).timeout or 0) / 1000
            )
        return outcome

    def kill(self) -> None:
        """End what runs, where that can be, and run nothing any more: a coroutine is cancelled, a thread goes on."""
        self._is_given_up = True
        if self._coroutine is not None:
            self._coroutine.cancel()

    def close(self) -> None:
        """The slot ends: so does what runs, and what was loaded is closed."""
        self.kill()

    def _await(self, awaitable: Any) -> Any:
        """Wait for what an `async` function returns; raise `GivenUp` when the run is given up meanwhile."""
        self._coroutine = coroutine = self._submit(awaitable)
        if self._is_given_up:  # before there was something to cancel
            coroutine.cancel()
        try:
            return coroutine.result()
        except CancelledError:
            if self._is_given_up:
                raise GivenUp from None
            raise


class InThread(Runner):
    """Runs jobs in the slot's own thread."""

    _entry = -1  # the job's, in the page of held jobs; the slot's thread writes and reads it

    def _load(self, taken: Taken, work: Work) -> str | None:
        return work.prepare()

    def run(self, taken: Taken, entry: int, slot: JobInSlot) -> Outcome:
        if self._problem is not None:
            return without_setup(taken, self._problem)
        self._entry = entry
        work = self._work_for(taken)
        log = log_of(taken, work) if work.keeps_logs else None
        self._run = this = RunOfJob(taken, self._store, log, slot)
        return run(this, work, self._store, self._await, self._note_row)

    def _note_row(self, row: int) -> None:
        keeper.page.note_row(self._entry, row)


class RemoteRunner(Runner):
    """Runs jobs in another process; the base of runners to which the function must be sent."""

    def __init__(
        self,
        work_for: Callable[[Taken], Work],
        store: Store,
        submit: Submit,
        address: dict[str, object],
        packer: WorkPacker,
    ) -> None:
        super().__init__(work_for, store, submit)
        self._address = address
        self._packer = packer

    runs_elsewhere = True

    def run(self, taken: Taken, entry: int, slot: JobInSlot) -> Outcome:
        """Send a job to where it runs and return its outcome."""
        work = self._work_for(taken)
        if work.stays or taken.deferred is not None:
            return self._run_here(taken, work, slot)
        try:
            return self._send(taken, work, slot)
        except (UnrecoverableError, JobCrashed) as error:
            return outcome_of_error(taken, error, work.retry, Job(taken.record, store=self._store))

    def _run_here(self, taken: Taken, work: Work, slot: JobInSlot) -> Outcome:
        return run(RunOfJob(taken, self._store, log_of(taken, work), slot), work, self._store, self._await)

    def _send(self, taken: Taken, work: Work, slot: JobInSlot) -> Outcome:
        raise NotImplementedError

    def _packed(self, taken: Taken, work: Work, rows: SentRows | None = None) -> PackedJob:
        return self._packer.pack(taken, work, self._store.prefix, self._address, rows)


class InProcess(RemoteRunner):
    """Runs a slot's jobs in a process of its own: a job that hangs or crashes takes no other with it."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._process = JobProcess()

    def prepare(self, taken: Taken) -> None:
        self._process.prepare()
        if options_of(taken).timeout is None:
            super().prepare(taken)
        else:  # what a new process imports for a function is no part of a job's time
            self._problem = self._load(taken, self._work_for(taken))

    def _load(self, taken: Taken, work: Work) -> str | None:
        if work.stays:
            return None
        with suppress(UnrecoverableError):  # it cannot be packed: `run` says so
            packed = self._packer.pack(None, work, self._store.prefix, self._address)
            try:
                return self._process.load(packed)
            except JobCrashed as error:
                self._process.prepare()
                if taken.record.queue not in registry.to_prepare:
                    return None  # `run` says it
                return f"the setup of task {taken.record.name} failed: {error}"
        return None

    def _send(self, taken: Taken, work: Work, slot: JobInSlot) -> Outcome:
        if self._problem is not None:
            return without_setup(taken, self._problem)
        if holds_rows(taken.record.bind):
            rows = self._rows(taken, work)
            outcome = at_once(run_rows(taken, work, self._store, rows, InSlot()))
            return with_lines(taken, outcome, rows.printed)
        return self._process.run(self._packed(taken, work))

    def _rows(self, taken: Taken, work: Work) -> RowsInProcess:
        def pack(
            positions: Sequence[int],
            so_far: Mapping[int, RowSoFar],
            before: Mapping[int, Amounts],
            spent: Amounts,
        ) -> PackedJob:
            rows = SentRows(positions, self._process.page.fd, so_far, before, spent)
            return self._packed(taken, work, rows)

        def crashed(error: JobCrashed, row: RowSoFar | None) -> Outcome:
            if row is None:
                return self.give_up(taken, error)
            return outcome_of_crash(taken, work, self._store, error, row)

        return RowsInProcess(self._process, pack, crashed)

    def kill(self) -> None:
        super().kill()
        self._process.kill()

    def close(self) -> None:
        super().kill()
        self._process.close()


class InExecutor(RemoteRunner):
    """Runs jobs in somebody's executor: a process pool, a Dask client's, a thread pool."""

    def __init__(self, executor: Executor, *given: Any) -> None:
        super().__init__(*given)
        self._executor = executor
        # The slot's thread writes; `kill` reads in another, and cancels a future that is done at worst.
        self._future: Future[Outcome] | None = None

    def _send(self, taken: Taken, work: Work, slot: JobInSlot) -> Outcome:
        if isinstance(self._executor, ThreadPoolExecutor):  # the same process: nothing to pack
            return self._call_there(taken, copy_context().run, self._run_here, taken, work, slot)
        packed = self._packed(taken, work)
        try:
            return self._call_there(taken, run_packed, packed.job)
        except UnknownWork:
            return self._call_there(taken, run_packed, packed.job, packed.work.data)

    def _call_there(self, taken: Taken, *call: Any) -> Outcome:
        """Run a call in the executor; return its outcome, or the job's if it has not begun."""
        try:
            self._future = self._executor.submit(*call)
        except Exception as error:  # the executor is broken or shut down: the job has not begun
            log.error("the executor takes no jobs (%s); close the worker and give another", error)
            time.sleep(PAUSE_AFTER_REFUSAL)
            return returned(taken)
        try:
            return self._future.result()
        except UnknownWork:
            raise
        except CancelledError:
            raise JobCrashed("the executor cancelled it") from None
        except Exception as error:  # the executor's own: what the function raises is an outcome
            raise JobCrashed(f"the executor broke while it ran: {error}") from None

    def kill(self) -> None:
        super().kill()
        if self._future is not None:
            self._future.cancel()


def read_executor(executor: Any) -> Any:
    """Check a caller's `executor`; raise OptionError."""
    word = str.__str__(executor) if isinstance(executor, str) else ""
    if word == "threads":
        return word
    if word != "processes" and not isinstance(executor, Executor):
        raise OptionError(
            f"executor: 'threads', 'processes' or a concurrent.futures.Executor, not {shown(executor)}"
        )
    if not isinstance(executor, ThreadPoolExecutor):
        need_cloudpickle()
    return executor


def runner_factory(executor: Any, address: dict[str, object], *given: Any) -> Callable[[], Runner]:
    """Return what makes the runner of each slot of a worker."""
    if executor == "threads":
        return lambda: InThread(*given)
    packer = WorkPacker()
    if executor == "processes":
        return lambda: InProcess(*given, address, packer)
    return lambda: InExecutor(executor, *given, address, packer)
