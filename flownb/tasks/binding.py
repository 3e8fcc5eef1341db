"""From a job to a call: which task it is for, and what each of its parameters receives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from flownb import seams
from flownb.errors import FlownbError, UnrecoverableError
from flownb.flows.job import Job, bound_to
from flownb.tasks import registry
from flownb.tasks.task import Task


class UnknownTask(FlownbError):
    """No task of this process takes the job; it is put off for another worker."""


def call(job: Job) -> Any:
    """Call the task a job is for; an async one returns its coroutine.

    An exception that the task's `retry_on` does not name leaves as the cause of an `UnrecoverableError`.
    """
    task = registry.find(job.queue_name, job.name)
    if task is None:
        raise UnknownTask(f"no task of this process takes {job.name!r} of queue {job.queue_name!r}")
    arguments = arguments_of(task, job)
    if task.retry_on is None:
        return task.function(**arguments)
    if inspect.iscoroutinefunction(task.function):
        return _awaited(task, arguments)
    try:
        return task.function(**arguments)
    except Exception as error:
        raise _judged(task, error) from error


async def _awaited(task: Task, arguments: dict[str, Any]) -> Any:
    try:
        return await task.function(**arguments)
    except Exception as error:
        raise _judged(task, error) from error


def _judged(task: Task, error: Exception) -> Exception:
    if task.retry_on is None or isinstance(error, (*task.retry_on, FlownbError)):
        return error
    return GivenUp(error)


class GivenUp(UnrecoverableError):
    """An exception that is not in the task's `retry_on`; reported as what it is."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def arguments_of(task: Task, job: Job) -> dict[str, Any]:
    """Return the arguments of a call by name: the job's data, its children's values, the job itself."""
    data = job.data
    names = [p.name for p in task.parameters]
    if not isinstance(data, Mapping):
        fillable = task.required or task.optional
        data = {fillable[0]: data} if len(fillable) == 1 else {}
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in task.parameters)
    given = {name: value for name, value in data.items() if takes_any or name in names}
    frame, values = bound_to(job)
    given |= values
    if frame is not None:
        given[frame] = seams.frame_of_children(job)
    if "job" in names:
        given["job"] = job
    missing = [name for name in task.required if name not in given]
    if missing:
        has = ", ".join(map(repr, data)) or "nothing"
        raise UnrecoverableError(
            f"task {task.name}: its argument {missing[0]!r} is missing; the job's data has {has}"
        )
    return given
