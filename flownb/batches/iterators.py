"""Rows from an iterator: what has come is stored and runs, while the next is waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pandas as pd

from flownb import hooks
from flownb.adding.stream import Stream
from flownb.batches import labels
from flownb.batches.announcements import announce_kept
from flownb.batches.batch_request import BatchRequest
from flownb.batches.earlier_rows import read_locations
from flownb.batches.planned_jobs import PlannedJobs
from flownb.batches.row_plan import RowPlan
from flownb.wire import keys, many_rows
from flownb.wire.records import COMPLETED, FAILED

MOST_ROWS_A_PIECE = 500  #: that are read before they are stored
PATIENCE_SECONDS = 0.2  #: for which a row that has come may wait for others


def store_as_they_come(request: BatchRequest, items: Iterator[Any]) -> str | None:
    """Store the rows of an iterator as they come; return the flow's id, None if none came.

    When the iterator or a row of it raises, the batch has the rows before, and the exception says so.
    """
    stored = _StoredSoFar(request)
    try:
        for some in _pieces(items):
            stored.add(some)
    except BaseException as error:
        if stored.stream is not None:
            error.add_note(
                f"batch {request.name!r} has the {stored.rows:,} rows before; the same call again goes on from there"
            )
        raise
    finally:
        stored.close()
    return stored.flow if stored.stream else None


class _StoredSoFar:
    """One batch whose rows come piece by piece. Of the rows themselves nothing is kept."""

    def __init__(self, request: BatchRequest) -> None:
        self.request = request
        self.flow = keys.new_id()
        hooks.kernel_workers.keep_tasks(request.connection, request.name, self.flow, request.tasks)
        self.stream: Stream | None = None
        self.rows = 0
        self._is_known = request.is_known()
        self._many = read_locations(request.store, request.name) if self._is_known else {}
        self._seen: dict[bytes, int] = {}  # how often equal rows have come
        self._columns: dict[str, None] = {}
        self._completed = self._failed = self._renewed = 0  # rows that were there already
        self._last: tuple[RowPlan, PlannedJobs] | None = None

    def add(self, items: list[Any]) -> None:
        """Store the next rows; they may run at once."""
        request = self.request
        found = request.with_ids(request.read_rows(items, start=self.rows), self._seen)
        row_plan = RowPlan(
            request, found, flow=self.flow, start=self.rows, expected=MOST_ROWS_A_PIECE, many=self._many
        )
        if self._is_known:
            while row_plan.earlier.renew_failed():
                pass
        self._columns |= dict.fromkeys(found.columns)
        jobs = PlannedJobs(row_plan)
        self._last = row_plan, jobs
        self.stream = self.stream or Stream(request.store, self.flow, request.name, jobs.record())
        self.stream.send(jobs.plan, jobs.parents)
        self.rows += len(found)
        self._completed += row_plan.earlier.count(COMPLETED)
        self._failed += row_plan.earlier.count(FAILED)
        self._renewed += row_plan.renewed

    def close(self) -> None:
        """Say that these were all rows, and what is known of them only now."""
        if self.stream is None or self._last is None:
            return
        row_plan, jobs = self._last
        store = self.request.store
        spec = {
            **jobs.spec(),
            "rows": self.rows,
            "columns": list(self._columns),
            "index": labels.index_to_json(pd.RangeIndex(self.rows))[0],
        }
        if row_plan.shares_jobs:
            note = many_rows.note_of(self.rows, self._completed, self._failed)
            counts = keys.own(store.prefix, "counts", self.flow)
            store.flows.write_fields([(counts, f"rows@{self.request.base}", note)])
        self.stream.close({"spec": json.dumps(spec)})
        kept = self._completed + self._failed
        announce_kept(row_plan, kept, self.rows, failed=self._failed, again=self._renewed)


def _pieces(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield what has come: 500 items, or those of a fifth of a second."""
    some: list[Any] = []
    last = time.monotonic()
    try:
        for item in items:
            some.append(item)
            if len(some) == MOST_ROWS_A_PIECE or time.monotonic() - last > PATIENCE_SECONDS:
                yield some
                some, last = [], time.monotonic()
    except Exception:
        if some:
            yield some
        raise
    if some:
        yield some
