"""Where the rows of a batch are: in which job, where in it, under which label. There may be millions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.batches import labels
from flownb.batches.jobs_of_rows import RowLocation
from flownb.wire.child_list import ChildList

ALONE = -1  #: of a row whose job holds no other: it has no index in it
_JOINED = ("number", "nullable", "text", "time", "arrow", "category")
"""Kinds of index of which pieces can be put together; labels of other kinds are made an index all at once."""


class LocatedRows:
    """The rows below some parents, in the order of their positions; jobs are numbered as they are declared."""

    def __init__(self, spec: Mapping[str, Any], pieces: Iterable[tuple[str, ChildList]] = ()) -> None:
        self.spec = spec  #: of the batch
        self._spec = spec["index"]
        self.children: dict[str, list[str]] = {}  #: the keys of each parent's jobs
        self.keys: list[str] = []  #: of all jobs
        self.counts: list[int] = []  #: rows in each job
        self._within = [np.empty(0, dtype=np.int16)]  # of each row: its index in its job, or `ALONE`
        self._positions = [np.empty(0, dtype=np.int32)]
        self._parents_of = [np.empty(0, dtype=np.int32)]  # of each job: the number of its parent
        self._labels: list[Any] = []
        self._indexes: list[pd.Index[Any]] = []
        for parent, piece in pieces:
            self.add(parent, piece)

    @classmethod
    def of(cls, spec: Mapping[str, Any], children: Mapping[str, Sequence[ChildList]]) -> Self:
        """Return the rows of these children of each parent."""
        return cls(spec, ((parent, piece) for parent, pieces in children.items() for piece in pieces))

    def add(self, parent: str, piece: ChildList) -> None:
        """Add a piece of a parent's children; where those are no rows, nothing but their keys."""
        self.children.setdefault(parent, []).extend(piece.keys)
        if piece.positions is None:
            return
        self.keys += piece.keys
        self._parents_of.append(np.full(len(piece.keys), list(self.children).index(parent), dtype=np.int32))
        self.counts += [1] * len(piece.keys) if piece.counts is None else piece.counts
        self._within.append(_within(piece))
        self._positions.append(np.array(piece.positions, dtype=np.int32))
        self._add_labels(piece.labels or [])

    def _add_labels(self, found: list[Any]) -> None:
        if self._spec["kind"] in _JOINED:
            self._indexes.append(labels.index_from_json({**self._spec, "length": len(found)}, found))
        elif self._spec["kind"] != "range":
            self._labels += found

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def positions(self) -> npt.NDArray[np.int32]:
        """Of each row, in the order of the jobs."""
        joined, self._positions = np.concatenate(self._positions), []
        return joined

    @cached_property
    def within(self) -> npt.NDArray[np.int16]:
        """Each row's index in its job, or `ALONE`, in the order of the jobs."""
        joined, self._within = np.concatenate(self._within), []
        return joined

    @cached_property
    def order(self) -> npt.NDArray[np.int64] | None:
        """Where in the order of the jobs the row of each position is; None if the orders are the same."""
        if np.array_equal(self.positions, np.arange(len(self), dtype=np.int32)):
            return None
        return self.positions.argsort(kind="stable")

    @cached_property
    def _jobs(self) -> npt.NDArray[np.int32]:
        """The number of each row's job, in the order of the positions."""
        jobs = np.repeat(np.arange(len(self.keys), dtype=np.int32), self.counts)
        return jobs if self.order is None else jobs[self.order]

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {key: number for number, key in enumerate(self.keys)}

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.cumsum(self.counts)

    def positions_in(self, key: str) -> list[int]:
        """Return the positions of the rows that a job was added with."""
        number = self._number_of.get(key)
        if number is None:
            return []
        end = int(self._ends[number])
        found: list[int] = self.positions[end - self.counts[number] : end].tolist()
        return found

    @cached_property
    def parents(self) -> npt.NDArray[np.int32]:
        """The number of each row's parent, in the order of `children`; of the rows in the order of the positions."""
        found: npt.NDArray[np.int32] = np.concatenate(self._parents_of)[self._jobs]
        return found

    @cached_property
    def index(self) -> pd.Index[Any]:
        """The rows' labels."""
        if self._spec["kind"] == "range":
            return self._range.take(self.numbers)
        if self._indexes:
            (first, *rest), self._indexes = self._indexes, []
            joined: pd.Index[Any] = first.append(rest) if rest else first
        else:
            joined = labels.index_from_json({**self._spec, "length": len(self._labels)}, self._labels)
        return joined if self.order is None else joined.take(self.order)

    @property
    def _range(self) -> pd.Index[Any]:
        """Numbers for all rows up to the last one that is here: an iterator's may have come after the spec was read."""
        start, step = self._spec["start"], self._spec["step"]
        last = int(self.positions.max(initial=-1))
        return labels.index_from_json({**self._spec, "stop": start + step * (last + 1)}, [])

    @property
    def numbers(self) -> npt.NDArray[np.int32]:
        """Which rows of the batch these are."""
        return np.sort(self.positions)

    def locations(self, positions: Iterable[int] | None = None) -> list[RowLocation]:
        """Return the locations of all rows, or of these."""
        within = self.within if self.order is None else self.within[self.order]
        at = slice(None) if positions is None else np.array(list(positions), dtype=np.int64)
        return [
            (self.keys[job], None if place == ALONE else place)
            for job, place in zip(self._jobs[at].tolist(), within[at].tolist(), strict=True)
        ]

    @cached_property
    def first(self) -> npt.NDArray[np.int64]:
        """Of each row, in the order of the positions: the first one of the same run; where equal ones run once."""
        if not self.spec.get("unique"):
            return np.arange(len(self))
        within = self.within if self.order is None else self.within[self.order]
        runs = self._job_of_key[self._jobs].astype(np.int64) << 16 | (within.astype(np.int64) & 0xFFFF)
        _, first, number = np.unique(runs, return_index=True, return_inverse=True)
        found: npt.NDArray[np.int64] = first[number]
        return found

    @property
    def _job_of_key(self) -> npt.NDArray[np.int32]:
        """Of each job the number of the first one with its key: below several parents it stands several times."""
        first: dict[str, int] = {}
        return np.array([first.setdefault(key, at) for at, key in enumerate(self.keys)], dtype=np.int32)

    def jobs(self, most: int, most_rows: int) -> Iterator[list[tuple[str, list[int]]]]:
        """Yield jobs, each with the indexes of its rows in it: so many at a time, fewer where they hold many rows."""
        row = end = 0
        some: list[tuple[str, list[int]]] = []
        for key, count in zip(self.keys, self.counts, strict=True):
            if some and (len(some) == most or end + count - row > most_rows):
                yield some
                some, row = [], end
            some.append((key, self.within[end : end + count].tolist()))
            end += count
        if some:
            yield some


def _within(piece: ChildList) -> npt.NDArray[np.int16]:
    rows = len(piece.positions or ())
    if piece.counts is None:
        return np.full(rows, ALONE, dtype=np.int16)
    if piece.indexes is not None:
        return np.array([ALONE if at is None else at for at in piece.indexes], dtype=np.int16)
    ends = np.cumsum(piece.counts)
    return (np.arange(rows) - np.repeat(ends - piece.counts, piece.counts)).astype(np.int16)
