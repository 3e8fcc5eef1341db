"""Tables in HTML: DataFrames and counts, every cell escaped and cut, numbers to the right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flownb.views.markup import Markup, fill, joined
from flownb.views.words import cut, shown

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 200  #: of a DataFrame; a report is to be read
HEADING_CHARACTERS, CELL_CHARACTERS = 80, 300
_LARGE, _SIX_DIGITS, _HUGE = 1e4, 1e6, 1e15  # of decimal numbers: years are below the first


class Count(int):
    """How many there are, in a cell: with separators, which numbers of a user's do not get, as ids or years."""


def frame_html(frame: pd.DataFrame, *, of: int | None = None) -> Markup:
    """A DataFrame as a table, with its index; at most `MAX_ROWS` rows of so many that there are."""
    labels = ["" if name is None else str(name) for name in frame.index.names]
    headings = [*labels, *(str(column) for column in frame.columns)]
    made = table(headings, _rows(frame.head(MAX_ROWS)))
    total, shown_rows = of or len(frame), min(len(frame), MAX_ROWS)
    if total > shown_rows:
        return joined([made, fill("more.html", words=f"the first {shown_rows:,} of {total:,} rows")])
    return made


def _rows(frame: pd.DataFrame) -> list[list[object]]:
    """The cells of each row, those of the index first."""
    # By level: a tuple may be a label of one.
    levels = [frame.index.get_level_values(level).tolist() for level in range(frame.index.nlevels)]
    keys = zip(*levels, strict=True)
    # By position: two columns of one name would come out together.
    columns = [frame.iloc[:, position].tolist() for position in range(frame.shape[1])]
    cells = zip(*columns, strict=True) if columns else [()] * len(frame)
    return [[*key, *row] for key, row in zip(keys, cells, strict=True)]


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Rows of cells below their headings."""
    rows = list(rows)
    columns = [[row[column] for row in rows] for column in range(len(headings))]
    kinds, large = [_kind(column) for column in columns], [_has_large(column) for column in columns]
    head = [
        fill("head.html", kind=kind, text=shown(heading, HEADING_CHARACTERS) if heading else "")
        for kind, heading in zip(kinds, headings, strict=True)
    ]
    return fill("table.html", head=joined(head, ""), rows=joined(_row(kinds, large, row) for row in rows))


def _kind(column: Sequence[object]) -> str:
    return "fn-number" if column and all(_is_number(value) for value in column) else "fn-text"


def _has_large(column: Sequence[object]) -> bool:
    """Is any decimal number of a column so large that all of them get separators?"""
    return any(isinstance(value, float) and _LARGE <= abs(value) < _HUGE for value in column)


def _decimal(value: float, *, separators: bool) -> str:
    """A decimal number to six digits, all digits before its point among them, where a person would read it so.

    >>> _decimal(39003500.25, separators=True), _decimal(0.123456789, separators=False)
    ('39,003,500', '0.123457')
    """
    if _SIX_DIGITS <= abs(value) < _HUGE:
        return f"{value:,.0f}"
    return format(value, ",.6g" if separators else ".6g")


def _row(kinds: Sequence[str], large: Sequence[bool], row: Sequence[object]) -> Markup:
    cells = [
        fill("cell.html", kind=kind, text=_cell(value, separators=is_large))
        for kind, is_large, value in zip(kinds, large, row, strict=True)
    ]
    return fill("row.html", cells=joined(cells, ""))


def _is_number(value: object) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or _is_missing(value)


def _is_missing(value: object) -> bool:
    """NaN, NaT and NA, found without pandas: none of them equals itself."""
    if value is None:
        return True
    try:
        return not bool(value == value)
    except (TypeError, ValueError):  # NA refuses; an array has no one answer
        return type(value).__name__ == "NAType"


def _cell(value: object, *, separators: bool) -> str:
    if _is_missing(value):
        return ""
    if isinstance(value, float):
        return _decimal(value, separators=separators)
    return f"{value:,}" if isinstance(value, Count) else cut(str(value), CELL_CHARACTERS)
