"""Compares pictures of pages as a person would: letters drawn a little otherwise are no difference, a part that is gone is one.

Machines draw letters otherwise, so pixels are not compared one by one. A picture has to have its size, within some
pixels, and cut into squares of 24 pixels of the page each square its mean colour.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

SCALE = 1.5  #: pixels of a picture to one of its page
SQUARE = int(24 * SCALE)
MOST_HIGHER = 0.04  #: of the height: words in another font break elsewhere
MOST_IN_A_SQUARE = 15.0  #: of 255, in one of its colours
MOST_ON_AVERAGE = 3.0


def squares(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """The mean colour of each square, of the picture drawn in that size."""
    width, height = size
    drawn = (
        picture.convert("RGB").resize(size, Image.Resampling.BOX)
        if picture.size != size
        else picture.convert("RGB")
    )
    shape = max(width // SQUARE, 1), max(height // SQUARE, 1)
    return np.asarray(drawn.resize(shape, Image.Resampling.BOX), dtype=float)


def difference(stored: Image.Image, found: Image.Image) -> str:
    """What is different; empty where nothing is."""
    (width, height), (wide, high) = stored.size, found.size
    if abs(wide - width) > 2 * SCALE or abs(high - height) > MOST_HIGHER * height + 2 * SCALE:
        return f"it is {wide} x {high} pixels, not {width} x {height}"
    apart = np.abs(squares(stored, stored.size) - squares(found, stored.size)).max(axis=2)
    row, column = np.unravel_index(apart.argmax(), apart.shape)
    if apart.max() > MOST_IN_A_SQUARE:
        x, y = (int(n * SQUARE / SCALE) for n in (column, row))
        return f"other colours around {x}, {y}: {apart.max():.0f} of 255 apart"
    if apart.mean() > MOST_ON_AVERAGE:
        return f"all in all other colours: {apart.mean():.1f} of 255 apart"
    return ""


def compare(file: Path, found: bytes) -> str:
    """What is different between a stored picture and one that was just taken."""
    return difference(Image.open(file), Image.open(io.BytesIO(found)))
