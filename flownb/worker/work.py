"""What a worker runs for a job: the function, its retry policy, and the job's options as it reads them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flownb.api.job import Job
from flownb.options import JobOptions
from flownb.tasks.task import Task
from flownb.wire.store.job_records import Taken
from flownb.worker.retry_policy import BULLMQ, RetryPolicy

Processor = Callable[[Job], Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker runs for a job. It may travel to another process with the job."""

    processor: Processor
    retry: RetryPolicy = BULLMQ
    stays: bool = False  #: it runs in the worker's own process whatever the executor
    task: Task | None = None  #: whose function it runs

    @property
    def version(self) -> str | None:
        """The name of the code that it runs."""
        return None if self.task is None else self.task.version_name

    @property
    def keeps_logs(self) -> bool:
        """Is what it prints kept as lines of the job's log?"""
        return self.task is not None and self.task.keeps_logs

    @property
    def function(self) -> Callable[..., Any]:
        """The user's function."""
        return self.processor if self.task is None else self.task.function


class GivenUp(BaseException):
    """Ends a run that its worker has given up; not an `Exception`, so that no handler keeps it."""


def options_of(taken: Taken) -> JobOptions:
    """Return a job's options; jobs of one flow mostly share their text, so each text is read once."""
    return _options(taken.record.opts)


@lru_cache(maxsize=1024)
def _options(text: str) -> JobOptions:
    try:
        opts = json.loads(text)
    except ValueError:  # written by another program, and broken: the job runs as if it had none
        opts = {}
    return JobOptions.from_wire(opts if isinstance(opts, dict) else {})
