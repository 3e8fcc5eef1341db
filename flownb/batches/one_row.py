"""One row of a batch with all there is to know of it: `Batch.row`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flownb import hooks
from flownb.batches import frames, row_selection
from flownb.batches.columns import shown
from flownb.batches.jobs_of_rows import Row
from flownb.batches.label_search import label_text
from flownb.batches.printed import logs_at, read_wanted
from flownb.batches.row_steps import names_in, step_at
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import printable, printable_lines
from flownb.files.thumbnails import pictures_in, thumbnail_of
from flownb.wire.amounts import in_units
from flownb.wire.records import FAILED
from flownb.wire.secret_names import masked_values

_PICTURE_PIXELS = 256
_LINES_SHOWN = 10  # of a row's logs, the last ones


def row_meant(stored: StoredBatch, label: Any, *, traces: bool = False) -> tuple[int, Row]:
    """Return the position of the row of this label, and the row; of several rows the first failed one."""
    positions = row_selection.positions_of(stored.index, label)
    found = list(zip(positions, stored.rows.read(positions, inputs=True, traces=traces), strict=True))
    return next((at for at in found if at[1].state == FAILED), found[0])


@dataclass(frozen=True, slots=True, repr=False)
class BatchRow:
    """A row of a batch at one moment: what went in, what came out, and how."""

    label: Any
    state: str  #: one of BullMQ's, or ``removed``
    inputs: dict[Any, Any]  #: the columns that travelled
    value: Any  #: what the task returned; None while there is nothing; of several steps the columns so far
    error: str | None  #: of a failed row: ``Type: message``
    traceback: str | None  #: of its last failed attempt
    attempts: int | None
    seconds: float | None  #: that its last attempt took
    spent: dict[str, float]  #: by unit, over all its attempts
    version: str | None  #: name of the code that ran it
    step: str | None  #: of several, at which it has failed, runs or waits; None once it is through
    logs: pd.DataFrame  #: what it printed and logged, as `Batch.logs` has it

    def __repr__(self) -> str:
        about = [self.state if self.step is None else f"{self.state} at {self.step}"]
        if self.attempts:
            about.append(f"{self.attempts} attempt{'s' if self.attempts > 1 else ''}")
        if self.seconds is not None:
            about.append(f"{self.seconds:.3g} s")
        about += [f"{amount:,g} {unit}" for unit, amount in self.spent.items()]
        if self.version:
            about.append(f"version {self.version}")
        parts = [f"row {shown(self.label)}: {', '.join(about)}"]
        parts += [
            f"  {name} = {printable(_short(value))}" for name, value in masked_values(self.inputs).items()
        ]
        if self.value is not None:
            parts.append(f"  -> {printable(_short(masked_values(self.value)))}")
        if self.error is not None:
            parts.append(printable_lines(self.traceback or self.error).rstrip())
        if len(self.logs):
            more = len(self.logs) - _LINES_SHOWN
            parts.append(f"logs{f', {more:,} earlier lines left out' if more > 0 else ''}:")
            last = self.logs.tail(_LINES_SHOWN)
            parts += [f"  {line.stream}: {line.line}" for line in last.itertuples(index=False)]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        """The row as a live view's panel shows it."""
        seconds = "" if self.seconds is None else f"{self.seconds:.3g} s"
        spent = ", ".join(f"{amount:,g} {unit}" for unit, amount in self.spent.items())
        facts = [
            ("at", self.step or ""),
            ("attempts", str(self.attempts or "")),
            ("ran", seconds),
            ("spent", spent),
            ("code", self.version or ""),
        ]
        last = self.logs.tail(_LINES_SHOWN)
        clocks = last["time"].dt.strftime("%H:%M:%S").fillna("")
        lines = map("  ".join, zip(clocks, last["stream"], last["line"], strict=True))
        value = "" if self.value is None else _pretty(masked_values(self.value))
        texts = [
            ("error", self.error or ""),
            ("result", value),
            ("inputs", _pretty(masked_values(self.inputs))),
            (
                "log" if len(self.logs) <= _LINES_SHOWN else f"log (the last {_LINES_SHOWN} lines)",
                "\n".join(lines),
            ),
        ]
        file = next(pictures_in(self.value), None)
        picture = thumbnail_of(file, _PICTURE_PIXELS) if file else None
        label = label_text(self.label)
        return hooks.row_pages.row_html(label, self.state, facts, texts, self.traceback, picture)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=repr)


def read_row(stored: StoredBatch, label: Any) -> BatchRow:
    """Read the row of this label; raise FlowError where there is none."""
    return row_at(stored, *row_meant(stored, label, traces=True))


def row_at(stored: StoredBatch, position: int, row: Row | None = None) -> BatchRow:
    """Read the row at this position, of which `row` may have been read with inputs and traces."""
    if row is None:
        row = stored.rows.read([position], inputs=True, traces=True)[0]
    index = stored.rows.index.take([position])
    text = row.value or row.partial
    inputs = frames.inputs_of([row], stored.spec, index, stored.store, stored.id)
    return BatchRow(
        label=stored.index[position],
        state=row.state,
        inputs=inputs.to_dict("records")[0],
        value=None if text is None else stored.rows.row_value(text),
        error=row.error,
        traceback=row.traceback,
        attempts=row.attempts,
        seconds=row.seconds,
        spent=in_units(row.spent or {}),
        version=row.version,
        step=step_at(row, names) if (names := names_in(stored.spec)) else None,
        logs=logs_at(stored, [position], read_wanted(None, None)),
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
