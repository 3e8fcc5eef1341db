"""The rows of a stored batch, one by one: what became of each, whichever job it is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import pandas as pd

from flownb.batches import labels, results
from flownb.batches.jobs_of_rows import END_FIELDS, JobsOfRows, Row, RowLocation
from flownb.batches.kept_values import KeptValues
from flownb.batches.results import NOTHING
from flownb.files import references
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import folder_of_batch
from flownb.state.flow_state import FlowState
from flownb.steering import retry
from flownb.wire import child_list
from flownb.wire.store import Store


class StoredRows:
    """The rows below one job of a batch, in the order of their positions in the frame.

    `read` and `values` always ask the server; which row is in which job is read once, as it does not change. `pieces`
    are the children of each job right above the rows. Of a job that was removed, what its parent has kept counts.
    """

    def __init__(
        self,
        store: Store,
        pieces: Mapping[str, Sequence[child_list.ChildList]],
        spec: Mapping[str, Any],
    ) -> None:
        self._store = store
        self._kept = KeptValues(store, pieces)
        self._pieces = list(filter(_has_rows, chain.from_iterable(pieces.values())))
        self._spec = spec
        positions = [position for piece in self._pieces for position in piece.positions or ()]
        self._order: Sequence[int] = range(len(positions))  # where in the pieces the row of each position is
        if positions != list(self._order):
            self._order = sorted(self._order, key=positions.__getitem__)

    @cached_property
    def _locations(self) -> list[RowLocation]:
        found = [location for piece in self._pieces for location in piece.locations()]
        return [found[at] for at in self._order]

    @classmethod
    def below(cls, store: Store, root: str, spec: Mapping[str, Any]) -> StoredRows:
        """Return the rows of a whole batch, from its root job's key; aggregates in between are stepped over."""
        parents: list[str] = [root]
        while parents:
            children = dict(zip(parents, store.declared.read_many(parents), strict=True))
            pieces = list(chain.from_iterable(children.values()))
            if any(map(_has_rows, pieces)):
                return cls(store, children, spec)
            parents = list(dict.fromkeys(key for piece in pieces for key in piece.keys))
        return cls(store, {}, spec)

    def __len__(self) -> int:
        return len(self._order)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Which row a job holds that holds one alone, by the job's key."""
        return {key: position for position, (key, within) in enumerate(self._locations) if within is None}

    @cached_property
    def numbers(self) -> list[int]:
        """Which rows of the batch these are."""
        return sorted(position for piece in self._pieces for position in piece.positions or ())

    @cached_property
    def index(self) -> pd.Index[Any]:
        """The rows' own labels."""
        if self._spec["index"]["kind"] == "range":
            return labels.index_from_json(self._spec["index"], []).take(self.numbers)
        found = [label for piece in self._pieces for label in piece.labels or ()]
        return labels.index_from_json({**self._spec["index"], "length": len(found)}, found).take(self._order)

    def read(
        self, positions: Iterable[int] | None = None, *, inputs: bool = False, traces: bool = False
    ) -> list[Row]:
        """Read all rows, or those at these positions; with their `inputs`, their `traces`."""
        fields = [*END_FIELDS, *(["data"] if inputs else []), *(["stacktrace"] if traces else [])]
        locations = self._locations if positions is None else [self._locations[at] for at in positions]
        return JobsOfRows(self._store, fields, self._kept).rows(locations, traces=traces)

    def read_with_keys(self, positions: Iterable[int]) -> list[tuple[str, Row]]:
        """Read the rows at these positions with their traces, each with the key of the job that it is in by now."""
        jobs = JobsOfRows(self._store, [*END_FIELDS, "stacktrace"], self._kept)
        locations = jobs.locate([self._locations[at] for at in positions])
        return list(zip((key for key, _ in locations), jobs.rows(locations, traces=True), strict=True))

    def values(self) -> list[Any]:
        """Read what each row returned, `NOTHING` for a row that is not done: the fastest read there is."""
        keys = list(dict.fromkeys(key for piece in self._pieces for key in piece.keys))
        texts = dict(zip(keys, self._store.jobs.read_returnvalues(keys), strict=True))
        gone = self._store.jobs.read_missing([key for key, text in texts.items() if text is None])
        texts |= self._kept.read(gone)
        whole = {key: results.decoded(text) for key, text in texts.items() if text is not None}
        if any(text is not None and references.MARK in text for text in texts.values()):
            whole = {key: references.with_files(value, self._folder) for key, value in whole.items()}
        found = list(chain.from_iterable(_values_of(piece, whole) for piece in self._pieces))
        values = found if isinstance(self._order, range) else [found[at] for at in self._order]
        if NOTHING in values:
            self._add_values_elsewhere(values)
        return values

    def _add_values_elsewhere(self, values: list[Any]) -> None:
        """Add what rows returned whose many-row job has not completed, or has delegated them to another."""
        locations = self._locations
        rest = [at for at, value in enumerate(values) if value is NOTHING and locations[at][1] is not None]
        for at, row in zip(rest, self.read(rest) if rest else (), strict=True):
            if row.value is not None:
                values[at] = self.value_of(row.value)

    def value_of(self, text: str) -> Any:
        """Return a row's value from its JSON text; what stands in a file is a `File`."""
        value = results.decoded(text)
        return references.with_files(value, self._folder) if references.MARK in text else value

    @cached_property
    def _folder(self) -> FileFolder | None:
        return folder_of_batch(self._store, self._spec["name"], self._spec["files"])

    def jobs(self, positions: Iterable[int]) -> list[RowLocation]:
        """Return in which job each of these rows is by now, and where in it."""
        return JobsOfRows(self._store, ("name", "returnvalue")).locate(
            [self._locations[at] for at in positions]
        )

    def key(self, position: int) -> str:
        """The key of the job that a row is in."""
        return self._locations[position][0]

    def retry(self, flow_state: FlowState, positions: Iterable[int]) -> None:
        """Run failed rows again, then what stands above them, once. Raises `FlowError` as `Flow.retry` does.

        Where a many-row job failed as a whole, all its rows that are not done run again.
        """
        locations = JobsOfRows(self._store, END_FIELDS).locate([self._locations[at] for at in positions])
        rows_of_many: dict[str, list[int]] = {}
        for key, within in locations:
            if within is not None:
                rows_of_many.setdefault(key, []).append(within)
        retry.retry_jobs(
            self._store, flow_state, list(dict.fromkeys(key for key, _ in locations)), rows_of_many
        )


def _has_rows(piece: child_list.ChildList) -> bool:
    return piece.positions is not None


def _values_of(piece: child_list.ChildList, whole: Mapping[str, Any]) -> Iterator[Any]:
    """The values of a piece's rows, from what their completed jobs returned; `NOTHING` where that does not say."""
    if piece.counts is None:
        return (whole.get(key, NOTHING) for key in piece.keys)
    if piece.indexes is None:
        jobs = zip(piece.keys, piece.counts, strict=True)
        return chain.from_iterable(_all_of(whole.get(key), count) for key, count in jobs)
    return (_one_of(whole.get(key, NOTHING), within) for key, within in piece.locations())


def _all_of(value: Mapping[str, Any] | None, count: int) -> list[Any]:
    if value is None:
        return [NOTHING] * count
    if not value["errors"] and len(value["values"]) == count:
        return list(value["values"])
    return [_one_of(value, within) for within in range(count)]


def _one_of(value: Any, within: int | None) -> Any:
    if within is None or value is NOTHING:
        return value
    has = within < len(value["values"]) and str(within) not in value["errors"]
    return value["values"][within] if has else NOTHING
