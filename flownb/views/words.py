"""What all views say alike: names made safe to show, states in one order, counts and durations in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flownb.errors import printable
from flownb.wire.records import (
    ACTIVE,
    COMPLETED,
    DELAYED,
    FAILED,
    PRIORITIZED,
    STATES,
    WAITING,
    WAITING_CHILDREN,
    FlowCounts,
    JobRecord,
    Node,
    Snapshot,
)

UNKNOWN = "unknown"
"""Stands for a state nobody asked for: the node of a flow that has not run yet."""

READING_ORDER = (COMPLETED, ACTIVE, FAILED, WAITING, PRIORITIZED, DELAYED, WAITING_CHILDREN)
"""The states as a reader asks for them: how much is done, what runs, what is wrong, what is left."""

_ENDED = (COMPLETED, FAILED)

SYMBOLS: Mapping[str, str] = {
    WAITING: "○",
    ACTIVE: "►",
    DELAYED: "◷",
    PRIORITIZED: "▲",
    WAITING_CHILDREN: "◇",
    COMPLETED: "✓",
    FAILED: "✗",
    UNKNOWN: "·",
}
"""One symbol a state, so that text reads without colour."""


def cut(text: str, most: int) -> str:
    """`text` in at most `most` characters; what is cut off is marked with ``…``.

    >>> cut("process-item", 8)
    'process…'
    """
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def shown(text: str, most: int = 60) -> str:
    """`text` as every view shows a name: printable, of bounded length, never empty."""
    return cut(printable(text[: most + 1]), most) or "(no name)"


def includes_queue(name: str, queue: str) -> bool:
    """Say whether a job's name says its queue, too: a task's does, with a row's or a group's label behind it.

    >>> includes_queue("score", "score"), includes_queue("score DE", "score"), includes_queue("scores", "score")
    (True, True, False)
    """
    return name == queue or name.startswith(f"{queue} ")


def first_line(text: str, most: int) -> str:
    """The first line of an error's text that says something."""
    lines = (line.strip() for line in text[:4000].splitlines())
    return shown(next((line for line in lines if line), "no message"), most)


def rows(snapshot: Snapshot) -> int:
    """How many of what a flow counts are rows: those that share jobs, and those that have a job each."""
    return snapshot.counts.rows + snapshot.single_rows


def size(counts: FlowCounts, rows: int = 0) -> str:
    """How many jobs a flow has, as far as that is known; `rows` of them are rows.

    >>> size(FlowCounts(by_stage={"rows": {"waiting": 500}}, counting=True))
    '500 jobs so far, counting'
    >>> size(FlowCounts(by_stage={"report": {"waiting": 1}, "rows": {"waiting": 60}}), rows=60)
    '60 rows and 1 job'
    """
    rest = counts.total - rows
    parts = [f"{rows:,} {'row' if rows == 1 else 'rows'}"] if rows else []
    text = " and ".join([*parts, jobs(rest)] if rest or not rows else parts)
    return f"{text} so far, counting" if counts.counting else text


def reason(record: JobRecord, most: int) -> str:
    """Why a job failed, in a line; a parent's reason is a key, which tells a reader nothing."""
    return "a child failed" if record.why == "child" else first_line(record.failed_reason or "", most)


def jobs(count: int) -> str:
    """The count and its noun: ``1 job``, ``1,000 jobs``."""
    return f"{count} job" if count == 1 else f"{count:,} jobs"


def times(node: Node) -> str:
    """How often a folded node stands for what it names: `` × 60``; rows that share jobs are counted as rows."""
    return f" × {node.count:,}" if node.folded else ""


def how_far(node: Node) -> str:
    """How many of a folded node are in which state; words where that is not known."""
    return node.words or counts_in_words(in_reading_order(node.states))


def state_word(state: str, *, of_rows: bool = False) -> str:
    """A state as people read it: a word of BullMQ's, but for what waits for others, of which nobody says how many.

    Those are rows in a batch, which has no other jobs at its leaves.

    >>> state_word("completed"), state_word("waiting-children")
    ('completed', 'waiting for children')
    """
    if state == WAITING_CHILDREN:
        return "waiting for rows" if of_rows else "waiting for children"
    return printable(state)


def state_words(node: Node) -> list[str]:
    """The state of one job, as it is shown; how many it waits for, if it waits for children."""
    return [node.words or state_word(state) for state in node.states]


def flow_state_words(snapshot: Snapshot) -> str:
    """The state of a flow, as it is shown: paused, or where it is its root's, in the words of the root."""
    if snapshot.paused:
        return "paused"
    of_root = snapshot.state == WAITING_CHILDREN and snapshot.nodes
    return "".join(state_words(snapshot.nodes[0])) if of_root else state_word(snapshot.state)


def flow_tone(snapshot: Snapshot) -> str:
    """The state whose colour a flow has: of one that is paused that of waiting."""
    if snapshot.paused:
        return WAITING
    return FAILED if snapshot.state == "failing" else known_state(snapshot.state)


def known_state(state: str) -> str:
    """A state that has a colour."""
    return state if state in STATES else UNKNOWN


def in_reading_order(states: Mapping[str, int]) -> list[tuple[str, int]]:
    """The states that have jobs, as a reader asks for them; words nobody knows come last.

    >>> in_reading_order({"failed": 3, "waiting": 0, "completed": 742})
    [('completed', 742), ('failed', 3)]
    """
    known = [(state, states[state]) for state in READING_ORDER if states.get(state)]
    return known + [(state, count) for state, count in states.items() if count and state not in READING_ORDER]


def ended_and_left(pairs: Iterable[tuple[str, int]]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The counts of states in the order in which a heading says them: of what has ended, then of what is left.

    >>> ended_and_left([("completed", 860), ("active", 4), ("failed", 40), ("waiting", 96)])
    ([('completed', 860), ('failed', 40)], [('active', 4), ('waiting', 96)])
    """
    pairs = list(pairs)
    return [pair for pair in pairs if pair[0] in _ENDED], [pair for pair in pairs if pair[0] not in _ENDED]


def left_in_words(left: Sequence[tuple[str, int]], *, of_rows: bool = False) -> str:
    """How many are left, before how many of these are in which state; nothing where that says it.

    In a batch rows are counted, not what waits for rows.

    >>> left_in_words([("active", 4), ("waiting", 96)]), left_in_words([("waiting", 96)])
    ('100 left:', '')
    >>> left_in_words([("active", 4), ("waiting", 96), ("waiting-children", 1)], of_rows=True)
    '100 left:'
    """
    counts = [count for state, count in left if not (of_rows and state == WAITING_CHILDREN)]
    return f"{sum(counts):,} left:" if len(counts) > 1 else ""


def counts_in_words(pairs: Iterable[tuple[str, int]], *, of_rows: bool = False) -> str:
    """The counts of states as one line: ``1,742 completed, 12 active, 3 failed``."""
    return ", ".join(f"{count:,} {state_word(state, of_rows=of_rows)}" for state, count in pairs)


def share_in_words(part: int, whole: int) -> str:
    """A share as a person reads it: a few are not none.

    >>> share_in_words(3, 60), share_in_words(1, 4000), share_in_words(0, 5)
    ('5 %', '0.025 %', '')
    """
    return f"{100 * part / whole:.2g} %" if part and whole else ""


def counts_and_share(states: Mapping[str, int], pairs: Iterable[tuple[str, int]]) -> str:
    """Some of the counts of many jobs as one line, and which share failed of those that have ended.

    >>> states = {"completed": 874, "failed": 30, "waiting": 96}
    >>> counts_and_share(states, [("completed", 874), ("failed", 30)])
    '874 completed, 30 failed (3.3 %)'
    """
    share = share_in_words(states.get(FAILED, 0), states.get(COMPLETED, 0) + states.get(FAILED, 0))
    parts = [
        counts_in_words([(state, count)])
        + (f" ({share})" if state == FAILED and states.get(COMPLETED) else "")
        for state, count in pairs
    ]
    return ", ".join(parts)


def yet_to_come(node: Node) -> int:
    """How many of a folded node are not there yet: rows that are at an earlier step, or have failed there."""
    return max(node.count - sum(node.states.values()), 0) if node.folded and not node.words else 0


def got_here(node: Node) -> str:
    """How many of a folded node have come to it, where not all have."""
    coming = yet_to_come(node)
    return f"{node.count - coming:,} of {node.count:,} got here" if coming else ""


def tone(states: Mapping[str, int]) -> str:
    """The one state that many jobs are drawn in: the one to know of first. Active is what runs, nothing else.

    >>> tone({"completed": 904, "waiting": 96}), tone({"completed": 904, "active": 1}), tone({"failed": 1, "active": 1})
    ('waiting', 'active', 'failed')
    """
    present = [state for state, count in states.items() if count]
    if len(present) == 1:
        return present[0] if present[0] in SYMBOLS else UNKNOWN
    if FAILED in present:
        return FAILED
    return next((state for state in READING_ORDER if state in present and state != COMPLETED), UNKNOWN)


def pile_tone(states: Mapping[str, int]) -> str:
    """The state that the box of many jobs is drawn in: how far they are. That some failed is said by its badge and bar.

    >>> pile_tone({"completed": 14, "failed": 1}), pile_tone({"failed": 3}), tone({"completed": 14, "failed": 1})
    ('completed', 'failed', 'failed')
    """
    others = {state: count for state, count in states.items() if count and state != FAILED}
    return tone(others or states)


def duration(milliseconds: int) -> str:
    """A duration for people: ``250 ms``, ``12.3 s``, ``4 min 10 s``, ``2 h 5 min``.

    >>> duration(12_340), duration(250_000)
    ('12.3 s', '4 min 10 s')
    """
    if milliseconds < 1000:
        return f"{milliseconds} ms" if milliseconds else "0 s"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f}".removesuffix(".0") + " s"
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    left = round(milliseconds / 1000)
    parts: list[tuple[int, str]] = []
    for unit, size in units:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)
