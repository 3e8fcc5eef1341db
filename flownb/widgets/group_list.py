"""The groups of a batch as a live view lists them, and one group in its panel.

A line is ``[number, name, counts, total, failed, rate, left, median ms, spent, amount, seconds, rows]``, where `counts`
are pairs of a state and how many, `total` of them of all `rows` are there so far, `rate` is ends a second, what is
`left` and what was `spent` are in words; `amount` is that of the first unit, and `seconds` are left at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flownb.batches import row_groups
from flownb.batches.label_search import label_text
from flownb.batches.row_facts import RowFacts
from flownb.batches.row_groups import RowGroup, RunTimes
from flownb.batches.stored_batch import StoredBatch
from flownb.views.words import cut, in_reading_order, share_in_words
from flownb.widgets.part_throughput import WholeThroughput
from flownb.wire.amounts import PARTS
from flownb.wire.pauses import amounts_in_words
from flownb.wire.records import COMPLETED, FAILED

PAGE_GROUPS = 40
SLOWEST_ROWS = 5
_LABEL_CHARACTERS = 60
SORTS: Mapping[str, Callable[[list[Any]], Any]] = {
    "group": lambda line: line[0],
    "rows": lambda line: line[3],
    "failed": lambda line: line[4],
    "rate": lambda line: line[5] or 0.0,
    "left": lambda line: line[10],
    "median": lambda line: line[7] or 0,
    "spent": lambda line: line[9],
}


class GroupList:
    """The groups of one batch, by what is known of its rows."""

    def __init__(self, stored: StoredBatch, facts: RowFacts) -> None:
        self._stored = stored
        self._facts = facts

    def page(self, message: Mapping[str, Any], whole: WholeThroughput) -> dict[str, Any]:
        """Lines from ``start`` on, sorted by the column ``sort``."""
        start, sort = int(message.get("start") or 0), SORTS.get(str(message.get("sort")), SORTS["group"])
        text = str(message.get("text") or "").strip().casefold()
        lines = [line for line in self._lines(whole) if text in line[1].casefold()]
        lines.sort(key=sort, reverse=bool(message.get("descending")))
        end = start + PAGE_GROUPS
        return {
            "groups": lines[start:end],
            "of": len(lines),
            "start": start,
            "next": end if end < len(lines) else None,
            "known": self._facts.known,
            "total": len(self._facts),
        }

    def _lines(self, whole: WholeThroughput) -> list[list[Any]]:
        labels = self._stored.group_labels()
        groups = row_groups.read_groups(self._stored, self._facts)
        return [_line(number, group, labels.get(group.key), whole) for number, group in enumerate(groups)]

    def panel(self, message: Mapping[str, Any], whole: WholeThroughput) -> dict[str, Any]:
        """How the rows of one group are, by its number, ``group``, or the key of its ``parent``; else of all rows.

        Those in the jobs ``alone`` are left out: they have boxes beside that of the group.
        """
        parents, group_of = self._stored.rows.parents
        number, parent = message.get("group"), message.get("parent")
        if parent in parents:
            number = parents.index(parent)
        mine = row_groups.rows_of_group(self._facts, group_of, number)
        for key in message["alone"]:
            mine[self._stored.rows.positions_in(key)] = False
        states = row_groups.count_states(self._facts, mine)
        going_on = sum(states.values()) - states[COMPLETED] - states[FAILED]
        part = whole.of_part(going_on, row_groups.share_of_ends(self._facts, mine))
        times = row_groups.run_times(row_groups.seconds_of(self._facts, mine), SLOWEST_ROWS)
        return {
            "name": "",
            "counts": in_reading_order(states),
            "rate": part.rate,
            "failed_share": share_in_words(states[FAILED], states[COMPLETED] + states[FAILED]),
            "p50": times and in_ms(times.p50),
            "p95": times and in_ms(times.p95),
            "spent": amounts_in_words(row_groups.spent_by(self._facts, mine)),
            "slowest": slowest_of(times, self._stored.index),
        }


def _line(number: int, group: RowGroup, labels: tuple[Any, ...] | None, whole: WholeThroughput) -> list[Any]:
    total = sum(group.states.values())
    part = whole.of_part(total - group.states[COMPLETED] - group.states[FAILED], group.share)
    return [
        number,
        "all rows" if labels is None else cut(label_text(labels), _LABEL_CHARACTERS),
        in_reading_order(group.states),
        total,
        group.states[FAILED],
        part.rate,
        part.words,
        None if group.median is None else in_ms(group.median),
        amounts_in_words(group.spent),
        next(iter(group.spent.values()), 0) / PARTS,
        part.most_seconds,
        total,
    ]


def slowest_of(times: RunTimes | None, index: Any) -> list[list[Any]]:
    """The rows that took longest: what a page asks for them by, their label, milliseconds."""
    return [
        [{"position": at}, cut(label_text(index[at]), _LABEL_CHARACTERS), in_ms(seconds)]
        for at, seconds in (times.slowest if times else ())
    ]


def in_ms(seconds: float) -> int:
    return round(1000 * seconds)
