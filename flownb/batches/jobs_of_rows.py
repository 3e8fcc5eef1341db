"""The stored jobs that rows are in, and what became of each row: `Row` has state, value, error, attempts, seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from flownb.batches.kept_values import KeptValues
from flownb.wire import codec
from flownb.wire.many_rows import RowsValue
from flownb.wire.records import COMPLETED, FAILED, REMOVED, JobRecord
from flownb.wire.store import Store

END_FIELDS = ("name", "returnvalue", "failedReason", "atm", "processedOn", "finishedOn", "why", "cv")
JOB_FIELDS = (*END_FIELDS, "data")  #: what `rows_of` shows of a job

RowLocation = tuple[str, int | None]
"""The key of a row's job, and where in that job the row is; None where the job is the row."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one row, at one moment."""

    state: str  #: one of BullMQ's, or `REMOVED`: then its value may have been kept by its parent
    value: str | None = None  #: JSON text of what the task returned; None while there is nothing
    error: str | None = None  #: of a failed row: ``Type: message``
    attempts: int | None = None
    seconds: float | None = None  #: that its last attempt took
    why: str | None = None  #: why it failed for good, as in a job's hash
    data: str = "{}"  #: JSON text of its inputs, if they were asked for
    traceback: str | None = None  #: of its last failed attempt, if tracebacks were asked for
    version: str | None = None  #: of a row that has ended: name of the code that ran it


class RowEnd(NamedTuple):
    """How a row is doing, and nothing else of it."""

    state: str  #: as in `Row`
    why: str | None = None  #: as in `Row`


class JobsOfRows:
    """Jobs of rows, each read once, also those to which a many-row job has delegated some of its rows.

    `kept` has the values of those that were removed; without it they are lost.
    """

    def __init__(self, store: Store, fields: Sequence[str], kept: KeptValues | None = None) -> None:
        self._store = store
        self._fields = fields
        self._kept = kept
        self._kept_texts: dict[str, str] = {}  # of jobs that were removed
        self._delegated: dict[str, RowLocation] = {}  # job -> where its first row was before
        self.records: dict[str, JobRecord | None] = {}
        self._values: dict[str, RowsValue] = {}
        self._inputs: dict[str, list[Any]] = {}

    def rows(self, locations: Sequence[RowLocation], *, traces: bool = False) -> list[Row]:
        """Read what became of these rows."""
        locations = self.locate(locations)
        stored = (self.records[key] for key, within in locations if within is None)
        alone = rows_of(record for record in stored if record)
        return [self._row(key, within, alone, traces) for key, within in locations]

    def ends(self, locations: Sequence[RowLocation]) -> list[RowEnd]:
        """Read how these rows are doing: cheaper than `rows`, as no value is made ready."""
        return [self._end(*location) for location in self.locate(locations)]

    def locate(self, locations: Sequence[RowLocation]) -> list[RowLocation]:
        """Read the jobs of these rows; return where the rows are now."""
        now = list(locations)
        many = {key for key, within in now if within is not None}
        unread = list(dict.fromkeys(key for key, _ in now))
        while unread:
            self._read(unread, many)
            now = [self._followed(*location) for location in now]
            many = {key for key, within in now if within is not None}
            unread = list(dict.fromkeys(key for key, _ in now if key not in self.records))
        return [self._held_yet(*location) for location in now]

    def _read(self, keys: list[str], many: set[str]) -> None:
        """Read jobs; those in `many` hold several rows each."""
        alone = [key for key in keys if key not in many]
        self.records |= zip(alone, self._store.jobs.read(alone, self._fields), strict=True)
        shared = [key for key in keys if key in many]
        fields = list(dict.fromkeys([*self._fields, "returnvalue", "part"]))
        self.records |= zip(shared, self._store.jobs.read(shared, fields), strict=True)
        if self._kept:
            self._kept_texts |= self._kept.read([key for key in keys if self.records[key] is None])
        for key in shared:
            record = self.records[key]
            if text := record.returnvalue or record.part if record else self._kept_texts.get(key):
                self._values[key] = RowsValue.read(text)

    def _followed(self, key: str, within: int | None) -> RowLocation:
        """Where a row is now that its job may have delegated to another one."""
        value = self._values.get(key)
        if within is None or value is None or value.rest is None or within < len(value.values):
            return key, within
        number, within_next = divmod(within - len(value.values), value.rest)
        delegate = f"{key}-{number + 1}"
        self._delegated[delegate] = key, within - within_next
        return delegate, within_next

    def _held_yet(self, key: str, within: int | None) -> RowLocation:
        """Where a row is that its job is about to delegate: the job says so before it stores the other one."""
        before, first = self._delegated.get(key, (key, None))
        if within is None or first is None or self.records[key] is not None:
            return key, within
        record = self.records[before]
        is_about_to = record is not None and record.state != COMPLETED
        return (before, first + within) if is_about_to else (key, within)

    def _end(self, key: str, within: int | None) -> RowEnd:
        record = self.records[key]
        if record is None:
            return RowEnd(REMOVED)
        if within is not None:
            value = self._values.get(key) or _NO_ROWS
            if value.is_done(within):
                return RowEnd(COMPLETED)
            if within in value.errors and within not in (value.open or ()):
                return RowEnd(FAILED, value.errors[within].get("why"))
        return RowEnd(record.state or REMOVED, record.why)

    def _row(self, key: str, within: int | None, alone: Iterator[Row], traces: bool) -> Row:
        """What became of a row; `alone` has the next one whose job is the row."""
        record = self.records[key]
        if record is None:
            return Row(REMOVED, self._kept_text(key, within))
        return next(alone) if within is None else self._row_of_many(record, within, traces)

    def _kept_text(self, key: str, within: int | None) -> str | None:
        """The value of a row whose job was removed."""
        if within is None:
            return self._kept_texts.get(key)
        value = self._values.get(key)
        return codec.encode(value.values[within], "value") if value and value.is_done(within) else None

    def _row_of_many(self, record: JobRecord, within: int, traces: bool) -> Row:
        """What became of the row that stands at `within` in a many-row job."""
        key = record.key
        value = self._values.get(key) or _NO_ROWS
        seconds = value.seconds[within] if within < len(value.seconds) else None
        data = self._input(record, within) if "data" in self._fields else "{}"
        if value.is_done(within):
            text = codec.encode(value.values[within], "value")
            attempts, version = value.attempts.get(within, 1), value.versions.get(within, value.version)
            return Row(COMPLETED, text, None, attempts, seconds, None, data, version=version)
        error = value.errors.get(within)
        if error is not None and within not in (value.open or ()):
            version = value.versions.get(within, value.version)
            return dataclasses.replace(_failed(error, seconds, data, traces), version=version)
        if record.state != FAILED:
            return Row(record.state or REMOVED, attempts=record.attempts_made, data=data)
        return Row(FAILED, None, record.failed_reason, record.attempts_made, seconds, record.why, data)

    def _input(self, record: JobRecord, within: int) -> str:
        if record.key not in self._inputs:
            self._inputs[record.key] = codec.decode(record.data)["rows"]
        return codec.encode(self._inputs[record.key][within], "row")


_NO_ROWS = RowsValue()


def _failed(error: Mapping[str, Any], seconds: float | None, data: str, traces: bool) -> Row:
    trace = error["traceback"] if traces else None
    return Row(FAILED, None, error["error"], error["attempts"], seconds, error.get("why"), data, trace)


def rows_of(records: Iterable[JobRecord | None]) -> Iterator[Row]:
    """Return jobs that hold one row each, or one value each, as rows."""
    for record in records:
        if record is None:
            yield Row(REMOVED)
            continue
        state = record.state or REMOVED
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
            record.version if state in (COMPLETED, FAILED) else None,
        )


def _seconds_of(record: JobRecord) -> float | None:
    if record.finished_on is None or record.processed_on is None:
        return None
    return (record.finished_on - record.processed_on) / 1000
