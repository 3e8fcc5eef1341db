"""The failures of a batch as a live page lists them: all failed rows by kind, as far as they were read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flownb.batches.jobs_of_rows import Row
from flownb.batches.label_search import label_text
from flownb.batches.row_facts import RowFacts
from flownb.batches.stored_batch import StoredBatch
from flownb.state.failed_jobs import read_failures
from flownb.views import failure_groups
from flownb.views.long_texts import in_a_line
from flownb.views.words import cut, first_line
from flownb.widgets import row_texts
from flownb.widgets.failure_list import (
    MESSAGE_CHARACTERS,
    MOST_KINDS,
    NAME_CHARACTERS,
    SAMPLE_ROWS,
    Entry,
    frame_of,
    of_group,
    with_rest,
)
from flownb.wire.records import FAILED, JobRecord

_INPUT_CHARACTERS = 60


class BatchFailures:
    """The failed rows of a batch, all of them as far as they were read, and the aggregates above them."""

    def __init__(self, stored: StoredBatch, facts: RowFacts) -> None:
        self._stored = stored
        self._facts = facts
        #: by kind, the error that all have, and sample; without their counts
        self._entries: dict[tuple[str, str | None, tuple[int, ...]], Entry] = {}

    def entries(self, counted: int) -> list[Entry]:
        """The entries, of which there are so many failures by the flow's counts."""
        rows = [self._of_rows(kind, positions.tolist()) for kind, positions in self._facts.failures()]
        aggregates = [of_group(group) for group in failure_groups.by_kind(self._failed_aggregates(counted))]
        entries = sorted([*aggregates, *rows], key=lambda entry: -entry["count"])
        listed = entries[:MOST_KINDS]
        return with_rest(listed, counted - sum(entry["count"] for entry in listed))

    def _failed_aggregates(self, counted: int) -> list[JobRecord]:
        """Those that failed by themselves."""
        stored = self._stored
        if not any(
            stored.flow_state.counts().by_stage.get(q, {}).get(FAILED) for q in stored.spec["stage_queues"]
        ):
            return []
        failed = read_failures(stored.store, stored.flow_state.shape, counted)
        return [job for job in failed if job.queue not in stored.row_queues]

    def _of_rows(self, kind: str, positions: list[int]) -> Entry:
        seen = kind, self._facts.error_of_all(kind), tuple(positions[:SAMPLE_ROWS])
        if seen not in self._entries:
            if len(self._entries) > 10 * MOST_KINDS:
                self._entries.clear()
            self._entries[seen] = self._read(*seen)
        return {**self._entries[seen], "count": len(positions)}

    def _read(self, kind: str, error_of_all: str | None, sample: Sequence[int]) -> Entry:
        stored = self._stored
        rows, index = stored.rows.read(sample, inputs=True, traces=True), stored.index
        first = rows[0]
        message = first_line(error_of_all or first.error or kind, MESSAGE_CHARACTERS)
        return {
            "kind": kind,
            "message": message
            if error_of_all
            else cut(failure_groups.readable_kind(kind), MESSAGE_CHARACTERS),
            "example": "" if error_of_all else message,
            **frame_of(first.traceback or ""),
            "jobs": [],
            "rows": [self._sampled(at, row) for at, row in zip(sample, rows, strict=True)],
            "debug": row_texts.debug_line(stored, index[sample[0]]),
        }

    def _sampled(self, position: int, row: Row) -> list[Any]:
        """``[position, label, inputs]``."""
        label = cut(label_text(self._stored.index[position]), NAME_CHARACTERS)
        inputs = in_a_line(row_texts.inputs_of(self._stored, row), _INPUT_CHARACTERS)
        return [position, label, inputs]
