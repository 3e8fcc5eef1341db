"""`Batch`, the handle through which the results of rows come back, and `attach`, which finds one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pandas as pd

from flownb.api import display
from flownb.api.attach import find_flow, flow_handle
from flownb.api.flow import Flow
from flownb.api.job import Job
from flownb.api.summary import summarise
from flownb.api.waiting import was_cancelled
from flownb.batches import debugging, frames, results, row_selection
from flownb.batches import failures as failing
from flownb.batches.jobs_of_rows import Row
from flownb.batches.row_ends import as_they_end
from flownb.batches.stored_batch import Source, StoredBatch
from flownb.connection import Connection
from flownb.errors import FlowFailed, OptionError
from flownb.state.stored_flow import StoredFlow
from flownb.wire import codec, keys, many_rows
from flownb.wire.leases import FetchingWorker
from flownb.wire.outcomes import Outcome
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, JobRecord
from flownb.wire.store import Store


class Batch(Flow):
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

    def results(self, timeout: Any = None, *, failed: str = "missing") -> pd.DataFrame:
        """Wait for the batch and return the rows' values on the rows' own index, one row for each row.

        A task that returns dicts gives their keys as columns, any other value one column named after the
        task; dtypes are nullable. What a row has no value for is missing: ``df["n"] = batch.results()["n"]``.
        `failed` says what becomes of rows that failed or did not run: they are ``"missing"``, ``"drop"`` leaves them
        out, ``"raise"`` raises `FlowFailed`. Raises TimeoutError past `timeout`.

        >>> @task
        ... def inverse(n):
        ...     return {"inverse": 1 / n}
        >>> fan_out([2, 0, 4], inverse).results(timeout=30)
           inverse
        0      0.5
        1     <NA>
        2     0.25
        """
        if failed not in ("missing", "drop", "raise"):
            raise OptionError(f"failed: 'missing', 'drop' or 'raise', not {failed!r}")
        self.wait(timeout)
        values, index = self._stored.rows.values(), self._stored.index
        if failed != "missing" and results.NOTHING in values:
            if failed == "raise":
                raise self._without_value(values.count(results.NOTHING))
            values, index = results.without_missing(values, index)
        return results.of_values(values, index, self._stored.spec["task"])

    def table(self) -> pd.DataFrame:
        """Return the rows with their results so far and ``_state _error _attempts _seconds``; never waits.

        In the kernel that made the batch the rows come with all their columns, after `attach` with those
        that travelled.

        >>> @task
        ... def square(n):
        ...     return n * n
        >>> fan_out([{"n": 2}, {"n": 3}], square).wait(timeout=30).table()[["n", "square", "_state"]]
           n  square     _state
        0  2       4  completed
        1  3       9  completed
        """
        found = self._stored.rows
        rows = found.read(inputs=self._stored.source is None)
        if self._stored.source is not None:
            return frames.table_of(self._stored.source.frame, rows, self._stored.spec["task"])
        inputs = frames.inputs_of(rows, self._stored.spec, found.index, self._stored.store, self._stored.id)
        return frames.table_of(inputs, rows, self._stored.spec["task"])

    @property
    def failures(self) -> pd.DataFrame:
        """The failed rows: a DataFrame with error message kind attempts seconds traceback on their labels."""
        return self._failures()[1]

    def result(self, timeout: Any = None) -> Any:
        """Wait and return the root's value. Raises `FlowFailed` if the batch failed or no row succeeded.

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
        if self._stored.spec["stages"]:
            value = super().result(timeout)
            return self._groups() if self._has_root_of_its_own() else value
        self.wait(timeout)
        values = self._stored.rows.values()
        if self._stored.store.flows.read_end(self._stored.id)[0] == CANCELLED:
            raise was_cancelled(self._stored)
        if values and all(value is results.NOTHING for value in values):
            first = next((row.error for row in self._stored.rows.read() if row.error), "no reason was stored")
            raise FlowFailed(
                f"batch {self.name!r} failed: none of its {self._stored.spec['rows']:,} rows succeeded; "
                f"the first failed with {first}"
            )
        return results.of_values(values, self._stored.index, self._stored.spec["task"])

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
        looks = self._polls(timeout)
        while not self._stored.is_whole():  # another kernel's iterator has not come to its end
            next(looks)
        rows, index = self._stored.rows, self._stored.index
        for place, row in as_they_end(rows, looks, ended=self._rows_ended, is_over=self._is_over):
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
        places = row_selection.places_of(self._stored.index, label)
        rows = self._stored.rows.read(places, inputs=True)
        place, row = next(
            (at for at in zip(places, rows, strict=True) if at[1].state == FAILED), (places[0], rows[0])
        )
        _, queue, id = keys.split(self._stored.rows.key(place))
        paths = many_rows.paths_of(self._stored.spec["columns"], self._stored.spec["whole_row"])
        record = JobRecord(
            key=self._stored.rows.key(place),
            id=id,
            queue=queue,
            name=self._stored.spec["task"],
            state=row.state,
            data=row.data,
            flow=self._stored.id,
            bind=many_rows.refer(None, paths) if self._stored.spec.get("refers") else None,
        )
        return debugging.debug(debugging.RowHere(record, store=self._stored.store))

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
        if not isinstance(error, str | None):
            raise OptionError(f"error: one error's name, kind or class, not {error!r}")
        failed, table = self._failures()
        if error is None and rows is None:
            self._stored.rows.retry(self._stored.flow_state, failed)
            super().retry()
            return self
        places = row_selection.chosen(table, self._stored.index, error=error, rows=rows)
        if not places:
            print(f"batch {self.name!r}: no failed row has the error {error!r}, nothing runs again")
        self._stored.rows.retry(self._stored.flow_state, [failed[place] for place in places])
        return self

    def to_html(self, path: Any = None) -> str:
        """Return the batch as one HTML page for others; with `path`, write it there too.

        Beside what the page of a flow shows: the result's table, or the first rows.

        >>> @task
        ... def square(n):
        ...     return n * n
        >>> page = fan_out([4, 5], square).wait(timeout=30).to_html()
        >>> "<table" in page, "<script" in page
        (True, False)
        """
        return display.page(self._stored, path, table=self._top_table())

    # ---- how ----------------------------------------------------------------------------------------

    def _without_value(self, count: int) -> FlowFailed:
        """What to raise where `count` rows have no value."""
        kinds = self.failures["kind"].value_counts()
        told = ", ".join(f"{kind} ({times:,})" for kind, times in kinds.head(5).items())
        more = f" and {len(kinds) - 5} kinds more" if len(kinds) > 5 else ""
        return FlowFailed(
            f"batch {self.name!r}: {count:,} of {len(self._stored.rows):,} rows have no result: "
            f"{told or 'they did not run'}{more}"
        )

    def _groups(self) -> pd.DataFrame:
        """The values of the aggregates right above the rows, one row a group."""
        groups, by = self._stored.group_labels(), self._stored.spec["by"]
        records = self._stored.store.jobs.read(list(groups), ("name", "returnvalue"))
        labels_ = [[label[place] for label in groups.values()] for place in range(len(by))]
        index = (
            pd.Index(labels_[0], name=by[0]) if len(by) == 1 else pd.MultiIndex.from_arrays(labels_, names=by)
        )
        name = next((record.name for record in records if record), self._stored.spec["task"])
        return results.values_frame(
            [record.returnvalue if record else None for record in records], index, name
        )

    def _has_root_of_its_own(self) -> bool:
        """Is the root nothing but the end of what is below it?"""
        return keys.queue_of(self._stored.root) == keys.BATCH_QUEUE

    def _top_table(self, most: int = 200) -> pd.DataFrame:
        """What the page shows of the outcome: the root's value if it is a table, else the first rows."""
        if self._stored.spec["stages"] and self._stored.flow_state.end().state == COMPLETED:
            if self._has_root_of_its_own():
                return self._groups().head(most)
            value = self.job.returnvalue
            if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
                table = pd.DataFrame(value).head(most)
                return table.set_index(table.columns[0])  # instead of numbers that mean nothing
            if isinstance(value, dict):
                return pd.DataFrame([value])
        return self.table().head(most)

    def _failures(self) -> tuple[list[int], pd.DataFrame]:
        """The failed rows' places, and the table of them in the same order."""
        places = [place for place, row in enumerate(self._stored.rows.read()) if row.state == FAILED]
        whole = zip(places, self._stored.rows.read(places, traces=True), strict=True)
        failed = {place: row for place, row in whole if row.state == FAILED}
        table = failing.failures(map(_failure, failed.values()), self._stored.index.take(list(failed)))
        return list(failed), table

    def _rows_ended(self) -> int:
        states = self._stored.flow_state.counts().by_stage.get(self._stored.spec["queue"], {})
        return states.get(COMPLETED, 0) + states.get(FAILED, 0)

    def _is_over(self) -> bool:
        self._while_waiting()
        return self._stored.flow_state.catch_up().state is not None

    def _while_waiting(self) -> None:
        """A root that is nothing but the end of its rows is completed by whoever waits, if no worker does it."""
        if self._has_root_of_its_own() and not self._connection.read_only:
            _finish_roots(self._stored.store, self._connection.prefix)


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
    return Batch(found, connection=resolved) if "spec" in found.record else flow_handle(found, resolved)


def _failure(row: Row) -> failing.Failure:
    error, message = failing.type_and_message(row.error, row.traceback)
    return failing.Failure(None, error, message, row.attempts, row.seconds, row.traceback)


def _finish_roots(store: Store, prefix: str) -> None:
    """Complete the roots of batches whose rows have all ended, as a worker would."""
    base = keys.base(prefix, keys.BATCH_QUEUE)
    token = secrets.token_hex(8)
    worker = FetchingWorker(token=token, lock_ms=15_000)
    taken = store.leases.finish_and_fetch([base], outcomes=[], want=10, worker=worker).taken
    if taken:
        outcomes = []
        for one in taken:
            summary = codec.encode(summarise(Job(one.record, store=store)), "summary")
            run = base, one.record.id, token, one.record.attempts_started
            outcomes.append(Outcome(*run, "completed", summary))
        store.leases.finish_and_fetch([base], outcomes=outcomes, want=0, worker=worker)
