"""One row of a batch with all there is to know of it: `Batch.row`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from flownb.batches import frames, row_selection
from flownb.batches.columns import shown
from flownb.batches.jobs_of_rows import Row
from flownb.batches.printed import logs_at, read_wanted
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import printable, printable_lines
from flownb.wire.records import FAILED

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
    value: Any  #: what the task returned; None while there is nothing
    error: str | None  #: of a failed row: ``Type: message``
    traceback: str | None  #: of its last failed attempt
    attempts: int | None
    seconds: float | None  #: that its last attempt took
    version: str | None  #: name of the code that ran it
    logs: pd.DataFrame  #: what it printed and logged, as `Batch.logs` has it

    def __repr__(self) -> str:
        about = [self.state]
        if self.attempts:
            about.append(f"{self.attempts} attempt{'s' if self.attempts > 1 else ''}")
        if self.seconds is not None:
            about.append(f"{self.seconds:.3g} s")
        if self.version:
            about.append(f"version {self.version}")
        parts = [f"row {shown(self.label)}: {', '.join(about)}"]
        parts += [f"  {name} = {printable(_short(value))}" for name, value in self.inputs.items()]
        if self.error is None and self.value is not None:
            parts.append(f"  -> {printable(_short(self.value))}")
        if self.error is not None:
            parts.append(printable_lines(self.traceback or self.error).rstrip())
        if len(self.logs):
            more = len(self.logs) - _LINES_SHOWN
            parts.append(f"logs{f', {more:,} earlier lines left out' if more > 0 else ''}:")
            last = self.logs.tail(_LINES_SHOWN)
            parts += [f"  {line.stream}: {line.line}" for line in last.itertuples(index=False)]
        return "\n".join(parts)


def read_row(stored: StoredBatch, label: Any) -> BatchRow:
    """Read the row of this label; raise FlowError where there is none."""
    position, row = row_meant(stored, label, traces=True)
    index = stored.rows.index.take([position])
    inputs = frames.inputs_of([row], stored.spec, index, stored.store, stored.id)
    return BatchRow(
        label=stored.index[position],
        state=row.state,
        inputs=inputs.to_dict("records")[0],
        value=None if row.value is None else stored.rows.value_of(row.value),
        error=row.error,
        traceback=row.traceback,
        attempts=row.attempts,
        seconds=row.seconds,
        version=row.version,
        logs=logs_at(stored, [position], read_wanted(None, None)),
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
