"""Paints a scene as SVG: one rounded box a job, a pile for many, a badge whose symbol says the state too.

The painter is the same whoever made the geometry, a Graphviz engine or the built-in layout.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET

from flownb.views.box_parts import BADGE_RADIUS, CORNER_RADIUS, LEAST_SHARE, BoxParts, parts_of
from flownb.views.geometry import Geometry, Point, Rect, Route, number
from flownb.views.palette import BADGE_PATHS, EDGE, INK, MUTED, NAME_SIZE, NOTE_SIZE, PALETTE, SOLID_BADGES
from flownb.views.scene import Arrow, Box, Scene
from flownb.views.svg import card, el, to_text
from flownb.views.words import UNKNOWN
from flownb.wire.records import FAILED

_FAILED_PART = re.compile(r"(\d[\d,]* failed(?: \([\d.e-]+ %\))?)")


def paint(scene: Scene, geometry: Geometry, *, scroll: bool = False) -> str:
    """The picture of `scene`, its boxes and arrows where `geometry` says."""
    prefix = "fn-" + hashlib.sha256(repr(scene).encode()).hexdigest()[:8]
    arrows = [_arrow(arrow, geometry.routes[arrow.child, arrow.parent]) for arrow in scene.arrows]
    boxes = [_box(box, geometry.rects[box.id], prefix) for box in scene.boxes]
    inside = [el("g", *arrows, *boxes, transform=_translate(*geometry.shift))]
    if scene.note:
        inside.append(_note(scene.note, geometry))
    return to_text(card(geometry.width, geometry.height, f"Flow {scene.name}", *inside, scroll=scroll))


def _translate(x: float, y: float) -> str:
    return f"translate({number(x)} {number(y)})"


def _note(note: str, geometry: Geometry) -> ET.Element:
    x, y = geometry.width / 2, geometry.height - 14
    return el("text", note, class_="fn-note", x=x, y=y, text_anchor="middle", font_size=NOTE_SIZE, fill=MUTED)


def _arrow(arrow: Arrow, route: Route) -> ET.Element:
    line = el("path", d=route.path, fill="none", stroke=EDGE, stroke_width=1.3)
    if arrow.optional:
        line.set("stroke-dasharray", "5 3")
    head = el("polygon", points=route.head, fill=EDGE, stroke="none")
    kind = "fn-edge fn-optional" if arrow.optional else "fn-edge"
    return el("g", line, head, class_=kind, data_edge=f"{arrow.child} {arrow.parent}")


def _box(box: Box, rect: Rect, prefix: str) -> ET.Element:
    parts = parts_of(box, rect.width, rect.height)
    return el(
        "g",
        el("title", box.title),
        *_outlines(box, rect, parts),
        badge(box.badge, rect.x + parts.badge[0], rect.y + parts.badge[1]),
        *_texts(box, rect, parts),
        *_bar(box, rect, parts.bar),
        class_=f"fn-node fn-{box.tone}",
        id=f"{prefix}-{box.id}",
        data_node=box.id,
    )


def _outlines(box: Box, rect: Rect, parts: BoxParts) -> list[ET.Element]:
    colours = PALETTE[box.tone]
    return [
        el(
            "rect",
            class_="fn-box",
            x=rect.x + offset,
            y=rect.y - offset,
            width=rect.width,
            height=rect.height,
            rx=CORNER_RADIUS,
            fill=colours.fill,
            stroke=colours.line,
            stroke_width=2.0 if box.tone == FAILED and not offset else 1.2,
        )
        for offset in parts.outlines
    ]


def _texts(box: Box, rect: Rect, parts: BoxParts) -> list[ET.Element]:
    def line(text: str, kind: str, at: Point, **look: object) -> ET.Element:
        return el("text", text, class_=kind, x=rect.x + at[0], y=rect.y + at[1], **look)

    name = line(box.name, "fn-name", parts.name, font_size=NAME_SIZE, fill=INK, font_weight="600")
    notes = [
        line("", "fn-note", at, font_size=NOTE_SIZE, fill=MUTED)
        for note, at in zip(box.notes, parts.notes, strict=True)
    ]
    for note, text in zip(notes, box.notes, strict=True):
        _write(note, text if box.folded else [text])
    return [name, *notes]


def _write(note: ET.Element, text: str | list[str]) -> None:
    """A note, in which what failed of many stands out."""
    first, *rest = _FAILED_PART.split(text) if isinstance(text, str) else text
    note.text = first
    for part, after in zip(rest[::2], rest[1::2], strict=True):
        failed = el("tspan", part, class_="fn-bad", fill=PALETTE[FAILED].line, font_weight="600")
        failed.tail = after
        note.append(failed)


def _bar(box: Box, rect: Rect, bar: Rect | None) -> list[ET.Element]:
    """How the jobs of a folded box are shared out over the states, as one thin stacked bar."""
    if bar is None:
        return []
    total = sum(count for _, count in box.shares)
    widths = [max(bar.width * count / total, LEAST_SHARE) for _, count in box.shares]
    scale = bar.width / sum(widths)
    x, y = rect.x + bar.x, rect.y + bar.y
    shares = []
    for (state, _), width in zip(box.shares, widths, strict=True):
        if not state:  # yet to come
            continue
        tone = state if state in PALETTE else UNKNOWN
        look = {"height": bar.height, "fill": PALETTE[tone].line}
        shares.append(el("rect", class_=f"fn-part fn-{tone}", x=x, y=y, width=width * scale, **look))
        x += width * scale
    return [el("g", *shares, class_="fn-bar")]


def badge(state: str, x: float, y: float) -> ET.Element:
    """The round badge of a state: its shape says the state without colour."""
    line = PALETTE.get(state, PALETTE[UNKNOWN]).line
    solid = state in SOLID_BADGES
    disc = el(
        "circle",
        cx=0,
        cy=0,
        r=BADGE_RADIUS,
        fill=line if solid else "#ffffff",
        stroke=line,
        stroke_width=1.6,
        class_="fn-disc fn-solid" if solid else "fn-disc",
    )
    if state == UNKNOWN:
        disc.set("stroke-dasharray", "2 2")
    ink = "#ffffff" if solid else line
    stroke = {"stroke": ink, "stroke_width": 1.8, "stroke_linecap": "round", "stroke_linejoin": "round"}
    symbol = [
        el("path", class_="fn-sign", d=path, fill=ink if filled else "none", **stroke)
        for path, filled in BADGE_PATHS.get(state, ())
    ]
    return el(
        "g",
        disc,
        *symbol,
        transform=_translate(x, y),
        class_=f"fn-badge fn-{state if state in PALETTE else UNKNOWN}",
    )
