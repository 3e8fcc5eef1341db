"""What a live page asks of a batch beside what it asks of any flow: rows, failures, groups, logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flownb.batches.row_facts import RowFacts
from flownb.batches.stored_batch import StoredBatch
from flownb.state.eta import Estimate
from flownb.views import progress_words
from flownb.widgets import log_page, row_details
from flownb.widgets.batch_failures import BatchFailures
from flownb.widgets.failure_list import Entry
from flownb.widgets.group_list import GroupList
from flownb.widgets.part_throughput import WholeThroughput
from flownb.widgets.reading_time import ReadingTime
from flownb.widgets.row_table import RowTable
from flownb.widgets.step_list import StepList
from flownb.wire import keys
from flownb.wire.records import COMPLETED, FAILED, FlowCounts, HowFar, Snapshot

SIMPLE_NODES = 2  #: of a tree that needs no picture: all rows in one node, and the root
POLL_SECONDS, REFRESH_SECONDS = 0.012, 0.03  #: of a poll's and a question's time, for reading on how rows are


class BatchPages:
    """The pages of one batch."""

    def __init__(self, stored: StoredBatch) -> None:
        self._stored = stored
        self.facts = RowFacts(stored)
        self._reading = ReadingTime()
        self._table = RowTable(stored, self.facts)
        self._failures = BatchFailures(stored, self.facts)
        self._whole = WholeThroughput()
        self._groups = GroupList(stored, self.facts)
        self._steps = StepList(stored, self.facts)
        self._line: tuple[object, list[str]] = (None, [])  # how far it was, and in words

    @property
    def has_groups(self) -> bool:
        """Say whether the rows are in groups."""
        return bool(self._stored.spec["by"])

    def see(self, counts: FlowCounts, estimate: Estimate) -> None:
        """Note what was counted at this moment, and how long it takes, by the latest estimate."""
        queue = self._stored.row_queue
        states = counts.by_stage.get(queue, {})
        going_on = sum(states.values()) - states.get(COMPLETED, 0) - states.get(FAILED, 0)
        self._whole = WholeThroughput.of(estimate, queue, going_on)
        self._steps.see(counts)

    def fits_a_line(self, snapshot: Snapshot) -> bool:
        """Say whether its view may begin as one line: it runs, and is nothing but rows and their end."""
        return snapshot.finished is None and not self.has_groups and len(snapshot.nodes) <= SIMPLE_NODES

    def line(self, snapshot: Snapshot) -> list[str]:
        """How far its rows are, in the two parts of one line: between them stands since when nothing has ended.

        The same words as long as nothing has ended or begun.
        """
        seen = snapshot.counts, snapshot.eta, snapshot.stopped, snapshot.note
        if seen != self._line[0]:
            states = snapshot.counts.by_stage.get(self._stored.row_queue, {})
            far = HowFar.of(
                "row",
                states,
                rate=self._whole.rate,
                left=snapshot.eta if snapshot.stopped is None else None,
                spent=progress_words.note_of(snapshot),
            )
            self._line = seen, [progress_words.counts_so_far(far), progress_words.rate_and_spent(far)]
        return self._line[1]

    @property
    def has_seen_all(self) -> bool:
        """Has each row been read at least once?"""
        return self.facts.known == len(self.facts)

    def read_on(self) -> bool:
        """Read how more rows are; say whether all that changed is known."""
        return self._refresh(POLL_SECONDS)

    def _refresh(self, seconds: float) -> bool:
        """Read on, for so long at most; say whether all that changed is known."""
        with self._reading.take(seconds) as left:
            return left > 0 and self.facts.refresh(left)

    def failures(self, counted: int) -> list[Entry]:
        """The failures by kind; the flow counts so many."""
        return self._failures.entries(counted)

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer to a page's question; None where it is none of these."""
        match message.get("ask"):
            case "rows":
                self._refresh(REFRESH_SECONDS)
                return self._table.page(message)
            case "row":
                return row_details.row_details(self._stored, self._position(message))
            case "groups":
                self._refresh(REFRESH_SECONDS)
                if self.has_groups:
                    return self._groups.page(message, self._whole)
                return self._steps.page(self._stored.flow_state.counts(), message, self._whole)
            case "group" if self._is_of_rows(message.get("key")):
                self._refresh(REFRESH_SECONDS)
                step = self._step_of(message)
                if step is None:
                    return self._groups.panel(message, self._whole)
                return self._steps.panel(self._stored.flow_state.counts(), step, self._whole)
            case "logs":
                self._refresh(REFRESH_SECONDS)
                return log_page.page(self._stored, self.facts, message, self._table.find)
            case "thumbnail":
                return row_details.thumbnail(self._stored, self._position(message))
        return None

    def _step_of(self, message: Mapping[str, Any]) -> int | None:
        """The number of the step that is asked for, by its line or by what its box is called; None: it is a group."""
        if self.has_groups or message["alone"]:
            return None
        if message.get("group") is not None:
            return int(message["group"])
        name = message.get("name")
        return self._steps.names.index(name) if name in self._steps.names else None

    def _is_of_rows(self, key: str | None) -> bool:
        return key is None or keys.queue_of(key) in self._stored.row_queues

    def found_row(self, text: str) -> tuple[int, str, str] | None:
        """The first row with this text in its label: its position, the keys of its job and of the one above."""
        found = self._table.find(text).positions if text.strip() else None
        if found is None or not found.size:
            return None
        position = int(found[0])
        parents, group_of = self._stored.rows.parents
        return position, self._stored.rows.key(position), parents[int(group_of[position])]

    def _position(self, message: Mapping[str, Any]) -> int:
        position = int(message["position"])
        if not 0 <= position < len(self._stored.rows):
            raise IndexError(f"no row {position}")
        return position
