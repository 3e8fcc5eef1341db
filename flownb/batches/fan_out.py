"""`fan_out`: one job a row, aggregates above them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, overload

import pandas as pd

from flownb import hooks
from flownb.api.job import store_of
from flownb.batches import frames, job_size, results
from flownb.batches.batch import Batch
from flownb.batches.dry_run import rehearse
from flownb.batches.iterators import MOST_ROWS, store_as_they_come
from flownb.batches.row_job import RowJob, no_task
from flownb.batches.row_plan import Layout
from flownb.batches.rows import Rows, fingerprint, identities, ungrouped
from flownb.batches.rows import read as read_rows
from flownb.batches.stored_batch import Source
from flownb.connection import Connection
from flownb.errors import FlowError, OptionError
from flownb.options import read_limiter
from flownb.tasks.task import Task
from flownb.wire import keys
from flownb.wire.store import Store


@overload
def fan_out(
    rows: Any,
    task: Task | str,
    *,
    name: str | None = None,
    by: str | Sequence[str] | None = None,
    into: Any = None,
    rows_per_job: int | str = "auto",
    if_exists: str = "reuse",
    dry_run: Literal[False] = False,
    connection: Connection | None = None,
    **opts: Any,
) -> Batch: ...
@overload
def fan_out(
    rows: Any,
    task: Task | str,
    *,
    name: str | None = None,
    by: str | Sequence[str] | None = None,
    into: Any = None,
    rows_per_job: int | str = "auto",
    if_exists: str = "reuse",
    dry_run: Literal[True],
    connection: Connection | None = None,
    **opts: Any,
) -> pd.DataFrame: ...
def fan_out(
    rows: Any,
    task: Task | str,
    *,
    name: str | None = None,
    by: str | Sequence[str] | None = None,
    into: Any = None,
    rows_per_job: int | str = "auto",
    if_exists: str = "reuse",
    dry_run: bool = False,
    connection: Connection | None = None,
    **opts: Any,
) -> Batch | pd.DataFrame:
    """Run a task for each row of a DataFrame (Series, list, iterator) and return at once with the `Batch`.

    `task`: its parameters named like columns receive those columns, ``**others`` the rest; one parameter ``row``
    receives the whole row as a dict; a queue's name stands for whoever serves that queue. `into`: a task or a list
    of tasks up to the root; each receives a DataFrame of what is below it. `by`: the first of them runs once for
    each group (a group in which no row succeeded has no columns of results).
    Other keywords override the task's options. A `limiter` (``"5/s"``) is the queue's own from then on, BullMQ's
    global rate limit: it holds all workers, retries included, until another is given; None ends it.

    `rows_per_job`: many short rows in one job save most of what a job costs; a row that fails still fails, and
    is retried, alone. "auto" puts as many rows into a job as take about a tenth of a second: as far as it is
    known from earlier runs, else a job finds out and hands on what does not fit. It is one row for a queue's
    name, for a task that takes the `job`, is ``async`` or has a timeout or limiter, and where there are few rows.
    All rows of a job have the `job.id` in common.

    A cell of more than 256 kB of JSON is stored once for all rows that have it; each call gets its own copy.

    An iterator with a `name` is read piece by piece: what has come runs while the rest is waited for, and is not
    kept here; the call returns when the iterator ends. If it raises, or the kernel dies, the rows that came are
    there, and the same call again goes on; what was not read is not. Without a name, or with `by`, it is read first.
    ``df.groupby(columns)`` stands for the DataFrame and `by`.

    The same name and rows again join what is there: rows that are done are kept, new, changed and failed ones
    run. ``if_exists="rerun"`` runs them all anew. Rows are optional: a failed one does not fail the batch,
    unless an option says so. An edited function is announced; another `version` of the task runs all rows.

    ``dry_run=True`` writes nothing: it says what would run and returns the rows with a column ``_would``, which is
    *run* (new or changed), *retry* (failed before), *reuse*, *join* (waits or runs already) or *stay failed*
    (an `UnrecoverableError`, or a batch that is still running).

    Raises `FlowError` with the row's label and column before anything is written.

    >>> import pandas as pd
    >>> @task
    ... def area(width, height):
    ...     return width * height
    >>> plots = pd.DataFrame({"width": [2, 3], "height": [5, 7]}, index=["a", "b"])
    >>> fan_out(plots, area).results(timeout=30)
       area
    a    10
    b    21
    """
    is_limited = "limiter" in opts
    limiter = read_limiter(opts.pop("limiter", None), "fan_out.limiter")
    job = RowJob.read(task, opts)
    rows, by = ungrouped(rows, by)
    asked = job_size.checked(rows_per_job)
    if asked is None and limiter is not None:  # a limit counts jobs
        asked = 1
    stages = _stages(into, by)
    problem = None if name is None else keys.problem_with_name(name)
    if problem:
        raise FlowError(f"name {problem}")
    if if_exists not in ("reuse", "rerun"):
        raise OptionError(f"if_exists: 'reuse' or 'rerun', not {if_exists!r}")
    if not isinstance(dry_run, bool):
        raise OptionError(f"dry_run: True or False, not {dry_run!r}")
    read = partial(
        read_rows,
        required=job.required,
        optional=job.optional,
        by=by,
        whole_row=job.whole_row,
        any_column=job.any_column,
        refer=job.is_ours,
    )
    resolved, store = store_of(connection)
    base = keys.base(store.prefix, job.queue)
    if asked not in (None, 1):
        was_limited = not is_limited and store.queues.is_limited(base)
        _refuse_shared_jobs(asked, job, is_limited=limiter is not None or job.is_limited or was_limited)
    queued = f"{job.queue}/{job.name}"
    comes = isinstance(rows, Iterator) and name is not None and by is None and not dry_run
    found = read([] if comes else rows)
    if name is None:
        name = f"{job.name}-{fingerprint(identities(found, name='', task=queued, version=job.version))[1:9]}"
    earlier = _earlier(store, name) if if_exists == "reuse" else {"salt": secrets.token_hex(8)}
    salt = earlier.get("salt", "")  # tells rows from those before the last "rerun"
    identify = partial(identities, name=name, task=queued, version=job.version + salt)

    def lay_out(found: Rows, ids: list[str]) -> Layout:
        return Layout(store, name, job, stages, found, ids, earlier, asked, MOST_ROWS if comes else 0)

    def begin() -> None:
        resolved.ensure_writable()
        hooks.kernel_workers.register_notebook_code(resolved)
        if is_limited:
            store.queues.set_limit(base, limiter)

    if comes:
        begin()
        hooks.kernel_workers.start_kernel_worker(resolved)
        streamed = store_as_they_come(store, rows, name=name, read=read, identify=identify, lay_out=lay_out)
        if streamed is not None:
            return Batch(streamed, connection=resolved)
    layout = lay_out(found, identify(found))
    frame = _frame_of(rows, found)
    if dry_run:
        return rehearse(layout, frame)
    begin()
    flow = layout.store()
    hooks.kernel_workers.start_kernel_worker(resolved)
    return Batch(flow, connection=resolved, source=Source(frame))


def _refuse_shared_jobs(rows_per_job: int | None, job: RowJob, *, is_limited: bool) -> None:
    if job.options.timeout:
        raise OptionError(
            f"rows_per_job={rows_per_job}: a timeout is for a whole job, so a job holds one row; leave one out"
        )
    if is_limited:
        raise OptionError(
            f"rows_per_job={rows_per_job}: queue {job.queue!r} has a limiter, and that counts jobs, so a job holds one "
            "row; leave rows_per_job out, or end the limit with limiter=None"
        )


def _earlier(store: Store, name: str) -> dict[str, Any]:
    """Return what the newest batch of this name says of itself."""
    flow = store.flows.find(name)
    record = store.flows.read(flow) if flow else {}
    return frames.spec_of(record) if "spec" in record else {}


def _stages(into: Any, by: Sequence[str] | str | None) -> list[Task]:
    stages = [] if into is None else list(into) if isinstance(into, (list, tuple)) else [into]
    for stage in stages:
        if not isinstance(stage, Task):
            raise no_task("into", stage, "a task, or a list of tasks up to the root")
        if not stage.required and not stage.optional:
            raise FlowError(
                f"into: task {stage.name} needs a parameter for the DataFrame of what is below it"
            )
        groups = [] if by is None or stage is not stages[0] else [by] if isinstance(by, str) else list(by)
        unfilled = [name for name in stage.required[1:] if name not in map(str, groups)]
        if unfilled:
            raise FlowError(
                f"into: nothing fills the parameter {unfilled[0]!r} of task {stage.name}: its first one receives a "
                "DataFrame, others of the first task the values of by=; give it a default"
            )
    if by is not None and not stages:
        raise FlowError("by: groups need a task to go into; give into=")
    return stages


def _frame_of(data: Any, found: Rows) -> pd.DataFrame:
    """The rows as a frame that later changes of the caller's do not reach."""
    if isinstance(data, pd.DataFrame):
        return data.copy(deep=int(pd.__version__.split(".")[0]) < 3)  # pandas 3 copies on write
    return results.inputs_frame(
        found.texts,
        found.columns,
        found.index,
        whole_row=found.whole_row,
        read_large=(lambda digests: {digest: found.large[digest] for digest in digests})
        if found.large
        else None,
    )
