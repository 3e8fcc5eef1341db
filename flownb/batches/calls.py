"""Many rows at a time: rows as the Series or the DataFrame that a call takes, and what it returned, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from flownb.batches import typed_columns
from flownb.batches.columns import type_name
from flownb.batches.labels import index_from_json
from flownb.errors import FlowError

_LABELS_SHOWN = 3  # of those that a message names


def index_of(spec: Mapping[str, Any] | None, labels: Sequence[Any] | None, first: int, rows: int) -> Any:
    """Return the index of a job's rows, from that of their batch (None: numbers) and the rows' own labels.

    Without `labels` the rows stand side by side, from position `first` of the batch on; those of an index of numbers
    are positions too.

    >>> index_of(None, None, 32, 2)
    RangeIndex(start=32, stop=34, step=1)
    >>> index_of({"kind": "range", "names": ["n"], "start": 10, "step": 5}, [1, 4], 1, 2)
    Index([15, 30], dtype='int64', name='n')
    """
    spec = spec or {"kind": "range", "names": [None], "start": 0, "step": 1}
    if spec["kind"] == "range":
        positions = pd.RangeIndex(first, first + rows) if labels is None else pd.Index(labels, dtype="int64")
        index = positions * spec["step"] + spec["start"]
        return index.set_names(spec["names"])
    return index_from_json({**spec, "length": rows}, labels or [])


def columns_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str], index: Any) -> dict[str, Any]:
    """Return these columns of some rows as Series on their labels; what a row lacks is missing.

    >>> columns_of([{"n": 1}, {"n": 2}], ["n"], pd.Index(["a", "b"]))["n"]
    a    1
    b    2
    Name: n, dtype: int64
    """
    return {name: _series([row.get(name) for row in rows], index, name) for name in names}


def frame_of(rows: Sequence[Any], index: Any) -> Any:
    """Return whole rows as a DataFrame on their labels.

    >>> frame_of([{"n": 1, "word": "one"}], pd.Index(["a"]))
       n word
    a  1  one
    """
    named = [row if isinstance(row, dict) else {} for row in rows]
    names = dict.fromkeys(name for row in named for name in row)
    return pd.DataFrame(columns_of(named, list(names), index), index=index, columns=list(names))


def values_of(returned: Any, index: Any, name: str) -> list[Any]:
    """Return what a call has returned as one value a row, in the order of `index`.

    A Series or DataFrame on the same labels in another order is aligned. Raises `FlowError` for anything that is not
    one value a row, or stands on other labels.

    >>> values_of(pd.Series([1, 2], index=["b", "a"]), pd.Index(["a", "b"]), "score")
    [2, 1]
    >>> values_of([1], pd.Index(["a", "b"]), "score")
    Traceback (most recent call last):
        ...
    flownb.errors.FlowError: task score returned 1 value for 2 rows; return one for each, in their order
    """
    if isinstance(returned, pd.Series | pd.DataFrame):
        _check_length(len(returned), index, name)
        returned = _aligned(returned, index, name)
        return _records(returned, name) if isinstance(returned, pd.DataFrame) else list(returned.tolist())
    if isinstance(returned, list | tuple):
        values = list(returned)
    elif isinstance(returned, pd.Index | pd.api.extensions.ExtensionArray):
        values = list(pd.Series(returned).tolist())
    elif hasattr(returned, "__array__"):
        values = _of_array(np.asarray(returned), index, name)
    else:
        _refuse(returned, index, name)
    _check_length(len(values), index, name)
    return values


def _series(values: list[Any], index: Any, name: str) -> Any:
    array = _array(values)
    # Without the dtype pandas looks for text in objects.
    return pd.Series(array, index=index, name=name, dtype=array.dtype)


def _array(values: list[Any]) -> Any:
    """Plain JSON values as pandas would hold them: nullable only where numpy has no missing value of the kind."""
    found = typed_columns.column(values)
    if not isinstance(found, pd.api.extensions.ExtensionArray):
        return _objects(values)
    if isinstance(found.dtype, pd.StringDtype):
        return found
    if found.dtype.kind == "f":
        return found.to_numpy(dtype=np.float64, na_value=np.nan)
    return found if found.isna().any() else found.to_numpy()


def _objects(values: list[Any]) -> Any:
    """An array of the values as they are: one made of lists would have two dimensions."""
    made = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        made[position] = value
    return made


def _aligned(returned: Any, index: Any, name: str) -> Any:
    """A Series or DataFrame in the rows' order."""
    if returned.index.equals(index):
        return returned
    if index.is_unique and returned.index.is_unique and returned.index.isin(index).all():
        return returned.loc[index]
    kind = type(returned).__name__
    raise FlowError(
        f"task {name} returned a {kind} on other labels than those of its rows ({_labels(returned.index)} instead of "
        f"{_labels(index)}); give it the index of an argument, or return a list or array"
    )


def _labels(index: Any) -> str:
    more = ", ..." if len(index) > _LABELS_SHOWN else ""
    return ", ".join(str(label)[:40] for label in index[:_LABELS_SHOWN].tolist()) + more


def _records(frame: Any, name: str) -> list[Any]:
    names = [str(column) for column in frame.columns]
    if len(set(names)) < len(names):
        raise FlowError(f"task {name} returned a DataFrame with two columns of one name; rename one")
    columns = (frame.iloc[:, n].tolist() for n in range(len(names)))
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] or [{}] * len(frame)


def _of_array(array: Any, index: Any, name: str) -> list[Any]:
    if not array.ndim:
        _refuse(array.item(), index, name)
    return array.tolist() if array.ndim == 1 and array.dtype.kind in "biufUO" else list(array)


def _check_length(length: int, index: Any, name: str) -> None:
    if length != len(index):
        values, rows = (
            f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in ((length, "value"), (len(index), "row"))
        )
        raise FlowError(f"task {name} returned {values} for {rows}; return one for each, in their order")


def _refuse(returned: Any, index: Any, name: str) -> NoReturn:
    hint = "; make a table of it: pd.DataFrame(value)" if isinstance(returned, Mapping) else ""
    what = "None" if returned is None else f"one {type_name(returned)}"
    raise FlowError(
        f"task {name} returned {what} for {len(index):,} rows; with batch_size it returns one value for each: a list, "
        f"Series, array or DataFrame{hint}"
    )
