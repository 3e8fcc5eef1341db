"""One label of an index as a JSON value and back: what JSON has no form for stands under a tag that says its type."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from flownb.batches.columns import AS_IT_IS

ODD = object()  #: stands for a label that no JSON value can say exactly

_TAGGED: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime.datetime: ("datetime", datetime.datetime.isoformat),
    bytes: ("bytes", bytes.hex),
    datetime.date: ("date", datetime.date.isoformat),
    datetime.time: ("time", datetime.time.isoformat),
    pd.Timedelta: ("duration", pd.Timedelta.isoformat),
    Decimal: ("decimal", str),
    type(pd.NaT): ("missing", lambda value: "NaT"),
    type(pd.NA): ("missing", lambda value: "NA"),
}

_UNTAGGED: dict[str, Callable[[Any], Any]] = {
    "bytes": bytes.fromhex,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "duration": pd.Timedelta,
    "timestamp": pd.Timestamp,
    "decimal": Decimal,
    "float": float,
    "missing": lambda name: getattr(pd, name),
    "tuple": lambda items: tuple(map(label_in, items)),
}


def label_out(label: Any) -> Any:
    """A label as JSON: itself, or ``{tag: text}``, or `ODD`."""
    kind = type(label)
    if kind in AS_IT_IS or (kind is float and math.isfinite(label)):
        return label
    if kind is float:
        return {"float": str(label)}
    if kind in _TAGGED:
        tag, text = _TAGGED[kind]
        return {tag: text(label)}
    if kind is pd.Timestamp and label.tz is None:
        return {"timestamp": label.isoformat()}
    if kind is tuple:
        items = [label_out(item) for item in label]
        return ODD if ODD in items else {"tuple": items}
    if isinstance(label, np.bool_ | np.integer | np.float64 | np.str_):
        return label_out(label.item())
    return ODD


def label_or_text(label: Any) -> Any:
    """A label as `label_out` writes it, its text where that has no form for it."""
    made = label_out(label)
    return str(label) if made is ODD else made


def label_in(label: Any) -> Any:
    """Undo `label_out`."""
    if not isinstance(label, dict):
        return label
    ((tag, text),) = label.items()
    return _UNTAGGED[tag](text)
