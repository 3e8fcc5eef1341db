"""How long a kernel reads on how the rows of a batch are: a small share of all time, saved up for when a page opens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE = 0.015  #: of a core, whatever is open, however fast rows end
MOST_SAVED_SECONDS = 0.25


class ReadingTime:
    """The time that one view may spend. Any thread may.

    >>> reading = ReadingTime()
    >>> with reading.take(0.03) as seconds:
    ...     print(seconds)
    0.03
    """

    def __init__(self) -> None:
        self._paid_until = time.monotonic() - MOST_SAVED_SECONDS / SHARE

    @contextmanager
    def take(self, seconds: float) -> Iterator[float]:
        """Yield how much of these seconds there is, maybe none; what the block takes is spent."""
        began = time.monotonic()
        saved = min(SHARE * (began - self._paid_until), MOST_SAVED_SECONDS)
        yield max(min(saved, seconds), 0.0)
        self._paid_until = began - (saved - (time.monotonic() - began)) / SHARE
