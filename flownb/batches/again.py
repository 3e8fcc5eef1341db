"""Which failed rows of a batch are to run again: those of one error, those of some labels, or all."""

from __future__ import annotations

from typing import Any

import pandas as pd

from flownb.errors import FlowError


def chosen(failures: pd.DataFrame, index: pd.Index[Any], *, error: str | None, rows: Any) -> list[int]:
    """Return places in `failures`, the table of the failed rows of a batch over `index`.

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
            if label not in index:
                raise FlowError(f"rows: there is no row {label!r}")
            if label not in failures.index:
                raise FlowError(f"rows: row {label!r} has not failed; only failed rows are retried")
        wanted &= failures.index.isin(labels)
    return [int(place) for place in wanted.index[wanted]]
