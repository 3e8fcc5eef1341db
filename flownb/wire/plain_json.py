"""Values of other types as JSON's own: records as objects, sets as lists, pandas' and numpy's times, arrays and Series.

No package is imported for it: a type is known by what it has. docs/data-types.md lists them all, in both directions.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

MOST_DEPTH = 500  #: levels of lists and dicts
AS_IT_IS = frozenset({str, int, bool, float, type(None)})


class TooDeep(ValueError):
    """A value that nests too deep, or contains itself."""


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value made of JSON's own types as far as its parts have such a form; what has none stays as it is.

    A value that is JSON already is returned itself. Raises `TooDeep`.

    >>> plain({"at": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), "tags": {"b", "a"}})
    {'at': '2024-01-01T00:00:00Z', 'tags': ['a', 'b']}
    """
    kind = type(value)
    if kind in AS_IT_IS:
        return value
    if depth > MOST_DEPTH:
        raise TooDeep
    if kind is dict or kind is list:
        made = value
        for at, item in value.items() if kind is dict else enumerate(value):
            if type(item) in AS_IT_IS:
                continue
            new = plain(item, depth + 1)
            if new is not item:
                made = made if made is not value else value.copy()
                made[at] = new
        return made
    found = _converted(value)
    return plain(found, depth) if type(found) in (dict, list) else found


def _converted(value: Any) -> Any:
    """A value of another type as a dict or list of its parts (of whatever types), as text or a number."""
    if isinstance(value, Mapping):
        return dict(value)
    fields = fields_of(value)
    return _as_list_or_text(value) if fields is None else fields


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return what a record has, by the names of its fields; None for what is no record.

    Records are instances of dataclasses, named tuples, attrs' and msgspec's classes, pydantic's models, rows of a
    database (sqlite3.Row, asyncpg's Record), and a pandas Series whose labels are texts, each once.

    >>> from collections import namedtuple
    >>> fields_of(namedtuple("Point", "x y")(1, 2)), fields_of((1, 2))
    ({'x': 1, 'y': 2}, None)
    """
    kind = type(value)
    if kind in AS_IT_IS or kind is list or isinstance(value, type):
        return None
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        return None if names is None else dict(zip(names, value, strict=True))
    if _package(kind) == "pandas":
        return _fields_of_series(value) if kind.__name__ == "Series" else None
    names = _names_of_fields(kind)
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if kind.__name__ in ("Row", "Record") and hasattr(kind, "keys"):
        return dict(value)
    return _fields_of_model(value)


def _names_of_fields(kind: type) -> list[str] | None:
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if hasattr(kind, "__attrs_attrs__"):  # attrs
        return [attribute.name for attribute in kind.__attrs_attrs__]
    names = getattr(kind, "__struct_fields__", None)  # msgspec
    return None if names is None else list(names)


def _fields_of_model(value: Any) -> dict[str, Any] | None:
    """What a model of pydantic says of itself: of version 2, or of version 1."""
    kind = type(value)
    dump = "model_dump" if hasattr(kind, "model_fields") else "dict" if hasattr(kind, "__fields__") else None
    method = getattr(value, dump, None) if dump else None
    made = method() if callable(method) else None
    return made if isinstance(made, dict) else None


def _fields_of_series(value: Any) -> dict[str, Any] | None:
    labels = list(value.index)
    if not labels or not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        return None
    return dict(zip(labels, value, strict=True))


def _as_list_or_text(value: Any) -> Any:
    """A list of parts, text or a number; the value itself where it has no other form."""
    for kinds, make in _KINDS:
        if isinstance(value, kinds):
            return make(value)
    package = _package(type(value))
    return _OF_PACKAGES[package](value) if package in _OF_PACKAGES else value


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def in_order(values: Collection[Any]) -> list[Any]:
    """Return the items of a set in an order that is the same in every process.

    >>> in_order({10, 9}), in_order({"b", 1})
    ([9, 10], [1, 'b'])
    """
    kinds = set(map(type, values))
    if kinds <= {int, float, bool} or kinds == {str}:
        return sorted(values)
    return sorted(values, key=lambda item: (type(item).__name__, repr(plain(item))))


def time_text(value: datetime.datetime) -> str:
    """Return a point in time as ISO 8601, with the offset that it has; without one it stays without.

    >>> time_text(datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=1))))
    '2024-01-01T12:00:00+01:00'
    """
    text = value.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _of_datetime(value: datetime.datetime) -> Any:
    return value if value != value else time_text(value)  # pandas' NaT is a datetime


def _of_decimal(value: decimal.Decimal) -> str | float:
    return str(value) if value.is_finite() else float("nan" if value.is_nan() else value)


def _of_timedelta(value: datetime.timedelta) -> float:
    nanoseconds = getattr(value, "nanoseconds", None)  # pandas'
    return value.total_seconds() if not nanoseconds else value.value / 1e9  # type: ignore[attr-defined]


_KINDS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (tuple, list),
    ((set, frozenset), in_order),
    (datetime.datetime, _of_datetime),
    (datetime.timedelta, _of_timedelta),
    (decimal.Decimal, _of_decimal),
)


def _of_pandas(value: Any) -> Any:
    name = type(value).__name__
    if name in ("Period", "Interval"):
        return str(value)
    is_column = hasattr(value, "dtype") and getattr(value, "ndim", 0) == 1  # Series, Index, arrays of columns
    return list(value) if is_column else value


def _of_numpy(value: Any) -> Any:
    """Times, durations and arrays of objects; all others go into JSON as they are."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind not in "MmO" or not kind:
        return value
    if value.ndim:
        return list(value)
    if kind == "O":
        return value[()] if value.shape == () else value
    value = value[()]
    if value != value:  # NaT
        return math.nan
    numpy: Any = sys.modules["numpy"]
    if kind == "m":
        return float(value / numpy.timedelta64(1, "s"))
    return _short_fraction(str(numpy.datetime_as_string(value, unit="ns")))


def of_arrow(value: Any) -> Any:
    """Return a column or cell of polars or Arrow as a list, or as what it stands for; any other value as it is."""
    name = type(value).__name__
    if name == "Series" and _package(type(value)) == "polars":
        return value.to_list()
    if name.endswith("Scalar") and hasattr(value, "as_py"):
        return value.as_py()
    return value.to_pylist() if name.endswith("Array") and hasattr(value, "to_pylist") else value


_OF_PACKAGES: dict[str, Callable[[Any], Any]] = {
    "pandas": _of_pandas,
    "numpy": _of_numpy,
    "polars": of_arrow,
    "pyarrow": of_arrow,
}


def _short_fraction(text: str) -> str:
    """A time with six digits of a second or nine, none for a whole second."""
    return re.sub(r"\.0{9}$|(?<=\.\d{6})0{3}$", "", text)
