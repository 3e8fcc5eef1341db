"""Reads where a Graphviz engine put boxes and arrows, from the JSON that it writes (``-Tjson``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flownb.views.geometry import Geometry, Point, Rect, Route, cubic, points, route_left, route_up

POINTS_PER_INCH = 72


def read_geometry(written: str, *, upright: bool = True) -> Geometry:
    """Where an engine put the boxes and arrows of a flow.

    Of an `upright` picture the arrows from one layer to the next are drawn anew, so that all look alike; of
    one on its side, all arrows are, and the boxes of a layer are moved to one left edge.
    """
    graph = json.loads(written)
    _, _, width, height = (float(side) for side in graph["bb"].split(","))
    pad = float(graph["pad"]) * POINTS_PER_INCH
    names = {drawn["_gvid"]: drawn["name"] for drawn in graph.get("objects", ())}
    rects = {drawn["name"]: _bounds(drawn["_draw_"]) for drawn in graph.get("objects", ())}
    if not upright:
        rects = _aligned(rects)
    routes = {}
    for edge in graph.get("edges", ()):
        child, parent = names[edge["tail"]], names[edge["head"]]
        low, high = rects[child], rects[parent]
        if not upright:
            routes[child, parent] = route_left((low.x, low.middle[1]), (high.right, high.middle[1]))
        elif _is_free_between(low, high, rects):
            routes[child, parent] = route_up((low.middle[0], low.y), (high.middle[0], high.bottom))
        else:
            routes[child, parent] = _engines_own(edge)
    size = float(round(width + 2 * pad)), float(round(height + 2 * pad))
    return Geometry(*size, rects, routes, shift=(round(pad, 2), round(height + pad, 2)))


def _bounds(drawn: list[dict[str, Any]]) -> Rect:
    corners = [corner for step in drawn for corner in _downwards(step.get("points", ()))]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return Rect(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def _downwards(corners: list[list[float]]) -> tuple[Point, ...]:
    """Points of a picture in which y grows downwards, as SVG has it and Graphviz has not."""
    return tuple((round(x, 2), round(-y, 2)) for x, y in corners)


def _is_free_between(low: Rect, high: Rect, rects: Mapping[str, Rect]) -> bool:
    """Say whether no other box is between a child and its parent above."""
    return high.bottom < low.y and not any(high.bottom < rect.middle[1] < low.y for rect in rects.values())


def _engines_own(edge: Mapping[str, Any]) -> Route:
    """The engine's way around the boxes between."""
    lines = [step["points"] for step in edge.get("_draw_", ()) if step["op"] in "bB"]
    heads = [step["points"] for step in edge.get("_hdraw_", ()) if step["op"] in "pP"]
    return Route(cubic(_downwards(lines[0])) if lines else "", points(_downwards(heads[0])) if heads else "")


def _aligned(rects: Mapping[str, Rect]) -> dict[str, Rect]:
    """The boxes of each layer of a picture on its side, left edge below left edge."""
    edges: dict[int, float] = {}
    for rect in rects.values():
        layer = round(rect.middle[0])
        edges[layer] = min(edges.get(layer, rect.x), rect.x)
    return {
        name: Rect(edges[round(rect.middle[0])], rect.y, rect.width, rect.height)
        for name, rect in rects.items()
    }
