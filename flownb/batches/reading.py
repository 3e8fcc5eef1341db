"""The rows of a stored batch, one by one: what became of each, whichever job it is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flownb.batches import labels
from flownb.flows import revival
from flownb.wire import codec
from flownb.wire.records import COMPLETED, FAILED, JobRecord
from flownb.wire.store import Store

_END = ("name", "returnvalue", "failedReason", "atm", "processedOn", "finishedOn", "why")
JOB_FIELDS = (*_END, "data")  #: what `rows_of` shows of a job


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

    def __init__(self, store: Store, pieces: Sequence[codec.Children], spec: Mapping[str, Any]) -> None:
        self._store = store
        self._pieces = pieces
        self._spec = spec
        positions = [position for piece in pieces for position in piece.positions or ()]
        self._order = sorted(range(len(positions)), key=positions.__getitem__)
        keys = [key for piece in pieces for key in piece.keys]
        self._keys = [keys[place] for place in self._order]

    @classmethod
    def below(cls, store: Store, root: str, spec: Mapping[str, Any]) -> StoredRows:
        """Return the rows of a whole batch, from its root job's key; aggregates in between are stepped over."""
        parents: list[str] = [root]
        found: list[codec.Children] = []
        while parents and not found:
            families = store.read_children_of(parents)
            found = [piece for pieces in families for piece in pieces if piece.positions is not None]
            parents = [
                key
                for pieces in families
                for piece in pieces
                if piece.positions is None
                for key in piece.keys
            ]
        return cls(store, found, spec)

    def __len__(self) -> int:
        return len(self._keys)

    @property
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
        fields = [*_END, *(["data"] if inputs else []), *(["stacktrace"] if traces else [])]
        return list(rows_of(self._store.read_jobs(self._jobs(places), fields)))

    def values(self) -> list[str | None]:
        """Read the JSON text of each row that is done, None for any other: the fastest read there is."""
        return self._store.read_returnvalues(self._keys)

    def key(self, place: int) -> str:
        """The key of the job that a row is in."""
        return self._keys[place]

    def retry(self, flow: str, places: Iterable[int]) -> None:
        """Run failed rows again, then what stands above them, once. Raises `FlowError` as `Flow.retry` does."""
        revival.retry_jobs(self._store, flow, self._jobs(places))

    def _jobs(self, places: Iterable[int] | None) -> list[str]:
        return self._keys if places is None else [self._keys[place] for place in places]


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
