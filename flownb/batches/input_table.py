"""What the caller gives as rows, read as named columns on an index: a DataFrame, a Series, an array, a list.

Names that are not unique, and what holds no rows, are refused with a hint at what to give instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from flownb.arguments import items, shown, with_article
from flownb.batches.columns import type_name
from flownb.errors import FlowError, OptionError
from flownb.wire.plain_json import fields_of


@dataclass(frozen=True, eq=False)
class InputTable:
    """Named columns, all of the index's length."""

    columns: Mapping[str, pd.Series[Any] | list[Any]]
    index: pd.Index[Any]


def tabulated(rows: object, parameters: list[str], *, everything: bool, start: int) -> InputTable:
    """Read what the caller gave. Single items go to the one of the `parameters`; with `everything` to any column.

    `start` is the number of the first of the items.
    """
    if isinstance(rows, pd.DataFrame):
        return _of_frame(rows, parameters)
    if isinstance(rows, np.ndarray):
        rows = _of_one_dimension(rows)
    if isinstance(rows, pd.Index):
        rows = rows.to_series(index=pd.RangeIndex(len(rows)))
    if isinstance(rows, pd.Series):
        return InputTable({_only(parameters, rows.name, everything): rows}, rows.index)
    return _of_items(_items(rows), parameters, everything, start)


def names_of_key(key: Any) -> tuple[str, ...]:
    """Return the names of the columns that ``key=`` makes the rows' labels of.

    >>> names_of_key(None), names_of_key("id"), names_of_key(["shop", "day"])
    ((), ('id',), ('shop', 'day'))
    """
    if key is None:
        return ()
    names = [key] if isinstance(key, str) else key
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        what = "the name of the column whose values are the rows' labels, or a list of names"
        raise OptionError(f"key: {what}, not {shown(key)}")
    if len(set(names)) < len(names):
        raise OptionError(f"key: {shown(key)} names a column twice")
    return tuple(map(str.__str__, names))


def keyed(table: InputTable, key: Sequence[str]) -> InputTable:
    """Return the table on the labels that stand in its columns of `key`.

    >>> keyed(InputTable({"id": ["a", "b"], "n": [1, 2]}, pd.RangeIndex(2)), ["id"]).index.tolist()
    ['a', 'b']
    """
    for name in key:
        if name not in table.columns and len(table.index):
            raise FlowError(f"key={name!r}: no column has this name{nearest_column(name, table)}")
    levels = [_level_of(name, table.columns.get(name, [])) for name in key]
    index = levels[0] if len(levels) == 1 else pd.MultiIndex.from_arrays(levels, names=list(key))
    return InputTable(table.columns, index)


def _level_of(name: str, column: pd.Series[Any] | list[Any]) -> pd.Index[Any]:
    """The labels in a column of ``key=``."""
    if not isinstance(column, list) and column.dtype != object:
        exact: pd.Index[Any] = pd.Index(column, name=name)
        return exact
    values = list(column)
    for position, value in enumerate(values):
        if not isinstance(value, Hashable):
            what = f"row {position} has a {type(value).__name__} there"
            raise FlowError(f"key={name!r}: {what}, which is no label; give text")
    dtype = object if None in values else None  # pandas would make floats of whole numbers
    made: pd.Index[Any] = pd.Index(values, dtype=dtype, name=name, tupleize_cols=False)
    return made


def _items(rows: object) -> list[Any]:
    """The items of an iterable, unless it is one value, or has no order."""
    if isinstance(rows, str | bytes | bytearray | Mapping):
        hint = ", or make a table of it: pd.DataFrame(value)" if isinstance(rows, Mapping) else ""
        raise FlowError(
            f"rows: {with_article(type(rows).__name__)} is one value, not rows; put it in a list: [value]{hint}"
        )
    if isinstance(rows, set | frozenset):
        raise FlowError("rows: a set has no order, so its rows could not be found again; give sorted(rows)")
    if hasattr(rows, "to_pandas"):
        raise FlowError(
            f"rows: {type_name(rows)} gives no Arrow C stream; give rows.to_pandas(), or pip install narwhals, "
            "which knows more kinds of frame"
        )
    found = items(rows)
    if found is None:
        raise FlowError(f"rows: {type_name(rows)} holds no rows; give a DataFrame, a Series or a list")
    return found


def _of_one_dimension(array: np.ndarray[Any, Any]) -> pd.Series[Any]:
    if array.ndim != 1:
        raise FlowError(
            f"rows: the array has {array.ndim} dimensions; give a DataFrame, so that its columns have names"
        )
    return pd.Series(array)


def _of_frame(frame: pd.DataFrame, parameters: list[str]) -> InputTable:
    if isinstance(frame.columns, pd.MultiIndex):
        raise FlowError(
            f"columns: they have {frame.columns.nlevels} levels; make one name of each: "
            'df.columns = ["_".join(map(str, c)) for c in df.columns]'
        )
    if not len(frame) and not len(frame.columns):
        return _nothing(parameters, frame.index)
    names = _text_names(list(frame.columns))
    return InputTable({name: frame.iloc[:, position] for position, name in enumerate(names)}, frame.index)


def _of_items(items: list[Any], parameters: list[str], everything: bool, start: int) -> InputTable:
    index = pd.RangeIndex(start, start + len(items))
    if not items:
        return _nothing(parameters, index)
    if isinstance(items[0], pd.DataFrame):
        raise FlowError(
            "rows: each is a DataFrame; give pd.concat(frames) or, to read them one after the other, "
            'fan_out((row for frame in frames for row in frame.to_dict("records")), ...)'
        )
    rows = _as_rows(items, parameters, everything)
    if rows is None:
        _refuse_pairs(items[0])
        return InputTable({_only(parameters, None, everything): items}, index)
    items = rows
    keys = list(dict.fromkeys(key for item in items for key in item))
    columns = {
        name: [item.get(key) for item in items] for key, name in zip(keys, _text_names(keys), strict=True)
    }
    return InputTable(columns, index)


def _as_rows(items: list[Any], parameters: list[str], everything: bool) -> list[dict[Any, Any]] | None:
    """Each item as a dict of columns, if all are dicts or records; such may also be values of the one parameter."""
    found: list[dict[Any, Any]] = []
    for item in items:
        row = dict(item) if isinstance(item, Mapping) else fields_of(item)
        if row is None:
            return None
        found.append(row)
    is_table = everything or len(parameters) != 1 or any(parameters[0] in row for row in found)
    return found if is_table else None


def _refuse_pairs(item: Any) -> None:
    """Refuse what ``df.iterrows()`` and ``df.items()`` give: pairs of a label and a Series."""
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], pd.Series):
        raise FlowError(
            "rows: each is a pair of a label and a Series, as of df.iterrows() or df.items(); give df itself, which "
            "keeps its labels and dtypes"
        )


def named_rows(rows: Any) -> Any:
    """Return the rows of a database cursor (of any driver, as Python's DB-API says) as dicts; anything else as it is.

    >>> import sqlite3
    >>> cursor = sqlite3.connect(":memory:").execute("select 1 as n, 'a' as name")
    >>> list(named_rows(cursor))
    [{'n': 1, 'name': 'a'}]
    """
    fetch = getattr(rows, "fetchone", None)
    if not callable(fetch) or not hasattr(rows, "description"):
        return rows
    if not rows.description:
        raise FlowError("rows: the cursor has no rows to give; execute a SELECT with it first")
    names = _text_names([column[0] for column in rows.description])
    return (dict(zip(names, tuple(row), strict=True)) for row in iter(fetch, None))


def _nothing(parameters: list[str], index: pd.Index[Any]) -> InputTable:
    return InputTable({name: [] for name in parameters}, index)


def _only(parameters: list[str], name: Hashable, everything: bool) -> str:
    """The one column that single items go to."""
    if len(parameters) == 1:
        return parameters[0]
    if everything and not parameters:
        return "value" if name is None else str(name)
    if not parameters:
        raise FlowError("rows: the task has no parameter to give the items to; give it one")
    raise FlowError(
        f"rows: single items fill one parameter, but the task needs {listed(parameters)}; "
        "give a DataFrame with these columns, or a list of dicts"
    )


def _text_names(names: Sequence[Hashable]) -> list[str]:
    """Names of columns as text, every one of them once."""
    first: dict[str, Hashable] = {}
    for name in names:
        text = column_name("columns", name)
        if text in first:
            _refuse_same_name(first[text], name)
        first[text] = name
    return list(first)


def column_name(what: str, name: Any) -> str:
    """Return a column's name as text; refuse what has none."""
    try:
        return str.__str__(name) if isinstance(name, str) else str(name)
    except Exception:  # a number of too many digits, or of a class of the caller's
        raise FlowError(f"{what}: {shown(name)} is no name of a column; give text") from None


def _refuse_same_name(one: Hashable, other: Hashable) -> NoReturn:
    if type(one) is type(other):
        raise FlowError(
            f"column {shown(other)}: two columns have this name, and a row could carry only one; "
            "rename one, or keep the first of each: df.loc[:, ~df.columns.duplicated()]"
        )
    raise FlowError(
        f"column {shown(other)}: as text it has the name of column {shown(one)}; rename one: df.rename(columns=...)"
    )


def nearest_column(name: str, table: InputTable) -> str:
    """Return what columns there are, and which one may have been meant, for a message."""
    near = difflib.get_close_matches(name, table.columns, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f" (columns: {listed(list(table.columns))}{hint})"


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return names for a message, not too many of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
