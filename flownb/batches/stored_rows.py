"""The rows of a stored batch, one by one: what became of each, whichever job it is in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.batches import results
from flownb.batches.jobs_of_rows import END_FIELDS, JobsOfRows, Row, RowLocation
from flownb.batches.kept_values import KeptValues
from flownb.batches.located_rows import ALONE, LocatedRows
from flownb.batches.row_steps import columns_of, names_in
from flownb.batches.value_columns import NOTHING, ROWS_TOGETHER, ValueColumns, of_steps
from flownb.files import references
from flownb.files.file import File
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import folder_of_batch
from flownb.files.rows_in_files import is_in_file, whole_texts
from flownb.state.flow_state import FlowState
from flownb.steering import retry
from flownb.wire.many_rows import positions_in
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS

_JSON = "application/json"


class StoredRows:
    """The rows below one job of a batch, in the order of their positions in the frame.

    `read` and `values` always ask the server; which row is in which job is read once, as it does not change. Of a job
    that was removed, what its parent has kept counts.
    """

    def __init__(self, store: Store, located: LocatedRows) -> None:
        self._store = store
        self._located = located
        self._kept = KeptValues(store, located.children, self._find_folder)

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
        runs = self.runs
        locations = zip(runs, located.locations(runs), strict=True)
        return {key: position for position, (key, within) in locations if within is None}

    @cached_property
    def runs(self) -> Sequence[int]:
        """The positions of the rows that run: all, or of those that run once together the first one."""
        if not self._located.spec.get("unique"):
            return range(len(self))
        found: list[int] = np.flatnonzero(self._located.first == np.arange(len(self))).tolist()
        return found

    @cached_property
    def repeats(self) -> Mapping[int, list[int]]:
        """The positions of rows that run once together, by the first one's; nothing where each row runs by itself."""
        found: dict[int, list[int]] = {}
        if len(self.runs) < len(self):
            for position, run in enumerate(self._located.first.tolist()):
                found.setdefault(run, []).append(position)
        return {run: positions for run, positions in found.items() if len(positions) > 1}

    @property
    def numbers(self) -> npt.NDArray[np.int32]:
        """Which rows of the batch these are."""
        return self._located.numbers

    @property
    def index(self) -> pd.Index[Any]:
        """The rows' own labels."""
        return self._located.index

    def positions_in(self, key: str) -> list[int]:
        """Return the positions of the rows that a job was added with."""
        return self._located.positions_in(key)

    @property
    def parents(self) -> tuple[list[str], npt.NDArray[np.int32]]:
        """The keys of the jobs right above the rows, and the number of that of each row."""
        return list(self._located.children), self._located.parents

    def read(
        self, positions: Iterable[int] | None = None, *, inputs: bool = False, traces: bool = False
    ) -> list[Row]:
        """Read all rows, or those at these positions; with their `inputs`, their `traces`."""
        return [row for _, row in self.read_located(positions, inputs=inputs, traces=traces)]

    def read_located(
        self, positions: Iterable[int] | None = None, *, inputs: bool = False, traces: bool = False
    ) -> list[tuple[RowLocation, Row]]:
        """As `read`, each row with the job that it is in by now, and where in it."""
        fields = [*END_FIELDS, *(["data"] if inputs else []), *(["stacktrace"] if traces else [])]
        return self._jobs(fields).located_rows(self._located.locations(positions), traces=traces)

    def values(self) -> ValueColumns:
        """Read what each row returned, some rows at a time: the fastest read there is."""
        yields = self._located.spec.get("yields", False)
        found = ValueColumns(columns_of(self._located.spec), self._located.order, as_columns=not yields)
        for jobs in self._located.jobs(CHUNK_JOBS, ROWS_TOGETHER):
            whole = self._whole_values(dict(jobs))
            values: list[Any] = []
            for key, within in jobs:
                values += _values_of(whole.get(key, NOTHING), within)
            if yields:
                values = list(map(self._with_items, values))
            if NOTHING in values:
                self._add_values_elsewhere(values, jobs)
            found.add(values)
        return found

    def _whole_values(self, jobs: Mapping[str, list[int]]) -> dict[str, Any]:
        """Return what jobs returned, those that have completed; `jobs` has the indexes of their rows in them."""
        keys = list(jobs)
        texts = dict(zip(keys, self._store.jobs.read_returnvalues(keys), strict=True))
        gone = self._store.jobs.read_missing([key for key, text in texts.items() if text is None])
        texts |= self._kept.read(gone)
        stored = {key: text for key, text in texts.items() if text is not None}
        in_files = {key: text for key, text in stored.items() if is_in_file(text) and ALONE not in jobs[key]}
        inside = ((key, text) for key, text in stored.items() if key not in in_files)
        return {
            key: self.value_of(text) for key, text in chain(inside, whole_texts(in_files, self._find_folder))
        }

    def _add_values_elsewhere(self, values: list[Any], jobs: Sequence[tuple[str, list[int]]]) -> None:
        """Add what rows returned whose many-row job has not completed, or has delegated them to another."""
        locations = [(key, at) for key, within in jobs for at in within]
        missing = zip(values, locations, strict=True)
        rest = [n for n, (value, (_, at)) in enumerate(missing) if value is NOTHING and at != ALONE]
        found = self._jobs(END_FIELDS).rows([locations[n] for n in rest]) if rest else []
        for n, row in zip(rest, found, strict=True):
            if row.value is not None:
                values[n] = self.returned(row.value)

    def value_of(self, text: str) -> Any:
        """Return a value from its JSON text; what stands in a file is a `File`."""
        value = results.decoded(text)
        return references.with_files(value, self._folder) if references.MARK in text else value

    def returned(self, text: str) -> Any:
        """Return a row's value from its JSON text; where it yields, its items, also where a file holds them."""
        value = self.value_of(text)
        return self._with_items(value) if self._located.spec.get("yields") else value

    def _with_items(self, value: Any) -> Any:
        if type(value) is File:
            return value.load() if value.media_type == _JSON else value
        steps = len(names_in(self._located.spec))
        if steps and isinstance(value, list) and len(value) == steps and type(value[-1]) is File:
            return [*value[:-1], self._with_items(value[-1])]
        return value

    def row_value(self, text: str) -> Any:
        """Return a row's value as a caller sees it: of several steps all columns that they returned, as a dict."""
        value = self.returned(text)
        names = names_in(self._located.spec)
        return of_steps([value], names[: len(value)])[0] if names else value

    @cached_property
    def _folder(self) -> FileFolder | None:
        return folder_of_batch(self._store, self._located.spec["name"], self._located.spec["files"])

    def _find_folder(self) -> FileFolder | None:
        return self._folder

    def _jobs(self, fields: Sequence[str]) -> JobsOfRows:
        has_steps = bool(names_in(self._located.spec))
        return JobsOfRows(self._store, fields, self._find_folder, self._kept, has_steps=has_steps)

    def jobs(self, positions: Iterable[int]) -> list[RowLocation]:
        """Return in which job each of these rows is by now, and where in it."""
        return self._jobs(("name", "returnvalue")).locate(self._located.locations(positions))

    def ways(self, positions: Iterable[int]) -> list[list[RowLocation]]:
        """Return in which jobs each of these rows has been, and where in each; the last one is that of now."""
        jobs = self._jobs(("name", "returnvalue"))
        return [jobs.way_to(location) for location in jobs.locate(self._located.locations(positions))]

    def numbers_in_logs(self, locations: Iterable[RowLocation]) -> dict[RowLocation, int]:
        """Return by which number each row is told from others in the log of its many-row job.

        That is its position in the batch with which the job was added, in which it may have stood elsewhere.
        """
        wanted = [(key, within) for key, within in locations if within is not None]
        keys = list(dict.fromkeys(key for key, _ in wanted))
        records = zip(keys, self._store.jobs.read(keys, ("name", "bind")), strict=True)
        found = {key: positions_in(json.loads(record.bind or "{}")) for key, record in records if record}
        return {(key, within): found[key][within] for key, within in wanted if key in found}

    def key(self, position: int) -> str:
        """The key of the job that a row is in."""
        return self._located.locations([position])[0][0]

    def retry(self, flow_state: FlowState, positions: Iterable[int], *, is_all: bool) -> None:
        """Run failed rows again, then what stands above them, once. Raises `FlowError` as `Flow.retry` does.

        Where these are all that failed, other failed jobs of the flow, such as aggregates, run again with them. Where a
        many-row job failed as a whole, all its rows that are not done run again.
        """
        located = self._jobs(END_FIELDS).locate(self._located.locations(positions))
        locations = list(dict.fromkeys(located))  # rows of equal arguments, with `unique`, are one
        rows_of_many: dict[str, list[int]] = {}
        for key, within in locations:
            if within is not None:
                rows_of_many.setdefault(key, []).append(within)
        jobs = list(dict.fromkeys(key for key, _ in locations))
        again = retry.retry_flow if is_all else retry.retry_jobs
        again(self._store, flow_state, jobs, rows_of_many)


def _values_of(whole: Any, within: list[int]) -> list[Any]:
    """What rows returned, by their indexes in a job that returned `whole`; `NOTHING` where that does not say."""
    if whole is NOTHING or ALONE in within:
        return [whole] * len(within)
    if not isinstance(whole, dict) or not whole.keys() >= {"values", "errors"}:  # of another program's worker
        return [NOTHING] * len(within)
    if not whole["errors"] and "moved" not in whole and within == list(range(len(whole["values"]))):
        return list(whole["values"])
    return [_one_of(whole, at) for at in within]


def _one_of(whole: Mapping[str, Any], within: int) -> Any:
    has = within < len(whole["values"]) and str(within) not in whole["errors"]
    has = has and not any(within in places for _, places in whole.get("moved", ()))
    return whole["values"][within] if has else NOTHING
