"""The rows of a batch that are on the server already, from earlier batches of its name, and how they are doing."""

from __future__ import annotations

import zlib

from flownb.batches.jobs_of_rows import REMOVED, JobsOfRows, RowEnd, RowLocation
from flownb.wire import keys
from flownb.wire.records import FAILED
from flownb.wire.store import Store


def read_locations(store: Store, name: str) -> dict[str, RowLocation]:
    """Return where the rows are that many-row jobs of this name hold, by the rows' ids."""
    known: dict[str, RowLocation] = {}
    for key, packed in store.batch_rows.read_ids(name).items():
        for within, id in enumerate(zlib.decompress(packed).decode().split(",")):
            known[id] = key, within
    return known


class EarlierRows:
    """Which rows of these ids are there. A failed row that is to run again gets another id."""

    def __init__(
        self, store: Store, name: str, base: str, ids: list[str], many: dict[str, RowLocation] | None = None
    ) -> None:
        self._store = store
        self._name = name
        self._base = base
        self.ids = ids
        self.many = many  #: locations of rows in many-row jobs of this name, once they were read
        #: where each row is, and how it is doing; None for a row that is not there
        self.found: list[tuple[RowLocation, RowEnd] | None] = [None] * len(ids)
        self._ids_found: list[str] = []  # those of `found`, once it was read

    def __len__(self) -> int:
        return sum(found is not None for found in self.found)

    def find(self) -> None:
        """Find the rows, whichever jobs they are in; of the same ids once."""
        if self.ids == self._ids_found:
            return
        wanted = self._locations()
        ends = JobsOfRows(self._store, ("name", "why")).ends(wanted)
        self.found = [
            None if end.state == REMOVED else (location, end)
            for location, end in zip(wanted, ends, strict=True)
        ]
        self._ids_found = list(self.ids)

    def _locations(self) -> list[RowLocation]:
        if self.many is None:
            self.many = read_locations(self._store, self._name)
        return [self.many.get(id) or (keys.job_in(self._base, id), None) for id in self.ids]

    def count_missing(self) -> int:
        """Return how many rows have no job; where they were not found yet, without reading what became of them."""
        if self.ids == self._ids_found:
            return self.found.count(None)
        wanted = [key for key, _ in self._locations()]
        missing = set(self._store.jobs.read_missing(list(dict.fromkeys(wanted))))
        return sum(key in missing for key in wanted)

    def count(self, state: str) -> int:
        """Return how many rows were there in this state."""
        return sum(found is not None and found[1].state == state for found in self.found)

    def states(self) -> list[str | None]:
        """Return each row's state as it was found; None for a row that is not there."""
        return [found[1].state if found else None for found in self.found]

    def renew_failed(self) -> bool:
        """Give failed rows ids of new jobs, except after an `UnrecoverableError`: that said no run can repair it."""
        self.find()
        failed = [
            position
            for position, found in enumerate(self.found)
            if found and found[1].state == FAILED and found[1].why != "unrecoverable"
        ]
        for position in failed:
            id, _, times = self.ids[position].partition("-")
            self.ids[position] = f"{id}-{int(times or 0) + 1}"
        return bool(failed)
