"""How reasons name jobs, durations and points in time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime


def path(names: Sequence[str]) -> str:
    """Return the names from a root down to a job as one line."""
    return " > ".join(map(plain, names))


def plain(text: str) -> str:
    """Text as one printable line of bounded length, whatever another program stored."""
    text = text if len(text) <= 200 else f"{text[:199]}…"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def span(ms: float) -> str:
    """Return a duration a person reads at a glance.

    >>> span(400), span(59_000), span(240_000), span(7_300_000)
    ('0.4 s', '59 s', '4 min', '2 h')
    """
    if ms < 10_000:
        return f"{math.ceil(ms / 100) / 10:g} s"
    for unit, size, least in (("d", 86_400_000, 2), ("h", 3_600_000, 2), ("min", 60_000, 2)):
        if ms >= size * least:
            return f"{int(ms // size)} {unit}"
    return f"{math.ceil(ms / 1000)} s"


def point(ms: int) -> str:
    """Return a point in time, the same on every machine."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time beyond the calendar"
