"""Where the boxes and arrows of a picture go, in pixels from its top left corner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flownb.views.scene import Scene

HEAD_LENGTH, HEAD_HALF_WIDTH = 8.0, 3.5  #: of an arrow's head
LEAST_BEND = 10.0  #: how far a curve runs straight at its ends, at least


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle by its top left corner and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Route:
    """How an arrow runs: SVG path data, and the points of its head."""

    path: str
    head: str


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size of a picture, and where everything of its scene goes."""

    width: float
    height: float
    rects: Mapping[str, Rect]  #: by box
    routes: Mapping[tuple[str, str], Route]  #: by (child, parent)
    shift: tuple[float, float] = (0.0, 0.0)  #: from the corner of the picture to the origin of all the above

    def covers(self, scene: Scene) -> bool:
        """Say whether everything of a scene has its place: a picture shows all of its flow."""
        return all(box.id in self.rects for box in scene.boxes) and all(
            (arrow.child, arrow.parent) in self.routes for arrow in scene.arrows
        )


Point = tuple[float, float]


def route_up(start: Point, end: Point) -> Route:
    """An arrow from `start` up to `end`, leaving and arriving upright."""
    (x0, y0), (x1, y1) = start, end
    tip = y1 + HEAD_LENGTH
    bend = max((y0 - tip) / 2, LEAST_BEND)
    curve = ((x0, y0), (x0, y0 - bend), (x1, tip + bend), (x1, tip))
    return Route(cubic(curve), points(((x1 - HEAD_HALF_WIDTH, tip), (x1, y1), (x1 + HEAD_HALF_WIDTH, tip))))


def route_left(start: Point, end: Point) -> Route:
    """An arrow from `start` to `end` on its left, leaving and arriving level."""
    (x0, y0), (x1, y1) = start, end
    tip = x1 + HEAD_LENGTH
    bend = max((x0 - tip) / 2, LEAST_BEND)
    curve = ((x0, y0), (x0 - bend, y0), (tip + bend, y1), (tip, y1))
    return Route(cubic(curve), points(((tip, y1 - HEAD_HALF_WIDTH), (x1, y1), (tip, y1 + HEAD_HALF_WIDTH))))


def cubic(curve: tuple[Point, ...]) -> str:
    """The path data of a cubic curve: its start, then two control points and an end for each piece."""
    start, *rest = points(curve).split(" ")
    return f"M{start}C{' '.join(rest)}"


def points(corners: tuple[Point, ...]) -> str:
    """Points as SVG writes them: ``1,2 3.5,4``."""
    return " ".join(f"{number(float(x))},{number(float(y))}" for x, y in corners)


def number(value: object) -> str:
    """A number in at most two decimals: short, and the same text on every machine.

    >>> number(1.50), number(7)
    ('1.5', '7')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
