"""What a value is as a file, and back: frames as Parquet, arrays as npy, pictures as PNG, bytes and text as they are.

Each can be read by programs that know nothing of flownb. Nothing is ever pickled. No package is imported to look at a
value; those that write or read it are imported when there is one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from flownb.arguments import with_article
from flownb.errors import UnrecoverableError

MEDIA_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "npy": "application/x-npy",
    "png": "image/png",
    "bin": "application/octet-stream",
    "txt": "text/plain",
    "json": "application/json",
}
PNG = MEDIA_TYPES["png"]
_SHOWS_PNG = "_repr_png_"  # Jupyter's name of the method by which an object shows itself as a PNG


class Content(NamedTuple):
    """A value as a file."""

    suffix: str  #: one of `MEDIA_TYPES`
    write: Callable[[], bytes]
    what: str = "text"  #: it is, in words


def content_of(value: Any, *, with_arrays: Callable[[], bool]) -> Content | None:
    """Return what a value is as a file; None for one that has a form in JSON.

    `with_arrays` says whether arrays go to files although they have one; it is asked where there is an array.

    >>> content_of(b"abc", with_arrays=bool).suffix, content_of([1], with_arrays=bool)
    ('bin', None)
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Content("bin", lambda: bytes(value), "bytes")
    for kind in type(value).__mro__:
        package, name = kind.__module__.partition(".")[0], kind.__name__
        if (package, name) in _FRAMES:
            return Content("parquet", lambda: _parquet(value), f"a {name}")
        if (package, name) == ("matplotlib", "Figure"):
            return Content("png", lambda: _figure(value), "a Figure")
        if (package, name) == ("numpy", "MaskedArray"):
            return None  # npy has no word for what is masked, JSON has null
        if (package, name) == ("numpy", "ndarray"):
            is_wanted = _is_array(value) and with_arrays()
            return Content("npy", lambda: _npy(value), "an array") if is_wanted else None
    if callable(getattr(type(value), _SHOWS_PNG, None)):  # images of Pillow, IPython and others
        return Content("png", lambda: _picture(value), with_article(type(value).__name__))
    return None


_FRAMES = {("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")}


def value_in(suffix: str, data: bytes) -> Any:
    """Return the value that a file holds: a pandas DataFrame, an array, an image of Pillow, bytes, text, or JSON's.

    Without Pillow a picture is its bytes.

    >>> value_in("txt", b"abc"), value_in("json", b"[1]")
    ('abc', [1])
    """
    if suffix == "parquet":
        import pandas as pd

        return pd.read_parquet(io.BytesIO(data))
    if suffix == "npy":
        import numpy as np

        return np.load(io.BytesIO(data), allow_pickle=False)
    if suffix == "png":
        return _opened_picture(data)
    if suffix in ("txt", "json"):
        text = data.decode()
        return json.loads(text) if suffix == "json" else text
    return data


def _is_array(value: Any) -> bool:
    return value.ndim > 0 and not value.dtype.hasobject


def _parquet(frame: Any) -> bytes:
    file = io.BytesIO()
    try:
        if type(frame).__module__.startswith("polars"):
            frame.write_parquet(file)
        elif type(frame).__module__.startswith("pyarrow"):
            import pyarrow.parquet

            pyarrow.parquet.write_table(frame, file)
        else:
            frame.to_parquet(file)
    except ImportError:
        raise UnrecoverableError(
            "a DataFrame is stored as Parquet, which needs pyarrow: pip install pyarrow"
        ) from None
    return file.getvalue()


def _npy(array: Any) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _figure(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _picture(picture: Any) -> bytes:
    made = getattr(picture, _SHOWS_PNG)()
    data = made[0] if isinstance(made, tuple) else made  # some add what they know of the picture
    if not isinstance(data, bytes):
        raise UnrecoverableError(f"{type(picture).__name__} gives no PNG of itself: return its bytes")
    return data


def _opened_picture(data: bytes) -> Any:
    try:
        from PIL import Image
    except ImportError:
        return data
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture
