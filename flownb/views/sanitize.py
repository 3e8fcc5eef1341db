"""Keeps a Graphviz engine's own picture to plain shapes and text: for a drawing that somebody added to."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET

from flownb.views.svg import card, to_text

KEPT = frozenset({"svg", "g", "title", "text", "path", "polygon", "polyline", "ellipse", "circle", "rect"})
_LINK = "a"


def sanitized(picture: str, label: str) -> str:
    """The engine's picture on a card, without links, scripts and foreign attributes."""
    svg = ET.fromstring(picture)
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]  # its name space would come back as an `ns0:` prefix
    *_, width, height = re.split(r"[ ,]+", svg.attrib["viewBox"].strip())
    prefix = "fn-" + hashlib.sha256(picture.encode()).hexdigest()[:8]
    for element in svg.iter():
        element[:] = [part for child in element for part in _kept(child)]
        element.attrib = _kept_attributes(element, prefix)
    return to_text(card(float(width), float(height), label, *[child for child in svg if child.tag == "g"]))


def _kept(element: ET.Element) -> list[ET.Element]:
    if element.tag == _LINK:  # what is inside stays
        return [part for child in element for part in _kept(child)]
    return [element] if element.tag in KEPT else []


def _kept_attributes(element: ET.Element, prefix: str) -> dict[str, str]:
    kept = {name: v for name, v in element.attrib.items() if "}" not in name and not name.startswith("on")}
    if "id" in kept:
        kept["id"] = f"{prefix}-{kept['id']}"
    return kept
