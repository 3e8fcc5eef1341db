"""`Batch`, the handle through which the results of rows come back, and `attach`, which finds one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Literal, overload

import pandas as pd

from flownb.api import display, export
from flownb.api.attach import find_flow, flow_handle
from flownb.api.flow import Flow
from flownb.api.job import Job
from flownb.api.waiting import was_cancelled, within
from flownb.arguments import flag
from flownb.batches import (
    batch_tables,
    braking,
    code_by_now,
    debugging,
    frame_kinds,
    rows_to_retry,
)
from flownb.batches.braked_flow import BrakedFlow
from flownb.batches.code_of_rows import mixed_versions
from flownb.batches.complete_roots import complete_roots
from flownb.batches.failures import read_failures
from flownb.batches.jobs_of_rows import Row
from flownb.batches.one_row import BatchRow, read_row
from flownb.batches.printed import logs_table, read_wanted
from flownb.batches.row_ends import RowEnds
from flownb.batches.stored_batch import Source, StoredBatch
from flownb.connection import Connection
from flownb.errors import FlowFailed, FlowStuck
from flownb.state.stored_flow import StoredFlow
from flownb.wire.records import CANCELLED, COMPLETED, FAILED


class Batch(BrakedFlow):
    """A flow made from rows: what `fan_out` and `attach` return.

    `results` and `table` come back on the rows' own index; `failures` says what went wrong, row by row.

    >>> @task
    ... def inverse(n):
    ...     return 1 / n
    >>> fan_out([1, 0], inverse).wait(timeout=30).failures[["error", "message"]]
                   error           message
    1  ZeroDivisionError  division by zero
    """

    _stored: StoredBatch

    def __init__(
        self,
        flow: str | StoredFlow,
        *,
        connection: Connection | None = None,
        source: Source | None = None,
    ) -> None:
        super().__init__(flow, connection=connection)
        self._stored = StoredBatch(self._stored, source)

    # ---- rows out -----------------------------------------------------------------------------------

    @overload
    def results(
        self,
        timeout: Any = None,
        *,
        failed: str = "missing",
        frame: Literal["pandas"] | None = None,
        partial: bool = False,
    ) -> pd.DataFrame: ...
    @overload
    def results(
        self, timeout: Any = None, *, failed: str = "missing", frame: str, partial: bool = False
    ) -> Any: ...
    def results(
        self, timeout: Any = None, *, failed: str = "missing", frame: str | None = None, partial: bool = False
    ) -> Any:
        """Wait for the batch and return the rows' values on the rows' own index, one row for each row.

        A task that returns dicts gives their keys as columns, any other value one column named after the
        task; dtypes are nullable. What a row has no value for is missing: ``df["n"] = batch.results()["n"]``.
        `failed` says what becomes of rows that failed or did not run: they are ``"missing"``, ``"drop"`` leaves them
        out, ``"raise"`` raises `FlowFailed`. Warns of rows whose jobs were removed, and their values with them.
        Raises TimeoutError past `timeout`, `FlowPaused` where a brake has paused the batch, and `FlowStuck` where it
        cannot end, as when reading its rows has raised; then ``partial=True`` gives what is there; `table` never waits.

        Of a task that yields there is a line an item, numbered by a level ``item`` of the index: none of a row without
        items, one without an item of a row that has no value.

        Rows of polars come back as a DataFrame of polars, rows of Arrow or DuckDB as an Arrow table, in their order,
        with the columns of ``fan_out(key=)`` in front; all others as pandas. `frame` asks for ``"pandas"``,
        ``"polars"`` or ``"arrow"``, whatever came in; an index of pandas becomes columns there.

        >>> @task
        ... def inverse(n):
        ...     return {"inverse": 1 / n}
        >>> fan_out([2, 0, 4], inverse).results(timeout=30)
           inverse
        0      0.5
        1     <NA>
        2     0.25
        >>> @task
        ... def words(text):
        ...     yield from text.split()
        >>> fan_out(["to be", "", "or"], words).results(timeout=30)["words"].to_dict()
        {(0, 0): 'to', (0, 1): 'be', (2, 0): 'or'}
        """
        batch_tables.check_failed(failed)
        kind = batch_tables.checked_kind(frame)
        is_partial = flag("partial", partial)
        with within(timeout):
            with suppress(FlowStuck) if is_partial else nullcontext():
                self.wait(timeout)
            if not is_partial:
                braking.raise_if_held(self._stored)
            return batch_tables.of_kind(self._stored, batch_tables.row_results(self._stored, failed), kind)

    def table(self) -> Any:
        """Return the rows with their results so far and ``_state _error _attempts _seconds _version``; never waits.

        Where rows have called `spend`, there is a column for each unit, such as ``_usd``: over all attempts of a row.
        Where rows have several steps, ``_step`` says at which a row is that is not through them.

        ``_version`` is a short name of the code that ran the row, with what it uses: the same in every kernel.
        In the kernel that made the batch the rows come with all their columns, after `attach` with those
        that travelled. It is of the kind that came in, as `results`. Where rows yield, each item has a line, and a row
        without items one, for its state.

        >>> @task
        ... def square(n):
        ...     return n * n
        >>> fan_out([{"n": 2}, {"n": 3}], square).wait(timeout=30).table()[["n", "square", "_state"]]
           n  square     _state
        0  2       4  completed
        1  3       9  completed
        """
        return batch_tables.table(self._stored)

    @property
    def failures(self) -> pd.DataFrame:
        """The failed rows: a DataFrame with error message kind attempts seconds traceback on their labels.

        Where rows have several steps, ``step`` says at which each has failed.
        """
        return read_failures(self._stored.rows, self._stored.index, self._stored.steps)[1]

    def row(self, label: Any) -> BatchRow:
        """Return all about one row: inputs value error traceback attempts seconds spent version logs; it shows itself.

        A label means what ``df.loc`` finds; of rows with the same label the first failed one is meant. Raises
        `FlowError` for a label that is no row.

        >>> @task
        ... def share(part, whole):
        ...     return part / whole
        >>> row = fan_out([{"part": 1, "whole": 4}], share).wait(timeout=30).row(0)
        >>> row.inputs, row.value, row.error
        ({'part': 1, 'whole': 4}, 0.25, None)
        """
        return read_row(self._stored, label)

    def logs(self, rows: Any = None, *, grep: str | None = None, level: str | None = None) -> pd.DataFrame:
        """Return what the rows' functions have printed and logged: a DataFrame label attempt time stream line.

        `rows` are labels, as `retry` takes them; `grep` is a regular expression that a line has to match; `level`
        leaves the lines of ``logging`` from that level on. A row's lines come when its job has ended, at most 1,000
        of an attempt. The stream is ``stdout``, ``stderr`` (warnings and bars, too), a level, or ``log`` of what the
        function has logged with ``job.log``; times are UTC. Raises `FlowError` for a label that is no row.

        >>> @task
        ... def halve(n):
        ...     if n % 2:
        ...         print("odd:", n)
        ...     return n / 2
        >>> fan_out([2, 3], halve).wait(timeout=30).logs()[["label", "stream", "line"]]
           label  stream    line
        0      1  stdout  odd: 3
        """
        return logs_table(self._stored, rows, read_wanted(grep, level))

    def result(self, timeout: Any = None) -> Any:
        """Wait and return the root's value. Raises `FlowFailed` if the batch failed or no row succeeded.

        Raises `FlowPaused` where a brake has paused it.

        Without `into` it is `results`; with `by` and one task to go into, a DataFrame of what that returned for
        each group, on the groups' labels.

        >>> @task
        ... def square(n):
        ...     return n * n
        >>> @task
        ... def total(squares):
        ...     return int(squares["square"].sum())
        >>> fan_out([1, 2, 3], square, into=total).result(timeout=30)
        14
        """
        stored = self._stored
        with within(timeout):
            if stored.spec["stage_names"]:
                self.wait(timeout)
                braking.raise_if_held(stored)
                value = super().result(timeout)
                return batch_tables.group_results_of_kind(stored) if stored.has_plain_root else value
            self.wait(timeout)
            braking.raise_if_held(stored)
            if stored.store.flows.read_end(stored.id)[0] == CANCELLED:
                raise was_cancelled(stored)
            return batch_tables.of_kind(stored, batch_tables.successful_results(stored))

    def as_completed(self, timeout: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield ``(label, value)`` of each row as it ends, also of those that have ended already.

        Raises `FlowPaused` where a brake has paused the batch.

        The value of a failed row is a `FlowFailed` that says why, that of one that yields the list of its items. Ends
        with the last row; what stands above the rows may still run. Raises TimeoutError when `timeout` is over before.

        >>> @task
        ... def half(n):
        ...     return n // (n != 3) / 2
        >>> batch = fan_out([2, 3], half)
        >>> for label, value in batch.as_completed(timeout=30):
        ...     print(label, repr(value))
        0 1.0
        1 FlowFailed('ZeroDivisionError: integer division or modulo by zero')
        """
        stored = self._stored
        ends: RowEnds | None = None
        index: Any = None

        def look() -> list[tuple[int, Row]]:
            nonlocal ends, index
            if ends is None:
                braking.raise_if_cut_short(stored)
            if ends is None and stored.is_whole():  # not while another kernel's iterator gives rows
                index = stored.index
                ends = RowEnds(stored.rows, ended=stored.count_ended, is_over=self._is_over)
            return [] if ends is None else ends.look()

        for some in self._polls(timeout, look):
            if not some and self._is_held():
                some = look()  # rows that ended between the look before and the pause
                if not some:
                    braking.raise_if_held(stored)
            for position, row in some:
                failure = FlowFailed(row.error or f"the row is {row.state}")
                yield index[position], failure if row.value is None else stored.rows.row_value(row.value)
            if ends is not None and not ends.waiting:
                return

    def debug(self, label: Any) -> Any:
        """Call the task here with the inputs of one row, and return its value; nothing stored is changed.

        If it raises, IPython's debugger opens where it did (in a script at a terminal Python's); where nobody can
        answer a debugger the exception is raised. Of rows with the same label the first failed one is meant.
        Of several steps all run, or, of a row that has failed, those from the failed one on, with what those before it
        have returned. Raises `FlowError` for a label that is no row, and for a task that is not known here.

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
        if self._stored.steps:
            return debugging.debug_steps(self._stored, label)
        return debugging.debug(self._stored, label)

    def retry(
        self, error: str | type[Exception] | None = None, rows: Any = None, *, step: str | None = None
    ) -> Batch:
        """Run failed rows again, then what stands above them, once; return the batch.

        `error` is an error's type or kind, as in `failures`, or its class; `rows` are labels, each of which means what
        ``df.loc`` finds, of times also a day or a month; `step` means rows that failed at this step of several. Without
        these all rows and aggregates that failed run again. Rows that are done are kept, and steps that are done.
        Raises `FlowError` for a label that is no failed row, or when an aggregate above them runs right now.

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
        self._stored.record_now()
        self._outcome = None
        rows_to_retry.retry_rows(self._stored, self._connection, error=error, rows=rows, step=step)
        return self

    def to_html(self, path: Any = None) -> str:
        """Return the batch as one HTML page for others; with `path`, write it there too.

        What the page of a flow shows; its result is that of `into` as a table, or the first 200 rows.

        >>> @task
        ... def square(n):
        ...     return n * n
        >>> page = fan_out([4, 5], square).wait(timeout=30).to_html()
        >>> "<table" in page, "<script" in page
        (True, False)
        """
        table, rows = batch_tables.page_table(self._stored, lambda: self.job.returnvalue)
        return display.page(self._stored, path, table=table, table_of=rows)

    def export(self, folder: Any) -> Path:
        """Write the batch, as it is now, into a new folder for whoever has no flownb; return its path.

        Beside what a flow writes: *rows.parquet* is `table`, *failures.parquet* what went wrong, *groups.parquet* the
        values of groups, where there are such. Needs pyarrow or polars. See `Flow.export`.

        >>> @task
        ... def square(n):
        ...     return n * n
        >>> folder = fan_out([6, 17], square).wait(timeout=30).export("export-of-squares")
        >>> sorted(file.name for file in folder.iterdir())
        ['logs.jsonl', 'report.html', 'rows.parquet', 'tree.json']
        """
        frame_kinds.parquet_kind()
        return super().export(folder)

    def _write_into(self, folder: Path) -> None:
        table, rows = batch_tables.page_table(self._stored, lambda: self.job.returnvalue)
        export.write_page(self._stored, folder, table, rows)
        export.write_flow(self._stored, folder)
        for name, frame in batch_tables.exported(self._stored):
            frame_kinds.write_parquet(frame, folder / f"{name}.parquet")

    def explain(self) -> pd.DataFrame:
        """Return what keeps the batch from ending, as of any flow; also that its rows ran by several versions.

        >>> @task
        ... def square(n):
        ...     return n * n
        >>> fan_out([8, 9], square).wait(timeout=30).explain().empty
        True
        """
        reasons = super().explain()
        mixed = mixed_versions(self._stored.record_now(), self._stored.spec)
        if mixed:
            fix = 'table()["_version"] tells which; if_exists="rerun", or another version= on the task, runs all by one'
            reasons.loc[len(reasons)] = [self.name, mixed, fix]
        return reasons

    # ---- waiting ------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        self._while_waiting()
        return self._stored.flow_state.catch_up().state is not None

    def _ended_of_all(self) -> tuple[int, int, int]:
        """Return how many rows have ended, how many of these failed, and of how many."""
        states = self._stored.row_states()
        failed = states.get(FAILED, 0)
        return states.get(COMPLETED, 0) + failed, failed, sum(states.values())

    def _while_waiting(self) -> None:
        """Complete the root if it is nothing but the end of its rows: there may be no worker to do it.

        Raises `FlowStuck` where reading its rows has raised.
        """
        braking.raise_if_cut_short(self._stored)
        if self._stored.has_plain_root and not self._connection.read_only:
            complete_roots(self._stored.store, self._connection.prefix)


def attach(name: str | Job, *, connection: Connection | None = None) -> Flow | Batch:
    """Return the handle of a flow or batch that is on the server already, in a new kernel or another one.

    `name` is a flow's name (the newest of that name), ``queue:id`` of any job of it, or such a `Job`; of another
    program's flow too: the handle stands for the whole tree around that job. Raises `JobMissing`.

    >>> attach("nobody-knows-it")
    Traceback (most recent call last):
        ...
    flownb.errors.JobMissing: no flow named 'nobody-knows-it' on this server; names are given with name=...
    """
    found, resolved = find_flow(name, connection=connection)
    if "spec" not in found.record:
        return flow_handle(found, resolved)
    batch = Batch(found, connection=resolved)
    code_by_now.go_on_after_attach(batch._stored, resolved)
    return batch
