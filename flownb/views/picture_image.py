"""A picture as an ``<img>``: it stays whole where a page that does not trust a notebook takes SVG apart.

Such pages (JupyterLab before one trusts a notebook) leave an SVG's words behind without its boxes. An image is either
there or stands as its `alt` text. It is light or dark as the page around it says by ``color-scheme``.

GitHub's rules take away the address of such an image, and the attribute ``hidden``: there the words below it are seen.
(JupyterLab keeps the attribute where it has a value.) No attribute gives the image a size, as that would be the size of
an empty frame there.
"""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET

from flownb.views.markup import Markup, fill
from flownb.views.palette import style_colours


def image(svg: str, words: str) -> Markup:
    """The SVG of `svg.card` as an image; `words` are what it shows, its name in the first line."""
    style = fill("picture.css", tones=fill("tones.css"), **style_colours())
    name, _, tree = words.partition("\n")
    opening, _, inside = svg.partition(">")
    opening = opening.replace('class="fn-picture"', 'class="fn-picture fn-flow"', 1)
    whole = f"{opening}><style>{style}</style>{inside}"
    root = ET.fromstring(svg).attrib
    return fill(
        "picture.html",
        name=name,
        words=words,
        tree=tree,
        size=root["style"],
        source=f"data:image/svg+xml;base64,{base64.b64encode(whole.encode()).decode('ascii')}",
    )
