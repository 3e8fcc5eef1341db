"""`fan_out`: one row of a table becomes one run of a task, aggregates stand above the rows.

The way of a row: read into JSON text (`rows`), given its id (`row_ids`), planned beside the rows that are there already
(`row_plan`), laid out as jobs (`planned_jobs`), stored. `batch_request` is what all of these are given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Unpack, overload

import pandas as pd

from flownb import hooks
from flownb.api.given_limits import limits_of, set_limits, settle
from flownb.api.job import store_of
from flownb.arguments import Rate, flag, one_of, read_rates
from flownb.batches import announcements, file_options, job_size, results
from flownb.batches.arrow_frames import GivenFrame, opened
from flownb.batches.at_once import store_at_once
from flownb.batches.batch import Batch
from flownb.batches.batch_request import BatchRequest, read_stages, refuse_shared_queues
from flownb.batches.brakes import Brakes
from flownb.batches.dry_run import would_run
from flownb.batches.frame_kinds import PANDAS
from flownb.batches.grouped_rows import ungrouped
from flownb.batches.input_table import named_rows, names_of_key
from flownb.batches.iterators import checked_pieces, pieces_of, store_as_they_come
from flownb.batches.repeats import run_once
from flownb.batches.row_files import pieces_of_files
from flownb.batches.row_job import RowJob
from flownb.batches.row_plan import RowPlan
from flownb.batches.row_steps import refuse_many_rows, refuse_options
from flownb.batches.row_weights import NO_WEIGHTS, RowWeights
from flownb.batches.rows import Rows
from flownb.batches.stored_batch import Source
from flownb.connection import Connection
from flownb.errors import OptionError
from flownb.files.folder_of_flow import given_folder
from flownb.tasks import registry
from flownb.tasks.task import Task
from flownb.tasks.task_options import read_concurrency
from flownb.tasks.weights import Weights
from flownb.typed import RowOptions
from flownb.wire import keys
from flownb.wire.store import Store


@overload
def fan_out(
    rows: Any,
    task: Task[..., Any] | Sequence[Task[..., Any]] | str,
    *,
    name: str | None = None,
    key: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    into: Task[..., Any] | Sequence[Task[..., Any]] | None = None,
    files: str | os.PathLike[str] | None = None,
    rows_per_job: int | str = "auto",
    pilot: int | None = None,
    budget: Mapping[str, float] | None = None,
    max_failures: int | str | None = None,
    unique: bool = False,
    if_exists: str = "reuse",
    dry_run: Literal[False] = False,
    connection: Connection | None = None,
    **opts: Unpack[RowOptions],
) -> Batch: ...
@overload
def fan_out(
    rows: Any,
    task: Task[..., Any] | Sequence[Task[..., Any]] | str,
    *,
    name: str | None = None,
    key: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    into: Task[..., Any] | Sequence[Task[..., Any]] | None = None,
    files: str | os.PathLike[str] | None = None,
    rows_per_job: int | str = "auto",
    pilot: int | None = None,
    budget: Mapping[str, float] | None = None,
    max_failures: int | str | None = None,
    unique: bool = False,
    if_exists: str = "reuse",
    dry_run: Literal[True],
    connection: Connection | None = None,
    **opts: Unpack[RowOptions],
) -> pd.DataFrame: ...
def fan_out(
    rows: Any,
    task: Task[..., Any] | Sequence[Task[..., Any]] | str,
    *,
    name: str | None = None,
    key: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    into: Task[..., Any] | Sequence[Task[..., Any]] | None = None,
    files: str | os.PathLike[str] | None = None,
    rows_per_job: int | str = "auto",
    pilot: int | None = None,
    budget: Mapping[str, float] | None = None,
    max_failures: int | str | None = None,
    unique: bool = False,
    if_exists: str = "reuse",
    dry_run: bool = False,
    connection: Connection | None = None,
    **opts: Any,
) -> Any:
    """Run a task for each row of a frame (pandas, polars, Arrow, DuckDB), list or iterator; return a `Batch` at once.

    `task`: its parameters named like columns receive those columns, ``**others`` the rest; one parameter ``row``
    receives the whole row as a dict; ``job`` receives the Job (a column of that name is refused); a queue's name
    stands for whoever serves that queue; a list of tasks are the steps of each row (below).
    `into`: a task or a list of tasks up to the root; each receives a DataFrame of what is below it. `by`: the first of
    them runs once for each group (a group in which no row succeeded has no columns of results); it names columns or
    levels of the index, groups stand in order of first appearance, and missing values are a group too.
    Other keywords override the task's options. A `limiter` (``"5/s"``, or several) is the queue's own from then
    on: it holds all workers together, retries included, until another is given; None ends it, so that the task's holds.
    One of calls is BullMQ's global rate limit, which Node's workers obey; one of a unit, as ``"60000 tokens/min"``,
    counts what `weight` says, or the task's: a number, a column's name, or a function of columns by their names. A row
    that is heavier than the limit is refused.

    Rows of a frame without an index are labelled by `key`: the name of a column, or names of several. Its labels are
    what `results` brings back in front, ``debug`` and ``retry(rows=)`` look for, and pictures show; without `key` rows
    keep their order.

    Several steps, ``fan_out(df, [fetch, parse, score])``: a row goes on as soon as its step is done. A later step's
    parameters are the row's columns, columns that earlier steps returned, or, by its name, an earlier step's whole
    value. No step that is done is repeated by a retry, or where a later one has another `version`; while rows are on
    their way, a call with other steps for them is refused. A task with a
    `queue`, `limiter`, `concurrency`, `timeout` or `delay` of its own has a job for each row in its queue, one with a
    `batch_size` a job for so many; the steps between such ones share a job.

    A task that yields, or the last step, gives each row several results: `results` has a line an item, on a level
    ``item`` of the index more. A row that fails keeps no item, and one that yields nothing has no line.

    `rows_per_job`: many short rows in one job save most of what a job costs; a row that fails still fails, and
    is retried, alone. "auto" puts as many rows into a job as take about a tenth of a second: as far as it is
    known from earlier runs, else a job finds out and delegates what does not fit. It is one row for a queue's
    name, for a task that takes the `job`, is ``async`` or has a timeout or limiter, and where there are few rows.
    All rows of a job have the `job.id` in common.

    `pilot` runs so many rows first, evenly spaced, and pauses, once a name; the same call without it, or
    `Batch.resume`, goes on. `budget` (``{"usd": 5}``) pauses when the batch has spent that (see `spend`), over all runs
    of its name; `max_failures` when more rows have failed than this number, or share (``"5%"``) from twenty on. With
    any of them a job holds one row. `Batch.results` raises `FlowPaused` then.

    What rows return that has no form in JSON stands in files, and `results` has a `File` for it: frames as Parquet,
    pictures and figures as PNG, bytes. The embedded server keeps them beside its data, and they go with the batch.
    `files` is a folder, or a URL that fsspec knows (``"s3://bucket/nov"``), in which arrays (npy), and text and JSON of
    more than 256 kB, stand too, and what rows that share a job take and return: the server holds some 20 bytes a row.
    It is yours, and stays unless you ``remove(files=True)``. Workers take credentials from their environment. On
    another server without `files` the batch pauses at the first such value, and says so.

    A cell of more than 256 kB of JSON is stored once for all rows that have it; each call gets its own copy.

    `rows` may be the path of a CSV or Parquet file, or a pattern of several (``"rows/*.parquet"``).
    An iterator, a lazy frame or a file is read piece by piece if there is a `name`: what has come runs while the rest
    is waited for, and is not kept here; the call returns when all is read. If reading raises, or the kernel dies, the
    rows that came are there, `into` does not run, and the same call again goes on. Without a name, with `by`, or with
    `unique`, all is read first.
    ``df.groupby(...)`` stands for the DataFrame and `by`, whatever it groups by, with pandas' labels and order.
    A group without rows (an unobserved category, a day) runs `into` with an empty frame, as pandas' ``apply`` does.

    The same name and rows again join what is there: rows that are done are kept, new, changed and failed ones
    run, and those whose jobs were removed. ``if_exists="rerun"`` runs them all anew. Rows are optional: a failed
    one does not fail the batch, unless an option says so. An edited function is announced; another `version` of the
    task runs all rows.

    ``unique=True`` runs rows with equal arguments once, and the result, or the failure, stands at all their labels.
    What does not travel to the task makes no difference. Progress, brakes and `spend` count what runs.

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
    >>> @task
    ... def price(area, per_unit=3):
    ...     return {"price": area * per_unit}
    >>> fan_out(plots, [area, price]).results(timeout=30)
       area  price
    a    10     30
    b    21     63
    >>> twice = pd.DataFrame({"width": [1, 4, 1], "height": [2, 2, 2]}, index=["a", "b", "c"])
    >>> batch = fan_out(twice, area, unique=True)
    batch 'area-...': 3 rows, 2 runs: equal rows run once
    >>> batch.results(timeout=30)["area"].tolist(), batch.progress().total
    ([2, 8, 2], 3)
    """
    refuse_options(task, opts)
    limit = _QueueLimit.read(opts)
    job = RowJob.read(task, opts)
    flag("dry_run", dry_run)
    flag("unique", unique)
    given = _opened(rows)
    brakes = Brakes.read(budget, max_failures, pilot)
    is_read_first = name is None or by is not None or dry_run or pilot is not None or unique
    pieces = None if is_read_first else pieces_of(given)
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
        rows_per_job=limit.rows_per_job(job_size.in_calls(size, job.batch_size), job.rows_a_call),
        kind=given.kind,
        key=names_of_key(key),
        files=folder,
        is_lazy=given.pieces is not None and pieces is not None,
        brakes=brakes,
        weigh=limit.weigh(job, store),
        concurrency=limit.concurrency,
    )
    limit.refuse_shared_jobs(request)
    refuse_shared_queues(request)
    found = request.read_rows(rows)
    request = request.named(name, found, reuse=if_exists == "reuse")
    file_options.check(request, dry_run=dry_run)
    announcements.warn_of_secrets(found)
    announcements.announce_other_code(request)
    if pieces is not None:
        pieces = pieces if given.pieces is None else checked_pieces(request, given.pieces)
        _begin(request, limit, resolved)
        earlier = file_options.give_to_earlier(request)
        hooks.kernel_workers.start_kernel_worker(resolved)
        streamed = store_as_they_come(request, pieces)
        for flow in earlier:
            file_options.go_on(request, flow)
        if streamed is not None:
            return Batch(streamed, connection=resolved)

    def planned(request: BatchRequest, found: Rows) -> RowPlan:
        with_ids = request.with_earlier_ids(request.with_ids(found), rows)
        return RowPlan(request, run_once(with_ids) if unique else with_ids)

    plan = planned(request, found)

    def source() -> Source:
        return Source(_frame_of(rows, found, request.key), given.kind, given.native)

    if dry_run:
        return would_run(plan, source())
    _begin(request, limit, resolved)
    while (stored := store_at_once(plan)) is None:  # another kernel has stored rows of the name since
        plan = planned(request.looked_up_again(), request.read_rows(rows))
    flow = stored
    if limit.concurrency_is_given:
        request.store.flows.bound(flow, limit.concurrency)
        hooks.kernel_workers.widen(resolved, flow, [request.job.queue], limit.concurrency)
    hooks.kernel_workers.start_kernel_worker(resolved)
    return Batch(flow, connection=resolved, source=source())  # made while the first rows run


def _opened(rows: Any) -> GivenFrame:
    """Return rows of whatever kind as `tabulated` reads them, or as pieces of such."""
    pieces = pieces_of_files(rows)
    return opened(named_rows(rows)) if pieces is None else GivenFrame(PANDAS, pieces=pieces)


def _begin(request: BatchRequest, limit: _QueueLimit, connection: Connection) -> None:
    """Do what comes before the first write: ask whether this kernel may run the tasks, set the queue's limit."""
    connection.ensure_writable()
    queues = [request.job.queue, *(task.queue for task in request.tasks)]
    hooks.kernel_workers.register_code(connection, queues)
    if limit.is_given:
        set_limits(request.store, request.base, limit.rates)
    for queue in request.job.queues if request.job.is_ours and not limit.rates else ():
        settle(request.store, queue, registry.rates(queue))


@dataclass(frozen=True)
class _QueueLimit:
    """The `limiter` of a call, which the rows' queue keeps, and its `concurrency` (None ends the one before); and what
    a row weighs.
    """

    is_given: bool
    rates: tuple[Rate, ...]
    weights: Weights | None
    concurrency: int | None  #: of the flow
    concurrency_is_given: bool

    @classmethod
    def read(cls, opts: dict[str, Any]) -> _QueueLimit:
        """Take limits and weight out of the call's options."""
        return cls(
            "limiter" in opts,
            read_rates(opts.pop("limiter", None), "fan_out.limiter"),
            Weights.read(opts.pop("weight", None), "fan_out"),
            concurrency_is_given="concurrency" in opts,
            concurrency=read_concurrency(opts.pop("concurrency", None), "fan_out"),
        )

    def weigh(self, job: RowJob, store: Store) -> RowWeights:
        """How rows are weighed."""
        weights = self.weights
        if weights is None and job.task is not None:
            weights = job.task.weights
        if weights is None:
            return NO_WEIGHTS
        rates = (
            self.rates
            if self.rates or self.is_given
            else limits_of(store, job.queue, registry.rates(job.queue))
        )
        return RowWeights(weights, rates, job.queue)

    def rows_per_job(self, asked: int | None, rows_a_call: int) -> int | None:
        """How many rows a job holds where nobody said so: a limit counts jobs, so those of one call."""
        is_limited = bool(self.rates) or self.concurrency is not None
        return rows_a_call if asked is None and is_limited else asked

    def refuse_shared_jobs(self, request: BatchRequest) -> None:
        """Raise `OptionError` where jobs should hold many rows, but a timeout or a limit counts jobs."""
        size, job = request.rows_per_job, request.job
        if request.brakes.is_set and size not in (None, job.rows_a_call):
            raise OptionError(
                f"rows_per_job={size}: with pilot, budget or max_failures a pause is to hold the next row, so a job "
                f"holds {'one row' if job.batch_size is None else 'the rows of one call'}; leave rows_per_job out"
            )
        if size in (None, job.rows_a_call):
            return
        refuse_many_rows(job.steps, size)
        one = "one row" if job.batch_size is None else "the rows of one call"
        if job.options.timeout:
            raise OptionError(
                f"rows_per_job={size}: a timeout is for a whole job, so a job holds {one}; leave one out"
            )
        if self.concurrency is not None or (job.task and job.task.concurrency is not None):
            raise OptionError(
                f"rows_per_job={size}: concurrency counts jobs, so a job holds {one}; leave one of them out"
            )
        was_limited = not self.is_given and request.store.queues.is_limited(request.base)
        if self.rates or job.is_limited or was_limited:
            raise OptionError(
                f"rows_per_job={size}: queue {job.queue!r} has a limiter, and that counts jobs, so a job holds {one}; "
                "leave rows_per_job out, or end the limit with limiter=None"
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
