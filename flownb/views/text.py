"""A flow as plain text: for ``print``, terminals and the text a notebook stores. No ids, no times."""

from __future__ import annotations

import re

from flownb.views.words import (
    SYMBOLS,
    UNKNOWN,
    cut,
    how_far,
    jobs,
    reason,
    rows,
    shown,
    size,
    state_words,
    times,
    tone,
)
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, Node, Snapshot


def summary(snapshot: Snapshot) -> str:
    """One line: ``Flow('score-nov': 1000 jobs, 812 completed, 3 failed)``.

    A count of none is left out, so a flow that waits is ``Flow('score-nov': 1000 jobs)``.
    """
    counts = snapshot.counts
    ended = [(state, counts.count(state)) for state in (COMPLETED, FAILED)]
    parts = [_plain(size(counts, rows(snapshot)))] + [f"{count} {state}" for state, count in ended if count]
    if snapshot.state == CANCELLED:
        parts.append(CANCELLED)
    elif counts.paused:
        parts.append("paused")
    return f"Flow({cut(snapshot.name, 60)!r}: {', '.join(parts)})"


def tree(snapshot: Snapshot) -> str:
    """The tree with a sign a state and counts, the root on top.

    ::

        Flow('score-nov': 1000 jobs, 742 completed, 3 failed)
        ◇ report  waiting for 253 jobs
        ├─ ✗ score-* × 998  742 completed, 253 active, 3 failed
        └─ ✓ header  completed
    """
    lines = [summary(snapshot), *_branches(snapshot)]
    if snapshot.left_out:
        lines.append(f"… and {_plain(jobs(snapshot.left_out))} more")
    return "\n".join(lines)


def _plain(counts: str) -> str:
    """Counts without separators: programs read this text, too."""
    return re.sub(r"(?<=\d),(?=\d{3})", "", counts)


_BELOW = {"": "", "├─ ": "│  ", "└─ ": "   "}  # what goes on below a line, by how it branches off


def _branches(snapshot: Snapshot) -> list[str]:
    """A line a node; a shared job is spelled out where it comes first."""
    nodes = {node.id: node for node in snapshot.nodes}
    lines: list[str] = []
    seen: set[str] = set()
    # A stack, not recursion: a chain of jobs may be longer than Python's stack.
    todo = [(node.id, "", "") for node in snapshot.nodes[:1]]
    while todo:
        id, stem, fork = todo.pop()
        lines.append(stem + fork + _words(nodes[id], again=id in seen))
        if id in seen:
            continue
        seen.add(id)
        children = list(dict.fromkeys(child for child in nodes[id].children if child in nodes))
        forks = ["├─ "] * (len(children) - 1) + ["└─ "]
        below = [(child, stem + _BELOW[fork], f) for child, f in zip(children, forks, strict=False)]
        todo += reversed(below)
    return lines


def _words(node: Node, *, again: bool) -> str:
    symbol = SYMBOLS.get(tone(node.states), SYMBOLS[UNKNOWN])
    name = shown(node.name)
    if again:
        return f"{symbol} {name}  (shared, see above)"
    if node.folded:
        said = f"{name}{_plain(times(node))}  {_plain(how_far(node))}"
    else:
        said = f"{name}  {' '.join(state_words(node))}"
    return f"{symbol} {said.rstrip()}{'  (optional)' if node.optional else ''}{_failure(node)}"


def _failure(node: Node) -> str:
    failed = node.job is not None and node.states.get(FAILED) and node.job.failed_reason
    return f": {reason(node.job, 80)}" if failed and node.job else ""
