"""From a snapshot to what is drawn: boxes, arrows and their words. Every picture starts here.

A Graphviz engine and the built-in layout get the same scene, so that they cannot differ in what they show.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from flownb.views.words import (
    counts_and_share,
    got_here,
    how_far,
    in_reading_order,
    includes_queue,
    jobs,
    pile_tone,
    reason,
    shown,
    state_words,
    times,
    tone,
    yet_to_come,
)
from flownb.wire.records import ACTIVE, FAILED, Node, Snapshot

NAME_CHARACTERS = 40
ERROR_CHARACTERS = 44
STATES_PER_LINE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """One drawn node, all its text printable and cut."""

    id: str  #: ``n0``, ``n1`` ... by position in the snapshot: no name gets into an id
    name: str
    notes: tuple[str, ...]  #: the lines below the name
    tone: str  #: the state it is coloured by
    badge: str  #: the state that its badge shows: the one a reader must know of first
    folded: bool
    #: jobs by state, in reading order; without a state what is yet to come
    shares: tuple[tuple[str, int], ...]
    title: str  #: what the mouse shows


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrow:
    """A child's value goes up to its parent."""

    child: str
    parent: str
    optional: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """All that a picture of a flow says."""

    name: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    note: str = ""  #: what is not drawn


def scene_of(snapshot: Snapshot) -> Scene:
    """What a picture of `snapshot` shows."""
    ids = {node.id: f"n{number}" for number, node in enumerate(snapshot.nodes)}
    return Scene(
        name=shown(snapshot.name),
        boxes=tuple(_box(ids[node.id], node) for node in snapshot.nodes),
        arrows=tuple(_arrows(snapshot, ids)),
        note=_note(snapshot),
    )


def _note(snapshot: Snapshot) -> str:
    if not snapshot.nodes:
        return "no jobs"
    if not snapshot.left_out:
        return ""
    verb = "is" if snapshot.left_out == 1 else "are"
    return f"{snapshot.left_out} more {'job' if snapshot.left_out == 1 else 'jobs'} {verb} not drawn"


def _arrows(snapshot: Snapshot, ids: dict[str, str]) -> list[Arrow]:
    optional = {node.id for node in snapshot.nodes if node.optional}
    arrows: dict[tuple[str, str], Arrow] = {}
    for parent in snapshot.nodes:
        for child in parent.children:
            if child in ids:
                arrow = Arrow(child=ids[child], parent=ids[parent.id], optional=child in optional)
                arrows.setdefault((arrow.child, arrow.parent), arrow)
    return list(arrows.values())


def _box(id: str, node: Node) -> Box:
    shares = box_shares(node)
    name = shown(node.name, NAME_CHARACTERS)
    notes = _folded_notes(node) if node.folded else _job_notes(node)
    words = how_far(node) if node.folded else "".join(state_words(node))
    return Box(
        id=id,
        name=f"{name}{times(node)}",
        notes=tuple(notes),
        tone=pile_tone(node.states) if node.folded else tone(node.states),
        badge=tone(node.states),
        folded=node.folded,
        shares=shares,
        title=" · ".join(filter(None, [shown(node.name, 200), _queue(node), words])),
    )


def _queue(node: Node) -> str:
    return "" if includes_queue(node.name, node.queue) else f"queue {shown(node.queue)}"


def box_shares(node: Node) -> tuple[tuple[str, int], ...]:
    """The parts of a box's bar, in reading order; a last one without a state for what is yet to come."""
    coming = yet_to_come(node)
    return (*in_reading_order(node.states), *([("", coming)] if coming else []))


def _folded_notes(node: Node) -> list[str]:
    states = in_reading_order(node.states)
    lines = (
        [node.words]
        if node.words
        else [
            counts_and_share(node.states, states[start : start + STATES_PER_LINE])
            for start in range(0, len(states), STATES_PER_LINE)
        ]
    )
    if coming := got_here(node):
        lines.append(coming)
    if lines and not node.name.startswith(node.queue):
        lines.append(shown(node.queue, NAME_CHARACTERS))
    return lines or [jobs(node.count)]


def _job_notes(node: Node) -> list[str]:
    """State and queue; then why it failed. A queue that only repeats the name is left out."""
    state = next(iter(node.states), "")
    words = state_words(node)
    if node.job is not None and state == ACTIVE:
        words += _percent(node.job.progress)
    if not includes_queue(node.name, node.queue):
        words.append(shown(node.queue, NAME_CHARACTERS))
    lines = [" · ".join(words)] if words else []
    if node.job is not None and state == FAILED and node.job.failed_reason:
        lines.append(reason(node.job, ERROR_CHARACTERS))
    return lines


def _percent(progress: str | None) -> list[str]:
    """A job's progress, when it is a number of percent as BullMQ's dashboards take it."""
    try:
        value = json.loads(progress or "null")
    except ValueError:
        return []
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
        return []
    return [f"{value:.0f} %"]
