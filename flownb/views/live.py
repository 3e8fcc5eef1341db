"""A flow as a live view draws it: a frame that is laid out once, and what changes in it from poll to poll.

A box of the frame has room for whatever its jobs may come to, so that nothing moves while they run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flownb.views import dot, progress_words, tree_layout
from flownb.views.scene import MOST_NAME, Box, Scene, scene_of
from flownb.views.svg import NOTE_SIZE, SIGN_PATHS
from flownb.views.words import (
    READING_ORDER,
    SIGNS,
    UNKNOWN,
    counts_in_words,
    cut,
    in_reading_order,
    plain,
    reason,
    shown,
    tells_queue,
    tone,
)
from flownb.wire.records import (
    ACTIVE,
    COMPLETED,
    FAILED,
    STATES,
    WAITING,
    WAITING_CHILDREN,
    FlowCounts,
    JobRecord,
    Node,
    Snapshot,
)

_MOST_ACTIVE = 999  # of one node, as far as room is kept for the figure
_BESIDE_NOTE = 44.0  # of a box's width: the badge and the margins
_ENDED = (COMPLETED, ACTIVE, FAILED)
MOST_MESSAGES = 8
_MOST_MESSAGE = 300


def frame_of(snapshot: Snapshot) -> dict[str, Any]:
    """Where the boxes and arrows of a flow go. It stays equal while the flow's shape does.

    JSON values only: ``{width, height, shift, note, nodes, wires}``.
    """
    scene = scene_of(snapshot)
    boxes = tuple(_empty(box, node) for box, node in zip(scene.boxes, snapshot.nodes, strict=True))
    roomy = Scene(name=scene.name, boxes=boxes, arrows=scene.arrows, note=scene.note)
    layout = dot.fitting(roomy).layout()
    places = [layout.places[box.id] for box in boxes]
    above = {child: node.key for node in snapshot.nodes if node.count == 1 for child in node.children}
    return {
        "width": round(layout.width, 1),
        "height": round(layout.height, 1),
        "shift": [round(way, 1) for way in layout.shift],
        "note": scene.note,
        "nodes": [
            {
                "id": box.id,
                "name": box.name,
                "folded": box.folded,
                "key": node.key,  # of a folded node its first job's
                "parent": above.get(node.id) if box.folded else None,  # of one that can be opened
                "place": [round(n, 1) for n in (place.x, place.y, place.width, place.height)],
            }
            for box, node, place in zip(boxes, snapshot.nodes, places, strict=True)
        ],
        "wires": [
            {
                "path": layout.wires[arrow.child, arrow.parent].path,
                "head": layout.wires[arrow.child, arrow.parent].head,
                "optional": arrow.optional,
                "child": arrow.child,
                "parent": arrow.parent,
            }
            for arrow in scene.arrows
        ],
    }


def _empty(box: Box, node: Node) -> Box:
    """The box with room for every state its jobs may come to."""
    queue = shown(node.queue, MOST_NAME)
    if box.folded:
        count = node.count
        notes = [f"{count} completed, {min(count, _MOST_ACTIVE)} active, {count} failed", queue]
    else:
        notes = [WAITING_CHILDREN if tells_queue(node.name, node.queue) else f"{WAITING_CHILDREN} · {queue}"]
    return Box(
        id=box.id,
        name=box.name,
        notes=tuple(notes),
        tone=UNKNOWN,
        folded=box.folded,
        shares=(("", node.count),) if box.folded else (),
        title="",
    )


def signs() -> dict[str, Any]:
    """How each state is shown beside its colour: a sign in text, and the shapes of its badge."""
    return {
        state: {"sign": sign, "paths": SIGN_PATHS.get(state, ()), "solid": state in _ENDED}
        for state, sign in SIGNS.items()
    }


def nodes_of(snapshot: Snapshot, frame: Mapping[str, Any]) -> dict[str, Any]:
    """What the boxes of a frame say now: ``{id: [tone, notes, shares, title]}``."""
    widths = {box["id"]: box["place"][2] - _BESIDE_NOTE for box in frame["nodes"]}
    said = {}
    for place, node in enumerate(snapshot.nodes):
        id = f"n{place}"
        notes = [_fitted(note, widths[id]) for note in _notes(node)]
        shares = [list(pair) for pair in in_reading_order(node.states)] if node.folded else []
        said[id] = [tone(node.states), notes, shares, _title(node)]
    return said


def _notes(node: Node) -> list[str]:
    pairs = in_reading_order(node.states)
    if node.folded:
        ended = counts_in_words(pair for pair in pairs if pair[0] in _ENDED)
        left = counts_in_words(pair for pair in pairs if pair[0] not in _ENDED)
        queue = "" if node.name.startswith(node.queue) else shown(node.queue, MOST_NAME)
        first, second = (ended, left) if ended else (left, "")
        return [first, " · ".join(part for part in (second, queue) if part)]
    state = plain(pairs[0][0]) if pairs else ""
    record = node.job
    if state == FAILED and record is not None and record.failed_reason:
        return [reason(record, MOST_NAME)]
    words = [state] if state else []
    if record is not None and record.attempts_made and state not in (COMPLETED, FAILED, WAITING_CHILDREN):
        words.append(f"attempt {record.attempts_made + 1}")
    elif not tells_queue(node.name, node.queue):
        words.append(shown(node.queue, MOST_NAME))
    return [" · ".join(words)]


def _title(node: Node) -> str:
    words = counts_in_words(in_reading_order(node.states))
    count = f" × {node.count}" if node.folded else ""
    state = words if node.folded else words.partition(" ")[2]
    return f"{shown(node.name, 200)}{count}, queue {shown(node.queue)}: {state or 'not added yet'}"


def _fitted(text: str, width: float) -> str:
    """`text`, cut so that it stays in its box."""
    size = len(text)
    while size > 1 and tree_layout.text_width(cut(text, size), NOTE_SIZE) > width:
        size -= 1
    return cut(text, size)


def head_of(snapshot: Snapshot) -> dict[str, Any]:
    """What stands above the tree: name, state, counts by state, and what runs for how long."""
    held = snapshot.counts.paused and snapshot.finished is None
    return {
        "name": shown(snapshot.name, 200),
        "state": "paused" if held else plain(snapshot.state),
        "tone": WAITING if held else FAILED if snapshot.state == "failing" else _known(snapshot.state),
        "total": snapshot.counts.total,
        "rows": snapshot.counts.rows,
        "counts": [list(pair) for pair in whole_counts(snapshot.counts)],
        "queues": [shown(queue) for queue in snapshot.counts.by_stage],
        "oldest": snapshot.oldest,
        "left": progress_words.time_left(snapshot.eta) if snapshot.eta else "",
        "created": snapshot.created,
        "finished": snapshot.finished,
    }


def _known(state: str) -> str:
    return state if state in STATES else UNKNOWN


def whole_counts(counts: FlowCounts) -> list[tuple[str, int]]:
    """The counts of the whole tree by state, in reading order."""
    known = [(state, counts.count(state)) for state in READING_ORDER if counts.count(state)]
    others = {state for states in counts.by_stage.values() for state in states} - set(READING_ORDER)
    return known + [(state, counts.count(state)) for state in sorted(others) if counts.count(state)]


def failure_groups(records: Iterable[JobRecord]) -> list[dict[str, Any]]:
    """Failed jobs by message, the most frequent first, at most `MOST_MESSAGES`: ``{message, count, jobs}``."""
    groups: dict[str, list[JobRecord]] = {}
    for record in records:
        groups.setdefault((record.failed_reason or "").strip() or "no message", []).append(record)
    ranked = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [
        {
            "message": cut(message, _MOST_MESSAGE),
            "count": len(its),
            "jobs": [[record.key, shown(record.name, MOST_NAME)] for record in its[:3]],
        }
        for message, its in ranked[:MOST_MESSAGES]
    ]
