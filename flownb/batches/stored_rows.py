"""The rows of a stored batch, one by one: what became of each, whichever job it is in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import pandas as pd

from flownb.batches import labels, results
from flownb.batches.results import NOTHING
from flownb.state.flow_state import FlowState
from flownb.steering import retry
from flownb.wire import codec
from flownb.wire.many_rows import RowsValue
from flownb.wire.records import COMPLETED, FAILED, JobRecord
from flownb.wire.store import Store

END_FIELDS = ("name", "returnvalue", "failedReason", "atm", "processedOn", "finishedOn", "why")
JOB_FIELDS = (*END_FIELDS, "data")  #: what `rows_of` shows of a job

Home = tuple[str, int | None]
"""The key of a row's job, and its place there; None where the job is the row."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one row, at one moment."""

    state: str  #: one of BullMQ's, or ``removed``
    value: str | None = None  #: JSON text of what the task returned; None while there is nothing
    error: str | None = None  #: of a failed row: ``Type: message``
    attempts: int | None = None
    seconds: float | None = None  #: that its last attempt took
    why: str | None = None  #: why it failed for good, as in a job's hash
    data: str = "{}"  #: JSON text of its inputs, if they were asked for
    traceback: str | None = None  #: of its last failed attempt, if tracebacks were asked for


class StoredRows:
    """The rows below one job of a batch, in the order of their positions in the frame.

    `read` and `values` always ask the server; which row is in which job is read once, as it does not change.
    """

    def __init__(
        self,
        store: Store,
        pieces: Sequence[codec.Children],
        spec: Mapping[str, Any],
        parents: Sequence[str] = (),
    ) -> None:
        self.parents = parents  #: keys of the jobs right above the rows, of a whole batch
        self._store = store
        self._pieces = [piece for piece in pieces if piece.positions is not None]
        self._spec = spec
        positions = [position for piece in self._pieces for position in piece.positions or ()]
        self._order: Sequence[int] = range(len(positions))  # where each row stands in the pieces
        if positions != list(self._order):
            self._order = sorted(self._order, key=positions.__getitem__)

    @cached_property
    def _homes(self) -> list[Home]:
        homes = [home for piece in self._pieces for home in piece.homes()]
        return [homes[place] for place in self._order]

    @classmethod
    def below(cls, store: Store, root: str, spec: Mapping[str, Any]) -> StoredRows:
        """Return the rows of a whole batch, from its root job's key; aggregates in between are stepped over."""
        parents: list[str] = [root]
        while parents:
            families = dict(zip(parents, store.declared.read_many(parents), strict=True))
            rows = {
                parent: found
                for parent, pieces in families.items()
                if (found := [piece for piece in pieces if piece.positions is not None])
            }
            if rows:
                return cls(store, [piece for found in rows.values() for piece in found], spec, list(rows))
            parents = [key for pieces in families.values() for piece in pieces for key in piece.keys]
        return cls(store, [], spec)

    def __len__(self) -> int:
        return len(self._order)

    @cached_property
    def places(self) -> dict[str, int]:
        """Where the row is that a job holds alone, by the job's key."""
        return {key: place for place, (key, within) in enumerate(self._homes) if within is None}

    @cached_property
    def index(self) -> pd.Index[Any]:
        """The rows' own labels."""
        if self._spec["index"]["kind"] == "range":
            positions = [position for piece in self._pieces for position in piece.positions or ()]
            return labels.index_from_json(self._spec["index"], []).take(sorted(positions))
        found = [label for piece in self._pieces for label in piece.labels or ()]
        return labels.index_from_json({**self._spec["index"], "length": len(found)}, found).take(self._order)

    def read(
        self, places: Iterable[int] | None = None, *, inputs: bool = False, traces: bool = False
    ) -> list[Row]:
        """Read all rows, or those at `places` (0 is the first row); with their `inputs`, their `traces`."""
        fields = [*END_FIELDS, *(["data"] if inputs else []), *(["stacktrace"] if traces else [])]
        homes = self._homes if places is None else [self._homes[place] for place in places]
        return Jobs(self._store, fields).rows(homes, traces=traces)

    def read_with_keys(self, places: Iterable[int]) -> list[tuple[str, Row]]:
        """Read the rows at `places` with their traces, each with the key of the job that it is in by now."""
        jobs = Jobs(self._store, [*END_FIELDS, "stacktrace"])
        homes = jobs.settle([self._homes[place] for place in places])
        return list(zip((key for key, _ in homes), jobs.rows(homes, traces=True), strict=True))

    def values(self) -> list[Any]:
        """Read what each row returned, `NOTHING` for a row that is not done: the fastest read there is."""
        keys = list(dict.fromkeys(key for piece in self._pieces for key in piece.keys))
        texts = zip(keys, self._store.jobs.read_returnvalues(keys), strict=True)
        whole = {key: results.decoded(text) for key, text in texts if text is not None}
        found: list[Any] = []
        for piece in self._pieces:
            found += _values_of(piece, whole)
        values = found if isinstance(self._order, range) else [found[place] for place in self._order]
        # What else there is stands in jobs that are not completed, or to which rows were handed on.
        rest = [at for at, value in enumerate(values) if value is NOTHING and self._homes[at][1] is not None]
        for at, row in zip(rest, self.read(rest) if rest else (), strict=True):
            if row.value is not None:
                values[at] = codec.decode(row.value)
        return values

    def key(self, place: int) -> str:
        """The key of the job that a row is in."""
        return self._homes[place][0]

    def retry(self, flow_state: FlowState, places: Iterable[int]) -> None:
        """Run failed rows again, then what stands above them, once. Raises `FlowError` as `Flow.retry` does.

        Where a many-row job failed as a whole, all its rows that are not done run again.
        """
        homes = Jobs(self._store, END_FIELDS).settle([self._homes[place] for place in places])
        again: dict[str, list[int]] = {}
        for key, at in homes:
            if at is not None:
                again.setdefault(key, []).append(at)
        retry.retry_jobs(self._store, flow_state, list(dict.fromkeys(key for key, _ in homes)), again)


class Jobs:
    """Jobs of rows, each read once, also those to which a many-row job has handed on some of its rows."""

    def __init__(self, store: Store, fields: Sequence[str]) -> None:
        self._store = store
        self._fields = fields
        self.records: dict[str, JobRecord | None] = {}
        self._values: dict[str, RowsValue] = {}
        self._inputs: dict[str, list[Any]] = {}

    def rows(self, homes: Sequence[Home], *, traces: bool = False) -> list[Row]:
        """Read what became of these rows."""
        homes = self.settle(homes)
        single = rows_of(self.records[key] for key, place in homes if place is None)
        return [next(single) if place is None else self._row(key, place, traces) for key, place in homes]

    def settle(self, homes: Sequence[Home]) -> list[Home]:
        """Read the jobs of these rows; return where the rows are now."""
        settled = list(homes)
        unread = list(dict.fromkeys(key for key, _ in settled))
        while unread:
            many = {key for key, place in settled if place is not None}
            fields = [*self._fields, "part"] if many else self._fields
            self.records.update(zip(unread, self._store.jobs.read(unread, fields), strict=True))
            for key in unread:
                record = self.records[key]
                text = record and (record.returnvalue or record.part)
                if key in many and text:
                    self._values[key] = RowsValue.read(text)
            settled = [self._moved(*home) for home in settled]
            unread = list(dict.fromkeys(key for key, _ in settled if key not in self.records))
        return settled

    def _moved(self, key: str, place: int | None) -> Home:
        value = self._values.get(key)
        if place is None or value is None or value.rest is None or place < len(value.values):
            return key, place
        number, place = divmod(place - len(value.values), value.rest)
        return f"{key}-{number + 1}", place

    def _row(self, key: str, place: int, traces: bool) -> Row:
        record = self.records[key]
        if record is None:
            return Row("removed")
        value = self._values.get(key) or RowsValue()
        made, took = record.attempts_made, None
        if place < len(value.seconds):
            took = value.seconds[place]
        data = self._input(record, place) if "data" in self._fields else "{}"
        if value.is_done(place):
            text = codec.encode(value.values[place], "value")
            return Row(COMPLETED, text, None, value.attempts.get(place, 1), took, None, data)
        error = value.errors.get(place)
        if error is not None and place not in (value.open or ()):
            trace = error["traceback"] if traces else None
            return Row(FAILED, None, error["error"], error["attempts"], took, error.get("why"), data, trace)
        state = record.state or "removed"
        if state != FAILED:
            return Row(state, attempts=made, data=data)
        return Row(FAILED, None, record.failed_reason, made, took, record.why, data)

    def _input(self, record: JobRecord, place: int) -> str:
        if record.key not in self._inputs:
            self._inputs[record.key] = codec.decode(record.data)["rows"]
        return codec.encode(self._inputs[record.key][place], "row")


def _values_of(piece: codec.Children, whole: Mapping[str, Any]) -> Iterator[Any]:
    """The values of a piece's rows, from what their completed jobs returned; `NOTHING` where that does not say."""
    if piece.counts is None:
        return (whole.get(key, NOTHING) for key in piece.keys)
    if piece.places is None:
        jobs = zip(piece.keys, piece.counts, strict=True)
        return chain.from_iterable(_all_of(whole.get(key), count) for key, count in jobs)
    return (_one_of(whole.get(key, NOTHING), place) for key, place in piece.homes())


def _all_of(value: Mapping[str, Any] | None, count: int) -> list[Any]:
    if value is None:
        return [NOTHING] * count
    if not value["errors"] and len(value["values"]) == count:
        return list(value["values"])
    return [_one_of(value, place) for place in range(count)]


def _one_of(value: Any, place: int | None) -> Any:
    if place is None or value is NOTHING:
        return value
    has = place < len(value["values"]) and str(place) not in value["errors"]
    return value["values"][place] if has else NOTHING


def known_rows(store: Store, name: str) -> dict[str, Home]:
    """Return the rows that many-row jobs of this name hold, by the rows' ids."""
    known: dict[str, Home] = {}
    for key, packed in store.batch_rows.read_ids(name).items():
        for place, id in enumerate(zlib.decompress(packed).decode().split(",")):
            known[id] = key, place
    return known


def rows_of(records: Iterable[JobRecord | None]) -> Iterator[Row]:
    """Return jobs that hold one row each, or one value each, as rows."""
    for record in records:
        if record is None:
            yield Row("removed")
            continue
        state = record.state or "removed"
        traces = codec.decode(record.stacktrace) if state == FAILED else None
        yield Row(
            state,
            record.returnvalue if state == COMPLETED else None,
            record.failed_reason if state == FAILED else None,
            record.attempts_made,
            _seconds_of(record),
            record.why,
            record.data,
            traces[-1] if traces else None,
        )


def _seconds_of(record: JobRecord) -> float | None:
    if record.finished_on is None or record.processed_on is None:
        return None
    return (record.finished_on - record.processed_on) / 1000
