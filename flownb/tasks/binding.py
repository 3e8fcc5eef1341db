"""From a job to a call: which task it is for, and what each of its parameters receives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from flownb import seams
from flownb.errors import FlownbError, UnrecoverableError
from flownb.flows.job import Job
from flownb.tasks import registry
from flownb.tasks.task import Task
from flownb.wire import codec


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
    if task.retry_on is None or isinstance(error, task.retry_on) or isinstance(error, FlownbError):
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
    given |= _from_children(job)
    if "job" in names:
        given["job"] = job
    missing = [name for name in task.required if name not in given]
    if missing:
        has = ", ".join(map(repr, data)) or "nothing"
        raise UnrecoverableError(f"task {task.name}: its argument {missing[0]!r} is missing; the job's data has {has}")
    return given


def _from_children(job: Job) -> dict[str, Any]:
    text = job._record.bind
    if not text:
        return {}
    bind = codec.decode(text)
    filled: dict[str, Any] = {}
    if "frame" in bind:
        filled[bind["frame"]] = seams.frame_of_children(job)
    shapes = bind.get("values", {})
    if shapes:
        wanted = list(dict.fromkeys(key for shape in shapes.values() for key in _keys(shape)))
        texts = job._store.read_values(job._record.key, wanted)
        values = {key: codec.decode(texts[key]) if key in texts else None for key in wanted}
        filled |= {name: _shaped(shape, values) for name, shape in shapes.items()}
    return filled


def _keys(shape: Any) -> list[str]:
    if isinstance(shape, str):
        return [shape]
    return list(shape.values() if isinstance(shape, Mapping) else shape)


def _shaped(shape: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(shape, str):
        return values[shape]
    if isinstance(shape, Mapping):
        return {name: values[key] for name, key in shape.items()}
    return [values[key] for key in shape]
