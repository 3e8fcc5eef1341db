"""Finds rows by a part of their label, also among a million; and labels as people read and type them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.errors import printable

_PIECE = 25_000  # labels that are made text at once: some ten milliseconds
MOST_FOUND = 10_000  #: rows that one search finds
_NONE = np.empty(0, dtype=np.int64)


class LabelMatches(NamedTuple):
    """What a search has found."""

    positions: npt.NDArray[np.int64]  #: of rows, those whose whole label it is first
    exact: int  #: how many these are
    searched: int  #: labels looked at

    def below(self, rows: int) -> LabelMatches:
        """Those among the first so many rows: of an iterator's more have come than a page knows of."""
        is_known = self.positions < rows
        exact = int(np.count_nonzero(is_known[: self.exact]))
        return LabelMatches(self.positions[is_known], exact, min(self.searched, rows))

    @property
    def most(self) -> int | None:
        """How many rows one search finds, where it may have left some out."""
        return MOST_FOUND if len(self.positions) >= MOST_FOUND else None


def label_text(label: Any) -> str:
    """A label in one line.

    >>> label_text("r17"), label_text(("de", 3))
    ('r17', 'de, 3')
    """
    parts = label if isinstance(label, tuple) else (label,)
    return printable(", ".join(map(str, parts)))


def label_code(label: Any) -> str | None:
    """What a person types to mean this label; None where that is not known.

    >>> label_code(np.int64(3)), label_code("r17"), label_code(pd.Timestamp("2024-01-02")), label_code(object())
    ('3', "'r17'", "'2024-01-02 00:00:00'", None)
    """
    if isinstance(label, tuple):
        parts = [label_code(part) for part in label]
        return None if None in parts else f"({', '.join(map(str, parts))}{',' if len(parts) == 1 else ''})"
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, datetime.date):
        return repr(str(label))
    return repr(label) if isinstance(label, str | int | float) and label == label else None


class LabelSearch:
    """The labels of one index as text, made when they are first searched. Not for two threads at once."""

    def __init__(self, index: pd.Index[Any]) -> None:
        self._index = index
        self._pieces: list[
            tuple[str, npt.NDArray[np.int64]]
        ] = []  # folded labels, a line each; where lines begin
        self._last: tuple[str, LabelMatches] | None = None  # a page asks again and again while rows end

    def __len__(self) -> int:
        return len(self._index)

    def find(self, text: str, seconds: float) -> LabelMatches:
        """Find the rows whose label has this text in it, whatever its case; look for about so long.

        Of very many rows the first `MOST_FOUND` are found, and always those whose whole label it is.
        """
        wanted = text.strip().replace("\n", " ").casefold()
        if self._last is None or self._last[0] != wanted:
            found = self._find(wanted, time.monotonic() + seconds)
            if found.searched < len(self._index):
                return found
            self._last = wanted, found
        return self._last[1]

    def _find(self, wanted: str, deadline: float) -> LabelMatches:
        exact, found, searched, number = [_NONE], [_NONE], 0, 0
        while searched < len(self._index):
            if number == len(self._pieces):
                if number and time.monotonic() > deadline:
                    break
                self._pieces.append(self._piece(searched))
            labels, begins = self._pieces[number]
            left = MOST_FOUND - sum(map(len, found))
            lines = np.searchsorted(begins, list(_whole_lines(labels, wanted)))
            parts = np.searchsorted(begins, list(islice(_lines_with(labels, wanted), left)), side="right") - 1
            exact.append(searched + lines)
            found.append(searched + parts[~np.isin(parts, lines)])
            searched += len(begins)
            number += 1
        whole = np.concatenate(exact)[:MOST_FOUND]
        return LabelMatches(np.concatenate([whole, *found])[:MOST_FOUND], len(whole), searched)

    def _piece(self, start: int) -> tuple[str, npt.NDArray[np.int64]]:
        some = self._index[start : start + _PIECE].tolist()
        labels = [label_text(label).replace("\n", " ").casefold() for label in some]
        begins = np.cumsum([1, *(len(label) + 1 for label in labels)])[:-1]
        return "\n".join(["", *labels, ""]), begins


def _whole_lines(labels: str, wanted: str) -> Iterator[int]:
    """Where lines begin that are this text and nothing else."""
    at = labels.find(f"\n{wanted}\n")
    while at >= 0:
        yield at + 1
        at = labels.find(f"\n{wanted}\n", at + 1)


def _lines_with(labels: str, wanted: str) -> Iterator[int]:
    """Where the text is in each line that has it, once a line."""
    at = labels.find(wanted)
    while at >= 0:
        yield at
        at = labels.find(wanted, labels.index("\n", at))
