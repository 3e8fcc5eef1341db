"""The built-in layout: layers from the root down, each parent above the middle of its children.

A job's layer is its longest way from a root, so that a shared job is below all its parents. Every job has one
*main* parent (the first of those right above it), which has a strip as wide as its main children's strips side by
side; that is why nothing can overlap. No engine is needed.
"""

from __future__ import annotations

from flownb.views.box_parts import size_of, text_width
from flownb.views.geometry import Geometry, Rect, route_up
from flownb.views.palette import NOTE_SIZE
from flownb.views.scene import Scene

MARGIN, GAP, FALL = 18.0, 22.0, 40.0
NOTE_HEIGHT = 24.0
PILE = 6.0  #: how far the pile of a folded box sticks out
LEAST_WIDTH = 120.0

Sizes = dict[str, tuple[float, float]]  # width and height by box


def geometry_of(scene: Scene) -> Geometry:
    """Where the boxes and arrows of `scene` go.

    >>> from flownb.views.scene import Scene
    >>> geometry_of(Scene(name="none", boxes=(), arrows=(), note="no jobs")).rects
    {}
    """
    parents: dict[str, list[str]] = {box.id: [] for box in scene.boxes}
    for arrow in scene.arrows:
        parents[arrow.child].append(arrow.parent)
    layers = _layers(parents)
    main = {id: _main_parent(id, above, layers) for id, above in parents.items()}
    sizes = {box.id: size_of(box) for box in scene.boxes}
    centres, width = _centres(layers, main, sizes)
    tops, height = _tops(layers, sizes)
    rects = {id: Rect(centres[id] - w / 2, tops[layers[id]], w, h) for id, (w, h) in sizes.items()}
    routes = {
        (child, parent): route_up((centres[child], rects[child].y), (centres[parent], rects[parent].bottom))
        for child, parent in ((arrow.child, arrow.parent) for arrow in scene.arrows)
    }
    if scene.note:
        height += NOTE_HEIGHT
        width = max(width, text_width(scene.note, NOTE_SIZE) + 2 * MARGIN)
    return Geometry(max(width, LEAST_WIDTH), height, rects, routes)


def _layers(parents: dict[str, list[str]]) -> dict[str, int]:
    """Each job's longest way from a root. A circle, which no flow has, ends at the number of jobs."""
    layers = dict.fromkeys(parents, 0)
    for _ in parents:
        moved = False
        for id, above in parents.items():
            layer = max((layers[parent] + 1 for parent in above), default=0)
            if layer > layers[id]:
                layers[id], moved = layer, True
        if not moved:
            break
    return layers


def _main_parent(id: str, above: list[str], layers: dict[str, int]) -> str | None:
    return next((parent for parent in above if layers[parent] == layers[id] - 1), None)


def _centres(
    layers: dict[str, int], main: dict[str, str | None], sizes: Sizes
) -> tuple[dict[str, float], float]:
    """The middle of each box and the width of all: strips from the leaves up, boxes from the roots down."""
    children: dict[str | None, list[str]] = {}
    for id, parent in main.items():
        children.setdefault(parent, []).append(id)
    strips: dict[str, float] = {}
    for id in sorted(layers, key=lambda id: -layers[id]):
        strips[id] = max(sizes[id][0] + PILE, _side_by_side(children.get(id, []), strips))
    centres: dict[str, float] = {}
    starts: dict[str | None, float] = {None: MARGIN, **dict.fromkeys(layers, 0.0)}
    for parent in [None, *sorted(layers, key=lambda id: layers[id])]:
        below = children.get(parent, [])
        start = starts[parent]
        if parent is not None:
            start += (strips[parent] - _side_by_side(below, strips)) / 2
        for id in below:
            starts[id] = start
            centres[id] = start + strips[id] / 2
            start += strips[id] + GAP
    return centres, _side_by_side(children.get(None, []), strips) + 2 * MARGIN


def _side_by_side(ids: list[str], strips: dict[str, float]) -> float:
    return sum(strips[id] for id in ids) + GAP * max(len(ids) - 1, 0)


def _tops(layers: dict[str, int], sizes: Sizes) -> tuple[dict[int, float], float]:
    """The top of each layer, and the height of all."""
    tops: dict[int, float] = {}
    y = MARGIN + PILE
    for layer in sorted(set(layers.values())):
        tops[layer] = y
        y += max(sizes[id][1] for id, its in layers.items() if its == layer) + FALL
    return tops, (y - FALL + MARGIN if tops else MARGIN)
