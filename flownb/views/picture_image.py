"""A picture as an ``<img>``: it stays whole where a page that does not trust a notebook takes SVG apart.

Such pages (JupyterLab before one trusts a notebook, GitHub) leave an SVG's words behind without its boxes. An image
is either there or stands as its `alt` text. It is light or dark as the page around it says by ``color-scheme``.
"""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

from flownb.views.markup import Markup, fill


def image(svg: str, words: str) -> Markup:
    """The SVG of `svg.card` as an image; `words` are what it shows."""
    style = fill("picture.css", light=fill("light.css"), dark=fill("dark.css"), tones=fill("tones.css"))
    opening, _, inside = svg.partition(">")
    opening = opening.replace('class="fn-picture"', 'class="fn-picture fn-flow"', 1)
    whole = f"{opening}><style>{style}</style>{inside}"
    root = ET.fromstring(svg).attrib
    return fill(
        "picture.html",
        words=words,
        width=round(float(root["width"])),
        height=round(float(root["height"])),
        size=root["style"],
        source=f"data:image/svg+xml;base64,{base64.b64encode(whole.encode()).decode('ascii')}",
    )
