"""What is remembered of millions of rows while they come piece by piece: some bytes a row, not some hundred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.int64]
_Run = tuple[Hashes, npt.NDArray[np.uint32]]  # sorted hashes, and how often the text of each has come


def hashes_of(texts: Sequence[str]) -> Hashes:
    """Return Python's own hashes, which differ from process to process; two of ten million agree once in 10^5 runs."""
    return np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))


class RowCounts:
    """How often each text has come, in twelve bytes a text.

    >>> counts = RowCounts()
    >>> counts.note(["a", "b", "a"]), counts.note(["a", "c"])
    ([0, 0, 1], [2, 0])
    """

    def __init__(self) -> None:
        # Sorted hashes with their counts, each run at least twice as long as the next: so few are searched.
        self._runs: list[_Run] = []

    def note(self, texts: Sequence[str]) -> list[int]:
        """Return how often each of the texts has come before, earlier ones of these included."""
        hashes = hashes_of(texts)
        if len(np.unique(hashes)) == len(texts):  # as mostly: each is there once
            return self._count(hashes, np.ones(len(texts), dtype=np.uint32))
        within: list[int] = []
        times: dict[int, int] = {}
        for one in hashes.tolist():
            within.append(times.get(one, 0))
            times[one] = within[-1] + 1
        unlike = np.fromiter(times, dtype=np.int64, count=len(times))
        counts = np.fromiter(times.values(), dtype=np.uint32, count=len(times))
        earlier = dict(zip(times, self._count(unlike, counts), strict=True))
        return [earlier[one] + more for one, more in zip(hashes.tolist(), within, strict=True)]

    def _count(self, hashes: Hashes, more: npt.NDArray[np.uint32]) -> list[int]:
        """Add to the counts of these, which are unlike each other; return what was there before."""
        before = np.zeros(len(hashes), dtype=np.uint32)
        for known, counts in self._runs:
            at = np.minimum(known.searchsorted(hashes), len(known) - 1)
            is_there = known[at] == hashes
            before[is_there] = counts[at[is_there]]
            counts[at[is_there]] += more[is_there]
        self._add(hashes[before == 0], more[before == 0])
        return before.tolist()

    def _add(self, hashes: Hashes, counts: npt.NDArray[np.uint32]) -> None:
        order = hashes.argsort()
        run = hashes[order], counts[order]
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
            run = _merged(self._runs.pop(), run)
        if len(run[0]):
            self._runs.append(run)


def _merged(run: _Run, other: _Run) -> _Run:
    """Put two runs together: each hash of the other goes behind those of the run that are smaller."""
    places = run[0].searchsorted(other[0])
    places += np.arange(len(places))
    is_of_run = np.ones(len(run[0]) + len(places), dtype=bool)
    is_of_run[places] = False

    def together(mine: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[Any]:
        made = np.empty(len(is_of_run), dtype=mine.dtype)
        made[places] = others
        made[is_of_run] = mine
        return made

    return together(run[0], other[0]), together(run[1], other[1])
