"""`File`: what a row has returned that stands in a file, read when it is asked for."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from flownb.files import contents

MOST_SHOWN = 2_000_000  # bytes of a picture that a cell shows


@dataclass(frozen=True, repr=False)
class File:
    """A value in a file. `path` is where: a path on this machine or a URL; `load()` reads it.

    >>> render = File("results/nov/r1.png", 2048, "image/png")
    >>> render
    File(png, 2.0 kB)
    """

    path: str
    bytes: int  #: its size
    media_type: str
    digest: str = ""  #: of what is in it: rows whose inputs are files run again where this differs

    def load(self) -> Any:
        """Return the value: a DataFrame, an array, an image of Pillow (without Pillow its bytes), bytes or text.

        >>> import pandas as pd
        >>> @task
        ... def halves(n):
        ...     return pd.DataFrame({"half": [n / 2, n / 2]})
        >>> batch = fan_out([6], halves)
        >>> batch.results(timeout=30)["halves"][0].load()
           half
        0   3.0
        1   3.0
        """
        return contents.value_in(self.path.rpartition(".")[2], read(self.path))

    def __repr__(self) -> str:
        return f"File({self.path.rpartition('.')[2]}, {size_in_words(self.bytes)})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        shown: dict[str, Any] = {"text/plain": repr(self)}
        if self.media_type == contents.PNG and self.bytes <= MOST_SHOWN:
            try:
                shown[contents.PNG] = b64encode(read(self.path)).decode()
            except Exception:  # a cell shows what it can: the file may be gone, or out of reach from here
                shown["text/plain"] += ", which cannot be read here"
        return shown


def read(path: str) -> bytes:
    """Return what is in a file."""
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            data: bytes = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the file {path} is gone: with the flow whose value it was, or by hand; run that flow's rows again "
            "(if_exists='rerun'), then this"
        ) from None
    return data


def size_in_words(size: float) -> str:
    """Return a size as people read it.

    >>> size_in_words(700), size_in_words(2_500_000)
    ('700 bytes', '2.4 MB')
    """
    if size < 1000:
        return f"{size:.0f} byte{'' if size == 1 else 's'}"
    units = iter(("kB", "MB", "GB"))
    unit = next(units)
    while (size := size / 1024) >= 1000 and unit != "GB":
        unit = next(units)
    return f"{size:,.1f} {unit}"
