"""Labels of Arrow's types as plain values, and an index of them made again: exact for all that hash, zones too."""

from __future__ import annotations

import base64
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def are_exact(of: Any) -> bool:
    """Say whether labels of a type travel exactly; lists, structs and intervals of months do not."""
    types = _arrow().types
    if types.is_dictionary(of):
        return are_exact(of.value_type)
    return not (types.is_nested(of) or types.is_interval(of))


def type_text(index: pd.Index[Any]) -> str:
    """Return the type of an index as text."""
    schema = _arrow().schema([("label", _type(index))])
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def values_out(index: pd.Index[Any]) -> list[Any]:
    """Return labels as numbers, texts, bytes and Decimals; points in time, times and durations in their own unit."""
    arrow = _arrow()
    found = arrow.array(index.array)
    if arrow.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    number = _number_of(found.type)
    values = (found if number is None else found.cast(number)).to_pylist()
    return [float(value) if isinstance(value, np.floating) else value for value in values]


def index_in(text: str, values: Sequence[Any]) -> pd.Index[Any]:
    """Make the index of a type from what `values_out` has returned."""
    arrow = _arrow()
    of = arrow.ipc.read_schema(arrow.py_buffer(base64.b64decode(text))).field(0).type
    return pd.Index(pd.arrays.ArrowExtensionArray(_array(of, values)))


def _array(of: Any, values: Sequence[Any]) -> Any:
    arrow = _arrow()
    if arrow.types.is_dictionary(of):
        return _array(of.value_type, values).dictionary_encode().cast(of)
    number = _number_of(of)
    if number is not None:
        return arrow.array(values, number).cast(of)
    if arrow.types.is_float16(of):
        missing = np.array([value is None for value in values], dtype=bool)
        return arrow.array(np.array([value or 0 for value in values], dtype=np.float16), mask=missing)
    return arrow.array(values, of)


def _number_of(of: Any) -> Any:
    """Return the type of the numbers that a type of time holds; None for other types."""
    arrow = _arrow()
    if not arrow.types.is_temporal(of):
        return None
    return arrow.int32() if of.bit_width == 32 else arrow.int64()


def _type(index: pd.Index[Any]) -> Any:
    dtype: Any = index.dtype
    return dtype.pyarrow_dtype


def _arrow() -> Any:
    """Whoever has such labels has pyarrow: pandas alone does not need it."""
    return importlib.import_module("pyarrow")
