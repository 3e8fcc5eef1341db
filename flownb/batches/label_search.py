"""Finds rows by a part of their label, also among a million; and labels as people read and type them."""

from __future__ import annotations

import datetime
import re
import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.errors import printable

_PIECE = 25_000  # labels that are made text at once: some ten milliseconds
MOST_FOUND = 10_000  #: rows that one search finds


class LabelMatches(NamedTuple):
    """What a search has found."""

    positions: npt.NDArray[np.int64]  #: of rows, those whose whole label it is first
    exact: int  #: how many these are
    searched: int  #: labels looked at


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
        self._pieces: list[tuple[str, npt.NDArray[np.int64]]] = []  # folded labels by line; where lines begin

    def find(self, text: str, seconds: float) -> LabelMatches:
        """Find the rows whose label has this text in it, whatever its case; look for about so long."""
        wanted = text.strip().casefold()
        deadline = time.monotonic() + seconds
        pattern = re.compile(f"{re.escape(wanted)}[^\n]*")
        found, exact, searched, number = list[int](), list[int](), 0, 0
        while searched < len(self._index) and len(found) < MOST_FOUND:
            if number == len(self._pieces):
                if number and time.monotonic() > deadline:
                    break
                self._pieces.append(self._piece(searched))
            labels, begins = self._pieces[number]
            for match in pattern.finditer(labels):
                at = searched + int(np.searchsorted(begins, match.start(), side="right")) - 1
                (exact if labels[begins[at - searched] : match.end()] == wanted else found).append(at)
                if len(found) >= MOST_FOUND:
                    break
            searched += len(begins)
            number += 1
        return LabelMatches(np.array([*exact, *found], dtype=np.int64), len(exact), searched)

    def _piece(self, start: int) -> tuple[str, npt.NDArray[np.int64]]:
        some = self._index[start : start + _PIECE].tolist()
        labels = [label_text(label).replace("\n", " ").casefold() for label in some]
        begins = np.cumsum([0, *(len(label) + 1 for label in labels)])[:-1]
        return "\n".join(labels), begins
