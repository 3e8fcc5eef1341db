"""Paints a scene as SVG, from a layout that an engine or the built-in one made.

Whoever lays it out, the painter is the same: a light card (it stands on light and dark pages alike), one
rounded box a job, a pile for folded ones, a badge a state whose *shape* says the state too. All text goes in
as text of XML elements, never as markup.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field

from flownb.views.scene import Arrow, Box, Scene
from flownb.views.words import UNKNOWN
from flownb.wire.records import (
    ACTIVE,
    COMPLETED,
    DELAYED,
    FAILED,
    PRIORITIZED,
    WAITING,
    WAITING_CHILDREN,
)


@dataclass(frozen=True, slots=True)
class Colours:
    """One state's colours."""

    line: str  #: border, badge, bar
    fill: str  #: the box


PALETTE: Mapping[str, Colours] = {
    WAITING: Colours("#7a808a", "#f3f4f6"),
    ACTIVE: Colours("#0072b2", "#e3f0f9"),
    DELAYED: Colours("#a4568a", "#f8ecf4"),
    PRIORITIZED: Colours("#b97a00", "#fdf3dc"),
    WAITING_CHILDREN: Colours("#4a93c4", "#f1f6fa"),
    COMPLETED: Colours("#00805d", "#e2f4ed"),
    FAILED: Colours("#c44e00", "#fdebe0"),
    UNKNOWN: Colours("#7a808a", "#ffffff"),
}
"""After Okabe and Ito, darkened where text must read on white: colour-blind eyes tell them apart."""

INK, MUTED, EDGE, CARD, FRAME = "#1f2430", "#5b6270", "#878d98", "#fcfcfb", "#e2e3e0"
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
NAME_SIZE, NOTE_SIZE = 13, 11
LINE, BAR = 16.0, 5.0
LEAST_SCALE = 0.6  #: below that a wide picture scrolls instead of shrinking on

NAMESPACE = "http://www.w3.org/2000/svg"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box stands: its corner and size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Wire:
    """How an arrow runs: SVG path data and the points of its head."""

    path: str
    head: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of a scene goes."""

    width: float
    height: float
    places: Mapping[str, Place]
    wires: Mapping[tuple[str, str], Wire]  #: by (child, parent)
    shift: tuple[float, float] = field(default=(0.0, 0.0))

    def holds(self, scene: Scene) -> bool:
        """Say whether everything of a scene has its place: a picture shows all of its flow."""
        return all(box.id in self.places for box in scene.boxes) and all(
            (arrow.child, arrow.parent) in self.wires for arrow in scene.arrows
        )


def el(tag: str, *inside: ET.Element | str, **attributes: object) -> ET.Element:
    """One element; ``class_`` is ``class`` and ``stroke_width`` is ``stroke-width``.

    >>> ET.tostring(el("text", "a < b", x=1.50))
    b'<text x="1.5">a &lt; b</text>'
    """
    element = ET.Element(tag, {_attribute(name): _number(value) for name, value in attributes.items()})
    for part in inside:
        if isinstance(part, str):
            element.text = (element.text or "") + part
        else:
            element.append(part)
    return element


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-") if name != "viewBox" else name


def _number(value: object) -> str:
    """Numbers in at most two decimals: short, and the same text on every machine."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def to_text(svg: ET.Element) -> str:
    """The picture as text, without an XML prolog: fit for a page and for a file alike."""
    return ET.tostring(svg, encoding="unicode")


def card(width: float, height: float, label: str, *inside: ET.Element, scroll: bool = False) -> ET.Element:
    """A picture's frame: as wide as its page allows, never wider than it is by nature.

    With `scroll` it does not shrink below a readable size; its page must then let it scroll.
    """
    style = "max-width:100%;height:auto"
    if scroll:
        style += f";min-width:{min(width, max(720.0, width * LEAST_SCALE)):.0f}px" if width > 720 else ""
    return el(
        "svg",
        el("title", label),
        el(
            "rect",
            class_="fn-card",
            x=0.5,
            y=0.5,
            width=width - 1,
            height=height - 1,
            rx=8,
            fill=CARD,
            stroke=FRAME,
        ),
        *inside,
        xmlns=NAMESPACE,
        class_="fn-picture",
        role="img",
        width=width,
        height=height,
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        style=style,
        font_family=FONT,
    )


def paint(scene: Scene, layout: Layout, *, scroll: bool = False) -> str:
    """The picture of `scene`, its boxes and arrows placed by `layout`."""
    prefix = "fn-" + hashlib.sha256(repr(scene).encode()).hexdigest()[:8]
    wires = [_edge(arrow, layout) for arrow in scene.arrows]
    boxes = [_node(box, layout.places[box.id], prefix) for box in scene.boxes]
    x, y = layout.shift
    moved = el("g", *wires, *boxes, transform=f"translate({_number(x)} {_number(y)})")
    inside = [moved, _note(scene.note, layout)] if scene.note else [moved]
    return to_text(card(layout.width, layout.height, f"Flow {scene.name}", *inside, scroll=scroll))


def _note(note: str, layout: Layout) -> ET.Element:
    return el(
        "text",
        note,
        class_="fn-note",
        x=layout.width / 2,
        y=layout.height - 14,
        text_anchor="middle",
        font_size=NOTE_SIZE,
        fill=MUTED,
    )


def _edge(arrow: Arrow, layout: Layout) -> ET.Element:
    wire = layout.wires[arrow.child, arrow.parent]
    line = el("path", d=wire.path, fill="none", stroke=EDGE, stroke_width=1.3)
    if arrow.optional:
        line.set("stroke-dasharray", "5 3")
    head = el("polygon", points=wire.head, fill=EDGE, stroke="none")
    kind = "fn-edge fn-optional" if arrow.optional else "fn-edge"
    return el("g", line, head, class_=kind, data_edge=f"{arrow.child} {arrow.parent}")


def _node(box: Box, place: Place, prefix: str) -> ET.Element:
    colours = PALETTE[box.tone]
    lines = len(box.notes)
    top = place.y + (place.height - LINE * (1 + lines) - (BAR + 3 if _has_bar(box) else 0)) / 2
    left = place.x + 34
    text = [_line(box.name, left, top + 12.5, "fn-name", NAME_SIZE, INK)]
    text += [
        _line(note, left, top + 12 + LINE * (number + 1), "fn-note", NOTE_SIZE, MUTED)
        for number, note in enumerate(box.notes)
    ]
    return el(
        "g",
        el("title", box.title),
        *_shape(box, place, colours),
        badge(box.tone, place.x + 18, top + LINE / 2 + (4 if lines else 0)),
        *text,
        *_bar(box, place),
        class_=f"fn-node fn-{box.tone}",
        id=f"{prefix}-{box.id}",
        data_node=box.id,
    )


def _line(text: str, x: float, y: float, kind: str, size: int, ink: str) -> ET.Element:
    line = el("text", text, class_=kind, x=x, y=y, font_size=size, fill=ink)
    if kind == "fn-name":
        line.set("font-weight", "600")
    return line


def _shape(box: Box, place: Place, colours: Colours) -> list[ET.Element]:
    """The box; for folded jobs a pile of three, which reads as "many" without a word."""
    offsets = (6.0, 3.0, 0.0) if box.folded else (0.0,)
    return [
        el(
            "rect",
            class_="fn-box",
            x=place.x + offset,
            y=place.y - offset,
            width=place.width,
            height=place.height,
            rx=7,
            fill=colours.fill,
            stroke=colours.line,
            stroke_width=2.0 if box.tone == FAILED and not offset else 1.2,
        )
        for offset in offsets
    ]


def _has_bar(box: Box) -> bool:
    return box.folded and bool(box.shares)


def _bar(box: Box, place: Place) -> list[ET.Element]:
    """How the jobs of a folded node are shared out over the states, as one thin stacked bar."""
    if not _has_bar(box):
        return []
    total = sum(count for _, count in box.shares)
    x, width = place.x + 10, place.width - 20
    parts = []
    for state, count in box.shares:
        # A single failed job of thousands must still be seen.
        share = max(width * count / total, 2.0)
        colour = PALETTE.get(state, PALETTE[UNKNOWN]).line
        parts.append((share, f"fn-part fn-{state if state in PALETTE else UNKNOWN}", colour))
    scale = width / sum(share for share, _, _ in parts)
    bars = []
    for share, kind, colour in parts:
        wide = share * scale
        bars.append(
            el(
                "rect",
                class_=kind,
                x=x,
                y=place.y + place.height - BAR - 5,
                width=wide,
                height=BAR,
                fill=colour,
            )
        )
        x += wide
    return [el("g", *bars, class_="fn-bar")]


# -- badges: drawn, not written, so they look alike with every font ------------------------------


def badge(state: str, x: float, y: float) -> ET.Element:
    """The round sign of a state: its shape says it without colour."""
    colours = PALETTE.get(state, PALETTE[UNKNOWN])
    solid = state in (COMPLETED, FAILED, ACTIVE)
    disc = el(
        "circle",
        cx=0,
        cy=0,
        r=8,
        fill=colours.line if solid else "#ffffff",
        stroke=colours.line,
        stroke_width=1.6,
        class_="fn-disc fn-solid" if solid else "fn-disc",
    )
    if state == UNKNOWN:
        disc.set("stroke-dasharray", "2 2")
    ink = "#ffffff" if solid else colours.line
    signs = [
        el(
            "path",
            class_="fn-sign",
            d=path,
            fill=ink if filled else "none",
            stroke=ink,
            stroke_width=1.8,
            stroke_linecap="round",
            stroke_linejoin="round",
        )
        for path, filled in SIGN_PATHS.get(state, ())
    ]
    return el("g", disc, *signs, transform=f"translate({_number(x)} {_number(y)})", class_="fn-badge")


SIGN_PATHS: Mapping[str, tuple[tuple[str, bool], ...]] = {
    COMPLETED: (("M-3.6 0.2 L-1 2.9 L3.8 -2.7", False),),
    FAILED: (("M-2.8 -2.8 L2.8 2.8 M2.8 -2.8 L-2.8 2.8", False),),
    ACTIVE: (("M-1.8 -3.2 L3.2 0 L-1.8 3.2 Z", True),),
    DELAYED: (("M0 -4.2 L0 0 L3 1.8", False),),
    PRIORITIZED: (("M0 3.4 L0 -3.2 M-2.8 -0.6 L0 -3.4 L2.8 -0.6", False),),
    WAITING_CHILDREN: (("M-3.4 0 L-3.4 0 M0 0 L0 0 M3.4 0 L3.4 0", False),),
}


# -- an engine's picture --------------------------------------------------------------------------

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MOVE = re.compile(r"translate\(\s*(-?[\d.]+)[ ,]+(-?[\d.]+)\s*\)")
SHAPES = frozenset({"path", "polygon", "polyline", "ellipse", "circle", "rect"})
KEPT = SHAPES | {"svg", "g", "title", "text"}


def read_layout(picture: str, *, upright: bool = True) -> Layout:
    """Where an engine put things: boxes and arrows found by the titles it writes (``n1``, ``n1->n0``).

    Of an `upright` picture the arrows from one layer to the next are drawn anew, so that all look alike.
    """
    svg = _local(ET.fromstring(picture))
    _, _, width, height = _numbers(svg.get("viewBox", ""))
    graph = next((group for group in svg.iter("g") if group.get("class") == "graph"), svg)
    moved = _MOVE.search(graph.get("transform", ""))
    places: dict[str, Place] = {}
    wires: dict[tuple[str, str], Wire] = {}
    titled = [(group.findtext("title") or "", group) for group in graph.iter("g")]
    for title, group in titled:
        if _kind(group) == "node":
            places[title] = _bounds(group)
    if not upright:
        places = _aligned(places)
    for title, group in titled:
        if _kind(group) == "edge":
            child, _, parent = title.partition("->")
            short = _short_wire(places, child, parent) if upright else _level_wire(places, child, parent)
            wires[child, parent] = short or _wire(group)
    shift = (float(moved.group(1)), float(moved.group(2))) if moved else (0.0, 0.0)
    return Layout(width, height, places, wires, shift)


def _kind(group: ET.Element) -> str:
    return group.get("class", "").split(" ")[0]


def _local(svg: ET.Element) -> ET.Element:
    """Drop the name spaces from the tags: they would come back as ``ns0:`` prefixes."""
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]
    return svg


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]


def _bounds(group: ET.Element) -> Place:
    numbers: list[float] = []
    for shape in group.iter():
        if shape.tag in ("path", "polygon"):
            numbers += _numbers(shape.get("d") or shape.get("points") or "")
    xs, ys = numbers[0::2], numbers[1::2]
    return Place(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def _short_wire(places: Mapping[str, Place], child: str, parent: str) -> Wire | None:
    """The upright curve from one layer to the next; None where other boxes stand between.

    There the engine's own way around them is kept.
    """
    low, high = places[child], places[parent]
    bottom = high.y + high.height
    if any(bottom < box.y + box.height / 2 < low.y for box in places.values()) or bottom >= low.y:
        return None
    return curve(low.x + low.width / 2, low.y, high.x + high.width / 2, bottom)


def _aligned(places: Mapping[str, Place]) -> dict[str, Place]:
    """The boxes of each layer of a picture on its side, left edge below left edge."""
    layers: dict[float, float] = {}
    for box in places.values():
        middle = round(box.x + box.width / 2)
        layers[middle] = min(layers.get(middle, box.x), box.x)
    return {
        name: Place(layers[round(box.x + box.width / 2)], box.y, box.width, box.height)
        for name, box in places.items()
    }


def _level_wire(places: Mapping[str, Place], child: str, parent: str) -> Wire:
    """The curve from a child to its parent on the left."""
    low, high = places[child], places[parent]
    end, y0, y1 = high.x + high.width, low.y + low.height / 2, high.y + high.height / 2
    tip = end + 8
    bend = max((low.x - tip) / 2, 10.0)
    numbers = ((low.x, y0), (low.x - bend, y0), (tip + bend, y1), (tip, y1))
    start, *rest = (",".join((_number(float(x)), _number(float(y)))) for x, y in numbers)
    head = (
        f"{_number(tip)},{_number(y1 - 3.5)} {_number(end)},{_number(y1)} {_number(tip)},{_number(y1 + 3.5)}"
    )
    return Wire(path=f"M{start}C{' '.join(rest)}", head=head)


def _wire(group: ET.Element) -> Wire:
    path, head = group.find(".//path"), group.find(".//polygon")
    return Wire(
        path.get("d", "") if path is not None else "", head.get("points", "") if head is not None else ""
    )


def cleaned(picture: str, label: str) -> str:
    """An engine's own picture, kept to plain shapes and text: for a drawing that somebody added to."""
    svg = _local(ET.fromstring(picture))
    _, _, width, height = _numbers(svg.get("viewBox", ""))
    prefix = "fn-" + hashlib.sha256(picture.encode()).hexdigest()[:8]
    for element in svg.iter():
        for child in list(element):
            if child.tag == "a":  # tooltips and links: keep what is inside, not the link
                place = list(element).index(child)
                element.remove(child)
                for inner in reversed(child):
                    element.insert(place, inner)
            elif child.tag not in KEPT:
                element.remove(child)
        if "id" in element.attrib:
            element.set("id", f"{prefix}-{element.get('id')}")
        for name in [name for name in element.attrib if "}" in name or name.startswith("on")]:
            del element.attrib[name]
    return to_text(card(width, height, label, *[child for child in svg if child.tag == "g"]))


def curve(x0: float, y0: float, x1: float, y1: float) -> Wire:
    """An arrow from (x0, y0) up to (x1, y1), leaving and arriving upright."""
    tip = 8.0
    bend = max((y0 - y1 - tip) / 2, 10.0)
    end = y1 + tip
    numbers = ((x0, y0), (x0, y0 - bend), (x1, end + bend), (x1, end))
    start, *rest = (",".join((_number(float(x)), _number(float(y)))) for x, y in numbers)
    head = ((x1 - 3.5, end), (x1, y1), (x1 + 3.5, end))
    return Wire(
        path=f"M{start}C{' '.join(rest)}",
        head=" ".join(f"{_number(float(x))},{_number(float(y))}" for x, y in head),
    )
