"""The built-in layout: layers from the root down, each family in a strip of its own. Needs no engine.

A job's layer is its longest way from a root, so that a shared job stands below all its parents. Every job
has one *main* parent (the first of those right above it); a family's strip is as wide as its main children's
strips side by side, which is why nothing can overlap, and the parent stands in the middle of it.
"""

from __future__ import annotations

import unicodedata

from flownb.views.scene import Box, Scene
from flownb.views.svg import BAR, LINE, Layout, Place, curve

MARGIN, GAP, FALL = 18.0, 22.0, 40.0
BESIDE_TEXT, ABOVE_TEXT = 50.0, 18.0
NOTE_HEIGHT = 24.0
PILE = 6.0  #: how far a folded box's pile stands out


def layout(scene: Scene) -> Layout:
    """Where the boxes and arrows of `scene` go.

    >>> from flownb.views.scene import Scene
    >>> layout(Scene(name="none", boxes=(), arrows=(), note="no jobs")).places
    {}
    """
    parents = {box.id: [a.parent for a in scene.arrows if a.child == box.id] for box in scene.boxes}
    layers = _layers(parents)
    main = {id: _main_parent(id, above, layers) for id, above in parents.items()}
    sizes = {box.id: _size(box) for box in scene.boxes}
    centres, width = _centres(layers, main, sizes)
    tops, height = _tops(layers, sizes)
    places = {
        id: Place(centres[id] - wide / 2, tops[layers[id]], wide, high) for id, (wide, high) in sizes.items()
    }
    wires = {
        (arrow.child, arrow.parent): curve(
            centres[arrow.child],
            places[arrow.child].y,
            centres[arrow.parent],
            places[arrow.parent].y + places[arrow.parent].height,
        )
        for arrow in scene.arrows
    }
    if scene.note:
        height += NOTE_HEIGHT
        width = max(width, text_width(scene.note, 11) + 2 * MARGIN)
    return Layout(max(width, 120.0), height, places, wires)


def _layers(parents: dict[str, list[str]]) -> dict[str, int]:
    """Each job's longest way from a root. A circle, which no flow has, ends at the number of jobs."""
    layers = dict.fromkeys(parents, 0)
    for _ in parents:
        settled = True
        for id, above in parents.items():
            layer = max((layers[parent] + 1 for parent in above), default=0)
            if layer > layers[id]:
                layers[id], settled = layer, False
        if settled:
            break
    return layers


def _main_parent(id: str, above: list[str], layers: dict[str, int]) -> str | None:
    return next((parent for parent in above if layers[parent] == layers[id] - 1), None)


def _size(box: Box) -> tuple[float, float]:
    texts = [text_width(box.name, 13) * 1.07, *(text_width(note, 11) for note in box.notes)]
    high = ABOVE_TEXT + LINE * (1 + len(box.notes)) + (BAR + 3 if box.folded and box.shares else 0)
    return max(texts) + BESIDE_TEXT, high


def _centres(
    layers: dict[str, int], main: dict[str, str | None], sizes: dict[str, tuple[float, float]]
) -> tuple[dict[str, float], float]:
    """The middle of each box, and the width of all: strips from the leaves up, places from the roots down."""
    families: dict[str | None, list[str]] = {}
    for id, parent in main.items():
        families.setdefault(parent, []).append(id)
    strips: dict[str, float] = {}
    for id in sorted(layers, key=lambda id: -layers[id]):
        strips[id] = max(sizes[id][0] + PILE, _side_by_side(families.get(id, []), strips))
    centres: dict[str, float] = {}
    starts = dict.fromkeys(layers, 0.0)
    for parent in [None, *sorted(layers, key=lambda id: layers[id])]:
        family = families.get(parent, [])
        if parent is None:
            start = MARGIN
        else:
            start = starts[parent] + (strips[parent] - _side_by_side(family, strips)) / 2
        for id in family:
            starts[id] = start
            centres[id] = start + strips[id] / 2
            start += strips[id] + GAP
    return centres, _side_by_side(families.get(None, []), strips) + 2 * MARGIN


def _side_by_side(family: list[str], strips: dict[str, float]) -> float:
    return sum(strips[id] for id in family) + GAP * max(len(family) - 1, 0)


def _tops(layers: dict[str, int], sizes: dict[str, tuple[float, float]]) -> tuple[dict[int, float], float]:
    tops: dict[int, float] = {}
    y = MARGIN + PILE
    for layer in sorted(set(layers.values())):
        tops[layer] = y
        y += max(sizes[id][1] for id, its in layers.items() if its == layer) + FALL
    return tops, (y - FALL + MARGIN if tops else MARGIN)


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a Helvetica-like font; a little too wide rather than too narrow.

    >>> text_width("iii", 10) < text_width("www", 10)
    True
    """
    return size * sum(_sign_width(sign) for sign in text)


def _sign_width(sign: str) -> float:
    if unicodedata.east_asian_width(sign) in "WF":
        return 1.0
    if unicodedata.combining(sign):
        return 0.0
    if sign in "iljI.,:;|'`!()[]{}/ tfr\\-":
        return 0.34
    if sign in "mwMW@%…":
        return 0.95
    return 0.72 if sign.isupper() or not sign.isascii() else 0.57
