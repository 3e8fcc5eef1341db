"""Rows in: a DataFrame (a Series, a list) becomes one JSON text a row, an index and ids.

Everything here is pure. A table is turned into text column by column: each column
becomes a list of JSON fragments, and a row's text is its fragments put into one
template. What has no exact JSON form is refused with the row's label and the
column's name; docs/data-types.md lists every dtype.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import enum
import hashlib
import json
import math
import pathlib
import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial, singledispatch
from json.encoder import encode_basestring as _quoted
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from flownb.errors import FlowError

MOST_LEVELS = 200  #: how deep a cell's lists and dicts may nest
MOST_ITEMS = 10_000  #: how long an array in one cell may be
MOST_CHARACTERS = 10_000_000  #: how long the JSON text of one row may be

TEXT_DTYPE: Any = "str" if int(pd.__version__.split(".")[0]) >= 3 else "string"


@dataclass(frozen=True, eq=False)
class Rows:
    """What a batch is made of. `texts`, `index` and the groups' positions go row by row.

    `groups` are in order of first appearance; a group's label is one JSON value
    for ``by="a"`` and a list of them for ``by=["a", "b"]``.
    """

    columns: tuple[str, ...]  #: that travel, in the table's order
    texts: list[str]  #: one JSON object a row: exactly the ``data`` of its job
    index: pd.Index[Any]
    groups: list[tuple[Any, list[int]]] | None = None
    by: tuple[str, ...] = ()
    whole_row: bool = False  #: the columns stand one level down, in ``row``

    def __len__(self) -> int:
        return len(self.texts)


def read(
    rows: object,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    by: str | Sequence[str] | None = None,
    whole_row: bool = False,
    any_column: bool = False,
) -> Rows:
    """Turn `rows` into the JSON texts that fill a task's parameters.

    `rows` is a DataFrame; a Series, an array, or any iterable whose items go to
    the task's one parameter; or an iterable of dicts, read like a table (if the
    task has one parameter and no dict has its name as a key, each dict is an item;
    a key that some dicts lack is null there). An iterator is used up. Nothing of
    `rows` is kept or changed.

    Only columns named in `required` or `optional` travel; a required one must
    exist. With `any_column` all travel. With `whole_row` all travel inside ``row``.

    A text's keys are sorted, so the order of columns changes nothing; inside
    ``row`` they keep the table's order, since a function sees it.

    Raises FlowError, naming the row's label and the column: names that are not
    unique, a parameter without a column, a missing `by` column, and values that
    have no JSON form (inf, bytes, sets, unknown objects).

    >>> table = pd.DataFrame({"text": ["a", None], "lang": "de", "n": [1, 2]}, index=["x", "y"])
    >>> rows = read(table, ["text"], ["lang", "model"], by="lang")
    >>> rows.texts
    ['{"lang":"de","text":"a"}', '{"lang":"de","text":null}']
    >>> rows.columns, rows.groups
    (('text', 'lang'), [('de', [0, 1])])
    """
    everything = whole_row or any_column
    table = _tabulated(rows, [*required] or [*optional][:1], everything)
    travelling = list(table.columns) if everything else _travelling(table, required, optional)
    grouping = _grouping(table, by)
    fragments = {name: _column_fragments(table, name) for name in dict.fromkeys([*travelling, *grouping])}
    order = travelling if whole_row else sorted(travelling)
    texts = _texts(order, [fragments[name] for name in order], len(table.index), whole_row)
    _refuse_long_texts(texts, table.index)
    by_columns = [fragments[name] for name in grouping]
    groups = None if by is None else _groups(by_columns, alone=isinstance(by, str))
    return Rows(tuple(travelling), texts, table.index, groups, tuple(grouping), whole_row)


def identities(rows: Rows, *, name: str, task: str, version: str) -> list[str]:
    """One job id a row: who asks (`name`, `task`, `version`), the row's text, and which one of equal rows.

    An id is ``r`` and 16 characters of ``a-z2-7``. A re-sorted table gives the same
    set of ids, equal rows get ids of their own, a changed cell changes one id.

    >>> ids = identities(read([1, 1, 2], ["n"]), name="b", task="t", version="1")
    >>> len(set(ids)), set(ids) == set(identities(read([2, 1, 1], ["n"]), name="b", task="t", version="1"))
    (3, True)
    """
    start = hashlib.blake2b(json.dumps([name, task, version]).encode(), digest_size=10)
    seen: dict[str, int] = {}
    digests = []
    for text in rows.texts:
        earlier = seen.get(text, 0)
        seen[text] = earlier + 1
        one = start.copy()
        one.update((f"{text}\0{earlier}" if earlier else text).encode())
        digests.append(one.digest())
    letters = _base32(b"".join(digests))
    return ["r" + letters[at : at + 16] for at in range(0, len(letters), 16)]


def fingerprint(ids: Iterable[str], *more: str) -> str:
    """A batch's id, made of its rows' ids and of whatever else tells it apart: ``b`` and 19 of ``a-z2-7``.

    The order of the rows counts, because the declared order is part of what an
    aggregate receives. Under a name of its own a re-sorted batch still runs no row
    again: that is decided by the rows' ids.

    >>> fingerprint(["r1", "r2"]) == fingerprint(["r2", "r1"])
    False
    >>> len(fingerprint([], "score"))
    20
    """
    known = json.dumps([more, list(ids)]).encode()
    return "b" + _base32(hashlib.blake2b(known, digest_size=15).digest())[:19]


_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)
_WEIGHTS = np.array([16, 8, 4, 2, 1], dtype=np.uint8)


def _base32(data: bytes) -> str:
    """Base32 in small letters, of a multiple of five bytes; many times faster than base64's for a million."""
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).reshape(-1, 5)
    return bytes(_LETTERS[bits @ _WEIGHTS]).decode()


# -- the table: names, columns, index ---------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    columns: Mapping[str, pd.Series[Any] | list[Any]]
    index: pd.Index[Any]


def _tabulated(rows: object, parameters: list[str], everything: bool) -> _Table:
    if isinstance(rows, pd.DataFrame):
        return _of_frame(rows, parameters)
    if isinstance(rows, np.ndarray):
        rows = _of_one_dimension(rows)
    if isinstance(rows, pd.Index):
        rows = rows.to_series(index=pd.RangeIndex(len(rows)))
    if isinstance(rows, pd.Series):
        return _Table({_only(parameters, rows.name, everything): rows}, rows.index)
    if isinstance(rows, str | bytes | bytearray | Mapping):
        hint = ", or make a table of it: pd.DataFrame(value)" if isinstance(rows, Mapping) else ""
        raise FlowError(
            f"rows: a {type(rows).__name__} is one value, not rows; put it in a list: [value]{hint}"
        )
    if isinstance(rows, set | frozenset):
        raise FlowError("rows: a set has no order, so its rows could not be found again; give sorted(rows)")
    if hasattr(rows, "to_pandas"):
        raise FlowError(f"rows: {_type_name(rows)} is not a pandas DataFrame; give rows.to_pandas()")
    if hasattr(rows, "ngroups"):
        raise FlowError("rows: this is already grouped; give the DataFrame itself, and by= the column")
    if not isinstance(rows, Iterable):
        raise FlowError(f"rows: {_type_name(rows)} holds no rows; give a DataFrame, a Series or a list")
    return _of_items(list(rows), parameters, everything)


def _of_one_dimension(array: np.ndarray[Any, Any]) -> pd.Series[Any]:
    if array.ndim != 1:
        raise FlowError(
            f"rows: the array has {array.ndim} dimensions; give a DataFrame, so that its columns have names"
        )
    return pd.Series(array)


def _of_frame(frame: pd.DataFrame, parameters: list[str]) -> _Table:
    if isinstance(frame.columns, pd.MultiIndex):
        raise FlowError(
            f"columns: they have {frame.columns.nlevels} levels; make one name of each: "
            'df.columns = ["_".join(map(str, c)) for c in df.columns]'
        )
    if not len(frame) and not len(frame.columns):
        return _nothing(parameters, frame.index)
    names = _text_names(list(frame.columns))
    return _Table({name: frame.iloc[:, place] for place, name in enumerate(names)}, frame.index)


def _of_items(items: list[Any], parameters: list[str], everything: bool) -> _Table:
    index = pd.RangeIndex(len(items))
    if not items:
        return _nothing(parameters, index)
    if not all(isinstance(item, dict) for item in items) or (
        not everything and len(parameters) == 1 and not any(parameters[0] in item for item in items)
    ):
        return _Table({_only(parameters, None, everything): items}, index)
    keys = list(dict.fromkeys(key for item in items for key in item))
    columns = {
        name: [item.get(key) for item in items] for key, name in zip(keys, _text_names(keys), strict=True)
    }
    return _Table(columns, index)


def _nothing(parameters: list[str], index: pd.Index[Any]) -> _Table:
    return _Table({name: [] for name in parameters}, index)


def _only(parameters: list[str], name: Hashable, everything: bool) -> str:
    """The one column that single items go to."""
    if everything:
        return "value" if name is None else str(name)
    if len(parameters) == 1:
        return parameters[0]
    if not parameters:
        raise FlowError("rows: the task has no parameter to give the items to; give it one")
    raise FlowError(
        f"rows: single items fill one parameter, but the task needs {_listed(parameters)}; "
        "give a DataFrame with these columns, or a list of dicts"
    )


def _text_names(names: Sequence[Hashable]) -> list[str]:
    """Names of columns as text, every one of them once."""
    first: dict[str, Hashable] = {}
    for name in names:
        text = str(name)
        if text in first:
            _refuse_same_name(first[text], name)
        first[text] = name
    return list(first)


def _refuse_same_name(one: Hashable, other: Hashable) -> NoReturn:
    if type(one) is type(other):
        raise FlowError(
            f"column {other!r}: two columns have this name, and a row could carry only one; "
            "rename one, or keep the first of each: df.loc[:, ~df.columns.duplicated()]"
        )
    raise FlowError(
        f"column {other!r}: as text it has the name of column {one!r}; rename one: df.rename(columns=...)"
    )


def _travelling(table: _Table, required: Sequence[str], optional: Sequence[str]) -> list[str]:
    for name in required:
        if name not in table.columns:
            raise FlowError(
                f"parameter {name!r}: no column has this name{_nearest(name, table)}; "
                "rename a column, add one with df.assign, or give the parameter a default"
            )
    return [name for name in table.columns if name in required or name in optional]


def _grouping(table: _Table, by: str | Sequence[str] | None) -> list[str]:
    if by is None:
        return []
    names = [str(name) for name in ([by] if isinstance(by, str) else by)]
    if not names:
        raise FlowError("by=[]: name at least one column, or leave by= out")
    for name in names:
        if name in table.columns:
            continue
        if name in map(str, table.index.names):
            raise FlowError(f"by={name!r}: this is a level of the index, not a column; give df.reset_index()")
        raise FlowError(f"by={name!r}: no column has this name{_nearest(name, table)}")
    return names


def _nearest(name: str, table: _Table) -> str:
    near = difflib.get_close_matches(name, table.columns, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f" (columns: {_listed(list(table.columns))}{hint})"


def _listed(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# -- rows' texts from columns' fragments --------------------------------------------------------


def _texts(names: list[str], columns: list[list[str]], length: int, whole_row: bool) -> list[str]:
    fields = ",".join(_quoted(name).replace("%", "%%") + ":%s" for name in names)
    template = f'{{"row":{{{fields}}}}}' if whole_row else f"{{{fields}}}"
    if not names:
        return [template] * length
    return list(map(template.__mod__, zip(*columns, strict=True)))


def _groups(columns: list[list[str]], *, alone: bool) -> list[tuple[Any, list[int]]]:
    places: dict[tuple[str, ...], list[int]] = {}
    for position, key in enumerate(zip(*columns, strict=True)):
        places.setdefault(key, []).append(position)
    labels = ([json.loads(text) for text in key] for key in places)
    return [
        (label[0] if alone else label, where) for label, where in zip(labels, places.values(), strict=True)
    ]


def _refuse_long_texts(texts: list[str], index: pd.Index[Any]) -> None:
    longest = max(map(len, texts), default=0)
    if longest > MOST_CHARACTERS:
        position = next(place for place, text in enumerate(texts) if len(text) == longest)
        raise FlowError(
            f"row {_shown(index[position])}: its data are {longest / 1e6:.1f} MB of JSON, the most is "
            f"{MOST_CHARACTERS / 1e6:.0f} MB; store the large value in a file and send its path"
        )


def _column_fragments(table: _Table, name: str) -> list[str]:
    if _is_broken(name):
        raise FlowError(f"column {name!r}: its name has half a character (a lone surrogate); rename it")
    try:
        return _fragments(table.columns[name])
    except _Refused as refused:
        row = _shown(table.index[refused.position])
        raise FlowError(f"row {row}, column {name!r}: {refused}") from None


def _shown(label: object) -> str:
    if isinstance(label, tuple):
        return "(" + ", ".join(map(_shown, label)) + ")"
    text = repr(str(label)) if isinstance(label, str) else str(label)
    return text if len(text) <= 60 else text[:59] + "…"


# -- one column -> JSON fragments -----------------------------------------------------------------


class _Unfit(ValueError):
    """A value without a JSON form: what is wrong, how to mend it, and where inside the cell it stands."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what)
        self.mend = mend
        self.path: list[str] = []

    def inside(self, step: object) -> _Unfit:
        self.path.insert(0, f"[{step!r}]")
        return self

    def __str__(self) -> str:
        where = "".join(self.path[:5]) + ("…" if len(self.path) > 5 else "")
        return (f"at {where}: " if where else "") + f"{self.args[0]}; {self.mend}"


class _Refused(Exception):
    """A column's value cannot travel; `position` is its row's."""

    def __init__(self, position: int, why: object) -> None:
        super().__init__(str(why))
        self.position = position


_INFINITE = "replace it first: df.replace([np.inf, -np.inf], np.nan) sends null"


def _fragments(column: pd.Series[Any] | list[Any]) -> list[str]:
    if isinstance(column, list):
        return _of_objects(column)
    dtype: Any = column.dtype
    if isinstance(dtype, np.dtype):
        return _of_array(column.to_numpy(), column)
    if isinstance(dtype, pd.CategoricalDtype):
        return _of_categories(column)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _of_times(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), "Z")
    if isinstance(dtype, pd.StringDtype):
        return _of_texts(column)
    if isinstance(column.array, _MASKED):
        return _of_masked(column)
    return _of_objects(column.astype(object).tolist())


_MASKED = (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)


def _of_array(values: np.ndarray[Any, Any], column: pd.Series[Any]) -> list[str]:
    match values.dtype.kind:
        case "i" | "u":
            return _of_numbers(values)
        case "f":
            return _of_floats(values)
        case "b":
            return ["true" if value else "false" for value in values.tolist()]
        case "M":
            return _of_times(values, "")
        case "m":
            return _of_floats(values / np.timedelta64(1, "s"))
        case _:
            return _of_objects(column.tolist())


def _of_floats(values: np.ndarray[Any, Any]) -> list[str]:
    values = values.astype(np.float64, copy=False)
    infinite = np.isinf(values)
    if infinite.any():
        position = int(infinite.argmax())
        raise _Refused(position, _Unfit(f"{values[position]} is no number in JSON", _INFINITE))
    return _with_nulls(_of_numbers(values), np.isnan(values))


def _of_numbers(values: np.ndarray[Any, Any]) -> list[str]:
    """The shortest exact text of each; one repr of the list is faster than one of each."""
    return repr(values.tolist())[1:-1].split(", ") if len(values) else []


def _of_times(values: np.ndarray[Any, Any], zone: str) -> list[str]:
    """ISO 8601, with 6 digits of a second or 9, and none for a whole second."""
    missing = np.isnat(values)
    seconds = values.astype("M8[s]")
    rest = np.where(missing, 0, (values - seconds).astype("m8[ns]").astype(np.int64))
    texts = np.datetime_as_string(seconds).tolist()
    if rest.any():
        pairs = zip(texts, rest.tolist(), strict=True)
        return _with_nulls([f'"{text}{_fraction(ns)}{zone}"' for text, ns in pairs], missing)
    return _with_nulls([f'"{text}{zone}"' for text in texts], missing)


def _fraction(ns: int) -> str:
    if not ns:
        return ""
    return f".{ns:09d}" if ns % 1000 else f".{ns // 1000:06d}"


def _of_texts(column: pd.Series[Any]) -> list[str]:
    missing = column.isna().to_numpy()
    values = column.to_numpy(dtype=object)
    if missing.any():
        values = np.where(missing, "", values)
    return _with_nulls(_refuse_surrogates(list(map(_quoted, values.tolist()))), missing)


def _of_masked(column: pd.Series[Any]) -> list[str]:
    dtype: Any = column.dtype
    missing = column.isna().to_numpy()
    values = column.array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.type(0))
    return _with_nulls(_of_array(values, column), missing)


def _of_categories(column: pd.Series[Any]) -> list[str]:
    used = column.cat.remove_unused_categories().cat
    codes = used.codes.tolist()
    try:
        texts = _fragments(pd.Series(used.categories))
    except _Refused as refused:
        raise _Refused(codes.index(refused.position), refused) from None
    texts.append("null")  # the code of a missing value is -1
    return [texts[code] for code in codes]


def _with_nulls(fragments: list[str], missing: np.ndarray[Any, Any]) -> list[str]:
    for position in np.flatnonzero(missing).tolist():
        fragments[position] = "null"
    return fragments


def _of_objects(values: list[Any]) -> list[str]:
    fragments: list[str] = []
    add, known = fragments.append, _SIMPLE.get
    try:
        for value in values:
            add(known(type(value), _compound)(value))
    except RecursionError:
        raise _Refused(len(fragments), _too_deep()) from None
    except (ValueError, OverflowError) as error:
        unfit = error if isinstance(error, _Unfit) else _Unfit(str(error), "send it as text")
        raise _Refused(len(fragments), unfit) from None
    return _refuse_surrogates(fragments)


def _refuse_surrogates(fragments: list[str]) -> list[str]:
    try:
        "".join(fragments).encode()
    except UnicodeEncodeError:
        position = next(place for place, text in enumerate(fragments) if _is_broken(text))
        what = "the text has half a character (a lone surrogate), which is not UTF-8"
        mend = 'mend it: text.encode("utf-8", "replace").decode()'
        raise _Refused(position, _Unfit(what, mend)) from None
    return fragments


def _is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _compound(value: object) -> str:
    return _encode(_plain(value))


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


# -- one value -> plain JSON value ------------------------------------------------------------------


def _plain(value: Any, level: int = 0) -> Any:
    """The same value made of dict, list, str, int, float, bool and None alone."""
    if type(value) in _AS_IT_IS:
        return value
    if level > MOST_LEVELS:
        raise _too_deep()
    return _converted(value, level)


_AS_IT_IS = frozenset({str, int, bool, type(None)})


def _too_deep() -> _Unfit:
    return _Unfit(f"it nests more than {MOST_LEVELS} levels deep, or contains itself", "flatten it")


@singledispatch
def _converted(value: Any, level: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return _of_dict({field.name: getattr(value, field.name) for field in fields}, level)
    raise _Unfit(
        f"a value of type {_type_name(value)} has no JSON form",
        "send its parts as a dict, or the path of a file",
    )


@_converted.register(dict)
def _of_dict(value: dict[Any, Any], level: int) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _Unfit(f"the dict's key {_shown(key)} is not text", "make its keys text: str(key)")
        try:
            plain[str.__str__(key)] = _plain(item, level + 1)
        except _Unfit as unfit:
            raise unfit.inside(key) from None
    return plain


@_converted.register(list)
@_converted.register(tuple)
def _of_list(value: Iterable[Any], level: int) -> list[Any]:
    plain: list[Any] = []
    for item in value:
        try:
            plain.append(_plain(item, level + 1))
        except _Unfit as unfit:
            raise unfit.inside(len(plain)) from None
    return plain


@_converted.register(np.ndarray)
@_converted.register(pd.Series)
@_converted.register(pd.Index)
@_converted.register(pd.api.extensions.ExtensionArray)
def _of_values(value: Any, level: int) -> Any:
    if not value.ndim:
        return _plain(value[()], level)
    if value.size > MOST_ITEMS:
        raise _Unfit(
            f"an array of {value.size} items is more than the {MOST_ITEMS} a row may carry",
            "store it in a file and send its path",
        )
    return _of_list(value, level)


@_converted.register(float)
def _of_float(value: float, level: int) -> float | None:
    if math.isinf(value):
        raise _Unfit(f"{float(value)} is no number in JSON", _INFINITE)
    return None if math.isnan(value) else float(value)


@_converted.register(np.generic)
def _of_scalar(value: np.generic, level: int) -> Any:
    if isinstance(value, np.datetime64):
        return _plain(pd.Timestamp(value), level)
    if isinstance(value, np.timedelta64):
        return None if np.isnat(value) else float(value / np.timedelta64(1, "s"))
    if isinstance(value, np.floating):
        return _of_float(float(value), level)
    return _plain(value.item(), level + 1)


@_converted.register(Decimal)
def _of_decimal(value: Decimal, level: int) -> str | None:
    if value.is_infinite():
        raise _Unfit(f"{value} is no number in JSON", _INFINITE)
    return None if value.is_nan() else str(value)


@_converted.register(datetime.datetime)
def _of_datetime(value: datetime.datetime, level: int) -> str:
    if value.utcoffset() is None:
        return value.replace(tzinfo=None).isoformat()
    return value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat() + "Z"


@_converted.register(datetime.timedelta)
def _of_timedelta(value: datetime.timedelta, level: int) -> float:
    if isinstance(value, pd.Timedelta):
        return float(value.to_timedelta64() / np.timedelta64(1, "s"))
    return value.total_seconds()


@_converted.register(bytes)
@_converted.register(bytearray)
@_converted.register(memoryview)
def _refuse_bytes(value: object, level: int) -> NoReturn:
    raise _Unfit(
        f"{type(value).__name__} do not travel in JSON",
        "send text: base64.b64encode(value).decode(), or the path of a file",
    )


@_converted.register(set)
@_converted.register(frozenset)
def _refuse_sets(value: object, level: int) -> NoReturn:
    raise _Unfit(f"a {type(value).__name__} has no order, and JSON no sets", "send a list: sorted(value)")


@_converted.register(complex)
def _refuse_complex(value: object, level: int) -> NoReturn:
    raise _Unfit("JSON has no complex numbers", "send two: [value.real, value.imag]")


def _register_short_ones() -> None:
    missing: tuple[Any, ...] = (type(pd.NaT), type(pd.NA))
    texts: tuple[Any, ...] = (pd.Period, pd.Interval, uuid.UUID, pathlib.PurePath)
    for kind in missing:
        _converted.register(kind, lambda value, level: None)
    for kind in texts:
        _converted.register(kind, lambda value, level: str(value))
    times: tuple[Any, ...] = (datetime.date, datetime.time)
    for kind in times:
        _converted.register(kind, lambda value, level: value.isoformat())
    _converted.register(str, lambda value, level: str.__str__(value))
    _converted.register(int, lambda value, level: int.__int__(value))
    _converted.register(enum.Enum, lambda value, level: _plain(value.value, level + 1))


_register_short_ones()

_SIMPLE: dict[type, Callable[[Any], str]] = {
    str: _quoted,
    int: int.__repr__,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "null",
}


# -- an index <-> JSON ----------------------------------------------------------------------------


def index_to_json(index: pd.Index[Any]) -> tuple[dict[str, Any], Callable[[int, int], list[Any]]]:
    """An index for the server: a spec, and a function that gives the labels of a chunk of rows.

    A RangeIndex is whole in its spec and its chunks are empty. Labels of an object
    index that are no JSON values, dates, Decimals or tuples of such come back as
    text; ``spec["as_text"]`` then lists their types. ``freq`` is not kept.

    >>> spec, chunk = index_to_json(pd.Index(["a", "b", "c"], name="key"))
    >>> spec["names"], chunk(0, 2) + chunk(2, 4)
    (['key'], ['a', 'b', 'c'])
    """
    return _spec(index), partial(labels, index)


def labels(index: pd.Index[Any], start: int, stop: int) -> list[Any]:
    """The labels of rows `start` to `stop` as JSON values; none for a RangeIndex.

    Points in time are integers in the index's own unit, categories are their codes.

    >>> labels(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]), 0, 1)
    [['a', 1]]
    """
    return _KINDS[_kind(index)].labels(index[start:stop])


def index_from_json(spec: Mapping[str, Any], labels: Sequence[Any]) -> pd.Index[Any]:
    """The index that `spec` and all its labels, in order, describe: same dtype, names and labels.

    Raises FlowError if there are not as many labels as the spec promises.

    >>> index = pd.date_range("2024-01-01", periods=3, tz="Europe/Paris", name="day", unit="us")
    >>> spec, chunk = index_to_json(index)
    >>> index_from_json(json.loads(json.dumps(spec)), chunk(0, 3)).equals(index)
    True
    """
    if spec["kind"] != "range" and len(labels) != spec["length"]:
        raise FlowError(f"index: {len(labels)} labels are stored, {spec['length']} rows were declared")
    index: pd.Index[Any] = _KINDS[spec["kind"]].index(spec, labels)
    index.names = [_label_in(name) for name in spec["names"]]
    return index


@dataclass(frozen=True)
class _Kind:
    """How one kind of index is described, its labels written, and the index made again."""

    spec: Callable[[Any], dict[str, Any]]
    labels: Callable[[Any], list[Any]]
    index: Callable[[Mapping[str, Any], Sequence[Any]], Any]


def _kind(index: pd.Index[Any]) -> str:
    for kind, classes in _CLASSES.items():
        if isinstance(index, classes):
            return kind
    dtype: Any = index.dtype
    if isinstance(dtype, pd.StringDtype):
        return "text"
    if isinstance(index.array, _MASKED):
        return "nullable"
    return "number" if isinstance(dtype, np.dtype) and dtype.kind in "biuf" else "object"


_CLASSES: dict[str, Any] = {
    "range": pd.RangeIndex,
    "multi": pd.MultiIndex,
    "category": pd.CategoricalIndex,
    "interval": pd.IntervalIndex,
    "time": (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex),
}


def _spec(index: pd.Index[Any]) -> dict[str, Any]:
    kind = _kind(index)
    names = [_label_or_text(name) for name in index.names]
    return {"kind": kind, "length": len(index), "names": names, **_KINDS[kind].spec(index)}


def _parts_spec(parts: Iterable[pd.Index[Any]]) -> dict[str, Any]:
    return {"parts": [_spec(part) for part in parts]}


def _parts_labels(parts: Iterable[pd.Index[Any]]) -> list[Any]:
    return [list(label) for label in zip(*(labels(part, 0, len(part)) for part in parts), strict=True)]


def _parts_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> list[pd.Index[Any]]:
    columns = list(zip(*labels, strict=True)) or [()] * len(spec["parts"])
    return [index_from_json(part, column) for part, column in zip(spec["parts"], columns, strict=True)]


def _levels(index: pd.MultiIndex) -> list[pd.Index[Any]]:
    plain = index.set_names([None] * index.nlevels)  # a level's number could be another level's name
    return [_listable(plain.get_level_values(level)) for level in range(index.nlevels)]


def _listable(index: pd.Index[Any]) -> pd.Index[Any]:
    return pd.Index(index.to_numpy(), name=index.name) if isinstance(index, pd.RangeIndex) else index


def _ends(index: pd.IntervalIndex[Any]) -> list[pd.Index[Any]]:
    return [_listable(index.left), _listable(index.right)]


def _interval_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    left, right = _parts_in(spec, labels)
    return pd.IntervalIndex.from_arrays(left, right, closed=spec["closed"])


def _category_spec(index: pd.CategoricalIndex[Any]) -> dict[str, Any]:
    categories = index.categories
    return {
        "categories": _spec(categories),
        "labels": labels(categories, 0, len(categories)),
        "ordered": bool(index.ordered),
    }


def _category_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    categories = index_from_json(spec["categories"], spec["labels"])
    made = pd.Categorical.from_codes(list(labels), categories=categories, ordered=spec["ordered"])
    return pd.CategoricalIndex(made)


_MISSING_TIME = np.iinfo(np.int64).min


def _time_spec(index: Any) -> dict[str, Any]:
    if isinstance(index.dtype, pd.DatetimeTZDtype) and not _has_a_name(index.dtype):
        return {"dtype": f"datetime64[{index.unit}, UTC]", "as_utc": True}
    return {"dtype": str(index.dtype)}


def _has_a_name(dtype: pd.DatetimeTZDtype) -> bool:
    try:
        return str(pd.api.types.pandas_dtype(str(dtype))) == str(dtype)
    except (TypeError, ValueError, KeyError):
        return False


def _time_labels(index: Any) -> list[Any]:
    return [None if value == _MISSING_TIME else value for value in index.asi8.tolist()]


def _time_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    numbers = np.array([_MISSING_TIME if value is None else value for value in labels], dtype=np.int64)
    dtype: Any = pd.api.types.pandas_dtype(spec["dtype"])
    if isinstance(dtype, pd.PeriodDtype):
        return pd.PeriodIndex.from_ordinals(numbers, freq=dtype.freq)  # type: ignore[attr-defined]
    if isinstance(dtype, pd.DatetimeTZDtype):
        times = pd.DatetimeIndex(numbers.view(f"M8[{dtype.unit}]"))
        return times.tz_localize("UTC").tz_convert(dtype.tz)
    return pd.Index(numbers.view(dtype))


def _number_labels(index: Any) -> list[Any]:
    if index.dtype.kind != "f":
        return list(index.tolist())
    return [_float_out(value) for value in index.to_numpy().tolist()]


def _float_out(value: Any) -> Any:
    if value is None or value is pd.NA or math.isnan(value):
        return None
    return str(value) if math.isinf(value) else value


def _number_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    dtype = np.dtype(spec["dtype"])
    values = (
        [math.nan if label is None else float(label) for label in labels] if dtype.kind == "f" else labels
    )
    return pd.Index(np.array(values, dtype=dtype))


def _nullable_labels(index: Any) -> list[Any]:
    values = index.array.to_numpy(dtype=object, na_value=None).tolist()
    return [_float_out(value) for value in values] if index.dtype.kind == "f" else list(values)


def _nullable_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    dtype: Any = pd.api.types.pandas_dtype(spec["dtype"])
    missing = np.array([label is None for label in labels], dtype=bool)
    values = np.array([0 if label is None else label for label in labels], dtype=dtype.numpy_dtype)
    return pd.Index(dtype.construct_array_type()(values, missing))


def _text_labels(index: pd.Index[Any]) -> list[Any]:
    return [None if gone else str(text) for text, gone in zip(index.tolist(), index.isna(), strict=True)]


def _text_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    dtype = TEXT_DTYPE if spec["dtype"] == "str" else spec["dtype"]
    return pd.Index(pd.array(list(labels), dtype=dtype))


def _object_spec(index: pd.Index[Any]) -> dict[str, Any]:
    odd = sorted({_type_name(label) for label in index if _label_out(label) is _ODD})
    return {"dtype": str(index.dtype), **({"as_text": odd} if odd else {})}


def _object_labels(index: pd.Index[Any]) -> list[Any]:
    return [_label_or_text(label) for label in index]


def _object_in(spec: Mapping[str, Any], labels: Sequence[Any]) -> Any:
    values = np.empty(len(labels), dtype=object)
    values[:] = [_label_in(label) for label in labels]
    made = pd.Index(values, dtype=object, tupleize_cols=False)
    if spec["dtype"] == "object" or "as_text" in spec:
        return made
    try:
        return made.astype(spec["dtype"])
    except (TypeError, ValueError, ImportError):
        return made


_ODD = object()  #: stands for a label that no JSON value can say exactly

_TAGGED: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime.datetime: ("datetime", datetime.datetime.isoformat),
    datetime.date: ("date", datetime.date.isoformat),
    Decimal: ("decimal", str),
    type(pd.NaT): ("missing", lambda value: "NaT"),
    type(pd.NA): ("missing", lambda value: "NA"),
}

_UNTAGGED: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "timestamp": pd.Timestamp,
    "decimal": Decimal,
    "float": float,
    "missing": lambda name: getattr(pd, name),
    "tuple": lambda items: tuple(map(_label_in, items)),
}


def _label_out(label: Any) -> Any:
    """A label as JSON: itself, or ``{tag: text}``, or `_ODD`."""
    kind = type(label)
    if kind in _AS_IT_IS or (kind is float and math.isfinite(label)):
        return label
    if kind is float:
        return {"float": str(label)}
    if kind in _TAGGED:
        tag, text = _TAGGED[kind]
        return {tag: text(label)}
    if kind is pd.Timestamp and label.tz is None:
        return {"timestamp": label.isoformat()}
    if kind is tuple:
        items = [_label_out(item) for item in label]
        return _ODD if _ODD in items else {"tuple": items}
    if isinstance(label, np.bool_ | np.integer | np.float64 | np.str_):
        return _label_out(label.item())
    return _ODD


def _label_or_text(label: Any) -> Any:
    made = _label_out(label)
    return str(label) if made is _ODD else made


def _label_in(label: Any) -> Any:
    if not isinstance(label, dict):
        return label
    ((tag, text),) = label.items()
    return _UNTAGGED[tag](text)


def _dtype_spec(index: pd.Index[Any]) -> dict[str, Any]:
    return {"dtype": str(index.dtype)}


_KINDS: dict[str, _Kind] = {
    "range": _Kind(
        lambda index: {"start": index.start, "stop": index.stop, "step": index.step},
        lambda index: [],
        lambda spec, labels: pd.RangeIndex(spec["start"], spec["stop"], spec["step"]),
    ),
    "multi": _Kind(
        lambda index: _parts_spec(_levels(index)),
        lambda index: _parts_labels(_levels(index)),
        lambda spec, labels: pd.MultiIndex.from_arrays(_parts_in(spec, labels)),
    ),
    "interval": _Kind(
        lambda index: {"closed": index.closed, **_parts_spec(_ends(index))},
        lambda index: _parts_labels(_ends(index)),
        _interval_in,
    ),
    "category": _Kind(_category_spec, lambda index: index.codes.tolist(), _category_in),
    "time": _Kind(_time_spec, _time_labels, _time_in),
    "number": _Kind(_dtype_spec, _number_labels, _number_in),
    "nullable": _Kind(_dtype_spec, _nullable_labels, _nullable_in),
    "text": _Kind(_dtype_spec, _text_labels, _text_in),
    "object": _Kind(_object_spec, _object_labels, _object_in),
}
