"""Rows from an iterator: what has come is stored and runs, while the next is waited for."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any

import pandas as pd

from flownb import hooks
from flownb.adding.stream import Stream
from flownb.batches import job_size, labels, row_steps
from flownb.batches.announcements import announce_kept, warn_of_secrets
from flownb.batches.arrow_frames import ROWS_A_PIECE, GivenFrame
from flownb.batches.batch_request import BatchRequest
from flownb.batches.earlier_rows import RowLocations, read_locations
from flownb.batches.input_table import listed
from flownb.batches.planned_jobs import PlannedJobs
from flownb.batches.row_counts import RowCounts
from flownb.batches.row_plan import RowPlan
from flownb.batches.rows import Rows
from flownb.batches.rows_on_their_way import await_rows_on_their_way
from flownb.errors import FlowError, Overtaken, ServerError, one_line
from flownb.wire import keys, many_rows
from flownb.wire.records import COMPLETED, FAILED

MOST_ROWS_A_PIECE = 500  #: that are read before they are stored
PATIENCE_SECONDS = 0.2  #: for which a row that has come may wait for others


Piece = list[Any] | pd.DataFrame


def pieces_of(given: GivenFrame) -> Iterable[Piece] | None:
    """Return the pieces in which rows come, of an iterator or a lazy frame; None where all are there."""
    if given.pieces is not None:
        return given.pieces
    return _pieces(given.rows) if isinstance(given.rows, Iterator) else None


def checked_pieces(request: BatchRequest, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Return the pieces of a lazy frame; raise what is wrong with its columns before anything is written."""
    first = next(pieces)  # there is one, if without rows
    request.read_rows(first)
    return chain([first], pieces)


def store_as_they_come(request: BatchRequest, pieces: Iterable[Piece]) -> str | None:
    """Store rows that come piece by piece; return the flow's id, None if none came.

    When the iterator or a row of it raises, the batch has the rows before and stays half stored; the exception says so.
    """
    stored = _StoredSoFar(request)
    try:
        for some in pieces:
            if len(some):
                stored.add(some)
    except BaseException as error:
        stored.cut_short(error)
        raise
    stored.close()
    return stored.flow if stored.stream else None


class _StoredSoFar:
    """One batch whose rows come piece by piece. Of the rows themselves nothing is kept."""

    def __init__(self, request: BatchRequest) -> None:
        self.request = request
        self.flow = keys.new_id()
        hooks.kernel_workers.keep_tasks(request.connection, request.name, self.flow, request.tasks)
        hooks.kernel_workers.widen(request.connection, self.flow, [request.job.queue], request.concurrency)
        self.stream: Stream | None = None
        self.rows = 0
        self._is_known = request.is_known()
        self._many = read_locations(request.store, request.name) if self._is_known else RowLocations({})
        self._seen, self._seen_before = RowCounts(), RowCounts()  # to tell equal rows from each other
        self._columns: dict[str, None] = {}
        # The spec of an index of all rows, without its length; None where rows are numbered.
        self._labels: dict[str, Any] | None = None
        self._completed = self._failed = self._renewed = 0  # rows that were there already
        self._flows_kept: dict[str, None] = {}
        self._steps_before: list[int] = []
        self._last: RowPlan | None = None
        self._is_wait_said = False

    def add(self, rows: Piece) -> None:
        """Store the next rows; they may run at once."""
        request = self.request
        if isinstance(rows, pd.DataFrame):
            rows = rows.set_axis(pd.RangeIndex(self.rows, self.rows + len(rows)))
        found = request.with_ids(request.read_rows(rows, start=self.rows), self._seen)
        found = request.with_earlier_ids(found, rows, self.rows, self._seen_before)
        self._note_labels(found)
        if not self.rows:
            warn_of_secrets(found)
        self._columns |= dict.fromkeys(found.columns)
        while not self._store(found, _expected(rows)):
            self._look_up_again()

    def _store(self, found: Rows, expected: int) -> bool:
        """Store the next rows, as far as they are not there; False where another kernel has stored some meanwhile."""
        request = self.request
        found = replace(found, texts=list(found.texts))  # which the jobs take
        row_plan = RowPlan(
            request, found, flow=self.flow, start=self.rows, expected=expected, many=self._many
        )
        if self._is_known:
            row_plan.earlier.find_newest()
            self._is_wait_said |= await_rows_on_their_way(row_plan, is_said=self._is_wait_said)
        jobs = PlannedJobs(row_plan)
        before = self.stream, self._last
        self._last = row_plan
        self.stream = self.stream or Stream(request.store, self.flow, request.name, jobs.record())
        try:
            existing = self.stream.send(jobs.plan, jobs.parents)
        except Overtaken:
            self.stream, self._last = before
            return False
        self._many.noted += len(set(jobs.many_row_jobs) - existing)
        self._note(row_plan, len(found))
        self.stream.note({"spec": json.dumps(self._spec(jobs))}, self._counts(row_plan))
        return True

    def _look_up_again(self) -> None:
        """Find out which rows are there by now, for the next ones."""
        store, name = self.request.store, self.request.name
        self.request = replace(self.request, newest=store.flows.find(name))
        self._is_known = True
        self._many = read_locations(store, name)

    def _note(self, row_plan: RowPlan, rows: int) -> None:
        """Remember what a piece has brought that is stored by now."""
        request = self.request
        self.rows += rows
        self._completed += row_plan.earlier.count(COMPLETED)
        self._failed += row_plan.earlier.count(FAILED)
        self._renewed += row_plan.renewed
        self._flows_kept |= row_plan.flows_kept
        row_plan.flows_kept.update(self._flows_kept)  # as it speaks for all rows, once it is the last
        if request.job.steps:
            before = row_plan.steps_before()
            self._steps_before = list(map(sum, zip_longest(self._steps_before, before, fillvalue=0)))

    def _note_labels(self, found: Rows) -> None:
        """Remember of which type the labels are; raise where those of other rows were of another one."""
        if not self.request.key:
            return
        now = labels.without_length(found.index_spec)
        if self._labels is None:
            self._labels = now
        elif now != self._labels:
            raise FlowError(
                f"key={listed(self.request.key)}: from row {self.rows} on the labels are of another type than before "
                f"({found.index.dtype}); make all of one type, such as text"
            )

    def _spec(self, jobs: PlannedJobs) -> dict[str, Any]:
        """The batch's spec, of all rows so far."""
        index = (
            labels.index_to_json(pd.RangeIndex(self.rows))[0]
            if self._labels is None
            else {**self._labels, "length": self.rows}
        )
        return {**jobs.spec(), "rows": self.rows, "columns": list(self._columns), "index": index}

    def _counts(self, row_plan: RowPlan) -> dict[str, bytes]:
        """What the flow's counts say of all rows so far, where jobs hold several."""
        if not row_plan.shares_jobs:
            return {}
        base, steps = self.request.base, self.request.job.steps
        counts = {f"rows@{base}": many_rows.note_of(self.rows, self._completed, self._failed)}
        if steps:
            counts[f"rows-steps@{base}"] = row_steps.note_of(steps, self._steps_before)
        return counts

    def cut_short(self, error: BaseException) -> None:
        """Say that no further rows come, as this was raised: what stands above them must not take them for all."""
        if self.stream is None:
            return
        error.add_note(
            f"batch {self.request.name!r} has the {self.rows:,} rows before; the same call again goes on from there"
        )
        with suppress(ServerError):  # a server that is lost: then it looks as if this program had died
            self.stream.cut_short(one_line(traceback.format_exception_only(error)[0].strip()))

    def close(self) -> None:
        """Say that these were all rows."""
        if self.stream is None or self._last is None:
            return
        self.stream.close()
        kept = self._completed + self._failed
        announce_kept(self._last, kept, self.rows, failed=self._failed, again=self._renewed)


def _expected(rows: Piece) -> int:
    """How many rows the batch has at least, as far as is known: a lazy frame's pieces are full but the last."""
    is_full = isinstance(rows, pd.DataFrame) and len(rows) >= ROWS_A_PIECE
    return job_size.FEWEST_JOBS * many_rows.MOST_ROWS if is_full else MOST_ROWS_A_PIECE


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
