"""How reasons name jobs, durations and points in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from flownb.errors import printable
from flownb.state.span_words import span as span


def path(names: Sequence[str]) -> str:
    """Return the names from a root down to a job as one line."""
    return " > ".join(map(plain, names))


def plain(text: str) -> str:
    """Text as one printable line of bounded length, whatever another program stored."""
    text = text if len(text) <= 200 else f"{text[:199]}…"
    return printable(text)


def point(ms: int) -> str:
    """Return a point in time, the same on every machine."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time beyond the calendar"
