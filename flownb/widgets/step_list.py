"""The steps of a batch's rows as a live view lists them, and one step in its panel: counts, rate, how long it takes.

A line is as in `group_list`. Rows of one task have one line, and so has each task above them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flownb.batches import row_groups
from flownb.batches.row_facts import RowFacts, Seconds
from flownb.batches.stored_batch import StoredBatch
from flownb.state.recent_ends import RecentEnds
from flownb.views.words import in_reading_order, share_in_words, shown
from flownb.widgets.group_list import SLOWEST_ROWS, SORTS, in_ms, slowest_of
from flownb.widgets.part_throughput import PartThroughput, WholeThroughput
from flownb.wire import keys
from flownb.wire.amounts import PARTS
from flownb.wire.pauses import amounts_in_words
from flownb.wire.records import COMPLETED, FAILED, FlowCounts

States = Mapping[str, int]


class StepList:
    """The steps of one batch, by its counts and by what is known of its rows."""

    def __init__(self, stored: StoredBatch, facts: RowFacts) -> None:
        self._stored = stored
        self._facts = facts
        self._ends: dict[str, RecentEnds] = {}
        self._row_ends = RecentEnds()

    @property
    def names(self) -> list[str]:
        """The steps, or the one task, of the rows."""
        return self._stored.steps or [self._stored.spec["task"]]

    def see(self, counts: FlowCounts) -> None:
        """Note what was counted at this moment."""
        now = time.monotonic()
        for name, states in self._of_rows(counts).items():
            self._ends.setdefault(name, RecentEnds()).note(now, _ended(states))
        self._row_ends.note(now, _ended(counts.by_stage.get(self._stored.row_queue, {})))

    def _of_rows(self, counts: FlowCounts) -> Mapping[str, States]:
        queue = self._stored.row_queue
        states = counts.by_stage.get(queue, {})
        return counts.by_step.get(queue, {}) if self._stored.steps else {self.names[0]: states}

    def _throughput(self, name: str, coming: int, whole: WholeThroughput) -> PartThroughput:
        """Of a step to whose end so many rows still come; while no row was seen to end, as fast as all of them."""
        ends, rows = self._ends.get(name), self._row_ends.count
        return whole.of_part(coming, ends.count / rows if ends and rows else 1.0)

    # ---- the list ------------------------------------------------------------------------------------

    def page(self, counts: FlowCounts, message: Mapping[str, Any], whole: WholeThroughput) -> dict[str, Any]:
        """All lines, sorted by the column ``sort``."""
        text = str(message.get("text") or "").strip().casefold()
        lines = [line for line in self._lines(counts, whole) if text in line[1].casefold()]
        if sort := SORTS.get(str(message.get("sort"))):
            if message.get("sort") == "group":
                sort = _name
            lines.sort(key=sort, reverse=bool(message.get("descending")))
        return {
            "groups": lines,
            "of": len(lines),
            "start": 0,
            "next": None,
            "known": self._facts.known,
            "total": len(self._facts),
        }

    def _lines(self, counts: FlowCounts, whole: WholeThroughput) -> list[list[Any]]:
        of_rows = self._of_rows(counts)
        coming, rows = _coming(of_rows), _all_rows(of_rows)
        lines = [
            self._line(number, name, states, self._throughput(name, coming[name], whole), rows)
            for number, (name, states) in enumerate(of_rows.items())
        ]
        for queue, states in counts.by_stage.items():
            is_plain_end = queue == keys.BATCH_QUEUE and self._stored.has_plain_root
            if queue not in self._stored.row_queues and not is_plain_end:
                counted = in_reading_order(states), sum(states.values()), states.get(FAILED, 0)
                lines.append([None, shown(queue), *counted, None, "", None, "", 0, 0, counted[1]])
        return lines

    def _line(self, number: int, name: str, states: States, part: PartThroughput, rows: int) -> list[Any]:
        took = row_groups.run_times(self._seconds(number), 0)
        spent = self._spent(number)
        return [
            number,
            shown(name),
            in_reading_order(states),
            sum(states.values()),
            states.get(FAILED, 0),
            part.rate,
            part.words,
            took and in_ms(took.p50),
            amounts_in_words(spent),
            next(iter(spent.values()), 0) / PARTS,
            part.most_seconds,
            rows,
        ]

    def _seconds(self, number: int) -> Seconds:
        """How long each row took at a step."""
        return self._facts.step_seconds[number] if self._stored.steps else self._facts.seconds

    def _spent(self, number: int) -> Mapping[str, int]:
        """What all rows have spent at a step."""
        if self._stored.steps:
            return row_groups.spent_at_step(self._facts, number)
        everyone = row_groups.rows_of_group(self._facts, self._stored.rows.parents[1], None)
        return row_groups.spent_by(self._facts, everyone)

    # ---- one of them ---------------------------------------------------------------------------------

    def panel(self, counts: FlowCounts, number: int, whole: WholeThroughput) -> dict[str, Any]:
        """How rows are at the step of this number."""
        name, of_rows = self.names[number], self._of_rows(counts)
        states = of_rows.get(name, {})
        took = row_groups.run_times(self._seconds(number), SLOWEST_ROWS)
        return {
            "name": name,
            "counts": in_reading_order(states),
            "rate": self._throughput(name, _coming(of_rows)[name], whole).rate,
            "failed_share": share_in_words(states.get(FAILED, 0), _ended(states)),
            "p50": took and in_ms(took.p50),
            "p95": took and in_ms(took.p95),
            "spent": amounts_in_words(self._spent(number)),
            "slowest": slowest_of(took, self._stored.index),
        }


def _name(line: list[Any]) -> str:
    return str(line[1])


def _coming(of_rows: Mapping[str, States]) -> dict[str, int]:
    """How many rows still come to the end of each step: those that have not failed before, nor been through it."""
    rows = _all_rows(of_rows)
    found = {}
    for name, states in of_rows.items():
        found[name] = rows - _ended(states)
        rows -= states.get(FAILED, 0)
    return found


def _all_rows(of_rows: Mapping[str, States]) -> int:
    """All of them are at the first step, or have been."""
    return sum(next(iter(of_rows.values()), {}).values())


def _ended(states: States) -> int:
    return states.get(COMPLETED, 0) + states.get(FAILED, 0)
