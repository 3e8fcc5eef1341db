"""The rows of a stored batch, one by one: what became of each, whichever job it is in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.batches import results
from flownb.batches.jobs_of_rows import END_FIELDS, JobsOfRows, Row, RowLocation
from flownb.batches.kept_values import KeptValues
from flownb.batches.located_rows import ALONE, LocatedRows
from flownb.batches.results import NOTHING
from flownb.files import references
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import folder_of_batch
from flownb.state.flow_state import FlowState
from flownb.steering import retry
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS


class StoredRows:
    """The rows below one job of a batch, in the order of their positions in the frame.

    `read` and `values` always ask the server; which row is in which job is read once, as it does not change. Of a job
    that was removed, what its parent has kept counts.
    """

    def __init__(self, store: Store, located: LocatedRows) -> None:
        self._store = store
        self._located = located
        self._kept = KeptValues(store, located.children)

    @classmethod
    def below(cls, store: Store, root: str, spec: Mapping[str, Any]) -> StoredRows:
        """Return the rows of a whole batch, from its root job's key; aggregates in between are stepped over."""
        parents: list[str] = [root]
        while parents:
            located = LocatedRows(spec, store.declared.read_each(parents))
            if len(located):
                return cls(store, located)
            parents = list(dict.fromkeys(key for keys in located.children.values() for key in keys))
        return cls(store, LocatedRows(spec))

    def __len__(self) -> int:
        return len(self._located)

    @cached_property
    def positions(self) -> dict[str, int]:
        """Which row a job holds that holds one alone, by the job's key."""
        located = self._located
        if not (located.within == ALONE).any():
            return {}
        return {key: position for position, (key, within) in enumerate(located.locations()) if within is None}

    @property
    def numbers(self) -> npt.NDArray[np.int32]:
        """Which rows of the batch these are."""
        return self._located.numbers

    @property
    def index(self) -> pd.Index[Any]:
        """The rows' own labels."""
        return self._located.index

    def read(
        self, positions: Iterable[int] | None = None, *, inputs: bool = False, traces: bool = False
    ) -> list[Row]:
        """Read all rows, or those at these positions; with their `inputs`, their `traces`."""
        fields = [*END_FIELDS, *(["data"] if inputs else []), *(["stacktrace"] if traces else [])]
        return JobsOfRows(self._store, fields, self._kept).rows(
            self._located.locations(positions), traces=traces
        )

    def read_with_keys(self, positions: Iterable[int]) -> list[tuple[str, Row]]:
        """Read the rows at these positions with their traces, each with the key of the job that it is in by now."""
        jobs = JobsOfRows(self._store, [*END_FIELDS, "stacktrace"], self._kept)
        locations = jobs.locate(self._located.locations(positions))
        return list(zip((key for key, _ in locations), jobs.rows(locations, traces=True), strict=True))

    def values(self) -> list[Any]:
        """Read what each row returned, `NOTHING` for a row that is not done: the fastest read there is."""
        found: list[Any] = []
        for jobs in self._located.jobs(CHUNK_JOBS):
            whole = self._whole_values([key for key, _ in jobs])
            for key, within in jobs:
                found += _values_of(whole.get(key, NOTHING), within)
        values = self._located.in_order(found)
        if NOTHING in values:
            self._add_values_elsewhere(values)
        return values

    def _whole_values(self, keys: list[str]) -> dict[str, Any]:
        """Return what jobs returned, those that have completed."""
        texts = dict(zip(keys, self._store.jobs.read_returnvalues(keys), strict=True))
        gone = self._store.jobs.read_missing([key for key, text in texts.items() if text is None])
        texts |= self._kept.read(gone)
        return {key: self.value_of(text) for key, text in texts.items() if text is not None}

    def _add_values_elsewhere(self, values: list[Any]) -> None:
        """Add what rows returned whose many-row job has not completed, or has delegated them to another."""
        missing = [at for at, value in enumerate(values) if value is NOTHING]
        locations = zip(missing, self._located.locations(missing), strict=True)
        rest = [at for at, (_, within) in locations if within is not None]
        for at, row in zip(rest, self.read(rest) if rest else (), strict=True):
            if row.value is not None:
                values[at] = self.value_of(row.value)

    def value_of(self, text: str) -> Any:
        """Return a row's value from its JSON text; what stands in a file is a `File`."""
        value = results.decoded(text)
        return references.with_files(value, self._folder) if references.MARK in text else value

    @cached_property
    def _folder(self) -> FileFolder | None:
        return folder_of_batch(self._store, self._located.spec["name"], self._located.spec["files"])

    def jobs(self, positions: Iterable[int]) -> list[RowLocation]:
        """Return in which job each of these rows is by now, and where in it."""
        jobs = JobsOfRows(self._store, ("name", "returnvalue"))
        return jobs.locate(self._located.locations(positions))

    def key(self, position: int) -> str:
        """The key of the job that a row is in."""
        return self._located.locations([position])[0][0]

    def retry(self, flow_state: FlowState, positions: Iterable[int]) -> None:
        """Run failed rows again, then what stands above them, once. Raises `FlowError` as `Flow.retry` does.

        Where a many-row job failed as a whole, all its rows that are not done run again.
        """
        locations = JobsOfRows(self._store, END_FIELDS).locate(self._located.locations(positions))
        rows_of_many: dict[str, list[int]] = {}
        for key, within in locations:
            if within is not None:
                rows_of_many.setdefault(key, []).append(within)
        retry.retry_jobs(
            self._store, flow_state, list(dict.fromkeys(key for key, _ in locations)), rows_of_many
        )


def _values_of(whole: Any, within: list[int]) -> list[Any]:
    """What rows returned, by their indexes in a job that returned `whole`; `NOTHING` where that does not say."""
    if whole is NOTHING or within == [ALONE]:
        return [whole] * len(within)
    if not whole["errors"] and within == list(range(len(whole["values"]))):
        return list(whole["values"])
    return [_one_of(whole, at) for at in within]


def _one_of(whole: Mapping[str, Any], within: int) -> Any:
    has = within < len(whole["values"]) and str(within) not in whole["errors"]
    return whole["values"][within] if has else NOTHING
