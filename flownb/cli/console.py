"""What commands share: the connection to their server, tables and JSON on stdout, a question in a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flownb
from flownb.errors import FlownbError, printable

if TYPE_CHECKING:
    from flownb.connection import Connection


def connect(*, read_only: bool = False) -> Connection:
    """Connect to the server of FLOWNB_URL, or of the `.flownb` here or above; never start a new one."""
    refuse_to_make_a_server()
    return flownb.connect(read_only=read_only)


def refuse_to_make_a_server() -> None:
    """Raise FlownbError where a new embedded server would have to be started: it would hold nothing."""
    from flownb.connection.folder import FOLDER_NAME, folder_for

    if not os.environ.get("FLOWNB_URL") and not folder_for().is_dir():
        raise FlownbError(
            f"there is no {FOLDER_NAME} here or above to join: start it where the notebook or the script is, "
            "or set FLOWNB_URL to a server"
        )


def print_rows(rows: Sequence[Mapping[Any, Any]], *, as_json: bool, nothing: str) -> None:
    """Print rows as a table or a JSON array; where there are none, `nothing` instead of a table."""
    if as_json:
        print(as_json_text(rows))
    elif rows:
        _print_table(list(rows[0]), [row.values() for row in rows])
    else:
        print(nothing)


def as_json_text(value: Any) -> str:
    r"""Return JSON text in which all that does not print is spelled out: it may be shown in a terminal, too.

    >>> as_json_text({"name": "é\x9b2J"})
    '{"name": "é\\u009b2J"}'
    """
    text = json.dumps(value, ensure_ascii=False)
    return (
        text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    )


def _print_table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Fold cells to the width of a terminal; elsewhere print each row in one line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNLIMITED_WIDTH
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _UNFOLDED_COLUMNS)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


_UNLIMITED_WIDTH = 100_000  # characters
_UNFOLDED_COLUMNS = ("flow", "state", "jobs", "age")  # a person copies them, or they are short


def _cell(value: Any) -> str:
    return printable(value) if isinstance(value, str) else f"{value:,}"


def is_confirmed(question: str) -> bool:
    """Ask in a terminal, and say whether the answer is yes; where nobody can answer, it is."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
