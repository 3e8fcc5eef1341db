"""Write a column as JSON fragments and a cell as plain JSON; refuse what has no exact form.

docs/data-types.md lists every dtype.
"""

from __future__ import annotations

import datetime
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from functools import singledispatch
from json.encoder import encode_basestring as _quoted
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from flownb.arguments import shown as shown_argument
from flownb.batches.refused_cells import Refused, Unfit
from flownb.files import references
from flownb.files.file import File
from flownb.wire import plain_json
from flownb.wire.store import large_inputs

MOST_LEVELS = 200  #: how deep a cell's lists and dicts may nest
MOST_ITEMS = 10_000  #: how long an array in one cell may be


_INFINITE = "replace it first: df.replace([np.inf, -np.inf], np.nan) sends null"


def fragments_of(column: pd.Series[Any] | list[Any]) -> list[str]:
    if isinstance(column, list):
        return _of_objects(column)
    dtype: Any = column.dtype
    if isinstance(dtype, np.dtype):
        return _of_array(column.to_numpy(), column)
    if isinstance(dtype, pd.CategoricalDtype):
        return _of_categories(column)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _of_zoned(column)
    if isinstance(dtype, pd.StringDtype):
        return _of_texts(column)
    if isinstance(column.array, MASKED):
        return _of_masked(column)
    if isinstance(dtype, pd.ArrowDtype):
        # As objects lists would be arrays of floats.
        return _of_objects(column.array.__arrow_array__().to_pylist())
    return _of_objects(column.astype(object).tolist())


MASKED = (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)


def _of_array(values: np.ndarray[Any, Any], column: pd.Series[Any]) -> list[str]:
    match values.dtype.kind:
        case "i" | "u":
            return _of_numbers(values)
        case "f":
            return _of_floats(values)
        case "b":
            return ["true" if value else "false" for value in values.tolist()]
        case "M":
            return _of_times(values)
        case "m":
            return _of_floats(values / np.timedelta64(1, "s"))
        case _:
            return _of_objects(column.tolist())


def _of_floats(values: np.ndarray[Any, Any]) -> list[str]:
    values = values.astype(np.float64, copy=False)
    infinite = np.isinf(values)
    if infinite.any():
        position = int(infinite.argmax())
        raise Refused(position, Unfit(f"{values[position]} is no number in JSON", _INFINITE))
    return _with_nulls(_of_numbers(values), np.isnan(values))


def _of_numbers(values: np.ndarray[Any, Any]) -> list[str]:
    """The shortest exact text of each; one repr of the list is faster than one of each."""
    return repr(values.tolist())[1:-1].split(", ") if len(values) else []


def _of_times(values: np.ndarray[Any, Any]) -> list[str]:
    """ISO 8601, with 6 digits of a second or 9, and none for a whole second."""
    missing = np.isnat(values)
    seconds = values.astype("M8[s]")
    rest = np.where(missing, 0, (values - seconds).astype("m8[ns]").astype(np.int64))
    texts = np.datetime_as_string(seconds).tolist()
    if rest.any():
        pairs = zip(texts, rest.tolist(), strict=True)
        return _with_nulls([f'"{text}{_fraction(ns)}"' for text, ns in pairs], missing)
    return _with_nulls([f'"{text}"' for text in texts], missing)


def _of_zoned(column: pd.Series[Any]) -> list[str]:
    """Local times, each with the offset that its zone has then; Z where that is none."""
    local, utc = column.dt.tz_localize(None), column.dt.tz_convert("UTC").dt.tz_localize(None)
    offsets = ((local - utc) // pd.Timedelta(seconds=1)).fillna(0).astype(np.int64)
    ends = {offset: _offset_text(offset) + '"' for offset in offsets.unique().tolist()}
    texts = zip(_of_times(local.to_numpy()), offsets.tolist(), strict=True)
    return [text if text == "null" else text[:-1] + ends[offset] for text, offset in texts]


def _offset_text(seconds: int) -> str:
    zone = datetime.timezone(datetime.timedelta(seconds=seconds))
    text = plain_json.time_text(datetime.datetime(2000, 1, 1, tzinfo=zone))
    return text.removeprefix("2000-01-01T00:00:00")


def _fraction(ns: int) -> str:
    if not ns:
        return ""
    return f".{ns:09d}" if ns % 1000 else f".{ns // 1000:06d}"


def _of_texts(column: pd.Series[Any]) -> list[str]:
    missing = column.isna().to_numpy()
    values = column.to_numpy(dtype=object)
    if missing.any():
        values = np.where(missing, "", values)
    return _with_nulls(_refuse_surrogates(_quoted_texts(values.tolist())), missing)


def _quoted_texts(values: list[str]) -> list[str]:
    if max(map(len, values), default=0) <= large_inputs.MOST:
        return list(map(_quoted, values))
    large: dict[str, str] = {}  # equal ones are held once, as in a column that one text fills
    return [large.setdefault(text, text) for text in map(_quoted, values)]


def _of_masked(column: pd.Series[Any]) -> list[str]:
    dtype: Any = column.dtype
    missing = column.isna().to_numpy()
    values = column.array.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.type(0))
    return _with_nulls(_of_array(values, column), missing)


def _of_categories(column: pd.Series[Any]) -> list[str]:
    used = column.cat.remove_unused_categories().cat
    codes = used.codes.tolist()
    try:
        texts = fragments_of(pd.Series(used.categories))
    except Refused as refused:
        raise Refused(codes.index(refused.position), refused) from None
    texts.append("null")  # the code of a missing value is -1
    return [texts[code] for code in codes]


def _with_nulls(fragments: list[str], missing: np.ndarray[Any, Any]) -> list[str]:
    for position in np.flatnonzero(missing).tolist():
        fragments[position] = "null"
    return fragments


def _of_objects(values: list[Any]) -> list[str]:
    fragments: list[str] = []
    add, known = fragments.append, _SIMPLE.get
    large: dict[str, str] = {}
    last, text = object(), ""
    try:
        for value in values:
            if value is not last:  # one object may fill a column: it is turned into text once
                last, text = value, known(type(value), _compound)(value)
                if len(text) > large_inputs.MOST:
                    text = large.setdefault(text, text)
            add(text)
    except RecursionError:
        raise Refused(len(fragments), _too_deep()) from None
    except (ValueError, OverflowError) as error:
        unfit = error if isinstance(error, Unfit) else Unfit(str(error), "send it as text")
        raise Refused(len(fragments), unfit) from None
    return _refuse_surrogates(fragments)


def _refuse_surrogates(fragments: list[str]) -> list[str]:
    large = max(map(len, fragments), default=0) > large_inputs.MOST  # then each once: one may fill the column
    try:
        "".join(set(fragments) if large else fragments).encode()
    except UnicodeEncodeError:
        position = next(at for at, text in enumerate(fragments) if is_broken(text))
        what = "the text has half a character (a lone surrogate), which is not UTF-8"
        remedy = 'mend it: text.encode("utf-8", "replace").decode()'
        raise Refused(position, Unfit(what, remedy)) from None
    return fragments


def is_broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _compound(value: object) -> str:
    return _encode(_plain(value))


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _plain(value: Any, level: int = 0) -> Any:
    """The same value made of dict, list, str, int, float, bool and None alone."""
    if type(value) in AS_IT_IS:
        return value
    if level > MOST_LEVELS:
        raise _too_deep()
    return _converted(value, level)


AS_IT_IS = frozenset({str, int, bool, type(None)})


def _too_deep() -> Unfit:
    return Unfit(f"it nests more than {MOST_LEVELS} levels deep, or contains itself", "flatten it")


@singledispatch
def _converted(value: Any, level: int) -> Any:
    fields = plain_json.fields_of(value)
    if fields is not None:
        return _of_dict(fields, level)
    parts = plain_json.of_arrow(value)
    if parts is not value:
        return _plain(parts, level)
    raise Unfit(
        f"a value of type {type_name(value)} has no JSON form",
        "send its parts as a dict, or the path of a file",
    )


@_converted.register(File)
def _of_file(value: File, level: int) -> dict[str, Any]:
    return references.as_input(value)


@_converted.register(dict)
def _of_dict(value: dict[Any, Any], level: int) -> dict[str, Any]:
    if references.KEY in value:
        raise Unfit(
            f"the dict's key {references.KEY!r} says in flownb's own data where a file is", "rename it"
        )
    file = references.file_of_struct(value) if "media_type" in value else None
    if file is not None:
        return references.as_input(file)
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise Unfit(f"the dict's key {shown(key)} is not text", "make its keys text: str(key)")
        try:
            plain[str.__str__(key)] = _plain(item, level + 1)
        except Unfit as unfit:
            raise unfit.inside(key) from None
    return plain


@_converted.register(tuple)
@_converted.register(pd.Series)
def _of_record_or_list(value: Any, level: int) -> Any:
    """A named tuple, or a Series whose labels are texts, is an object."""
    fields = plain_json.fields_of(value)
    if fields is not None:
        return _of_dict(fields, level)
    return _of_list(value, level) if isinstance(value, tuple) else _of_values(value, level)


@_converted.register(set)
@_converted.register(frozenset)
def _of_set(value: Collection[Any], level: int) -> list[Any]:
    return _of_list(plain_json.in_order(value), level)


@_converted.register(list)
def _of_list(value: Iterable[Any], level: int) -> list[Any]:
    plain: list[Any] = []
    for item in value:
        try:
            plain.append(_plain(item, level + 1))
        except Unfit as unfit:
            raise unfit.inside(len(plain)) from None
    return plain


@_converted.register(np.ndarray)
@_converted.register(pd.Index)
@_converted.register(pd.api.extensions.ExtensionArray)
def _of_values(value: Any, level: int) -> Any:
    if value is np.ma.masked:  # its one item is itself
        return None
    if not value.ndim:
        return _plain(value[()], level)
    if value.size > MOST_ITEMS:
        raise Unfit(
            f"an array of {value.size} items is more than the {MOST_ITEMS} a row may carry",
            "store it in a file and send its path",
        )
    return _of_list(value.tolist() if isinstance(value, np.ma.MaskedArray) else value, level)


@_converted.register(float)
def _of_float(value: float, level: int) -> float | None:
    if math.isinf(value):
        raise Unfit(f"{float(value)} is no number in JSON", _INFINITE)
    return None if math.isnan(value) else float(value)


def _seconds_in(value: np.timedelta64) -> float:
    if np.datetime_data(value.dtype)[0] in ("Y", "M"):
        raise Unfit("months and years have no length in seconds", "send days, or a text")
    return float(value / np.timedelta64(1, "s"))


@_converted.register(np.generic)
def _of_scalar(value: np.generic, level: int) -> Any:
    if isinstance(value, np.datetime64):
        return _plain(pd.Timestamp(value), level)
    if isinstance(value, np.timedelta64):
        return None if np.isnat(value) else _seconds_in(value)
    if isinstance(value, np.floating):
        return _of_float(float(value), level)
    return _plain(value.item(), level + 1)


@_converted.register(Decimal)
def _of_decimal(value: Decimal, level: int) -> str | None:
    if value.is_infinite():
        raise Unfit(f"{value} is no number in JSON", _INFINITE)
    return None if value.is_nan() else str(value)


@_converted.register(datetime.datetime)
def _of_datetime(value: datetime.datetime, level: int) -> str:
    return plain_json.time_text(value)


@_converted.register(datetime.timedelta)
def _of_timedelta(value: datetime.timedelta, level: int) -> float:
    if isinstance(value, pd.Timedelta):
        return float(value.to_timedelta64() / np.timedelta64(1, "s"))
    return value.total_seconds()


@_converted.register(bytes)
@_converted.register(bytearray)
@_converted.register(memoryview)
def _refuse_bytes(value: object, level: int) -> NoReturn:
    raise Unfit(
        f"{type(value).__name__} do not travel in JSON",
        "send text: base64.b64encode(value).decode(), or the path of a file",
    )


@_converted.register(complex)
def _refuse_complex(value: object, level: int) -> NoReturn:
    raise Unfit("JSON has no complex numbers", "send two: [value.real, value.imag]")


def _register_short_ones() -> None:
    missing: tuple[Any, ...] = (type(pd.NaT), type(pd.NA))
    texts: tuple[Any, ...] = (pd.Period, pd.Interval, uuid.UUID, pathlib.PurePath)
    for kind in missing:
        _converted.register(kind, lambda value, level: None)
    for kind in texts:
        _converted.register(kind, lambda value, level: str(value))
    _converted.register(datetime.date, lambda value, level: value.isoformat())
    _converted.register(datetime.time, lambda value, level: value.isoformat())
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


def type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def shown(label: object) -> str:
    if isinstance(label, tuple):
        return "(" + ", ".join(map(shown, label)) + ")"
    is_known = type(label).__module__.partition(".")[0] in ("pandas", "datetime", "decimal", "uuid")
    if not is_known or not pd.api.types.is_scalar(label):
        return shown_argument(label)
    text = str(label)
    return text if len(text) <= 60 else text[:59] + "…"
