"""Rows out: values become columns on the rows' own labels, and beside them `_state _error _attempts _seconds`.

Columns are nullable: Int64, Float64, boolean, text, and object for everything
else. A value that is not there is missing (``<NA>``; NaN in text columns).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from flownb.batches.typed_columns import column, floats, integers, strings
from flownb.batches.value_columns import NOTHING, Named, ValueColumns, framed
from flownb.files import references
from flownb.wire.amounts import PARTS, Amounts
from flownb.wire.store import large_inputs

STATUS = ("_state", "_error", "_attempts", "_seconds")  #: what `table` adds to inputs and results


def values_frame(
    texts: Sequence[str | None],
    index: pd.Index[Any],
    name: Named,
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


def of_values(values: list[Any], index: pd.Index[Any], name: Named) -> pd.DataFrame:
    """The same, from values that are read already; `NOTHING` stands for one that is not there."""
    found = ValueColumns(name)
    found.add(values)
    return found.frame(index)


def table(
    base: pd.DataFrame,
    texts: Sequence[str | None],
    states: Sequence[str],
    errors: Sequence[str | None],
    attempts: Sequence[int | None],
    seconds: Sequence[float | None],
    name: Named,
    versions: Sequence[str | None] | None = None,
    steps: Sequence[str | None] | None = None,
    read: Callable[[str], Any] | None = None,
    spent: Sequence[Amounts | None] = (),
) -> pd.DataFrame:
    """`base` and its results so far, and ``_state _error _attempts _seconds``, on `base`'s index.

    With `versions` also ``_version``, the name of the code that ran each row, with `steps` ``_step``, where it is.
    `read` is as in `values_frame`. Where rows have spent something there is a column for each unit, such as ``_usd``.

    A column that would hide one of `base` (or a result one of the status) gets
    the suffix ``_result``. dtypes: state and error text, attempts Int64, seconds Float64.

    >>> table(pd.DataFrame({"n": [7]}), ['{"n": 49}'], ["failed"], ["KeyError: 7"], [1], [0.5], "square")
       n  n_result  _state       _error  _attempts  _seconds
    0  7        49  failed  KeyError: 7          1       0.5
    """
    values = values_frame(texts, pd.RangeIndex(len(base)), name, read)
    status = _status(states, errors, attempts, seconds)
    if steps is not None:
        status["_step"] = strings(steps)
    if versions is not None:
        status["_version"] = strings(versions)
    for unit in sorted(set().union(*filter(None, spent))):
        status[f"_{unit}"] = floats([row.get(unit, 0) / PARTS if row else None for row in spent])
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
    rows = [_as_object(_input(text)) for text in data_texts]
    if whole_row:
        rows = [_as_object(row.get("row")) for row in rows]
    cells = {name: [row.get(name) for row in rows] for name in columns}
    if read_large is not None:
        cells = {name: _in_full(found, read_large) for name, found in cells.items()}
    return framed({name: column(found) for name, found in cells.items()}, index)


def _input(text: str) -> Any:
    value = decoded(text)
    return references.with_input_files(value) if references.MARK in text else value


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _in_full(cells: list[Any], read_large: Callable[[Sequence[str]], Mapping[str, str]]) -> list[Any]:
    digests = list(map(large_inputs.digest_of, cells))
    wanted = [digest for digest in dict.fromkeys(digests) if digest is not None]
    whole = {digest: _input(text) for digest, text in read_large(wanted).items()}  # one for all its rows
    return [cell if digest is None else whole[digest] for cell, digest in zip(cells, digests, strict=True)]


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
