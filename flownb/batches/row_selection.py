"""Which rows of a batch are meant: the failed ones of one error, of some labels, or all; every row of a label."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from flownb.batches.columns import shown as shown_label
from flownb.errors import FlowError


def chosen(
    failures: pd.DataFrame,
    failed: Sequence[int],
    index: pd.Index[Any],
    *,
    error: str | None,
    rows: Any,
    step: str | None = None,
) -> list[int]:
    """Return those of the `failed` positions that are meant; `failures` is their table, in the same order.

    `error` is an error's type or kind as that table has it, `step` one of its steps; `rows` are labels of the batch's
    `index`. Raises FlowError for a label that is no row, or a row that has not failed.

    >>> table = pd.DataFrame({"error": ["KeyError"], "kind": ["KeyError: <q>"]}, index=["b"])
    >>> chosen(table, [1], pd.Index(["a", "b"]), error="KeyError", rows=["b"])
    [1]
    """
    wanted = set(failed)
    if error is not None:
        is_meant = (failures["error"] == error) | (failures["kind"] == error)
        wanted &= {at for at, meant in zip(failed, is_meant.fillna(False), strict=True) if meant}
    if step is not None:
        wanted &= {at for at, failed_at in zip(failed, failures["step"], strict=True) if failed_at == step}
    if rows is not None:
        named, all_failed = set[int](), set(failed)
        for label, positions in _positions_of_each(index, rows):
            found = all_failed.intersection(positions)
            if not found:
                raise FlowError(
                    f"rows: row {shown_label(label)} has not failed; only failed rows are retried"
                )
            named |= found
        wanted &= named
    return [position for position in failed if position in wanted]


def positions_of(index: pd.Index[Any], label: Any) -> list[int]:
    """Return the positions of the rows that ``df.loc[label]`` finds. Raises FlowError if there is none.

    >>> positions_of(pd.Index(["a", "b", "a"]), "a")
    [0, 2]
    >>> positions_of(pd.date_range("2024-01-01 20:00", periods=3, freq="3h"), "2024-01-01")
    [0, 1]
    """
    return _first_found(index, label, [_by_label, _by_whole_label])


def positions_of_all(index: pd.Index[Any], rows: Any) -> list[int]:
    """Return the positions of all rows that these labels mean, in the order of the index.

    >>> positions_of_all(pd.Index(["a", "b", "a"]), ["b", "a"])
    [0, 1, 2]
    """
    return sorted({position for _, positions in _positions_of_each(index, rows) for position in positions})


def _positions_of_each(index: pd.Index[Any], rows: Any) -> list[tuple[Any, list[int]]]:
    """Return the labels that `rows` names, each with its positions."""
    if isinstance(rows, pd.DataFrame):
        raise FlowError("rows: a DataFrame is no list of labels; give its index: rows=frame.index")
    if isinstance(rows, (str, tuple)) or not pd.api.types.is_list_like(rows):
        return [(rows, positions_of(index, rows))]
    labels = list(rows)
    if labels and all(isinstance(label, bool | np.bool_) for label in labels) and not _holds_bools(index):
        raise FlowError(
            "rows: a boolean mask is no list of labels; give those it selects: rows=df.index[mask]"
        )
    return [(label, _first_found(index, label, [_by_whole_label, _by_label])) for label in labels]


def _holds_bools(index: pd.Index[Any]) -> bool:
    return any(isinstance(label, bool | np.bool_) for label in index)


def _first_found(
    index: pd.Index[Any], label: Any, ways: Sequence[Callable[[pd.Index[Any], Any], list[int]]]
) -> list[int]:
    for way in ways:
        try:
            positions = way(index, label) if _has_hash(label) else []
        except (TypeError, KeyError, ValueError, pd.errors.InvalidIndexError):
            continue  # such an index could not hold the label
        if positions:
            return positions
    raise FlowError(f"there is no row {shown_label(label)}; the labels are those of the frame's index")


def _has_hash(label: Any) -> bool:
    try:
        hash(label)
    except Exception:  # no list has one; what a class of the caller's raises says no more
        return False
    return True


def _by_label(index: pd.Index[Any], label: Any) -> list[int]:
    """As ``df.loc[label]``: a day of a DatetimeIndex, the first level of several."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)  # the labels are not sorted
        found: Any = index.get_loc(label)
    if isinstance(found, slice):
        return list(range(len(index))[found])
    if np.ndim(found) == 0:
        return [int(found)]
    is_mask = found.dtype == bool  # else positions, as of a day among times that are not in order
    return [int(position) for position in (np.flatnonzero(found) if is_mask else found)]


def _by_whole_label(index: pd.Index[Any], label: Any) -> list[int]:
    """As ``df.loc[[label]]`` of a flat index: equal labels alone."""
    wanted: Any = [label]
    return [int(position) for position in index.get_indexer_for(wanted) if position >= 0]
