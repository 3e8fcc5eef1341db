"""`fan_out`: one row of a table becomes one run of a task, aggregates stand above the rows.

The way of a row: read into JSON text (`rows`), given its id (`row_ids`), planned beside the rows that are there already
(`row_plan`), laid out as jobs (`planned_jobs`), stored. `batch_request` is what all of these are given.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack, overload

import pandas as pd

from flownb import hooks
from flownb.adding.send import store_plan
from flownb.api.job import store_of
from flownb.arguments import flag, one_of, read_limiter
from flownb.batches import announcements, file_options, job_size, results
from flownb.batches.arrow_frames import GivenFrame, opened
from flownb.batches.batch import Batch
from flownb.batches.batch_request import BatchRequest, read_stages
from flownb.batches.dry_run import would_run
from flownb.batches.frame_kinds import PANDAS
from flownb.batches.grouped_rows import ungrouped
from flownb.batches.input_table import named_rows, names_of_key
from flownb.batches.iterators import checked_pieces, pieces_of, store_as_they_come
from flownb.batches.planned_jobs import PlannedJobs
from flownb.batches.row_files import pieces_of_files
from flownb.batches.row_job import RowJob
from flownb.batches.row_plan import NEW, RUNNING, RowPlan
from flownb.batches.rows import Rows
from flownb.batches.stored_batch import Source
from flownb.connection import Connection
from flownb.errors import OptionError
from flownb.files.folder_of_flow import given_folder
from flownb.tasks.task import Task
from flownb.typed import RowOptions
from flownb.wire import keys
from flownb.wire.records import FAILED


@overload
def fan_out(
    rows: Any,
    task: Task[..., Any] | str,
    *,
    name: str | None = None,
    key: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    into: Task[..., Any] | Sequence[Task[..., Any]] | None = None,
    files: str | os.PathLike[str] | None = None,
    rows_per_job: int | str = "auto",
    if_exists: str = "reuse",
    dry_run: Literal[False] = False,
    connection: Connection | None = None,
    **opts: Unpack[RowOptions],
) -> Batch: ...
@overload
def fan_out(
    rows: Any,
    task: Task[..., Any] | str,
    *,
    name: str | None = None,
    key: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    into: Task[..., Any] | Sequence[Task[..., Any]] | None = None,
    files: str | os.PathLike[str] | None = None,
    rows_per_job: int | str = "auto",
    if_exists: str = "reuse",
    dry_run: Literal[True],
    connection: Connection | None = None,
    **opts: Unpack[RowOptions],
) -> pd.DataFrame: ...
def fan_out(
    rows: Any,
    task: Task[..., Any] | str,
    *,
    name: str | None = None,
    key: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    into: Task[..., Any] | Sequence[Task[..., Any]] | None = None,
    files: str | os.PathLike[str] | None = None,
    rows_per_job: int | str = "auto",
    if_exists: str = "reuse",
    dry_run: bool = False,
    connection: Connection | None = None,
    **opts: Any,
) -> Any:
    """Run a task for each row of a frame (pandas, polars, Arrow, DuckDB), list or iterator; return a `Batch` at once.

    `task`: its parameters named like columns receive those columns, ``**others`` the rest; one parameter ``row``
    receives the whole row as a dict; ``job`` receives the Job (a column of that name is refused); a queue's name
    stands for whoever serves that queue. `into`: a task or a list of tasks up to the root; each receives a DataFrame
    of what is below it. `by`: the first of them runs once for each group (a group in which no row succeeded has no
    columns of results); it names columns or levels of the index, groups stand in order of first appearance, and
    missing values are a group too.
    Other keywords override the task's options. A `limiter` (``"5/s"``) is the queue's own from then on, BullMQ's
    global rate limit: it holds all workers, retries included, until another is given; None ends it.

    Rows of a frame without an index are labelled by `key`: the name of a column, or names of several. Its labels are
    what `results` brings back in front, ``debug`` and ``retry(rows=)`` look for, and pictures show; without `key` rows
    keep their order.

    `rows_per_job`: many short rows in one job save most of what a job costs; a row that fails still fails, and
    is retried, alone. "auto" puts as many rows into a job as take about a tenth of a second: as far as it is
    known from earlier runs, else a job finds out and delegates what does not fit. It is one row for a queue's
    name, for a task that takes the `job`, is ``async`` or has a timeout or limiter, and where there are few rows.
    All rows of a job have the `job.id` in common.

    What rows return that has no form in JSON stands in files, and `results` has a `File` for it: frames as Parquet,
    pictures and figures as PNG, bytes. The embedded server keeps them beside its data, and they go with the batch.
    `files` is a folder, or a URL that fsspec knows (``"s3://bucket/nov"``), in which arrays (npy), and text and JSON of
    more than 256 kB, stand too: it is yours, and stays unless you ``remove(files=True)``. Workers take credentials from
    their environment. On another server without `files` the batch pauses at the first such value, and says so.

    A cell of more than 256 kB of JSON is stored once for all rows that have it; each call gets its own copy.

    `rows` may be the path of a CSV or Parquet file, or a pattern of several (``"rows/*.parquet"``).
    An iterator, a lazy frame or a file is read piece by piece if there is a `name`: what has come runs while the rest
    is waited for, and is not kept here; the call returns when all is read. If reading raises, or the kernel dies, the
    rows that came are there, and the same call again goes on. Without a name, or with `by`, all is read first.
    ``df.groupby(...)`` stands for the DataFrame and `by`, whatever it groups by, with pandas' labels and order.
    A group without rows (an unobserved category, a day) runs `into` with an empty frame, as pandas' ``apply`` does.

    The same name and rows again join what is there: rows that are done are kept, new, changed and failed ones
    run, and those whose jobs were removed. ``if_exists="rerun"`` runs them all anew. Rows are optional: a failed
    one does not fail the batch, unless an option says so. An edited function is announced; another `version` of the
    task runs all rows.

    ``dry_run=True`` writes nothing: it says what would run and returns the rows with a column ``_would``, which is
    *run* (new, changed or removed), *retry* (failed before), *reuse*, *join* (waits or runs already) or *stay failed*
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
    limit = _QueueLimit.read(opts)
    job = RowJob.read(task, opts)
    flag("dry_run", dry_run)
    given = _opened(rows)
    pieces = None if name is None or by is not None or dry_run else pieces_of(given)
    rows, by, grouped = ungrouped([] if pieces is not None else given.whole(), by)
    size = job_size.checked(rows_per_job)
    stages = read_stages(into, by)
    name, if_exists = keys.checked_name(name), one_of("if_exists", if_exists, ("reuse", "rerun"))
    folder = given_folder(files)
    resolved, store = store_of(connection)
    request = BatchRequest(
        connection=resolved,
        store=store,
        job=job,
        stages=stages,
        by=by,
        grouped=grouped,
        rows_per_job=limit.rows_per_job(size),
        kind=given.kind,
        key=names_of_key(key),
        files=folder,
    )
    limit.refuse_shared_jobs(request)
    found = request.read_rows(rows)
    request = request.named(name, found, reuse=if_exists == "reuse")
    file_options.check(request, dry_run=dry_run)
    announcements.announce_other_code(request)
    if pieces is not None:
        pieces = pieces if given.pieces is None else checked_pieces(request, given.pieces)
        _begin(request, limit, resolved)
        hooks.kernel_workers.start_kernel_worker(resolved)
        streamed = store_as_they_come(request, pieces)
        if streamed is not None:
            return Batch(streamed, connection=resolved)
    plan = RowPlan(request, request.with_ids(found))
    source = Source(_frame_of(rows, found, request.key), given.kind, given.native)
    if dry_run:
        return would_run(plan, source)
    _begin(request, limit, resolved)
    flow = _store(plan)
    hooks.kernel_workers.start_kernel_worker(resolved)
    return Batch(flow, connection=resolved, source=source)


def _opened(rows: Any) -> GivenFrame:
    """Return rows of whatever kind as `tabulated` reads them, or as pieces of such."""
    pieces = pieces_of_files(rows)
    return opened(named_rows(rows)) if pieces is None else GivenFrame(PANDAS, pieces=pieces)


def _begin(request: BatchRequest, limit: _QueueLimit, connection: Connection) -> None:
    """Do what comes before the first write: ask whether this kernel may run the tasks, set the queue's limit."""
    connection.ensure_writable()
    queues = [request.job.queue, *(stage.queue for stage in request.stages)]
    hooks.kernel_workers.register_code(connection, queues)
    if limit.is_given:
        request.store.queues.set_limit(request.base, limit.limiter)


def _store(plan: RowPlan) -> str:
    """Store what is not there yet; return the flow's id."""
    there = plan.choose_ids()
    request = plan.request
    if there == NEW:
        jobs = PlannedJobs(plan)
        hooks.kernel_workers.keep_tasks(request.connection, request.name, plan.flow, request.tasks)
        store_plan(request.store, jobs.plan, request.name, jobs.record())
        announcements.announce_kept(
            plan, len(plan.earlier), len(plan.rows), failed=plan.earlier.count(FAILED), again=plan.renewed
        )
        if len(plan.earlier) < len(plan.rows) or plan.renewed:
            announcements.announce_behind(plan)
        return plan.flow
    request.store.flows.set_name(request.name, plan.flow)
    if there == RUNNING:
        if not hooks.kernel_workers.has_kept_tasks(request.connection, plan.flow):
            hooks.kernel_workers.take_over_batch(request.connection, request.name, plan.flow)
        announcements.announce_joined(plan)
        file_options.give_later(request, plan.flow)
    else:
        total = len(plan.rows)
        announcements.announce_kept(plan, total, total, failed=plan.earlier.count(FAILED))
    announcements.announce_edited_stages(plan, there)
    return plan.flow


@dataclass(frozen=True)
class _QueueLimit:
    """The `limiter` of a call, which the rows' queue keeps; None ends the one before."""

    is_given: bool
    limiter: dict[str, int] | None

    @classmethod
    def read(cls, opts: dict[str, Any]) -> _QueueLimit:
        """Take the limiter out of the call's options."""
        return cls("limiter" in opts, read_limiter(opts.pop("limiter", None), "fan_out.limiter"))

    def rows_per_job(self, asked: int | None) -> int | None:
        """How many rows a job holds where nobody said so: a limit counts jobs, so one."""
        return 1 if asked is None and self.limiter is not None else asked

    def refuse_shared_jobs(self, request: BatchRequest) -> None:
        """Raise `OptionError` where jobs should hold many rows, but a timeout or a limit counts jobs."""
        size, job = request.rows_per_job, request.job
        if size in (None, 1):
            return
        if job.options.timeout:
            raise OptionError(
                f"rows_per_job={size}: a timeout is for a whole job, so a job holds one row; leave one out"
            )
        was_limited = not self.is_given and request.store.queues.is_limited(request.base)
        if self.limiter is not None or job.is_limited or was_limited:
            raise OptionError(
                f"rows_per_job={size}: queue {job.queue!r} has a limiter, and that counts jobs, so a job holds one "
                "row; leave rows_per_job out, or end the limit with limiter=None"
            )


def _frame_of(data: Any, found: Rows, key: Sequence[str]) -> pd.DataFrame:
    """The rows as a frame that later changes of the caller's do not reach: what `Batch.table` shows."""
    if isinstance(data, pd.DataFrame):
        frame = data.copy(deep=int(pd.__version__.split(".")[0]) < 3)  # pandas 3 copies on write
        if not key:
            return frame
        return frame[[name for name in frame.columns if str(name) not in key]].set_axis(found.index)
    return results.inputs_frame(
        found.texts,
        [name for name in found.columns if name not in key],
        found.index,
        whole_row=found.whole_row,
        read_large=found.read_large if found.large else None,
    )
