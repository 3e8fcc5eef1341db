"""The items of rows whose task yields: each has a line of its own, under its row's label and its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from flownb.batches import frame_kinds
from flownb.batches.value_columns import NOTHING, Named

ITEM = "item"  #: the name of the level
ROW = "row"  #: that of the rows' numbers, where a frame of another library has no labels

_NONE = -1  # in place of an item's number, where a row has none


class Lines(NamedTuple):
    """Rows spread over lines."""

    rows: npt.NDArray[np.int64]  #: of each line: which row it is of
    numbers: npt.NDArray[np.int64]  #: of each line: the number of its item, -1 where there is none
    values: list[Any]  #: of each line

    def labels(self, index: pd.Index[Any]) -> pd.MultiIndex:
        """Return the rows' index with a further level, line by line.

        >>> lines_of([["a", "b"], NOTHING], "task").labels(pd.Index(["x", "y"])).tolist()
        [('x', 0), ('x', 1), ('y', <NA>)]
        """
        below = index if isinstance(index, pd.MultiIndex) else _as_level(index)
        name = ITEM
        while name in index.names:
            name += "_result"
        most = int(self.numbers.max(initial=_NONE)) + 1
        levels: list[Any] = [*below.levels, pd.Index(np.arange(most), dtype="Int64")]
        codes: list[Any] = [*(np.asarray(code)[self.rows] for code in below.codes), self.numbers]
        return pd.MultiIndex(levels=levels, codes=codes, names=[*index.names, name])


def _as_level(index: pd.Index[Any]) -> pd.MultiIndex:
    try:
        return pd.MultiIndex.from_arrays([index])
    except Exception:  # pandas makes no level of it, such as half floats and dictionaries of Arrow
        return pd.MultiIndex.from_arrays([index.astype(object)])


def lines_of(values: Sequence[Any], name: Named, *, keeps_empty: bool = False) -> Lines:
    """Return what rows yielded, line by line; a row that has no value has one line without an item.

    `values` are lists of items, or, where `name` has several steps, lists of what those returned, the last of which is
    such a list. A row without items has no line, with `keeps_empty` one without an item.
    """
    rows, numbers, spread = list[int](), list[int](), list[Any]()
    for row, value in enumerate(values):
        steps, items = _steps_and_items(value, name)
        if items is None or (keeps_empty and not items):
            rows.append(row)
            numbers.append(_NONE)
            spread.append(steps or NOTHING)
            continue
        rows += [row] * len(items)
        numbers += range(len(items))
        spread += items if steps is None else [[*steps, item] for item in items]
    return Lines(np.array(rows, dtype=np.int64), np.array(numbers, dtype=np.int64), spread)


def _steps_and_items(value: Any, name: Named) -> tuple[list[Any] | None, list[Any] | None]:
    """What earlier steps have returned, None where there are none, and the items, None while there are none."""
    if value is NOTHING or value is None:
        return None, None
    if isinstance(name, tuple):
        if len(value) < len(name):  # a row that is not through
            return value, None
        return value[:-1], _as_items(value[-1])
    return None, _as_items(value)


def _as_items(value: Any) -> list[Any]:
    """A row that was run again by a function which returns has one item."""
    return value if isinstance(value, list) else [value]


def of_kind(frame: pd.DataFrame, kind: str, spec: Mapping[str, Any]) -> Any:
    """Return a frame of a batch's rows, or of what stands above them, in this kind; labels become columns in front."""
    with_labels = frame_kinds.has_labels(spec)
    if kind != frame_kinds.PANDAS and spec.get("yields") and frame.index.nlevels > 1:
        frame, with_labels = _with_names(frame, "index" if with_labels else ROW), True
    return frame_kinds.as_kind(frame, kind, with_labels=with_labels)


def _with_names(frame: pd.DataFrame, unnamed: str) -> pd.DataFrame:
    """The frame with a name for the rows' labels where these are one level, as they have without items."""
    first, *others = frame.index.names
    names: list[Any] = [unnamed, *others]
    return frame.rename_axis(index=names) if first is None and len(others) == 1 else frame
