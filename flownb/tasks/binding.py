"""From a job to a call: which task it is for, and what each of its parameters receives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flownb import hooks
from flownb.api.job import Job, values_bound_to
from flownb.errors import FlownbError, UnrecoverableError
from flownb.tasks import setup
from flownb.tasks.task import Task


class UnknownTask(FlownbError):
    """No task of this process takes the job; it is put off for another worker."""


def call(task: Task, job: Job) -> Any:
    """Call a task's function for a job; of an async one, return its coroutine, of one that yields its items."""
    return task.runs(**arguments_of(task, job))


def call_with_setup(task: Task, job: Job) -> Any:
    """The same with what the task's setup has loaded; raises `SetupFailed`."""
    arguments = arguments_of(task, job)
    for one in task.setup:
        arguments.pop(one.name, None)
    return setup.call(task.runs, task.setup, task.name, arguments)


def unknown(job: Job) -> Any:
    """Raise `UnknownTask`: what a worker does with a job for which it has no task."""
    raise UnknownTask(f"no task of this process takes {job.name!r} of queue {job.queue_name!r}")


def arguments_of(task: Task, job: Job) -> dict[str, Any]:
    """Return the arguments of a call by name: the job's data, its children's values, the job itself."""
    data = arguments_by_name(task, job.data)
    names = task.parameter_names
    given = {name: value for name, value in data.items() if task.takes_any or name in names}
    frame, values = values_bound_to(job)
    given |= values
    if frame is not None:
        given[frame] = hooks.frames.frame_of_children(job)
    if "job" in names:
        given["job"] = job
    check_filled(task, given, data)
    return given


def arguments_by_name(task: Task, data: Any) -> Mapping[str, Any]:
    """Return a job's data as arguments: what is no dict is the one argument of a task that has one."""
    if type(data) is dict or isinstance(data, Mapping):
        return data
    fillable = task.required or task.optional
    return {fillable[0]: data} if len(fillable) == 1 else {}


def check_filled(task: Task, given: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Raise `UnrecoverableError` where a parameter is not filled by these arguments, made of a job's data."""
    for name in task.required:
        if name not in given:
            has = ", ".join(map(repr, data)) or "nothing"
            raise UnrecoverableError(
                f"task {task.name}: its argument {name!r} is missing; the job's data has {has}"
            )
