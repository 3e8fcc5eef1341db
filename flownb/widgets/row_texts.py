"""What tables and panels show of one row: its inputs and its value as texts."""

from __future__ import annotations

import json
from typing import Any

from flownb.batches.jobs_of_rows import Row
from flownb.batches.label_search import label_code
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import printable
from flownb.files.references import MARK
from flownb.views.long_texts import in_a_line
from flownb.wire import codec
from flownb.wire.amounts import in_units


def inputs_of(stored: StoredBatch, row: Row) -> Any:
    """What the task was called with, decoded; large values as the marks that stand for them."""
    data = codec.decode(row.data)
    return data.get("row", data) if stored.spec["whole_row"] and isinstance(data, dict) else data


def value_text(stored: StoredBatch, row: Row) -> str | None:
    """What the row returned, of several steps so far, as JSON text in which files are named by their kind and size."""
    text = row.value or row.partial
    if text is None or (MARK not in text and not stored.steps):
        return text
    return json.dumps(stored.rows.row_value(text), default=repr, ensure_ascii=False)


def debug_line(stored: StoredBatch, label: Any) -> str:
    """The line with which a person runs the row of this label in the debugger; nothing where it cannot be typed."""
    code = label_code(label)
    return f"fn.attach({stored.name!r}).debug({code})" if code and stored.name.isprintable() else ""


def spent_in_words(row: Row) -> str:
    """What the row has spent."""
    amounts = sorted(in_units(row.spent or {}).items())
    return ", ".join(f"{amount:,g} {printable(unit)}" for unit, amount in amounts)


def value_in_a_line(stored: StoredBatch, row: Row, most: int) -> str:
    """What the row returned, in a line."""
    text = value_text(stored, row)
    return "" if text is None else in_a_line(codec.decode(text), most)
