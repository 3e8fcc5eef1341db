"""Rows out: values become columns on the rows' own labels, and beside them `_state _error _attempts _seconds`.

Columns are nullable: Int64, Float64, boolean, text, and object for everything
else. A value that is not there is missing (``<NA>``; NaN in text columns).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from flownb.batches.labels import TEXT_DTYPE
from flownb.wire.store import large_inputs

STATUS = ("_state", "_error", "_attempts", "_seconds")  #: what `table` adds to inputs and results


NOTHING: Any = object()  #: the value of a row that has none


def values_frame(
    texts: Sequence[str | None],
    index: pd.Index[Any],
    name: str,
    read: Callable[[str], Any] | None = None,
) -> pd.DataFrame:
    """Return values as a table on `index`, one row a text; None stands for a value that is not there.

    The keys of dicts become columns, in order of first appearance. Any other value
    stands in a column called `name`; lists stay lists. dtypes: ints Int64, floats
    (or both) Float64, bools boolean, strings pandas' text dtype, all else object:
    mixed values, lists, ints beyond 64 bits, and columns without any value.
    Text that is not JSON is a string. `read` makes values of texts in another way than `decoded`.

    >>> values_frame(['{"n": 1}', None, '{"n": 2, "ok": true}'], pd.Index(["a", "b", "c"]), "score")
          n    ok
    a     1  <NA>
    b  <NA>  <NA>
    c     2  True
    """
    read = read or decoded
    return of_values([NOTHING if text is None else read(text) for text in texts], index, name)


def of_values(values: list[Any], index: pd.Index[Any], name: str) -> pd.DataFrame:
    """The same, from values that are read already; `NOTHING` stands for one that is not there."""
    if NOTHING in values:
        values = [None if value is NOTHING else value for value in values]
    return _frame(values, index, name)


def without_missing(values: list[Any], index: pd.Index[Any]) -> tuple[list[Any], pd.Index[Any]]:
    """Return the values that are there, and the labels of their rows."""
    there = [position for position, value in enumerate(values) if value is not NOTHING]
    return [values[position] for position in there], index.take(np.array(there, dtype=int))


def table(
    base: pd.DataFrame,
    texts: Sequence[str | None],
    states: Sequence[str],
    errors: Sequence[str | None],
    attempts: Sequence[int | None],
    seconds: Sequence[float | None],
    name: str,
    versions: Sequence[str | None] | None = None,
    read: Callable[[str], Any] | None = None,
) -> pd.DataFrame:
    """`base` and its results so far, and ``_state _error _attempts _seconds``, on `base`'s index.

    With `versions` also ``_version``, the name of the code that ran each row. `read` is as in `values_frame`.

    A column that would hide one of `base` (or a result one of the status) gets
    the suffix ``_result``. dtypes: state and error text, attempts Int64, seconds Float64.

    >>> table(pd.DataFrame({"n": [7]}), ['{"n": 49}'], ["failed"], ["KeyError: 7"], [1], [0.5], "square")
       n  n_result  _state       _error  _attempts  _seconds
    0  7        49  failed  KeyError: 7          1       0.5
    """
    values = values_frame(texts, pd.RangeIndex(len(base)), name, read)
    status = _status(states, errors, attempts, seconds)
    if versions is not None:
        status["_version"] = strings(versions)
    taken = set(map(str, base.columns))
    status = status.rename(columns=_free_names(status.columns, taken))
    values = values.rename(columns=_free_names(values.columns, taken, set(values.columns)))
    whole = pd.concat([base.set_axis(pd.RangeIndex(len(base)), axis=0), values, status], axis=1)
    return whole.set_axis(base.index, axis=0)


def inputs_frame(
    data_texts: Sequence[str],
    columns: Sequence[str],
    index: pd.Index[Any],
    *,
    whole_row: bool = False,
    read_large: Callable[[Sequence[str]], Mapping[str, str]] | None = None,
) -> pd.DataFrame:
    """The columns that travelled, from the jobs' ``data``; `whole_row` as in `Rows`.

    `read_large` gives the texts of large cells by their digests, of data that refer to such.

    dtypes are found as in `values_frame`: what travelled as text (times, Decimals)
    stays text, a key that is not there is missing.

    >>> inputs_frame(['{"text": "a", "n": 1}', '{"text": "b", "n": null}'], ["n", "text"], pd.RangeIndex(2))
          n text
    0     1    a
    1  <NA>    b
    """
    rows = [_as_object(decoded(text)) for text in data_texts]
    if whole_row:
        rows = [_as_object(row.get("row")) for row in rows]
    cells = {name: [row.get(name) for row in rows] for name in columns}
    if read_large is not None:
        cells = {name: _in_full(found, read_large) for name, found in cells.items()}
    return _with_columns({name: column(found) for name, found in cells.items()}, index)


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _in_full(cells: list[Any], read_large: Callable[[Sequence[str]], Mapping[str, str]]) -> list[Any]:
    digests = list(map(large_inputs.digest_of, cells))
    wanted = [digest for digest in dict.fromkeys(digests) if digest is not None]
    whole = {digest: decoded(text) for digest, text in read_large(wanted).items()}  # one for all its rows
    return [cell if digest is None else whole[digest] for cell, digest in zip(cells, digests, strict=True)]


def column(values: list[Any]) -> Any:
    """Plain JSON values as an array of the dtype that holds all of them exactly; None is missing.

    >>> column([1, None, 2.5]).dtype, column([2**70, 1]).dtype
    (Float64Dtype(), dtype('O'))
    """
    kinds = frozenset(map(type, values)) - {type(None)}
    make = _MAKERS.get(kinds, _objects)
    try:
        return make(values)
    except (OverflowError, UnicodeEncodeError):
        return _objects(values)


def integers(values: Sequence[int | None]) -> Any:
    """An Int64 array; None is missing."""
    filled, missing = _filled(values, 0)
    return pd.arrays.IntegerArray(np.array(filled, dtype=np.int64), missing)


def floats(values: Sequence[float | None]) -> Any:
    """A Float64 array; None and NaN are missing."""
    filled, missing = _filled(values, 0.0)
    numbers = np.array(filled, dtype=np.float64)
    return pd.arrays.FloatingArray(numbers, missing | np.isnan(numbers))


def strings(values: Sequence[str | None]) -> Any:
    """An array of pandas' text dtype; None is missing."""
    return pd.array(list(values), dtype=TEXT_DTYPE)


def _booleans(values: Sequence[bool | None]) -> Any:
    filled, missing = _filled(values, False)
    return pd.arrays.BooleanArray(np.array(filled, dtype=bool), missing)


def _numbers(values: Sequence[Any]) -> Any:
    """Ints and floats together, unless a float could not hold one of the ints."""
    if any(abs(value) > 2**53 for value in values if type(value) is int):
        return _objects(values)
    return floats(values)


def _objects(values: Sequence[Any]) -> Any:
    made = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        made[position] = pd.NA if value is None else value
    return pd.Series(made, dtype=object)  # a bare array would be looked through for text


_MAKERS: dict[frozenset[type], Callable[[list[Any]], Any]] = {
    frozenset({int}): integers,
    frozenset({float}): floats,
    frozenset({int, float}): _numbers,
    frozenset({bool}): _booleans,
    frozenset({str}): strings,
}


def _filled(values: Sequence[Any], filler: Any) -> tuple[Sequence[Any], np.ndarray[Any, np.dtype[np.bool_]]]:
    if None not in values:
        return values, np.zeros(len(values), dtype=bool)
    missing = np.array([value is None for value in values], dtype=bool)
    return [filler if value is None else value for value in values], missing


def decoded(text: str) -> Any:
    """Return the value of a JSON text, or the text itself where it is no JSON; quicker than `json.loads`."""
    try:
        value, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError):
        return _decoded_slowly(text)
    return value if end == len(text) else _decoded_slowly(text)


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def _decoded_slowly(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _frame(values: list[Any], index: pd.Index[Any], name: str) -> pd.DataFrame:
    kinds = set(map(type, values))
    if dict not in kinds:
        return _with_columns({name: column(values)}, index)
    if kinds != {dict}:
        values = [_as_dict(value, name) for value in values]
    keys = dict.fromkeys(chain.from_iterable(values))
    return _with_columns({key: column([value.get(key) for value in values]) for key in keys}, index)


def _as_dict(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {} if value is None else {name: value}


def _with_columns(columns: Mapping[str, Any], index: pd.Index[Any]) -> pd.DataFrame:
    named = {_valid(name): values for name, values in columns.items()}
    made = pd.DataFrame(named, index=pd.RangeIndex(len(index)))
    return made.set_axis(index, axis=0)


def _valid(name: str) -> str:
    """A name that every text dtype can hold: half a character is spelled out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _status(
    states: Sequence[str],
    errors: Sequence[str | None],
    attempts: Sequence[int | None],
    seconds: Sequence[float | None],
) -> pd.DataFrame:
    arrays = (strings(states), strings(errors), integers(attempts), floats(seconds))
    return pd.DataFrame(dict(zip(STATUS, arrays, strict=True)))


def _free_names(names: Iterable[str], taken: set[str], others: Iterable[str] = ()) -> dict[str, str]:
    """A name for each of `names` that is not `taken`; `taken` grows by them."""
    free = {}
    spoken_for = taken | set(others)
    for name in names:
        new = name
        while new in taken or (new != name and new in spoken_for):
            new += "_result"
        free[name] = new
        taken.add(new)
    return free
