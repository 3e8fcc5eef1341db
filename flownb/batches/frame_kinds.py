"""The kinds of frame in which results come back: pandas, polars, Arrow. The kind that came in comes out."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flownb.batches.columns import MASKED
from flownb.errors import FlowError
from flownb.files.file import File

PANDAS, POLARS, ARROW = "pandas", "polars", "arrow"
KINDS = (PANDAS, POLARS, ARROW)
COMPACT: tuple[Any, ...] = (*MASKED, pd.arrays.StringArray, pd.arrays.ArrowStringArray)


def as_kind(frame: pd.DataFrame, kind: str, *, with_labels: bool) -> Any:
    """Return a frame of pandas as one of this kind; `with_labels` its index becomes columns, in front.

    A column whose values have no type in common stands there as JSON text.

    >>> as_kind(pd.DataFrame({"n": [1, "a"]}), "arrow", with_labels=False)["n"].to_pylist()
    ['1', '"a"']
    """
    if kind == PANDAS:
        return frame
    columns = _with_labels(frame) if with_labels else frame
    return _of_polars(columns) if kind == POLARS else _of_arrow(columns)


def _with_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the levels of its index as columns, none of which takes another one's name."""
    index, names = frame.index, list[str]()
    for number, name in enumerate(index.names):
        unnamed = "index" if index.nlevels == 1 else f"level_{number}"
        text = unnamed if name is None else str(name)
        while text in names or text in frame.columns:
            text += "_label"
        names.append(text)
    return frame.reset_index(names=names)


def parquet_kind() -> str:
    """Return a kind of frame that writes Parquet here; raise `FlowError` where none does."""
    for kind, package in ((ARROW, "pyarrow"), (POLARS, "polars")):
        if importlib.util.find_spec(package) is not None:
            return kind
    raise FlowError(
        "export: Parquet is written by pyarrow or polars, and neither is installed: pip install pyarrow"
    )


def write_parquet(frame: Any, path: Path) -> None:
    """Write a frame of polars or Arrow."""
    if hasattr(frame, "write_parquet"):
        frame.write_parquet(path)
    else:
        importlib.import_module("pyarrow.parquet").write_table(frame, path)


def has_labels(spec: Mapping[str, Any]) -> bool:
    """Do the rows of a batch have labels of their own? Numbers from 0 that nobody gave are none."""
    index = spec["index"]
    return bool(index["kind"] != "range" or index["names"] != [None])


def beside(native: Any, kind: str, columns: pd.DataFrame) -> Any:
    """Return the caller's own frame with further columns."""
    more = as_kind(columns, kind, with_labels=False)
    if kind == POLARS:
        return native.hstack(more)
    for name in more.column_names:
        native = native.append_column(name, more[name])
    return native


def _of_polars(frame: pd.DataFrame) -> Any:
    polars = _library("polars", POLARS)
    made = [_polars_series(polars, str(name), values) for name, values in frame.items()]
    return polars.DataFrame(made)


def _polars_series(polars: Any, name: str, column: pd.Series[Any]) -> Any:
    dtype: Any = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        return polars.Series(name, column.array.__arrow_array__())
    if dtype.kind in "mM":
        return _polars_times(polars, name, column)
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return polars.Series(name, column.to_numpy())
    if isinstance(dtype, pd.CategoricalDtype):
        return _polars_categories(polars, name, column)
    arrow = installed("pyarrow")
    if arrow is not None and isinstance(column.array, COMPACT):  # no list is made of millions of cells
        return polars.Series(name, _arrow_array(arrow, column))
    values = _values(column)
    exact = getattr(polars, str(dtype).replace("boolean", "Boolean"), None)  # Int64, UInt8, Float32, ...
    if exact is not None:
        return polars.Series(name, values, dtype=exact)
    if isinstance(dtype, pd.StringDtype):
        return polars.Series(name, values, dtype=polars.String)
    return _polars_objects(polars, name, values)


def _polars_objects(polars: Any, name: str, values: list[Any]) -> Any:
    """A series of what JSON holds; as texts where polars has no type for all of them."""
    kinds = set(map(type, values)) - {type(None)}
    try:
        if kinds & {dict, list}:
            made = polars.from_dicts([{name: value} for value in values], infer_schema_length=None)[name]
        else:
            made = polars.Series(name, values)
    except (TypeError, OverflowError, polars.exceptions.PolarsError):
        made = None
    if (
        made is None
        or made.dtype == polars.Object
        or (kinds and not all(map(_is_same, made.to_list(), values)))
    ):
        return polars.Series(name, _texts(values), dtype=polars.String)
    return made


def _polars_categories(polars: Any, name: str, column: pd.Series[Any]) -> Any:
    """Categories of text as polars' own, which has no others; of others the values. -1 is the code of a missing one."""
    categories = _polars_series(polars, name, pd.Series(column.cat.categories))
    codes = [None if code < 0 else code for code in column.cat.codes.tolist()]
    made = categories.gather(polars.Series(codes, dtype=polars.UInt32))
    return made.cast(polars.Categorical) if made.dtype == polars.String else made


def _polars_times(polars: Any, name: str, column: pd.Series[Any]) -> Any:
    zone = getattr(column.dtype, "tz", None)
    if zone is None:
        return polars.Series(name, column.to_numpy())
    series = polars.Series(name, column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
    return series.dt.replace_time_zone("UTC").dt.convert_time_zone(str(zone))


def _of_arrow(frame: pd.DataFrame) -> Any:
    arrow = _library("pyarrow", ARROW)
    made = {str(name): _arrow_array(arrow, column) for name, column in frame.items()}
    return arrow.table(made) if made else arrow.table({"": arrow.nulls(len(frame))}).select([])


def _arrow_array(arrow: Any, column: pd.Series[Any]) -> Any:
    try:
        return arrow.array(_values(column) if column.dtype == object else column, from_pandas=True)
    except (arrow.ArrowException, OverflowError):
        values = _values(column)
    if all(value is None or (type(value) is int and 0 <= value < 2**64) for value in values):
        return arrow.array(values, arrow.uint64())
    return arrow.array(_texts(values), arrow.string())


def _values(column: pd.Series[Any]) -> list[Any]:
    """The cells of a column, None where one is missing."""
    if column.dtype == object:
        return [None if cell is pd.NA else _plain(cell) for cell in column.to_numpy()]
    return [None if missing else cell for cell, missing in zip(column, column.isna(), strict=True)]


def _plain(value: Any) -> Any:
    """Return a value as these kinds hold it: where it has a `File`, that is a struct, `File(**struct)` again."""
    if isinstance(value, File):
        return asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _texts(values: list[Any]) -> list[str | None]:
    return [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values]


def _is_same(made: Any, value: Any) -> bool:
    """Has polars kept a value? It would turn 1 beside "a" into text, and drop what is no struct beside one."""
    if isinstance(value, dict):
        return isinstance(made, dict) and all(_is_same(made.get(key), item) for key, item in value.items())
    if isinstance(value, list):
        return isinstance(made, list) and len(made) == len(value) and all(map(_is_same, made, value))
    return bool(made == value) and isinstance(made, bool) == isinstance(value, bool)


def installed(package: str) -> Any:
    """Return a package, None where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        return None


def _library(package: str, kind: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise FlowError(
            f"a frame of {kind} needs {package}, which is not installed here: pip install {package}, or "
            'take results(frame="pandas")'
        ) from None
