"""Which rows belong together: as pandas groups them, by columns (`by=`) or in whatever way a ``df.groupby(...)`` says.

pandas alone decides what a group is, how groups are labelled and in which order they stand; here its groups are only
numbered. What it cannot group, or what cannot travel as a label, is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from flownb.arguments import with_article
from flownb.batches import labels
from flownb.batches.columns import fragments_of, shown
from flownb.batches.input_table import InputTable, column_name, nearest_column
from flownb.batches.refused_cells import Refused
from flownb.errors import FlowError

MOST_EMPTY = 10_000  #: groups without rows: each is a job

Groups = list[tuple[Any, list[int]]]
"""A label as one JSON value, or as a list of its parts, and the positions of the group's rows."""


@dataclass(frozen=True, eq=False)
class Grouped:
    """Rows that pandas has grouped: the number of each row's group, and the groups' labels in pandas' order."""

    names: tuple[str, ...]  #: what the parts of a label are called
    is_flat: bool  #: a label is one value, not a list of parts
    numbers: np.ndarray[Any, Any]
    index: pd.Index[Any]

    def described(self, name_of_row: Callable[[int], str]) -> tuple[Groups, Mapping[str, Any]]:
        """Return the groups, and their labels as a spec of an index; `name_of_row` names a row in a message."""
        order = self.numbers.argsort(kind="stable")
        ends = np.bincount(self.numbers, minlength=len(self.index)).cumsum()
        members = [part.tolist() for part in np.split(order, ends[:-1])] if len(ends) else []
        parts = [
            _parts_of(self.index.get_level_values(level), name, members, name_of_row)
            for level, name in enumerate(self.names)
        ]
        found = parts[0] if self.is_flat else [list(label) for label in zip(*parts, strict=True)]
        spec, chunk = labels.index_to_json(self.index)
        about = {"index": spec, "labels": chunk(0, len(self.index))}
        return list(zip(found, members, strict=True)), about


def _parts_of(
    values: pd.Index[Any], name: str, members: list[list[int]], name_of_row: Callable[[int], str]
) -> list[Any]:
    """One part of each label as a JSON value."""

    def where(group: int) -> str:
        row = f"row {name_of_row(members[group][0])}, " if members[group] else ""
        return f"{row}column {name!r}"

    try:
        texts = fragments_of(pd.Series(values, index=range(len(values))))
    except Refused as refused:
        raise FlowError(f"{where(refused.position)}: {refused}") from None
    found = [json.loads(text) for text in texts]
    for group, value in enumerate(found):
        if isinstance(value, list | dict):
            _refuse_compound(where(group), value, name)
    return found


# ---- by= ----------------------------------------------------------------------------------------------


def by_columns(table: InputTable, by: str | Sequence[str]) -> Grouped:
    """Group a table by its columns, or levels of its index: in order of first appearance, missing values too.

    >>> table = InputTable({"k": pd.Series(["b", "a", "b"])}, pd.RangeIndex(3))
    >>> grouped = by_columns(table, "k")
    >>> grouped.numbers.tolist(), grouped.index.tolist()
    ([0, 1, 0], ['b', 'a'])
    """
    names = [by] if isinstance(by, str) else list(by)
    if not names:
        raise FlowError("by=[]: name at least one column, or leave by= out")
    keys = [_key(table, name) for name in names]
    for name, key in zip(names, keys, strict=True):
        _refuse_unhashable(name, key, table.index)
    frame = pd.DataFrame(index=pd.RangeIndex(len(table.index)))
    try:
        grouped = frame.groupby(keys, sort=False, dropna=False, observed=True)
        numbers, index = grouped.ngroup().to_numpy(), grouped.size().index
    except (TypeError, ValueError, NotImplementedError) as error:
        raise FlowError(f"by={by!r}: pandas cannot group by it: {error}") from None
    return Grouped(tuple(names), isinstance(by, str), numbers, index)


def _key(table: InputTable, name: str) -> pd.Series[Any] | pd.Index[Any]:
    """The values of a column, or of a level of the index, that rows are grouped by."""
    rows = pd.RangeIndex(len(table.index))
    found: Any = table.columns.get(name)
    if found is None:
        levels = [str(level) for level in table.index.names]
        if name not in levels:
            raise FlowError(f"by={name!r}: no column has this name{nearest_column(name, table)}")
        return table.index.get_level_values(levels.index(name))
    if isinstance(found, list):
        return pd.Series(found, dtype=object, index=rows, name=name).infer_objects()
    column: pd.Series[Any] = found.set_axis(rows)
    return column


def _refuse_unhashable(name: str, key: pd.Series[Any] | pd.Index[Any], index: pd.Index[Any]) -> None:
    if key.dtype != object:
        return
    for position, value in enumerate(key):
        if isinstance(value, list | tuple | dict | set | np.ndarray) or not isinstance(value, Hashable):
            _refuse_compound(f"row {shown(index[position])}, column {name!r}", value, name)


def _refuse_compound(where: str, value: Any, name: str) -> NoReturn:
    raise FlowError(
        f"{where}: {with_article(type(value).__name__)} is no value to group by; group by its text: "
        f"df[{name!r}] = df[{name!r}].map(str)"
    )


# ---- df.groupby(...) ----------------------------------------------------------------------------------


def ungrouped(rows: Any, by: Any) -> tuple[Any, str | list[str] | None, Grouped | None]:
    """Turn ``df.groupby(...)`` into its rows, the names of what it goes by, and its groups.

    Anything else is left as it is, without groups, beside the names of the columns in `by`.
    Rows without a group are left out where pandas leaves them out.

    >>> frame = pd.DataFrame({"team": ["x", None], "n": [1, 2]})
    >>> rows, by, grouped = ungrouped(frame.groupby("team"), None)
    >>> by, grouped.numbers.tolist(), len(rows)
    ('team', [0], 1)
    """
    _refuse_windows(rows)
    if not hasattr(rows, "ngroups"):
        return rows, _names_of(by), None
    if by is not None:
        raise FlowError("by: the rows are grouped already; leave by= out, or give the DataFrame itself")
    try:
        found, numbers, index = _as_pandas(rows)
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise FlowError(f"rows: pandas cannot number these groups: {error}") from None
    names = _names_of_levels(index)
    keys: Any = rows.keys
    is_flat = index.nlevels == 1 and not isinstance(keys, list)
    grouped = Grouped(tuple(names), is_flat, numbers, index)
    return found, names[0] if is_flat else names, grouped


def _as_pandas(rows: Any) -> tuple[Any, np.ndarray[Any, Any], pd.Index[Any]]:
    """The rows that have a group, the number of each one's group, and the groups' labels."""
    found, each = rows.obj, rows.ngroup().to_numpy()
    if isinstance(found, pd.DataFrame):
        chosen = rows.head(0).columns  # of ``df.groupby("k")[["x"]]`` those alone
        found = found if len(chosen) == len(found.columns) else found[list(chosen)]
    sizes = rows.size()
    counts = sizes["size"] if isinstance(sizes, pd.DataFrame) else sizes
    index = _index_of(sizes)
    has_group = ~np.isnan(each.astype(float))
    if not has_group.all():
        found = found[has_group]
    numbers = each[has_group].astype(np.int64)
    numbers = _among_all(numbers, counts.to_numpy())
    _refuse_many_empty(int((counts == 0).sum()), len(index))
    return found, numbers, index


def _index_of(sizes: pd.Series[Any] | pd.DataFrame) -> pd.Index[Any]:
    """The groups' labels from their sizes; with ``as_index=False`` they stand in columns."""
    if isinstance(sizes, pd.Series):
        return sizes.index
    columns = sizes.drop(columns="size")
    if len(columns.columns) == 1:
        only = columns.iloc[:, 0]
        return pd.Index(only, dtype=only.dtype, tupleize_cols=False)
    return pd.MultiIndex.from_frame(columns)


def _among_all(numbers: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Numbers of groups among all groups: pandas leaves those without rows out of some of its numbers."""
    for made in (lambda: numbers, lambda: np.flatnonzero(sizes)[numbers]):
        try:
            tried = made()
        except IndexError:
            continue
        if np.array_equal(np.bincount(tried, minlength=len(sizes)), sizes):
            return tried
    raise ValueError("their sizes are not those of their rows")


def _refuse_many_empty(empty: int, groups: int) -> None:
    if empty > MOST_EMPTY:
        raise FlowError(
            f"rows: {empty:,} of the {groups:,} groups have no rows, more than the {MOST_EMPTY:,} that are possible; "
            "group with observed=True, or by longer times"
        )


def _names_of_levels(index: pd.Index[Any]) -> list[str]:
    """What the parts of a label are called: as ``reset_index`` does where they have no name, each once."""
    names: list[str] = []
    for level, name in enumerate(index.names):
        unnamed = "index" if index.nlevels == 1 else f"level_{level}"
        text = unnamed if name is None else str(name)
        names.append(unnamed if text in names else text)
    return names


_WINDOWS = ("pandas.core.window", "pandas.core.resample", "pandas.api.typing")


def _refuse_windows(rows: Any) -> None:
    """Refuse what groups rows by a window: rows may stand in several, or pandas gives no numbers of groups."""
    name = type(rows).__name__
    if not type(rows).__module__.startswith(_WINDOWS) or hasattr(rows, "ngroup"):
        return
    if "Resampler" in name:
        raise FlowError(f"rows: {name} holds no rows; group by time: df.groupby(pd.Grouper(freq=...))")
    if hasattr(rows, "obj"):
        raise FlowError(f"rows: the windows of a {name} share rows; give the DataFrame, or df.groupby(...)")


def _names_of(by: Any) -> str | list[str] | None:
    if by is None or isinstance(by, str):
        return by
    if isinstance(by, list | tuple):
        return [_name_of(name) for name in by]
    is_values = isinstance(by, pd.Series | pd.DataFrame | Mapping)
    if is_values or not pd.api.types.is_list_like(by):
        return _name_of(by)
    return [_name_of(name) for name in by]


def _name_of(by: Any) -> str:
    """The text of a column's name; values, functions and groupers belong into ``df.groupby``."""
    if isinstance(by, str | tuple) or (isinstance(by, Hashable) and not callable(by) and np.isscalar(by)):
        return column_name("by", by)
    raise FlowError(
        f"by: names of columns, not {with_article(type(by).__name__)} of values; give by='column', or "
        "df.groupby(...) itself instead of df and by="
    )
