"""What a worker runs for a job: the function, its retry policy, and the job's options as it reads them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from flownb import hooks
from flownb.api.job import Job
from flownb.options import JobOptions
from flownb.tasks.code import version_name
from flownb.tasks.setup import SetupFailed, values_of
from flownb.tasks.task import Task
from flownb.wire.many_rows import holds_rows
from flownb.wire.store.job_records import Taken
from flownb.worker.hosts import NEVER_AWAITED
from flownb.worker.retry_policy import BULLMQ, RetryPolicy

Processor = Callable[[Job], Any]


class WorkStep(NamedTuple):
    """One of the steps that a worker runs for a row."""

    task: Task
    retry: RetryPolicy
    opts: str  #: JSON text of its options, as in a job's ``opts``


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker runs for a job. It may travel to another process with the job."""

    processor: Processor
    retry: RetryPolicy = BULLMQ
    stays: bool = False  #: it runs in the worker's own process whatever the executor
    task: Task | None = None  #: whose function it runs; of rows with steps that of the first one
    steps: tuple[WorkStep, ...] = ()  #: of rows that have several, those that run in this job
    names: tuple[str, ...] = ()  #: of all steps of its rows
    first_step: int = 0  #: which of all steps the first one here is
    # What each run asks, found out once:
    version: str | None = field(init=False)  #: the name of the code that it runs
    keeps_logs: bool = field(init=False)  #: is what it prints kept as lines of the job's log?

    def __post_init__(self) -> None:
        version = None if self.task is None else self.task.version_name
        if self.steps:
            version = version_name("\n".join(step.task.code for step in self.steps))
        object.__setattr__(self, "version", version)
        object.__setattr__(self, "keeps_logs", any(task.keeps_logs for task in self.tasks))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks whose functions it runs."""
        if self.steps:
            return tuple(step.task for step in self.steps)
        return () if self.task is None else (self.task,)

    @property
    def last_step(self) -> int:
        """Behind which of all steps a row has come to the end of what runs here."""
        return self.first_step + len(self.steps)

    def step(self, at: int) -> WorkStep:
        """Return one of the steps that run here, by its number among all."""
        return self.steps[at - self.first_step]

    def call(self, job: Job, await_: Callable[[Any], Any]) -> Any:
        """Call the function; `await_` waits for what an `async` one returns."""
        value = self.processor(job)
        if type(value) not in NEVER_AWAITED and inspect.isawaitable(value):
            return await_(value)
        return value

    def prepare(self) -> str | None:
        """Load in this process what its function needs; return why that failed. A coroutine does it in its loop."""
        if self.rows_a_call is not None:
            hooks.calls.index_of(None, None, 0, 1)  # imports pandas
        for task in self.tasks:
            if not task.is_async:
                try:
                    values_of(task.setup, task.name)
                except SetupFailed as failed:
                    return str(failed)
        return None

    @property
    def rows_a_call(self) -> int | None:
        """How many rows its function takes at a time; None: one, as plain values."""
        return None if self.task is None else self.task.batch_size

    @property
    def is_async(self) -> bool:
        """Is what it calls a coroutine function; of several steps: is one of them?"""
        if self.steps:
            return any(step.task.is_async for step in self.steps)
        return inspect.iscoroutinefunction(self.processor) if self.task is None else self.task.is_async

    def runs_in_loop(self, taken: Taken) -> bool:
        """Does a job need no thread: is what it calls a coroutine function, and not one of many rows at a time?"""
        return self.is_async and not (self.rows_a_call is not None and holds_rows(taken.record.bind))

    @property
    def function(self) -> Callable[..., Any]:
        """The user's function."""
        return self.processor if self.task is None else self.task.function


def options_of(taken: Taken) -> JobOptions:
    """Return a job's options; jobs of one flow mostly share their text, so each text is read once."""
    return options_in(taken.record.opts)


@lru_cache(maxsize=1024)
def options_in(text: str) -> JobOptions:
    """Return the options that are stored as this text."""
    try:
        opts = json.loads(text)
    except ValueError:  # written by another program, and broken: the job runs as if it had none
        opts = {}
    return JobOptions.from_wire(opts if isinstance(opts, dict) else {})
