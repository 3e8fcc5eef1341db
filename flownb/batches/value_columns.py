"""What rows returned, as columns: taken in some rows at a time and packed, so that millions take little memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.batches.typed_columns import PackedValues, joined, packed, taken

ROWS_TOGETHER = 50_000  #: rows that are held as objects before they are packed

NOTHING: Any = object()  #: the value of a row that has none

#: what a value is called that is no dict: after the task, or the steps of a list
Named = str | tuple[str, ...]

_MOST_APART = 50  # columns that pandas does not put together, with a copy: of more than a hundred it warns


class ValueColumns:
    """The values of a batch's rows. Keys of dicts become columns, in order of first appearance; see `values_frame`.

    Rows of the frame that stand in another order than they are added in have an `order`: where among the added ones
    each is. Those of several steps are kept as they are until there is a frame, others without `as_columns`.

    >>> found = ValueColumns("score")
    >>> found.add([1, NOTHING])
    >>> found.add([2.5])
    >>> found.frame(pd.Index(["a", "b", "c"]))
       score
    a    1.0
    b   <NA>
    c    2.5
    """

    def __init__(
        self, name: Named, order: npt.NDArray[np.int64] | None = None, *, as_columns: bool = True
    ) -> None:
        self._name = name
        self._are_packed = as_columns and isinstance(name, str)
        self._order = order
        self._ranks: npt.NDArray[np.int64] | None = None  # where in the frame each added row is
        if order is not None:
            self._ranks = np.empty(len(order), dtype=np.int64)
            self._ranks[order] = np.arange(len(order))
        self._unpacked: list[Any] = []
        self._rows = 0  # that are packed
        self._there = [np.empty(0, dtype=bool)]
        self._columns: dict[str, list[PackedValues]] = {}
        self._lengths: dict[str, int] = {}  # rows of each column so far
        self._first: dict[str, tuple[int, int]] = {}  # where each column appears first: row, and place in it
        self._has_dicts = False

    def add(self, values: Sequence[Any]) -> None:
        """Add what further rows returned; `NOTHING` stands for a value that is not there."""
        self._unpacked += values
        if self._are_packed and len(self._unpacked) >= ROWS_TOGETHER:
            self._pack(str(self._name))

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """Which rows of the frame have a value."""
        there = np.concatenate([*self._there, _are_there(self._unpacked)])
        return there if self._order is None else there[self._order]

    def in_order(self, rows: npt.NDArray[np.int64] | None = None) -> list[Any]:
        """Return values that are kept as they are, in the order of the frame; with `rows` of these alone."""
        order = self._order_of(rows)
        return self._unpacked if order is None else [self._unpacked[at] for at in order.tolist()]

    def _order_of(self, rows: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64] | None:
        """Where among the added rows those of the frame are, or these of them; None where all stand as added."""
        if rows is None or self._order is None:
            return self._order if rows is None else rows
        return self._order[rows]

    def frame(self, index: pd.Index[Any], rows: npt.NDArray[np.int64] | None = None) -> pd.DataFrame:
        """Return the columns on `index`, once; with `rows` those of the frame's alone."""
        if not isinstance(self._name, str):
            return self._frame_of_steps(self._name, index, rows)
        self._pack(self._name)
        if not self._has_dicts:
            self._columns.setdefault(self._name, [])
        order = self._order_of(rows)
        names = list(self._columns)
        if self._ranks is not None:
            names.sort(key=lambda name: self._first.get(name, (0, 0)))
        return framed({name: self._joined(name, order) for name in names}, index)

    def _joined(self, name: str, order: npt.NDArray[np.int64] | None) -> Any:
        self._fill(name)
        array = joined(self._columns.pop(name))
        return array if order is None else taken(array, order)

    def _frame_of_steps(
        self, names: tuple[str, ...], index: pd.Index[Any], rows: npt.NDArray[np.int64] | None
    ) -> pd.DataFrame:
        values = [None if value is NOTHING else value for value in self.in_order(rows)]
        merged = ValueColumns(names[-1])
        merged.add(of_steps(values, names))
        return merged.frame(index)

    # ---- some rows ----------------------------------------------------------------------------------

    def _pack(self, name: str) -> None:
        """Pack the rows that are held as objects; a value that is no dict stands in the column `name`."""
        values, self._unpacked = self._unpacked, []
        there = _are_there(values)
        self._there.append(there)
        if not there.all():
            values = [None if value is NOTHING else value for value in values]
        kinds = set(map(type, values))
        if dict in kinds:
            self._has_dicts = True
            dicts = values if kinds == {dict} else [_as_dict(value, name) for value in values]
            self._note_first(dicts)
            for key in dict.fromkeys(chain.from_iterable(dicts)):
                self._put(key, [one.get(key) for one in dicts])
        elif kinds - {type(None)}:
            if self._ranks is not None:
                self._note_first([_as_dict(value, name) for value in values])
            self._put(name, values)
        self._rows += len(values)

    def _put(self, name: str, values: Sequence[Any]) -> None:
        self._fill(name)
        self._columns[name].append(packed(values))
        self._lengths[name] = self._rows + len(values)

    def _fill(self, name: str) -> None:
        """Let the column end where the packed rows do: rows before, that did not have it, are missing there."""
        missing = self._rows - self._lengths.get(name, 0)
        pieces = self._columns.setdefault(name, [])
        if missing or not pieces:
            pieces.append(packed([None] * missing))
        self._lengths[name] = self._rows

    def _note_first(self, dicts: Sequence[Mapping[str, Any]]) -> None:
        """Note where columns appear first, if rows are not added in the frame's order."""
        if self._ranks is None:
            return
        first_of: dict[tuple[str, ...], int] = {}
        for row, one in zip(self._ranks[self._rows : self._rows + len(dicts)].tolist(), dicts, strict=True):
            keys = tuple(one)
            first_of[keys] = min(first_of.get(keys, row), row)
        for keys, row in first_of.items():
            for place, key in enumerate(keys):
                self._first[key] = min(self._first.get(key, (row, place)), (row, place))


def of_steps(values: list[Any], names: Sequence[str]) -> list[Any]:
    """Return what the steps of each row returned as one dict a row; `values` are lists, of as many steps as are done.

    Of columns of one name the later step's counts. A step of which no row has a value stands there by its name.

    >>> of_steps([[{"n": 1}, 5], [{"n": 2, "m": 3}], None], ["count", "score"])
    [{'n': 1, 'score': 5}, {'n': 2, 'm': 3}, None]
    """
    merged: list[Any] = [{} if value else None for value in values]
    for at, name in enumerate(names):
        there = [n for n, value in enumerate(values) if value and len(value) > at]
        gives_columns = any(type(values[n][at]) is dict for n in there)
        for n in there:
            value = values[n][at]
            if type(value) is dict:
                merged[n].update(value)
            elif value is not None or not gives_columns:
                merged[n][name] = value
        if not there and merged:
            merged[0] = {**(merged[0] or {}), name: None}
    return merged


def framed(columns: Mapping[str, Any], index: pd.Index[Any]) -> pd.DataFrame:
    """Return arrays, which nobody else uses, as a table."""
    named = {_valid(name): values for name, values in columns.items()}
    made = pd.DataFrame(named, index=pd.RangeIndex(len(index)), copy=len(named) > _MOST_APART)
    return made.set_axis(index, axis=0)


def _valid(name: str) -> str:
    """A name that every text dtype can hold: half a character is spelled out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _are_there(values: Sequence[Any]) -> npt.NDArray[np.bool_]:
    if NOTHING not in values:
        return np.ones(len(values), dtype=bool)
    return np.fromiter((value is not NOTHING for value in values), dtype=bool, count=len(values))


def _as_dict(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {} if value is None else {name: value}
