"""Failed rows as a table, and the kind of an error: its type and message with the particulars folded away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flownb.batches.jobs_of_rows import Row
from flownb.batches.results import floats, integers, strings
from flownb.batches.stored_rows import StoredRows
from flownb.wire.records import FAILED

MOST_CHARACTERS = 300  #: of a message that a kind is made from


def read_failures(rows: StoredRows, index: pd.Index[Any]) -> tuple[list[int], pd.DataFrame]:
    """Return the positions of the rows that have failed, and the table of them in the same order."""
    positions = [position for position, row in enumerate(rows.read()) if row.state == FAILED]
    whole = zip(positions, rows.read(positions, traces=True), strict=True)
    failed = {position: row for position, row in whole if row.state == FAILED}
    return list(failed), failures(map(_failure, failed.values()), index.take(list(failed)))


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
    rows = [Failure(*record) for record in records]
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


def kind_of(error: str | None, message: str | None) -> str:
    """An error's type and its message's first line, with what differs from row to row folded.

    Quoted text becomes ``<q>``, an address ``<url>``, a path ``<path>``, a uuid, hex or
    another long mixture of letters and digits ``<id>``, and a number ``<n>``; several alike in
    a row become one and an ellipsis. A kind of a kind is itself.

    >>> kind_of("ValueError", "row 17 has no 'price' in /data/a.csv")
    'ValueError: row <n> has no <q> in <path>'
    >>> kind_of("KeyError", "['origin', 'dest'] not in index")
    'KeyError: [<q>, ...] not in index'
    """
    lines = (message or "").strip().splitlines()
    template, before = (lines[0][:MOST_CHARACTERS] if lines else ""), ""
    while template != before:  # what is folded may have stood beside a quote that now is one
        before = template
        template = _REPEATED.sub(r"\1, ...", _PARTICULARS.sub(_folded, template).strip())
    return ": ".join(part for part in (error, template) if part)


_PARTICULARS = re.compile(
    r"""
      (?P<kept> <(?:q|url|path|id|n)>(?:,[ ]\.\.\.)? )
    | (?P<q>    (?<!\w) (?: '[^'\n]*' | "[^"\n]*" | `[^`\n]*` ) (?!\w) )
    | (?P<url>  \b[a-z][a-z0-9+.-]{1,20}://[^\s'"<>]+ )
    | (?P<path> (?<![\w<>./\\]) (?: [A-Za-z]:[\\/] | ~?/ | \.{1,2}/ ) [^\s'"<>:;,()]*[^\s'"<>:;,.()]
              | (?<![\w./-]) [\w-]+ (?: /[\w.-]+ ){0,20} /[\w-]+ (?:\.[A-Za-z]\w{0,9})+ )
    | (?P<id>   \b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b
              | \b0[xX][0-9a-fA-F]+\b
              | \b(?=[0-9a-fA-F]*[a-fA-F])(?=[0-9a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b
              | \b(?:[a-z]{2,8}[_-])?(?=[A-Za-z]*\d+[A-Za-z]+\d|\d+[A-Za-z]+\d)[A-Za-z0-9]{16,}\b )
    | (?P<n>    (?:(?<![\w)\]>])[-+])? (?<![A-Za-z_\d]) \d+ (?:[.,_]\d+)* (?:[eE][-+]?\d+)? )
    """,
    re.VERBOSE,
)
_REPEATED = re.compile(r"(<(?:q|url|path|id|n)>)(?:,[ ]?\1)+(?:,[ ]\.\.\.)?")


def type_and_message(reason: str | None, traceback: str | None = None) -> tuple[str | None, str]:
    r"""Return the error's type and its message from what is stored of a failed job.

    BullMQ's own workers store the message alone; their traceback begins with the type.

    >>> type_and_message("ValueError: no 'a'")
    ('ValueError', "no 'a'")
    >>> type_and_message("no route: 7", "TypeError: no route: 7\n    at f (a.js:1:2)")
    ('TypeError', 'no route: 7')
    """
    reason = reason or ""
    begins = (traceback or "").partition(": ")
    if begins[2].startswith(reason) and _TYPE.fullmatch(begins[0]):
        return begins[0], reason
    error, _, message = reason.partition(": ")
    return (error, message) if _TYPE.fullmatch(error) else (None, reason)


_TYPE = re.compile(r"[A-Za-z_][\w.]*")


def _folded(match: re.Match[str]) -> str:
    return match.group() if match.lastgroup == "kept" else f"<{match.lastgroup}>"


def _index(labels: Sequence[Any]) -> pd.Index[Any]:
    made: pd.Index[Any] = pd.Index(list(labels) if labels else np.array([], dtype=object))
    return made
