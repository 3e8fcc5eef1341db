"""Tasks that take many rows at a time (`batch_size`): the arguments of a call, and what it returned, row by row."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any

from flownb import hooks
from flownb.api.job import Job
from flownb.tasks import setup
from flownb.tasks.binding import arguments_by_name, check_filled
from flownb.tasks.row_errors import RowErrors
from flownb.tasks.task import Task


def arguments_of_rows(task: Task, job: Job, rows: Sequence[Any], index: Any) -> dict[str, Any]:
    """Return the arguments of a call by name: columns of `rows`, which are data of jobs of one row each."""
    data = [arguments_by_name(task, row) for row in rows]
    if task.whole_row:  # what travels of one row stands in `row`
        given = {task.whole_row: hooks.calls.frame_of([row.get("row", row) for row in data], index)}
    else:
        loaded = {one.name for one in task.setup}
        names = dict.fromkeys(name for row in data for name in row if name not in loaded)
        wanted = [name for name in names if task.takes_any or name in task.fillable]
        given = hooks.calls.columns_of(data, wanted, index)
    if task.takes_job:
        given["job"] = job
    check_filled(task, given, data[0])
    return given


def call_with_rows(task: Task, job: Job, rows: Sequence[Any], index: Any) -> Any:
    """Call a task with rows and what its setup has loaded; of an async one return a coroutine."""
    return setup.call(task.function, task.setup, task.name, arguments_of_rows(task, job, rows, index))


def call_for_one(task: Task, job: Job) -> Any:
    """Call a task for a job that is one row; return that row's value, of an async function a coroutine of it."""
    return call_with_one(task, job, hooks.calls.index_of(None, None, 0, 1))


def call_with_one(task: Task, job: Job, index: Any) -> Any:
    """The same, for the row of this one label."""
    with _own_error():
        returned = call_with_rows(task, job, [job.data], index)
        return (
            _only_later(task, returned, index)
            if inspect.isawaitable(returned)
            else _only(task, returned, index)
        )


async def _only_later(task: Task, returned: Awaitable[Any], index: Any) -> Any:
    with _own_error():
        return _only(task, await returned, index)


def _only(task: Task, returned: Any, index: Any) -> Any:
    [value] = hooks.calls.values_of(returned, index, task.name)
    return value


@contextlib.contextmanager
def _own_error() -> Iterator[None]:
    """Raise the row's error where the call raises `RowErrors`."""
    try:
        yield
    except RowErrors as errors:
        raise next(iter(errors.errors.values())) from None
