"""The types that travel, one by one with their JSON: what tests/batches/test_data_types.py proves, and what docs/data-types.md says.

``python -m tests.support.data_types`` writes the tables of that page.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import pathlib
import sqlite3
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic

PAGE = Path(__file__).parents[2] / "docs" / "data-types.md"


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]


class Colour(enum.Enum):
    RED = "red"


class Named(collections.namedtuple("Named", "x y")):
    """A named tuple."""


@attrs.frozen
class Attrs:
    x: int
    at: dt.date


class Struct(msgspec.Struct):
    x: int
    y: float | None = None


class Model(pydantic.BaseModel):
    x: int
    at: dt.datetime


def database_row() -> sqlite3.Row:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    return connection.execute("select 1 as x, 'a' as y").fetchone()


#: a type, Python code that makes one, its JSON: in a cell and as what a task returns
VALUES: list[tuple[str, str, str]] = [
    ("None", "None", "null"),
    ("bool", "True", "true"),
    ("int of any size", "2**70", "1180591620717411303424"),
    ("float", "0.1", "0.1"),
    ("NaN", "float('nan')", "null"),
    ("str", "'é'", '"é"'),
    ("dict with text keys", "{'a': [1, None]}", '{"a":[1,null]}'),
    ("list", "[1, 'a', [True]]", '[1,"a",[true]]'),
    ("tuple", "(1, 2)", "[1,2]"),
    ("set, frozenset", "{10, 9}", "[9,10]"),
    ("named tuple", "Named(1, 2)", '{"x":1,"y":2}'),
    ("dataclass", "Point(1, {'b', 'a'})", '{"x":1,"tags":["a","b"]}'),
    ("attrs", "Attrs(1, dt.date(2024, 2, 29))", '{"x":1,"at":"2024-02-29"}'),
    ("msgspec.Struct", "Struct(1)", '{"x":1,"y":null}'),
    (
        "pydantic.BaseModel",
        "Model(x=1, at=dt.datetime(2024, 2, 29, tzinfo=dt.UTC))",
        '{"x":1,"at":"2024-02-29T00:00:00Z"}',
    ),
    ("sqlite3.Row", "database_row()", '{"x":1,"y":"a"}'),
    ("Enum", "Colour.RED", '"red"'),
    ("Decimal", "Decimal('0.10')", '"0.10"'),
    ("Decimal that is NaN", "Decimal('nan')", "null"),
    ("UUID", "uuid.UUID(int=7)", '"00000000-0000-0000-0000-000000000007"'),
    ("Path", "pathlib.PurePosixPath('a/b')", '"a/b"'),
    ("datetime", "dt.datetime(2024, 2, 29, 1, 2, 3, 250000)", '"2024-02-29T01:02:03.250000"'),
    (
        "datetime with a zone",
        "dt.datetime(2024, 2, 29, 1, tzinfo=ZoneInfo('Europe/Paris'))",
        '"2024-02-29T01:00:00+01:00"',
    ),
    ("datetime in UTC", "dt.datetime(2024, 2, 29, 1, tzinfo=dt.UTC)", '"2024-02-29T01:00:00Z"'),
    ("date", "dt.date(2024, 2, 29)", '"2024-02-29"'),
    ("time", "dt.time(1, 2)", '"01:02:00"'),
    ("timedelta", "dt.timedelta(minutes=1.5)", "90.0"),
    ("pd.Timestamp", "pd.Timestamp('2024-02-29T01:02:03.000000001')", '"2024-02-29T01:02:03.000000001"'),
    (
        "pd.Timestamp with a zone",
        "pd.Timestamp('2024-02-29', tz='Asia/Kolkata')",
        '"2024-02-29T00:00:00+05:30"',
    ),
    ("pd.Timedelta", "pd.Timedelta('1.5s')", "1.5"),
    ("pd.NaT, pd.NA", "[pd.NaT, pd.NA]", "[null,null]"),
    ("pd.Period", "pd.Period('2024-02')", '"2024-02"'),
    ("pd.Interval", "pd.Interval(0, 2)", '"(0, 2]"'),
    ("pd.Categorical", "pd.Categorical(['b', None, 'a'])", '["b",null,"a"]'),
    ("nullable array", "pd.array([1, None], dtype='Int64')", "[1,null]"),
    ("array of Arrow", "pd.array([1.5, None], dtype='double[pyarrow]')", "[1.5,null]"),
    ("array of periods", "pd.period_range('2024-01', periods=2, freq='M').array", '["2024-01","2024-02"]'),
    ("pd.Index", "pd.Index([1, 2])", "[1,2]"),
    ("pd.Series whose labels are texts", "pd.Series({'a': 1.5, 'b': float('nan')})", '{"a":1.5,"b":null}'),
    ("any other pd.Series", "pd.Series([dt.date(2024, 2, 29), None])", '["2024-02-29",null]'),
    ("polars.Series", "pl.Series([1, None])", "[1,null]"),
    ("polars.Series of times", "pl.Series([dt.date(2024, 2, 29)])", '["2024-02-29"]'),
    ("pyarrow.Array, ChunkedArray", "pa.array([[1], None])", "[[1],null]"),
    ("pyarrow.Scalar", "pa.scalar(Decimal('0.10'))", '"0.10"'),
    ("numpy number", "np.float32(0.5)", "0.5"),
    ("numpy bool", "np.bool_(True)", "true"),
    ("numpy text", "np.str_('a')", '"a"'),
    ("np.datetime64", "np.datetime64('2024-02-29T01:02:03.25', 'ns')", '"2024-02-29T01:02:03.250000"'),
    ("np.timedelta64", "np.timedelta64(1500, 'ms')", "1.5"),
    ("numpy array", "np.array([[1.0, float('nan')]])", "[[1.0,null]]"),
    (
        "numpy array of times",
        "np.array(['2024-02-29', 'NaT'], dtype='M8[ns]')",
        '["2024-02-29T00:00:00",null]',
    ),
    (
        "masked array",
        "np.ma.masked_array([1, 2], mask=[False, True])",
        "[1,null]",
    ),
    ("numpy array of objects", "np.array([Decimal('0.10'), None])", '["0.10",null]'),
]

TIMES = "['2024-02-29 01:02:03.25', None]"
#: a column's dtype, Python code that makes such a column, its JSON, the dtype with which it comes back
COLUMNS: list[tuple[str, str, str, str]] = [
    ("int8 … int64, uint8 … uint64", "pd.Series([1, 2], dtype='int16')", "[1,2]", "Int64"),
    ("uint64 beyond 63 bits", "pd.Series([2**64 - 1], dtype='uint64')", "[18446744073709551615]", "object"),
    ("float32, float64", "pd.Series([0.1, None], dtype='float64')", "[0.1,null]", "Float64"),
    ("bool", "pd.Series([True, False])", "[true,false]", "boolean"),
    ("Int8 … UInt64", "pd.Series([1, None], dtype='Int64')", "[1,null]", "Int64"),
    ("Float32, Float64", "pd.Series([0.5, None], dtype='Float64')", "[0.5,null]", "Float64"),
    ("boolean", "pd.Series([True, None], dtype='boolean')", "[true,null]", "boolean"),
    ("str, string", "pd.Series(['a', None], dtype='str')", '["a",null]', "str"),
    ("category", "pd.Series(['a', None], dtype='category')", '["a",null]', "str"),
    ("category of numbers", "pd.Series([2, None], dtype='category')", "[2,null]", "Int64"),
    (
        "datetime64",
        f"pd.Series(pd.to_datetime({TIMES}))",
        '["2024-02-29T01:02:03.250000",null]',
        "str",
    ),
    (
        "datetime64 with a zone",
        f"pd.Series(pd.to_datetime({TIMES})).dt.tz_localize('Europe/Paris')",
        '["2024-02-29T01:02:03.250000+01:00",null]',
        "str",
    ),
    (
        "datetime64 in UTC",
        f"pd.Series(pd.to_datetime({TIMES}, utc=True))",
        '["2024-02-29T01:02:03.250000Z",null]',
        "str",
    ),
    ("timedelta64", "pd.Series(pd.to_timedelta([1.5, None], unit='s'))", "[1.5,null]", "Float64"),
    ("period", "pd.Series(pd.PeriodIndex(['2024-01', 'NaT'], freq='M'))", '["2024-01",null]', "str"),
    ("interval", "pd.Series(pd.cut([1, np.nan], [0, 2]))", '["(0, 2]",null]', "str"),
    ("sparse", "pd.Series(pd.arrays.SparseArray([0, 1]))", "[0,1]", "Int64"),
    ("int64[pyarrow], double[pyarrow]", "pd.Series([1, None], dtype='int64[pyarrow]')", "[1,null]", "Int64"),
    ("string[pyarrow]", "pd.Series(['a', None], dtype='string[pyarrow]')", '["a",null]', "str"),
    (
        "timestamp[..., tz][pyarrow]",
        "pd.Series([pd.Timestamp('2024-02-29', tz='Europe/Paris')], dtype='timestamp[us, tz=Europe/Paris][pyarrow]')",
        '["2024-02-29T00:00:00+01:00"]',
        "str",
    ),
    (
        "date32[day][pyarrow]",
        "pd.Series([dt.date(2024, 2, 29)], dtype='date32[day][pyarrow]')",
        '["2024-02-29"]',
        "str",
    ),
    ("object", "pd.Series([1, 'a', None], dtype='object')", '[1,"a",null]', "object"),
]

#: a value without a JSON form, Python code that makes one, what to give instead
REFUSED: list[tuple[str, str, str]] = [
    ("inf, -inf", "float('inf')", "`df.replace([np.inf, -np.inf], np.nan)` sends `null`"),
    ("bytes, bytearray, memoryview", "b'a'", "base64 text, or a file's path"),
    ("complex", "1j", "`[value.real, value.imag]`"),
    ("a dict's key that is not text", "{1: 2}", "`str(key)`"),
    (
        "text with half a character (a lone surrogate)",
        "'\\ud800'",
        '`text.encode("utf-8", "replace").decode()`',
    ),
    ("a DataFrame in a cell", "pd.DataFrame({'a': [1]})", '`.to_dict("records")`, or a file\'s path'),
    ("a value that contains itself, or nests hundreds of levels deep", "circle()", "a flatter value"),
    ("any other object", "object()", "its parts as a dict, or a file's path"),
]


def circle() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


#: what the code of the tables may name
NAMES = {
    **{
        "np": np,
        "pd": pd,
        "dt": dt,
        "pathlib": pathlib,
        "pa": pa,
        "pl": pl,
        "uuid": uuid,
        "Decimal": Decimal,
        "ZoneInfo": ZoneInfo,
    },
    **{made.__name__: made for made in (Point, Colour, Named, Attrs, Struct, Model, database_row, circle)},
}


def made_by(code: str) -> Any:
    """Return what the code makes."""
    return eval(code, dict(NAMES))


def _table(header: str, rows: list[str]) -> str:
    return "\n".join([header, "|" + "---|" * (header.count("|") - 1), *rows])


def tables() -> dict[str, str]:
    """Return the tables of the page by their names."""

    def code(text: str) -> str:
        return f"`{text}`"

    columns = [
        f"| {dtype} | {code(made)} | {code(text[1:-1])} | {comes_back} |"
        for dtype, made, text, comes_back in COLUMNS
    ]
    values = [f"| {kind} | {code(made)} | {code(text)} |" for kind, made, text in VALUES]
    refused = [f"| {kind} | {code(made)} | {instead} |" for kind, made, instead in REFUSED]
    return {
        "columns": _table("| column | for example | JSON, row by row | comes back as |", columns),
        "values": _table("| value | for example | JSON |", values),
        "refused": _table("| value | for example | instead |", refused),
    }


def page_with(tables: dict[str, str], page: str) -> str:
    """Return the page with these tables between their marks."""
    for name, table in tables.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        page = page[: page.index(start) + len(start)] + table + "\n" + page[page.index(end) :]
    return page


if __name__ == "__main__":
    PAGE.write_text(page_with(tables(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
