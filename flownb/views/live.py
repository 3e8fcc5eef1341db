"""What the kernel sends to the live page: a frame, made once for each shape of a flow, and what changes in it.

A box of the frame has room for whatever its jobs may come to, so that nothing moves while they run.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from flownb.views import box_parts, dot, progress_words
from flownb.views.box_parts import BoxParts
from flownb.views.geometry import Rect, Route
from flownb.views.palette import BADGE_PATHS, NOTE_SIZE, SOLID_BADGES
from flownb.views.scene import NAME_CHARACTERS, Arrow, Box, Scene, box_shares, scene_of
from flownb.views.words import (
    READING_ORDER,
    SYMBOLS,
    UNKNOWN,
    counts_and_share,
    counts_in_words,
    ended_and_left,
    flow_state_words,
    flow_tone,
    got_here,
    how_far,
    in_reading_order,
    includes_queue,
    pile_tone,
    reason,
    rows,
    shown,
    state_word,
    state_words,
    times,
    tone,
)
from flownb.wire.records import (
    COMPLETED,
    FAILED,
    WAITING_CHILDREN,
    FlowCounts,
    Node,
    Snapshot,
)

_WAITS_LONG = "waiting for 99,999 rows"
_MAX_ACTIVE_SHOWN = 999  # of one node: room is kept for a figure of this size
MAX_MESSAGES = 8
_MESSAGE_CHARACTERS = 300
_NAMES_PER_MESSAGE = 3
_ATTEMPT_IS_HISTORY = (COMPLETED, FAILED, WAITING_CHILDREN)


# ---- the frame: once a shape -----------------------------------------------------------------------


def frame_of(snapshot: Snapshot) -> dict[str, Any]:
    """Where the boxes and arrows of a flow go. It stays equal while the flow's shape does.

    JSON values only: ``{width, height, shift, note, sizes, nodes, arrows}``.
    """
    scene = scene_of(snapshot)
    boxes = tuple(_roomy(box, node) for box, node in zip(scene.boxes, snapshot.nodes, strict=True))
    layout = dot.fitting(Scene(name=scene.name, boxes=boxes, arrows=scene.arrows, note=scene.note)).layout()
    parents = {child: node.key for node in snapshot.nodes if node.count == 1 for child in node.children}
    return {
        "width": round(layout.width, 1),
        "height": round(layout.height, 1),
        "shift": [round(way, 1) for way in layout.shift],
        "note": scene.note,
        "sizes": _SIZES,
        "nodes": [
            _framed_box(box, node, layout.rects[box.id], parents.get(node.id))
            for box, node in zip(boxes, snapshot.nodes, strict=True)
        ],
        "arrows": [_framed_arrow(arrow, layout.routes[arrow.child, arrow.parent]) for arrow in scene.arrows],
    }


_SIZES = {
    "corner": box_parts.CORNER_RADIUS,
    "badge": box_parts.BADGE_RADIUS,
    "share": box_parts.LEAST_SHARE,
    "textMargin": box_parts.TEXT_MARGIN,
}


def _roomy(box: Box, node: Node) -> Box:
    """The box with room for every state its jobs may come to."""
    queue = shown(node.queue, NAME_CHARACTERS)
    if box.folded:
        count = node.count
        notes = [
            f"{count:,} completed, {min(count, _MAX_ACTIVE_SHOWN)} active, {count:,} failed (0.099 %)",
            queue,
        ]
    else:
        notes = [_WAITS_LONG if includes_queue(node.name, node.queue) else f"{_WAITS_LONG} · {queue}"]
    return Box(
        id=box.id,
        name=box.name,
        notes=tuple(notes),
        tone=UNKNOWN,
        badge=UNKNOWN,
        folded=box.folded,
        shares=(("", node.count),) if box.folded else (),
        title="",
    )


def _framed_box(box: Box, node: Node, rect: Rect, parent: str | None) -> dict[str, Any]:
    width, height = round(rect.width, 1), round(rect.height, 1)
    return {
        "id": box.id,
        "name": box.name,
        "folded": box.folded,
        "key": node.key,  # of a folded node its first job's
        "parent": parent if box.folded else None,  # of one that can be opened
        "jobs": node.name if box.folded else "",  # what its jobs are called
        "rect": [round(rect.x, 1), round(rect.y, 1), width, height],
        "parts": _framed_parts(box_parts.parts_of(box, width, height)),
    }


def _framed_parts(parts: BoxParts) -> dict[str, Any]:
    bar = parts.bar
    return {
        "outlines": parts.outlines,
        "badge": parts.badge,
        "name": parts.name,
        "notes": parts.notes,
        "bar": bar and [bar.x, bar.y, bar.width, bar.height],
    }


def _framed_arrow(arrow: Arrow, route: Route) -> dict[str, Any]:
    return {
        "path": route.path,
        "head": route.head,
        "optional": arrow.optional,
        "child": arrow.child,
        "parent": arrow.parent,
    }


def badges() -> dict[str, Any]:
    """How each state is shown beside its colour: a word, a symbol in text, and the shapes of its badge."""
    return {
        state: {
            "word": state_word(state),
            "symbol": symbol,
            "paths": BADGE_PATHS.get(state, ()),
            "solid": state in SOLID_BADGES,
        }
        for state, symbol in SYMBOLS.items()
    }


# ---- the boxes: every poll -------------------------------------------------------------------------


def nodes_of(snapshot: Snapshot, frame: Mapping[str, Any]) -> dict[str, Any]:
    """What the boxes of a frame say now: ``{id: [tone, notes, shares, title, badge]}``."""
    widths = {box["id"]: box["rect"][2] - box_parts.ESTIMATE_MARGIN for box in frame["nodes"]}
    said = {}
    for number, node in enumerate(snapshot.nodes):
        id = f"n{number}"
        notes = _counts_notes(node) if node.folded else _job_note(node)
        shares = [list(pair) for pair in box_shares(node)] if node.folded else []
        said[id] = [
            pile_tone(node.states) if node.folded else tone(node.states),
            [box_parts.fitted(note, widths[id], NOTE_SIZE) for note in notes],
            shares,
            _title(node),
            tone(node.states),
        ]
    return said


def _counts_notes(node: Node) -> list[str]:
    """Of many jobs: what has begun, then what has not and the queue."""
    pairs = [] if node.words else in_reading_order(node.states)
    begun = counts_and_share(node.states, (pair for pair in pairs if pair[0] in SOLID_BADGES))
    rest = node.words or counts_in_words(pair for pair in pairs if pair[0] not in SOLID_BADGES)
    queue = "" if node.name.startswith(node.queue) else shown(node.queue, NAME_CHARACTERS)
    first, second = (begun, rest) if begun else (rest, "")
    return [first, " · ".join(filter(None, [second, got_here(node), queue]))]


def _job_note(node: Node) -> list[str]:
    """Of one job: why it failed, or its state and what else there is to know of it."""
    state = next(iter(node.states), "")
    if state == FAILED and node.job is not None and node.job.failed_reason:
        return [reason(node.job, NAME_CHARACTERS)]
    return [" · ".join(filter(None, [*state_words(node), _attempt_or_queue(node, state)]))]


def _attempt_or_queue(node: Node, state: str) -> str:
    if node.job is not None and node.job.attempts_made and state not in _ATTEMPT_IS_HISTORY:
        return f"attempt {node.job.attempts_made + 1}"
    return "" if includes_queue(node.name, node.queue) else shown(node.queue, NAME_CHARACTERS)


def _title(node: Node) -> str:
    state = how_far(node) if node.folded else "".join(state_words(node))
    if node.job is not None and node.states.get(FAILED) and node.job.failed_reason:
        state += f": {reason(node.job, 200)}"
    queue = "" if includes_queue(node.name, node.queue) else f", queue {shown(node.queue)}"
    return f"{shown(node.name, 200)}{times(node)}{queue}: {state or 'not added yet'}"


# ---- above and below the tree ----------------------------------------------------------------------


def head_of(snapshot: Snapshot) -> dict[str, Any]:
    """What is shown above the tree: name, state, counts by state, and what runs for how long."""
    goes_on = not snapshot.paused and snapshot.stopped is None
    return {
        "name": shown(snapshot.name, 200),
        "state": flow_state_words(snapshot),
        "tone": flow_tone(snapshot),
        "total": snapshot.counts.total,
        "rows": rows(snapshot),
        "shared": snapshot.counts.rows > 0,  # rows share jobs
        "counts": [list(pair) for pair in itertools.chain(*ended_and_left(whole_counts(snapshot.counts)))],
        "queues": [shown(queue) for queue in snapshot.counts.by_stage],
        "oldest": snapshot.oldest,
        "note": progress_words.note_of(snapshot),
        "left": progress_words.time_left(snapshot.eta) if snapshot.eta and goes_on else "",
        "stopped": snapshot.stopped,
        "created": snapshot.created,
        "finished": snapshot.finished,
    }


def whole_counts(counts: FlowCounts) -> list[tuple[str, int]]:
    """The counts of the whole tree by state, in reading order."""
    others = {state for states in counts.by_stage.values() for state in states} - set(READING_ORDER)
    ordered = (*READING_ORDER, *sorted(others))
    return [(state, count) for state in ordered if (count := counts.count(state))]
