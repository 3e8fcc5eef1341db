"""A parent's list of children as flownb stores it: their keys and the rows they stand for, packed."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.wire import keys

MOST_BYTES = 64_000_000  #: of an unpacked piece; producers store some thousand children a piece


@dataclass(frozen=True, slots=True)
class ChildList:
    """A parent's declared children, in order; of a batch, with the rows they stand for."""

    keys: list[str]
    positions: list[int] | None = None  #: row numbers in the frame
    labels: list[Any] | None = None  #: index labels, as JSON
    counts: list[int] | None = None  #: rows that each child stands for; None: each child is one row
    indexes: list[int | None] | None = None
    """Each row's index in its child, None where the child is the row; without it each child has its rows in order.

    Rows that run once for several of the frame have one index."""
    added: bool = False  #: by the parent itself, while it ran

    def locations(self) -> Iterator[tuple[str, int | None]]:
        """Yield for each row the key of its job and where it is in that job; None where the job is the row."""
        if self.counts is None:
            return zip(self.keys, itertools.repeat(None))
        jobs = itertools.chain.from_iterable(map(itertools.repeat, self.keys, self.counts))
        indexes = self.indexes or itertools.chain.from_iterable(map(range, self.counts))
        return zip(jobs, indexes, strict=True)


@dataclass(slots=True)
class ChildRows:
    """Which rows a parent's children stand for, child by child; see `ChildList`."""

    positions: list[int]
    labels: list[Any]  #: empty where the index needs none
    counts: list[int] | None = None
    indexes: list[int | None] | None = None  #: see `ChildList`

    def runs(self) -> list[int] | None:
        """Return of how many rows each child runs: of those with one index one."""
        if self.counts is None or self.indexes is None:
            return self.counts
        indexes = iter(self.indexes)
        return [len(set(itertools.islice(indexes, count))) for count in self.counts]

    def pieces(self, children: int, most: int) -> Iterator[tuple[int, int, ChildRows]]:
        """Cut into pieces of about `most` rows: from child, to child, and the rows of those."""
        if self.counts is None:
            for start in range(0, children, most):
                stop = min(start + most, children)
                yield start, stop, ChildRows(self.positions[start:stop], self.labels[start:stop])
            return
        start = row = rows = 0
        for stop, count in enumerate(self.counts, 1):
            rows += count
            if rows >= most or stop == children:
                end = row + rows
                yield (
                    start,
                    stop,
                    ChildRows(
                        self.positions[row:end],
                        self.labels[row:end],
                        self.counts[start:stop],
                        self.indexes and self.indexes[row:end],
                    ),
                )
                start, row, rows = stop, end, 0


def pack(bases: Sequence[str], ids: Sequence[str], rows: ChildRows | None = None) -> bytes:
    """Pack children for the server: their queues' qualified names, their ids, and maybe their rows."""
    names = list(dict.fromkeys(bases))
    number = {name: i for i, name in enumerate(names)}
    of = [number[base] for base in bases] if len(names) > 1 else 0
    packed: dict[str, Any] = {"bases": names, "of": of, "ids": list(ids)}
    if rows is not None:
        packed["positions"], packed["labels"] = rows.positions, rows.labels
        if rows.counts is not None:
            packed["counts"], packed["places"] = rows.counts, rows.indexes
    return zlib.compress(json.dumps(packed, ensure_ascii=False, separators=(",", ":")).encode(), 1)


def unpack(packed: bytes, *, added: bool = False) -> ChildList:
    """Undo `pack`. Raises ValueError for what `pack` has not made."""
    try:
        return _unpacked(packed, added)
    except (zlib.error, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of children: {type(error).__name__}") from None


def _unpacked(packed: bytes, added: bool) -> ChildList:
    inflating = zlib.decompressobj()
    text = inflating.decompress(packed, MOST_BYTES)
    if not inflating.eof:
        raise ValueError(f"no list of children: cut short, or over {MOST_BYTES:,} bytes")
    found = json.loads(text)
    bases, of, ids = found["bases"], found["of"], found["ids"]
    if not of and bases:  # all are in one queue
        job_keys = keys.jobs_in(bases[0], ids)
    else:
        job_keys = [keys.job_in(bases[i], id) for i, id in zip(of or (), ids, strict=True)]
    positions, labels, counts = found.get("positions"), found.get("labels"), found.get("counts")
    return ChildList(job_keys, positions, labels, counts, indexes=found.get("places"), added=added)
