"""`fan_out`: one job a row, aggregates above them, and the handle through which the results come back."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, overload

import pandas as pd

from flownb import seams
from flownb.batches import again, debugging, frames, grouping, results
from flownb.batches import failures as failing
from flownb.batches.ending import as_they_end
from flownb.batches.layout import Layout, RowJob
from flownb.batches.reading import Row, StoredRows
from flownb.batches.rehearsal import rehearse
from flownb.batches.rows import Rows, fingerprint, identities, ungrouped
from flownb.batches.rows import read as read_rows
from flownb.batches.stream import MOST_ROWS, store_as_they_come
from flownb.connection import Connection
from flownb.errors import FlowError, FlowFailed, OptionError
from flownb.flows import found
from flownb.flows.flow import Flow
from flownb.flows.job import Job, store_of
from flownb.flows.summary import BATCH_QUEUE, summarise
from flownb.options import read_limiter
from flownb.tasks.task import Task
from flownb.wire import codec, keys
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, MOST_FAILURES, JobRecord, Snapshot
from flownb.wire.store import CHUNK, Store


class Batch(Flow):
    """A flow made from rows: what `fan_out` and `attach` return.

    `results` and `table` come back on the rows' own index; `failures` says what went wrong, row by row.
    """

    def __init__(
        self, flow: str, *, connection: Connection | None = None, source: Source | None = None
    ) -> None:
        super().__init__(flow, connection=connection)
        self._spec = frames.spec_of(self._record)
        self._source = source
        self._found: StoredRows | None = None

    # ---- rows out -----------------------------------------------------------------------------------

    def results(self, timeout: Any = None) -> pd.DataFrame:
        """Wait for the batch and return the rows' values on the rows' own index; failed rows are missing.

        A task that returns dicts gives their keys as columns, any other value one column named after the
        task; dtypes are nullable. Raises TimeoutError past `timeout`.
        """
        self.wait(timeout)
        return results.of_values(self._rows.values(), self._index(), self._spec["task"])

    def table(self) -> pd.DataFrame:
        """Return the rows with their results so far and ``_state _error _attempts _seconds``; never waits.

        In the kernel that made the batch the rows come with all their columns, after `attach` with those
        that travelled.
        """
        rows = self._rows.read(inputs=self._source is None)
        if self._source is not None:
            return frames.table_of(self._source.frame, rows, self._spec["task"])
        return frames.table_of(frames.inputs_of(rows, self._spec, self._index()), rows, self._spec["task"])

    @property
    def failures(self) -> pd.DataFrame:
        """The failed rows: a DataFrame with error message kind attempts seconds traceback on their labels."""
        return self._failures()[1]

    def result(self, timeout: Any = None) -> Any:
        """Wait and return the root's value. Raises `FlowFailed` if the batch failed or no row succeeded.

        Without `into` it is `results`; with `by` and one task to go into, a DataFrame of what that returned for
        each group, on the groups' labels.
        """
        if self._spec["stages"]:
            value = super().result(timeout)
            return self._groups() if self._has_root_of_its_own() else value
        found = self.results(timeout)
        if self._store.read_flow_end(self._id)[0] == CANCELLED:
            raise self._was_cancelled()
        if self._spec["rows"] and found.empty:
            first = next((row.error for row in self._rows.read() if row.error), "no reason was stored")
            raise FlowFailed(
                f"batch {self.name!r} failed: none of its {self._spec['rows']:,} rows succeeded; "
                f"the first failed with {first}"
            )
        return found

    def as_completed(self, timeout: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield ``(label, value)`` of each row as it ends, also of those that have ended already.

        The value of a failed row is a `FlowFailed` that says why. Ends with the last row; what stands above the
        rows may still run. Raises TimeoutError when `timeout` is over before.

        >>> @task
        ... def half(n):
        ...     return n // (n != 3) / 2
        >>> batch = fan_out([2, 3], half)
        >>> for label, value in batch.as_completed(timeout=30):
        ...     print(label, repr(value))
        0 1.0
        1 FlowFailed('ZeroDivisionError: integer division or modulo by zero')
        """
        rows, index = self._rows, self._index()
        for place, row in as_they_end(
            rows, self._looks(timeout), ended=self._rows_ended, is_over=self._is_over
        ):
            failure = FlowFailed(row.error or f"the row is {row.state}")
            yield index[place], failure if row.value is None else results.decoded(row.value)

    def debug(self, label: Any) -> Any:
        """Call the task here with the inputs of one row, and return its value; nothing stored is changed.

        If it raises, IPython's debugger opens where it did (in a script at a terminal Python's); where nobody can
        answer a debugger the exception is raised. Of rows with the same label the first failed one is meant.
        Raises `FlowError` for a label that is no row, and for a task that is not known here.

        >>> @task
        ... def share(part, whole):
        ...     return part / whole
        >>> batch = fan_out([{"part": 1, "whole": 0}], share).wait(timeout=30)
        >>> batch.debug(0)
        Traceback (most recent call last):
            ...
        ZeroDivisionError: division by zero
        """
        __tracebackhide__ = True  # in IPython the traceback goes from the cell to the function
        places = again.places_of(self._index(), label)
        rows = self._rows.read(places, inputs=True)
        place, row = next(
            (at for at in zip(places, rows, strict=True) if at[1].state == FAILED), (places[0], rows[0])
        )
        _, queue, id = keys.split(self._rows.key(place))
        record = JobRecord(
            key=self._rows.key(place),
            id=id,
            queue=queue,
            name=self._spec["task"],
            state=row.state,
            data=row.data,
        )
        return debugging.debug(debugging.RowHere(record, store=self._store))

    def retry(self, error: str | type[Exception] | None = None, rows: Any = None) -> Batch:
        """Run failed rows again, then what stands above them, once; return the batch.

        `error` is an error's type or kind, as in `failures`, or its class; `rows` are labels. Without both, all
        rows and aggregates that failed run again. Rows that are done are kept. Raises `FlowError` for a label
        that is no failed row, or when an aggregate above them runs right now.

        >>> import pandas as pd
        >>> prices = {"a": 2}
        >>> @task
        ... def price(name):
        ...     return prices[name]
        >>> batch = fan_out(pd.DataFrame({"name": ["a", "b"]}), price).wait(timeout=30)
        >>> prices["b"] = 3
        >>> batch.retry(error="KeyError").results(timeout=30)
           price
        0      2
        1      3
        """
        self._connection.ensure_writable()
        if isinstance(error, type):
            error = error.__name__
        failed, table = self._failures()
        if error is None and rows is None:
            self._rows.retry(self._books, failed)
            super().retry()
            return self
        places = again.chosen(table, self._index(), error=error, rows=rows)
        if not places:
            print(f"batch {self.name!r}: no failed row has the error {error!r}, nothing runs again")
        self._rows.retry(self._books, [failed[place] for place in places])
        return self

    def to_html(self, path: Any = None) -> str:
        """Return the batch as one HTML page for others; with `path`, write it there too."""
        top = self._top_table()
        page = self._report(self._snapshot(failures=True), self._records(), top)
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(page)
        return page

    # ---- how ----------------------------------------------------------------------------------------

    def _groups(self) -> pd.DataFrame:
        """The values of the aggregates right below the root, one row a group."""
        pieces = self._store.read_children(self._record["root"])
        keys_ = [key for piece in pieces if not piece.added for key in piece.keys]
        records = [r for r in self._store.read_jobs(keys_, ("name", "data", "returnvalue")) if r]
        by = self._spec["by"]
        labels_ = [[codec.decode(record.data).get(name) for record in records] for name in by]
        index = (
            pd.Index(labels_[0], name=by[0]) if len(by) == 1 else pd.MultiIndex.from_arrays(labels_, names=by)
        )
        name = records[0].name if records else self._spec["task"]
        return results.results([record.returnvalue for record in records], index, name)

    def _has_root_of_its_own(self) -> bool:
        """Is the root nothing but the end of what is below it?"""
        return self._record["root"].rsplit(":", 2)[1] == BATCH_QUEUE

    def _top_table(self, most: int = 200) -> pd.DataFrame:
        """What the page shows of the outcome: the root's value if it is a table, else the first rows."""
        if self._spec["stages"] and self._books.end()[0] == COMPLETED:
            if self._has_root_of_its_own():
                return self._groups().head(most)
            value = self.job.returnvalue
            if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
                table = pd.DataFrame(value).head(most)
                return table.set_index(table.columns[0])  # instead of numbers that mean nothing
            if isinstance(value, dict):
                return pd.DataFrame([value])
        return self.table().head(most)

    @property
    def _rows(self) -> StoredRows:
        """The rows on the server; where they are is read once."""
        if self._found is None:
            self._found = StoredRows.below(self._store, self._record["root"], self._spec)
        return self._found

    def _snapshot(self, *, failures: bool = False, **parts: Any) -> Snapshot:
        """As of any flow; rows that failed inside a job of many stand among the failures too."""
        snapshot = super()._snapshot(failures=failures, **parts)
        failed = min(snapshot.counts.count(FAILED), MOST_FAILURES)
        if not failures or self._spec.get("rows_per_job") == 1:
            return snapshot
        known = {record.key for record in snapshot.failures}
        rows = (record for record in self._failed_rows() if record.key not in known)
        more = itertools.islice(rows, max(failed - len(known), 0))
        return dataclasses.replace(snapshot, failures=(*snapshot.failures, *more))

    def _failed_rows(self) -> Iterator[JobRecord]:
        """Each failed row as if it were a job of its own."""
        for start in range(0, len(self._rows), CHUNK):
            places = range(start, min(start + CHUNK, len(self._rows)))
            for place, row in zip(places, self._rows.read(places, traces=True), strict=True):
                if row.state == FAILED:
                    yield JobRecord(
                        key=self._rows.key(place),
                        id=self._rows.key(place).rsplit(":", 1)[1],
                        queue=self._spec["queue"],
                        name=self._spec["task"],
                        state=FAILED,
                        failed_reason=row.error,
                        stacktrace=codec.encode([row.traceback] if row.traceback else [], "traceback"),
                        attempts_made=row.attempts or 0,
                    )

    def _failures(self) -> tuple[list[int], pd.DataFrame]:
        """The failed rows' places, and the table of them in the same order."""
        places = [place for place, row in enumerate(self._rows.read()) if row.state == FAILED]
        whole = zip(places, self._rows.read(places, traces=True), strict=True)
        failed = {place: row for place, row in whole if row.state == FAILED}
        table = failing.failures(map(_failure, failed.values()), self._index().take(list(failed)))
        return list(failed), table

    def _rows_ended(self) -> int:
        states = self._books.counts().by_stage.get(self._spec["queue"], {})
        return states.get(COMPLETED, 0) + states.get(FAILED, 0)

    def _is_over(self) -> bool:
        self._while_waiting()
        return self._books.end()[0] is not None

    def _index(self) -> pd.Index[Any]:
        return self._rows.index if self._source is None else self._source.frame.index

    def _while_waiting(self) -> None:
        """A root that is nothing but the end of its rows is completed by whoever waits, if no worker does it."""
        if self._has_root_of_its_own() and not self._connection.read_only:
            _finish_roots(self._store, self._connection.prefix)


@dataclass(frozen=True)
class Source:
    """The rows as the caller had them: what `table` shows beside the results."""

    frame: pd.DataFrame


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

    `task`: its parameters named like columns receive those columns; one parameter ``row`` receives the whole
    row as a dict; a queue's name stands for whoever serves that queue. `into`: a task or a list of tasks up to
    the root; each receives a DataFrame of what is below it. `by`: the first of them runs once for each group (a
    group in which no row succeeded has no columns of results).
    Other keywords override the task's options. A `limiter` (``"5/s"``) is the queue's own from then on, BullMQ's
    global rate limit: it holds all workers, retries included, until another is given; None ends it.

    `rows_per_job`: many short rows in one job save most of what a job costs; a row that fails still fails, and
    is retried, alone. "auto" puts as many rows into a job as take about a tenth of a second: as far as it is
    known from earlier runs, else a job finds out and hands on what does not fit. It is one row for a queue's
    name, for a task that takes the `job`, is ``async`` or has a timeout or limiter, and where there are few rows.
    All rows of a job have the `job.id` in common.

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
    limiter = read_limiter(opts.pop("limiter", None))
    job = RowJob.read(task, opts)
    rows, by = ungrouped(rows, by)
    asked = grouping.checked(rows_per_job)
    if asked is None and limiter is not None:  # a limit counts jobs
        asked = 1
    if asked not in (None, 1) and job.options.timeout:
        raise OptionError(
            f"rows_per_job={asked}: a timeout is for a whole job, so a job holds one row; leave one out"
        )
    stages = _stages(into, by)
    if if_exists not in ("reuse", "rerun"):
        raise OptionError(f"if_exists: 'reuse' or 'rerun', not {if_exists!r}")
    read = partial(
        read_rows,
        required=job.required,
        optional=job.optional,
        by=by,
        whole_row=job.whole_row,
        any_column=job.any_column,
    )
    resolved, store = store_of(connection)
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

    if comes:
        resolved.ensure_writable()
        seams.serve_here(resolved)
        streamed = store_as_they_come(store, rows, name=name, read=read, identify=identify, lay_out=lay_out)
        if streamed is not None:
            return Batch(streamed, connection=resolved)
    layout = lay_out(found, identify(found))
    frame = _frame_of(rows, found)
    if dry_run:
        return rehearse(layout, frame)
    resolved.ensure_writable()
    seams.settle_here(resolved)
    if is_limited:
        store.limit_queue(keys.base(store.prefix, job.queue), limiter)
    flow = layout.store()
    seams.serve_here(resolved)
    return Batch(flow, connection=resolved, source=Source(frame))


def attach(name: str | Job, *, connection: Connection | None = None) -> Flow | Batch:
    """Return the handle of a flow or batch that is on the server already, in a new kernel or another one.

    `name` is a flow's name (the newest of that name), ``queue:id`` of any job of it, or such a `Job`; of another
    program's flow too: the handle stands for the whole tree around that job. Raises `JobMissing`.

    >>> attach("nobody-knows-it")
    Traceback (most recent call last):
        ...
    flownb.errors.JobMissing: no flow named 'nobody-knows-it' on this server; names are given with name=...
    """
    flow = found.attach(name, connection=connection)
    return Batch(flow._id, connection=flow._connection) if "spec" in flow._record else flow


def _earlier(store: Store, name: str) -> dict[str, Any]:
    """Return what the newest batch of this name says of itself."""
    flow = store.find_flow(name)
    record = store.read_flow(flow) if flow else {}
    return frames.spec_of(record) if "spec" in record else {}


def _stages(into: Any, by: Any) -> list[Task]:
    stages = [] if into is None else list(into) if isinstance(into, (list, tuple)) else [into]
    for stage in stages:
        if not isinstance(stage, Task):
            raise FlowError(
                f"into: make it a task first: @flownb.task above {getattr(stage, '__name__', stage)!s}"
            )
        if not stage.required and not stage.optional:
            raise FlowError(
                f"into: task {stage.name} needs a parameter for the DataFrame of what is below it"
            )
    if by is not None and not stages:
        raise FlowError("by: groups need a task to go into; give into=")
    return stages


def _frame_of(data: Any, found: Rows) -> pd.DataFrame:
    """The rows as a frame that later changes of the caller's do not reach."""
    if isinstance(data, pd.DataFrame):
        return data.copy(deep=int(pd.__version__.split(".")[0]) < 3)  # pandas 3 copies on write
    return results.inputs_frame(found.texts, found.columns, found.index, whole_row=found.whole_row)


def _failure(row: Row) -> failing.Failure:
    error, message = failing.type_and_message(row.error, row.traceback)
    return failing.Failure(None, error, message, row.attempts, row.seconds, row.traceback)


def _finish_roots(store: Store, prefix: str) -> None:
    """Complete the roots of batches whose rows have all ended, as a worker would."""
    base = keys.base(prefix, BATCH_QUEUE)
    token = secrets.token_hex(8)
    worker = {"token": token, "lock_ms": 15_000, "name": None, "limiter": None}
    taken = store.finish_and_fetch([base], outcomes=[], want=10, worker=worker).taken
    if taken:
        outcomes = [
            {
                "base": base,
                "id": one.record.id,
                "token": token,
                "ats": one.record.attempts_started,
                "kind": "completed",
                "value": codec.encode(summarise(Job(one.record, store=store)), "summary"),
            }
            for one in taken
        ]
        store.finish_and_fetch([base], outcomes=outcomes, want=0, worker=worker)
