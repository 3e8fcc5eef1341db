"""Compares an index that came back with the one that was given: only a range may be numbers, and `freq` is not kept."""

from __future__ import annotations

import inspect
from typing import Any

import pandas as pd

# pandas 2 does not look at `freq`, and has no word for it.
_HAS_FREQ = "check_freq" in inspect.signature(pd.testing.assert_index_equal).parameters
_WITHOUT_FREQ: dict[str, Any] = {"check_freq": False} if _HAS_FREQ else {}


def assert_index(found: pd.Index[Any], expected: pd.Index[Any]) -> None:
    """Raise AssertionError unless labels, dtype and names are the same."""
    pd.testing.assert_index_equal(found, expected, exact="equiv", **_WITHOUT_FREQ)
