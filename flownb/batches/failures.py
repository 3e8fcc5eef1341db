"""Failed rows as a table, each with the kind of its error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flownb.batches.jobs_of_rows import Row
from flownb.batches.row_steps import step_of
from flownb.batches.stored_rows import StoredRows
from flownb.batches.typed_columns import floats, integers, strings
from flownb.errors import printable_lines
from flownb.wire.error_kinds import kind_of, type_and_message
from flownb.wire.records import FAILED


def read_failures(
    rows: StoredRows, index: pd.Index[Any], steps: Sequence[str] = ()
) -> tuple[list[int], pd.DataFrame]:
    """Return the positions of the rows that have failed, and the table of them in the same order.

    Where rows have several `steps`, it says at which each has failed.
    """
    positions = [position for position, row in enumerate(rows.read()) if row.state == FAILED]
    whole = zip(positions, rows.read(positions, traces=True), strict=True)
    failed = {position: row for position, row in whole if row.state == FAILED}
    table = failures(map(_failure, failed.values()), index.take(list(failed)))
    if steps:
        table.insert(3, "step", strings([step_of(row, steps) for row in failed.values()]))
    return list(failed), table


def _failure(row: Row) -> Failure:
    error, message = type_and_message(row.error, row.traceback)
    return Failure(None, error, message, row.attempts, row.seconds, row.traceback)


class Failure(NamedTuple):
    """One row that failed."""

    label: Any  #: the row's own, from its index
    error: str | None  #: the error's type, such as ``ValueError``
    message: str
    attempts: int | None = None
    seconds: float | None = None  #: of the last attempt
    traceback: str | None = None


def failures(
    records: Iterable[Failure | tuple[Any, ...]], index: pd.Index[Any] | None = None
) -> pd.DataFrame:
    """A table of failed rows: columns error message kind attempts seconds traceback.

    Text columns are of pandas' text dtype, attempts Int64, seconds Float64. `index`
    holds the failed rows' labels in the order of the records, with dtype and names;
    without it the records' own labels make one.

    >>> table = failures([Failure("x", "KeyError", "no 'a' in row 7", 3, 0.5)])
    >>> table.loc["x", "kind"]
    'KeyError: no <q> in row <n>'
    """
    rows = [Failure(*map(_harmless, record)) for record in records]
    columns = dict(
        zip(Failure._fields, zip(*rows, strict=True) if rows else [()] * len(Failure._fields), strict=True)
    )
    table = {
        "error": strings(columns["error"]),
        "message": strings(columns["message"]),
        "kind": strings([kind_of(row.error, row.message) for row in rows]),
        "attempts": integers(columns["attempts"]),
        "seconds": floats(columns["seconds"]),
        "traceback": strings(columns["traceback"]),
    }
    return pd.DataFrame(table, index=_index(columns["label"]) if index is None else index)


def _harmless(part: Any) -> Any:
    """Texts of others without control characters: a DataFrame prints them as they are."""
    return printable_lines(part) if type(part) is str else part


def _index(labels: Sequence[Any]) -> pd.Index[Any]:
    made: pd.Index[Any] = pd.Index(list(labels) if labels else np.array([], dtype=object))
    return made
