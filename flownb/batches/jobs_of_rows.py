"""The stored jobs that rows are in, and what became of each row: `Row` has state, value, error, attempts, seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, NamedTuple

from flownb.batches.kept_values import KeptValues
from flownb.files.rows_in_files import FindFolder, RowsOfJob, is_of_rows, of_rows, read_rows, read_values
from flownb.wire import amounts, codec
from flownb.wire.amounts import Amounts
from flownb.wire.many_rows import RowsValue
from flownb.wire.records import COMPLETED, FAILED, REMOVED, JobRecord
from flownb.wire.store import Store

END_FIELDS = ("name", "returnvalue", "failedReason", "atm", "processedOn", "finishedOn", "why", "cv", "spent")
_FIELDS_OF_MANY = ("returnvalue", "part", "rspent")  # read of many-row jobs as well
JOB_FIELDS = (*END_FIELDS, "data")  #: what `rows_of` shows of a job

_FOREIGN = (
    "ForeignWorker: another program's worker took the job that holds this row, and returned something that is not "
    "what its rows return; give that worker a queue of its own, then retry()"
)

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
    spent: Amounts | None = None  #: over all its attempts so far
    #: JSON list of what steps have returned, of a row that is not through all of them
    partial: str | None = None
    step_ms: Sequence[int | None] = ()  #: how long its steps took last, as far as they are known
    step_spent: Sequence[Amounts] = ()  #: what its steps have spent, as far as it is known which one did


class RowEnd(NamedTuple):
    """How a row is doing, and nothing else of it."""

    state: str  #: as in `Row`
    why: str | None = None  #: as in `Row`


class JobsOfRows:
    """Jobs of rows, each read once, also those in which rows of a many-row job go on: delegated, or at a later step.

    `kept` has the values of those that were removed; without it they are lost. `find_folder` says where files are. Of
    rows that have steps, those that wait say what steps in earlier jobs have returned.
    """

    def __init__(
        self,
        store: Store,
        fields: Sequence[str],
        find_folder: FindFolder,
        kept: KeptValues | None = None,
        *,
        has_steps: bool = False,
    ) -> None:
        self._store = store
        self._fields = fields
        self._find_folder = find_folder
        self._kept = kept
        self._has_steps = has_steps
        self._kept_texts: dict[str, str] = {}  # of jobs that were removed
        self._before: dict[RowLocation, RowLocation] = {}  # where a row is, or is about to be -> where it was
        self.records: dict[str, JobRecord | None] = {}
        self._values: dict[str, RowsValue] = {}
        self._spent_by_rows: dict[str, dict[int, dict[str, int]]] = {}  # of jobs that have not completed
        self._inputs: dict[str, list[Any]] = {}

    def rows(self, locations: Sequence[RowLocation], *, traces: bool = False) -> list[Row]:
        """Read what became of these rows."""
        return [row for _, row in self.located_rows(locations, traces=traces)]

    def located_rows(
        self, locations: Sequence[RowLocation], *, traces: bool = False
    ) -> list[tuple[RowLocation, Row]]:
        """Read what became of these rows; return each with where it is now."""
        locations = self.locate(locations)
        stored = (self.records[key] for key, within in locations if within is None)
        alone = rows_of(record for record in stored if record)
        return [(location, self._row(*location, alone, traces)) for location in locations]

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
        fields = list(dict.fromkeys([*self._fields, *_FIELDS_OF_MANY]))
        self.records |= zip(shared, self._store.jobs.read(shared, fields), strict=True)
        self._note_spent(shared)
        if self._kept:
            kept = self._kept.read([key for key in keys if self.records[key] is None])
            self._kept_texts |= {
                key: text for key, text in kept.items() if key not in many or is_of_rows(text)
            }
        texts: dict[str, str] = {}
        for key in shared:
            record = self.records[key]
            if text := of_rows(record) if record else self._kept_texts.get(key):
                texts[key] = text
        self._values.update(read_values(texts, self._find_folder))
        if self._has_steps:
            self._read_kept([key for key in shared if self.records[key] and key not in texts])
        if "data" in self._fields:
            self._read_inputs_in_files(shared)

    def _note_spent(self, keys: Sequence[str]) -> None:
        """Note what rows of these jobs have told which they have not saved, or never will."""
        for key in keys:
            record = self.records[key]
            if record and record.spent_by_rows:
                self._spent_by_rows[key] = amounts.of_rows(record.spent_by_rows)

    def _read_kept(self, keys: list[str]) -> None:
        """Read what steps have returned in earlier jobs, of jobs that have noted nothing yet."""
        found = self._store.jobs.read(keys, ("name", "bind")) if keys else []
        having = [job.key for job in found if job and job.bind and '"kept":1' in job.bind]
        for job in self._store.jobs.read(having, ("name", "data")) if having else ():
            if job is not None:
                data = codec.decode(job.data)
                spent = {n: one for n, one in enumerate(data.get("spent", ())) if one}
                open = list(range(len(data["kept"])))
                self._values[job.key] = RowsValue(data["kept"], open=open, spent=spent)

    def _read_inputs_in_files(self, keys: list[str]) -> None:
        """Read the rows of many-row jobs that stand in files: together, as a bucket takes its time for each."""
        found = ((key, self.records[key]) for key in keys)
        jobs = {key: RowsOfJob(record.data, self._find_folder) for key, record in found if record}
        self._inputs.update(
            read_rows({key: job for key, job in jobs.items() if job.are_in_file}, self._find_folder)
        )

    def _followed(self, key: str, within: int | None) -> RowLocation:
        """Where a row is now that its job may have delegated to another one."""
        value = self._values.get(key)
        if within is None or value is None:
            return key, within
        if value.moved and (there := value.moved_to(within)):
            self._before[there] = key, within
            return there
        if value.rest is None or within < len(value.values):
            return key, within
        number, within_next = divmod(within - len(value.values), value.rest)
        delegate = f"{key}-{number + 1}"
        self._before[delegate, within_next] = key, within
        return delegate, within_next

    def _held_yet(self, key: str, within: int | None) -> RowLocation:
        """Where a row is that its job is about to hand on: the job says so before it stores the other one."""
        before = self._before.get((key, within))
        if within is None or before is None or self.records[key] is not None:
            return key, within
        record = self.records[before[0]]
        is_about_to = record is not None and record.state != COMPLETED
        return before if is_about_to else (key, within)

    def later_than(self, key: str) -> list[str]:
        """Return the jobs in which rows of this one go on, delegated or at a later step, and rows of those, by key."""
        found: list[str] = []
        left = [key]
        while left:
            more = self._later.get(left.pop(), {})
            found += more
            left += more
        return found

    @cached_property
    def _later(self) -> dict[str, dict[str, None]]:
        """Of each job those in which rows of it that were located have gone on."""
        found: dict[str, dict[str, None]] = {}
        for (key, _), (before, _) in self._before.items():
            if self.records.get(key):
                found.setdefault(before, {})[key] = None
        return found

    def way_to(self, location: RowLocation) -> list[RowLocation]:
        """Return where a row has been up to where it is now, the first place first."""
        way = [location]
        while (before := self._before.get(way[-1])) is not None:
            way.append(before)
        return way[::-1]

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
            if record.state == COMPLETED:
                return RowEnd(FAILED)
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
        value = self._values.get(record.key) or _NO_ROWS
        row = self._row_without_spent(record, value, within, traces)
        if self._has_steps:
            way = self.way_to((record.key, within))
            row = dataclasses.replace(row, step_ms=self._step_ms(way), step_spent=self._step_spent(way))
        spent = self._spent(record.key, within, value)
        return dataclasses.replace(row, spent=spent) if spent else row

    def _spent(self, key: str, within: int, value: RowsValue) -> Amounts:
        """What a row has spent: by its job, and by those from which it comes, while it has not begun in this one."""
        if not (self._spent_by_rows or self._before):
            return value.spent.get(within, {})
        found: Amounts = {}
        for one, at in self.way_to((key, within)):
            if at is not None:
                saved = self._values.get(one, _NO_ROWS).spent.get(at, {})
                told = self._spent_by_rows.get(one, {}).get(at, {})
                found = amounts.most(found, amounts.most(saved, told))
        return found

    def _step_spent(self, way: Sequence[RowLocation]) -> list[Amounts]:
        """What the steps of a row have spent, in all jobs that it has been in."""
        found: list[Amounts] = []
        for key, within in way:
            value = self._values.get(key)
            spent = value.step_spent.get(within, ()) if value and within is not None else ()
            both: Iterable[tuple[Amounts, ...]] = zip_longest(found, spent, fillvalue={})
            found = [amounts.total(pair) for pair in both]
        return found

    def _step_ms(self, way: Sequence[RowLocation]) -> list[int | None]:
        """How long the steps of a row took, each in the job that ran it last."""
        found: list[int | None] = []
        for key, within in way:
            value = self._values.get(key)
            took = value.step_ms.get(within, ()) if value and within is not None else ()
            pairs = zip_longest(found, took)
            found = [before if now is None else now for before, now in pairs]
        return found

    def _row_without_spent(self, record: JobRecord, value: RowsValue, within: int, traces: bool) -> Row:
        seconds = value.ms[within] / 1000 if within < len(value.ms) else None
        data = self._input(record, within) if "data" in self._fields else "{}"
        if value.is_done(within):
            text = codec.encode(value.values[within], "value")
            attempts, version = value.attempts.get(within, 1), value.versions.get(within, value.version)
            return Row(COMPLETED, text, None, attempts, seconds, None, data, version=version)
        error, partial = value.errors.get(within), _partial(value, within)
        if error is not None and within not in (value.open or ()):
            version = value.versions.get(within, value.version)
            return dataclasses.replace(
                _failed(error, seconds, data, traces), version=version, partial=partial
            )
        if record.state == COMPLETED:  # every row that a worker of flownb has run is one of the above
            return Row(FAILED, None, _FOREIGN, record.attempts_made, data=data, partial=partial)
        if record.state != FAILED:
            return Row(record.state or REMOVED, attempts=record.attempts_made, data=data, partial=partial)
        return Row(
            FAILED,
            None,
            record.failed_reason,
            record.attempts_made,
            seconds,
            record.why,
            data,
            partial=partial,
        )

    def _input(self, record: JobRecord, within: int) -> str:
        if record.key not in self._inputs:
            self._inputs[record.key] = codec.decode(record.data)["rows"]
        return codec.encode(self._inputs[record.key][within], "row")


_NO_ROWS = RowsValue()


def _partial(value: RowsValue, within: int) -> str | None:
    """What the steps of a row have returned that is not through all of them."""
    found = value.values[within] if within < len(value.values) else None
    return codec.encode(found, "value") if isinstance(found, list) else None


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
            amounts.of_job(record.spent) if record.spent else None,
        )


def _seconds_of(record: JobRecord) -> float | None:
    if record.finished_on is None or record.processed_on is None:
        return None
    return (record.finished_on - record.processed_on) / 1000
