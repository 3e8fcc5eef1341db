"""One row again, here: which row a label means (of several, the first failed one), called in the debugger."""

from __future__ import annotations

import asyncio
import functools
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import pandas as pd

from flownb.api.job import Job
from flownb.batches.one_row import row_meant
from flownb.batches.step_nodes import joined
from flownb.batches.stored_batch import StoredBatch
from flownb.batches.value_columns import of_steps
from flownb.errors import FlowError
from flownb.tasks import binding, registry, rows_as_arguments
from flownb.tasks.row_values import RowValues, StepParameters
from flownb.tasks.task import Task
from flownb.tasks.yielding import items_of
from flownb.wire import codec, keys
from flownb.wire.many_rows import note_files, paths_of, refer
from flownb.wire.records import COMPLETED, JobRecord

_RAISED: Any = object()  # stands for the value of a function that raised, once the debugger is left


class RowHere(Job):
    """A row's job for a function that runs here: it reads as the stored one does, and writes nothing."""

    __slots__ = ()

    def update_progress(self, progress: Any) -> None:
        """Nothing is stored."""

    def update_data(self, data: Any) -> None:
        """The function sees the new data; nothing is stored."""
        self._data = data

    def log(self, row: str) -> int:
        """Print the row instead of storing it."""
        print(row)
        return 0


def row_here(stored: StoredBatch, label: Any) -> tuple[RowHere, pd.Index[Any]]:
    """Return the row of this label as a job that runs here, and its index; of several rows the first failed one."""
    rows, spec = stored.rows, stored.spec
    position, row = row_meant(stored, label)
    _, queue, id = keys.split(rows.key(position))
    paths = paths_of(spec["columns"], spec["whole_row"])
    record = JobRecord(
        key=rows.key(position),
        id=id,
        queue=queue,
        name=spec["task"],
        state=row.state,
        data=row.data,
        flow=stored.id,
        bind=note_files(refer(None, paths) if spec.get("refers") else None),
    )
    return RowHere(record, store=stored.store), stored.index[position : position + 1]


def debug(stored: StoredBatch, label: Any) -> Any:
    """Call the task with one row; on an exception open the debugger, or raise where nobody can answer it."""
    __tracebackhide__ = True
    job, index = row_here(stored, label)
    task = _known_task(job.queue_name, job.name)
    if task.batch_size is None:
        call = functools.partial(task, **binding.arguments_of(task, job))
    else:
        call = functools.partial(rows_as_arguments.call_with_one, task, job, index)
    value = _called_in_debugger(task, call)
    return None if value is _RAISED else value


def debug_steps(stored: StoredBatch, label: Any) -> Any:
    """Call the steps of a row here, of a failed one from the step on that failed; as `debug` does."""
    __tracebackhide__ = True
    _, row = row_meant(stored, label)
    (job, index), specs = row_here(stored, label), stored.spec["steps"]
    done = stored.rows.value_of(row.partial) if row.partial and row.state != COMPLETED else []
    tasks = [_known_task(step["queue"], step["task"]) for step in specs[len(done) :]]
    values, returned = RowValues(job.data), list(done)
    for step, value in zip(specs, done, strict=False):
        values.add(step["task"], value)
    kept = f", with what {', '.join(stored.steps[: len(done)])} returned" if done else ""
    print(f"debug: {joined(stored.steps[len(done) :])}{kept}")
    for task in tasks:
        arguments = StepParameters.of(task).filled(values)
        if task.batch_size is not None:
            job.update_data(arguments)
            call = functools.partial(rows_as_arguments.call_with_one, task, job, index)
        else:
            call = functools.partial(task, **arguments, **({"job": job} if task.takes_job else {}))
        value = _called_in_debugger(task, call)
        if value is _RAISED:
            return None
        returned.append(_as_stored(value))
        values.add(task.name, returned[-1])
    return of_steps([returned], stored.steps)[0]


def _as_stored(value: Any) -> Any:
    """Return what a step has returned as the next one sees it; what would go to a file as it is."""
    try:
        return codec.decode(codec.encode(value, "the returned value", nan="null"))
    except FlowError:
        return value


def _known_task(queue: str, name: str) -> Task:
    task = registry.find(queue, name)
    if task is None:
        raise FlowError(
            f"debug: no task {name!r} is known here, so there is nothing to call; run the cell that defines "
            "it, or import its module"
        )
    return task.as_it_is_now() if task.setup else task  # what was loaded for rows serves here too


def _called_in_debugger(task: Task, call: Callable[[], Any]) -> Any:
    """Call a function; on an exception open the debugger, or raise where nobody can answer it."""
    __tracebackhide__ = True
    try:
        return _called(task, call)
    except Exception as error:
        error.__traceback__ = _in_user_code(error.__traceback__)
        if not _post_mortem(error):
            raise
    return _RAISED


def _called(task: Task, call: Callable[[], Any]) -> Any:
    if not task.is_async:
        return list(call()) if task.yields else call()
    awaited = items_of(call()) if task.yields else call()
    with ThreadPoolExecutor(1) as thread:  # a notebook's own loop runs in this one
        return thread.submit(asyncio.run, awaited).result()


_NOT_THE_USERS = ("flownb.", "asyncio", "concurrent.futures")


def _in_user_code(step: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames between the caller and the function."""
    first = step
    while step is not None and step.tb_frame.f_globals.get("__name__", "").startswith(_NOT_THE_USERS):
        step = step.tb_next
    return step or first


def _post_mortem(error: Exception) -> bool:
    """Open IPython's debugger or Python's where the error was raised; False where nobody sits at a prompt."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        kernel = getattr(shell, "kernel", None)
        if kernel is not None and not getattr(kernel, "_allow_stdin", False):
            return False  # a notebook that is run as a whole
        shell.showtraceback((type(error), error, error.__traceback__))
        shell.debugger(force=True)
        return True
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    import pdb

    traceback.print_exception(error)
    pdb.post_mortem(error.__traceback__)
    return True
