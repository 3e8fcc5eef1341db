"""An SVG as a PNG, by resvg: the same picture, with the fonts of this machine; needs no Graphviz, Cairo or browser."""

from __future__ import annotations

SCALE = 2.0  #: pixels of the PNG to one of the SVG: sharp on a screen of today, and in print at half the size


def png_of(svg: str) -> bytes:
    """The picture of an SVG text.

    >>> png_of('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')[1:4]
    b'PNG'
    """
    import resvg_py  # here, as few ever need it

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=SCALE, sans_serif_family="DejaVu Sans"))
