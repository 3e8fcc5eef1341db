"""Small pictures of pictures in files, for tables and panels."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from flownb.files.contents import PNG
from flownb.files.file import File, read

MOST_BYTES = 12_000  #: of a thumbnail: a message to a page stays short
_MOST_READ = 20_000_000  # bytes of a picture that is made small
_SMALLEST_PIXELS = 24


def pictures_in(value: Any) -> Iterator[File]:
    """The pictures in a value, in the value itself or in its dicts and lists."""
    if isinstance(value, File):
        if value.media_type == PNG and value.bytes <= _MOST_READ:
            yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from pictures_in(part)


def thumbnail_of(file: File, pixels: int) -> str | None:
    """A picture, at most so many pixels wide and high, as a ``data:`` URL; None where that cannot be made."""
    try:
        from PIL import Image
    except ImportError:
        return None
    try:
        picture = Image.open(io.BytesIO(read(file.path))).convert("RGBA")
        while pixels >= _SMALLEST_PIXELS:
            small = picture.copy()
            small.thumbnail((pixels, pixels))
            found = io.BytesIO()
            small.save(found, "PNG", optimize=True)
            if found.tell() <= MOST_BYTES:
                return f"data:{PNG};base64,{b64encode(found.getvalue()).decode('ascii')}"
            pixels = pixels * 2 // 3
    except Exception:  # a view shows what it can: the file may be gone, out of reach from here, or no picture
        return None
    return None
