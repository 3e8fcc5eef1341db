"""One row again, here: which row a label means (of several, the first failed one), called in the debugger."""

from __future__ import annotations

import asyncio
import inspect
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from flownb.api.job import Job
from flownb.batches.one_row import row_meant
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import FlowError
from flownb.tasks import binding, registry
from flownb.wire import keys, many_rows
from flownb.wire.records import JobRecord


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


def row_here(stored: StoredBatch, label: Any) -> RowHere:
    """Return the row of this label as a job that runs here; of several rows the first failed one."""
    rows, spec = stored.rows, stored.spec
    position, row = row_meant(stored, label)
    _, queue, id = keys.split(rows.key(position))
    paths = many_rows.paths_of(spec["columns"], spec["whole_row"])
    record = JobRecord(
        key=rows.key(position),
        id=id,
        queue=queue,
        name=spec["task"],
        state=row.state,
        data=row.data,
        flow=stored.id,
        bind=many_rows.refer(None, paths) if spec.get("refers") else None,
    )
    return RowHere(record, store=stored.store)


def debug(job: RowHere) -> Any:
    """Call the task a job is for; on an exception open the debugger, or raise where nobody can answer it."""
    __tracebackhide__ = True
    task = registry.find(job.queue_name, job.name)
    if task is None:
        raise FlowError(
            f"debug: no task {job.name!r} is known here, so there is nothing to call; run the cell that defines "
            "it, or import its module"
        )
    arguments = binding.arguments_of(task, job)
    try:
        return _called(task.function, arguments)
    except Exception as error:
        error.__traceback__ = _in_user_code(error.__traceback__)
        if not _post_mortem(error):
            raise
    return None


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    if not inspect.iscoroutinefunction(function):
        return function(**arguments)
    with ThreadPoolExecutor(1) as thread:  # a notebook's own loop runs in this one
        return thread.submit(asyncio.run, function(**arguments)).result()


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
