"""One line: the layout of a tree that is nothing but a root and what is right below it, the root to the left."""

from __future__ import annotations

from flownb.views.box_parts import size_of
from flownb.views.geometry import Geometry, Rect, route_left
from flownb.views.scene import Scene

MARGIN, GAP = 12.0, 44.0
PILE = 6.0  #: how far the pile of a folded box sticks out
MOST_BOXES = 2


def fits(scene: Scene) -> bool:
    """Say whether a scene can be one line."""
    return 0 < len(scene.boxes) <= MOST_BOXES and not scene.note


def geometry_of(scene: Scene) -> Geometry:
    """Where the boxes and arrows of a scene that fits go.

    >>> geometry_of(Scene(name="none", boxes=(), arrows=())).rects
    {}
    """
    sizes = {box.id: size_of(box) for box in scene.boxes}
    height = max((high for _, high in sizes.values()), default=0.0)
    rects, x = {}, MARGIN
    for id, (wide, high) in sizes.items():
        rects[id] = Rect(x, MARGIN + (height - high) / 2, wide, high)
        x += wide + GAP
    routes = {
        (arrow.child, arrow.parent): route_left(
            (rects[arrow.child].x, rects[arrow.child].middle[1]),
            (rects[arrow.parent].right + PILE, rects[arrow.parent].middle[1]),
        )
        for arrow in scene.arrows
    }
    return Geometry(x - GAP + MARGIN + PILE, height + 2 * MARGIN, rects, routes)
