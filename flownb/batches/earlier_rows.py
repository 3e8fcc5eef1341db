"""The rows of a batch that are on the server already, from earlier batches of its name, and how they are doing."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flownb.batches.jobs_of_rows import END_FIELDS, JobsOfRows, RowEnd, RowLocation
from flownb.batches.row_counts import hashes_of
from flownb.files.rows_in_files import FindFolder
from flownb.wire import codec, keys
from flownb.wire.records import COMPLETED, FAILED, REMOVED, JobRecord
from flownb.wire.store import Store


class RowLocations:
    """Where the rows are that many-row jobs hold, by the rows' ids: fourteen bytes a row.

    >>> RowLocations({"bull:q:m1": zlib.compress(b"ra,rb")}).find(["rb", "rc"])
    [('bull:q:m1', 1), None]
    """

    def __init__(self, packed: Mapping[str, bytes], noted: int | None = None) -> None:
        self.noted = len(packed) if noted is None else noted  #: how many jobs, with those that are gone
        self._keys = list(packed)
        hashes = [hashes_of(zlib.decompress(ids).decode().split(",")) for ids in packed.values()]
        lengths = list(map(len, hashes))
        known = np.concatenate([np.empty(0, dtype=np.int64), *hashes])
        order = known.argsort(kind="stable")
        self._hashes = known[order]
        self._jobs = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
        self._within = np.concatenate([np.empty(0, dtype=np.int16), *map(_numbers, lengths)])[order]

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, ids: Sequence[str]) -> list[RowLocation | None]:
        """Return where each of the rows is; None for one that stands in no many-row job."""
        if not len(self):
            return [None] * len(ids)
        wanted = hashes_of(ids)
        at = np.maximum(self._hashes.searchsorted(wanted, side="right") - 1, 0)  # of equal ones the last
        places = zip(
            (self._hashes[at] == wanted).tolist(),
            self._jobs[at].tolist(),
            self._within[at].tolist(),
            strict=True,
        )
        return [(self._keys[job], within) if there else None for there, job, within in places]


def _numbers(length: int) -> npt.NDArray[np.int16]:
    return np.arange(length, dtype=np.int16)


def read_locations(store: Store, name: str) -> RowLocations:
    """Return where the rows of a batch's name are that its many-row jobs hold."""
    return RowLocations(*store.batch_rows.read_ids(name))


class EarlierRows:
    """Which rows of these ids are there. A failed row that is to run again gets another id."""

    def __init__(
        self,
        store: Store,
        name: str,
        base: str,
        ids: list[str],
        find_folder: FindFolder,
        many: RowLocations | None = None,
    ) -> None:
        self._store = store
        self._find_folder = find_folder  # of files
        self._name = name
        self._base = base
        self.ids = ids
        self.many = many  #: locations of rows in many-row jobs of this name, once they were read
        #: where each row is, and how it is doing; None for a row that is not there
        self.found: list[tuple[RowLocation, RowEnd] | None] = [None] * len(ids)
        self.failed: dict[int, RowLocation] = {}  #: where rows are that failed last, and are to run again
        self._failed_jobs: dict[str, JobRecord | None] = {}  # those of `failed`
        self._ids_found: list[str] = []  # those of `found`, once it was read
        self._jobs: JobsOfRows | None = None  # in which these are

    def __len__(self) -> int:
        return len(self.found) - self.found.count(None)

    def find(self) -> None:
        """Find the rows, whichever jobs they are in; of the same ids once."""
        if self.ids == self._ids_found:
            return
        wanted = self._locations()
        jobs = JobsOfRows(self._store, ("name", "why", "fl"), self._find_folder)
        ends, self._jobs = jobs.ends(wanted), jobs
        self.found = [
            None if end.state == REMOVED else (location, end)
            for location, end in zip(wanted, ends, strict=True)
        ]
        self._ids_found = list(self.ids)

    def _locations(self) -> list[RowLocation]:
        if self.many is None:
            self.many = read_locations(self._store, self._name)
        found = zip(self.ids, self.many.find(self.ids), strict=True)
        return [location or (keys.job_in(self._base, id), None) for id, location in found]

    def later_jobs(self, key: str) -> list[str]:
        """Return the keys of jobs in which rows of this one go on, delegated or at a later step, and rows of those."""
        return self._jobs.later_than(key) if self._jobs is not None else []

    def find_newest(self) -> None:
        """Find the rows anew, as some may have ended since; of those that failed the job that ran them after that."""
        self._ids_found = []
        while self.renew_failed():
            pass

    def last(self, position: int) -> RowLocation | None:
        """Return where a row is, or has failed last; None for one that is not there."""
        found = self.found[position]
        return found[0] if found else self.failed.get(position)

    def flows_of(self, positions: Iterable[int]) -> dict[str, None]:
        """Return the flows of the jobs in which these rows are, or have failed last."""
        jobs = self._failed_jobs | (self._jobs.records if self._jobs is not None else {})
        found = (jobs.get(location[0]) for location in map(self.last, positions) if location)
        return dict.fromkeys(job.flow for job in found if job and job.flow)

    def open_by_flow(self, positions: Iterable[int]) -> dict[str, set[str]]:
        """Return in which states those of these rows are that have not ended, by the flows of their jobs."""
        jobs = self._jobs.records if self._jobs is not None else {}
        states: dict[str, set[str]] = {}
        for (key, _), end in filter(None, (self.found[position] for position in positions)):
            job = jobs.get(key)
            if job and job.flow and end.state not in (COMPLETED, FAILED):
                states.setdefault(job.flow, set()).add(end.state)
        return states

    def count_missing(self) -> int:
        """Return how many rows have no job; where they were not found yet, without reading what became of them."""
        if self.ids == self._ids_found:
            return self.found.count(None)
        wanted = [key for key, _ in self._locations()]
        missing = set(self._store.jobs.read_missing(list(dict.fromkeys(wanted))))
        return sum(key in missing for key in wanted)

    def count(self, state: str) -> int:
        """Return how many rows were there in this state."""
        return sum(found[1].state == state for found in self.found if found)

    def steps_of_failed(self) -> list[int]:
        """Return how many steps are done of each row that was there, and has failed."""
        failed = [found[0] for found in self.found if found and found[1].state == FAILED]
        rows = JobsOfRows(self._store, END_FIELDS, self._find_folder, has_steps=True).rows(failed)
        return [len(codec.decode(row.partial)) if row.partial else 0 for row in rows]

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
            if (there := self.found[position]) is not None and self._jobs is not None:
                self.failed[position] = there[0]
                self._failed_jobs[there[0][0]] = self._jobs.records[there[0][0]]
            id, _, times = self.ids[position].partition("-")
            self.ids[position] = f"{id}-{int(times or 0) + 1}"
        return bool(failed)
