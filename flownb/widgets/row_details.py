"""All that is known of one row of a batch, as texts that are safe to show: the panel of a live view."""

from __future__ import annotations

import json
from typing import Any

from flownb.batches.jobs_of_rows import Row
from flownb.batches.label_search import label_text
from flownb.batches.printed import lines_of
from flownb.batches.row_steps import step_at
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import printable
from flownb.files.thumbnails import pictures_in, thumbnail_of
from flownb.views.last_frame import where_in_code
from flownb.views.long_texts import panel_json, panel_text
from flownb.views.words import cut
from flownb.widgets import row_texts
from flownb.widgets.row_table import progress_words
from flownb.wire.log_lines import PrintedLine
from flownb.wire.records import ACTIVE

LOG_LINES = 60  #: the last ones
PICTURE_PIXELS, SMALL_PIXELS = 256, 40
_LABEL_CHARACTERS = 120


def row_details(stored: StoredBatch, position: int) -> dict[str, Any]:
    """The row at this position, with the last lines that it has printed."""
    row = stored.rows.read([position], inputs=True, traces=True)[0]
    lines = [line for _, line in lines_of(stored, [position])]
    label = stored.index[position]
    return {
        "position": position,
        "name": cut(label_text(label), _LABEL_CHARACTERS),
        "state": printable(row.state),
        "progress": _progress(stored, position) if row.state == ACTIVE else "",
        "step": _step(stored, row),
        "spent": row_texts.spent_in_words(row),
        "attempts": row.attempts,
        "ran": None if row.seconds is None else round(1000 * row.seconds),
        "version": printable(row.version or ""),
        "data": panel_json(json.dumps(row_texts.inputs_of(stored, row), ensure_ascii=False)),
        "result": panel_json(row_texts.value_text(stored, row)),
        "error": panel_text(row.error),
        "where": where_in_code(row.traceback),
        "traceback": panel_text(row.traceback, end=True),
        "log": [_line(line) for line in lines[-LOG_LINES:]],
        "log_rows": len(lines),
        "picture": _picture(stored, row.value or row.partial, PICTURE_PIXELS),
        "debug": row_texts.debug_line(stored, label),
    }


def thumbnail(stored: StoredBatch, position: int) -> dict[str, Any]:
    """The first picture that a row has returned, as large as a line of the table."""
    return {"picture": _picture(stored, stored.rows.read([position])[0].value, SMALL_PIXELS)}


def _picture(stored: StoredBatch, text: str | None, pixels: int) -> str | None:
    file = next(pictures_in(stored.rows.value_of(text)), None) if text else None
    return thumbnail_of(file, pixels) if file else None


def _step(stored: StoredBatch, row: Row) -> str:
    """The step that a row is at; nothing where it is through, or has one alone."""
    return printable(step_at(row, stored.steps) or "") if stored.steps else ""


def _progress(stored: StoredBatch, position: int) -> str:
    key, within = stored.rows.jobs([position])[0]
    if within is not None:  # what the job says is not the row's
        return ""
    job = stored.store.jobs.read([key], ("progress",))[0]
    return progress_words(job.progress) if job else ""


def _line(line: PrintedLine) -> list[Any]:
    """``[time, stream, attempt, text]``."""
    return [line.time, line.stream, line.attempt, panel_text(line.text)]
