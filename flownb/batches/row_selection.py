"""Which rows of a batch are meant: the failed ones of one error, of some labels, or all; every row of a label."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from flownb.errors import FlowError


def chosen(failures: pd.DataFrame, index: pd.Index[Any], *, error: str | None, rows: Any) -> list[int]:
    """Return positions in `failures`, the table of the failed rows of a batch over `index`.

    `error` is an error's type or kind as that table has it; `rows` are labels. Raises FlowError for a
    label that is no row, or a row that has not failed.

    >>> table = pd.DataFrame({"error": ["KeyError"], "kind": ["KeyError: <q>"]}, index=["b"])
    >>> chosen(table, pd.Index(["a", "b"]), error="KeyError", rows=["b"])
    [0]
    """
    wanted = pd.Series(True, index=range(len(failures)))
    if error is not None:
        wanted &= ((failures["error"] == error) | (failures["kind"] == error)).fillna(False).to_numpy(bool)
    if rows is not None:
        labels = (
            [rows] if isinstance(rows, (str, tuple)) or not pd.api.types.is_list_like(rows) else list(rows)
        )
        for label in labels:
            positions_of(index, label)
            if label not in failures.index:
                raise FlowError(f"rows: row {label!r} has not failed; only failed rows are retried")
        wanted &= failures.index.isin(labels)
    return [int(position) for position in wanted.index[wanted]]


def positions_of(index: pd.Index[Any], label: Any) -> list[int]:
    """Return the positions of the rows with this label. Raises FlowError if there is none.

    >>> positions_of(pd.Index(["a", "b", "a"]), "a")
    [0, 2]
    """
    wanted: Any = [label]
    try:
        found = index.get_indexer_for(wanted) if isinstance(label, Hashable) else ()
        positions = [int(position) for position in found if position >= 0]
    except (TypeError, KeyError, ValueError):  # a label that no such index could hold
        positions = []
    if not positions:
        raise FlowError(f"there is no row {label!r}; the labels are those of the frame's index")
    return positions
