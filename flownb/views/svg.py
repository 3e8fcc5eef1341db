"""SVG elements, and the card that every picture is drawn on. Text goes in as text, never as markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flownb.views.geometry import number
from flownb.views.palette import CARD, FONT, FRAME

NAMESPACE = "http://www.w3.org/2000/svg"
LEAST_SCALE = 1.0  #: a wide picture scrolls instead of shrinking: its smallest words have 11 pixels
READABLE_PIXELS = 300.0  #: a picture up to this width fits on any page


def el(tag: str, *inside: ET.Element | str, **attributes: object) -> ET.Element:
    """One element; ``class_`` is ``class`` and ``stroke_width`` is ``stroke-width``.

    >>> ET.tostring(el("text", "a < b", x=1.50))
    b'<text x="1.5">a &lt; b</text>'
    """
    element = ET.Element(tag, {_attribute(name): number(value) for name, value in attributes.items()})
    for part in inside:
        if isinstance(part, str):
            element.text = (element.text or "") + part
        else:
            element.append(part)
    return element


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-") if name != "viewBox" else name


def to_text(svg: ET.Element) -> str:
    """The picture as text, without an XML prolog: fit for a page and for a file alike."""
    return ET.tostring(svg, encoding="unicode")


def card(width: float, height: float, label: str, *inside: ET.Element, scroll: bool = False) -> ET.Element:
    """A light card for pages light and dark: as wide as its page allows, never wider than it is by nature.

    With `scroll` it does not shrink below a readable size; its page must then let it scroll.
    """
    style = "max-width:100%;height:auto"
    if scroll and width > READABLE_PIXELS:
        style += f";min-width:{max(READABLE_PIXELS, width * LEAST_SCALE):.0f}px"
    paper = {"x": 0.5, "y": 0.5, "width": width - 1, "height": height - 1, "rx": 8, "fill": CARD}
    return el(
        "svg",
        el("title", label),
        el("rect", class_="fn-card", **paper, stroke=FRAME),
        *inside,
        xmlns=NAMESPACE,
        class_="fn-picture",
        role="img",
        width=width,
        height=height,
        viewBox=f"0 0 {number(width)} {number(height)}",
        style=style,
        font_family=FONT,
    )
