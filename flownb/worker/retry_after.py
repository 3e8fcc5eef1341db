"""How long a service asks to be left alone: what `RateLimitError` was given, also the text of a Retry-After header."""

from __future__ import annotations

import datetime
import email.utils
import math
import numbers
import re
from typing import Any

from flownb.arguments import seconds

_ONE_PART = r"\d+(?:\.\d+)?\s*(?:ms|sec|s|min|m|h|d)"
_PARTS = re.compile(rf"{_ONE_PART}(?:\s*{_ONE_PART})+", re.IGNORECASE)


def hold_seconds(asked: Any, now: datetime.datetime) -> float | None:
    """Return for how many seconds to hold a queue: from a number, a duration, or what stands in a header.

    A date counts from `now` (aware), one that is past as nothing. None where nothing is said: None, or empty text.
    Raises `OptionError` for what says no time.

    >>> now = datetime.datetime(2015, 10, 21, 7, 27, tzinfo=datetime.UTC)
    >>> [hold_seconds(text, now) for text in ("120", "1.5", "1m30s", "Wed, 21 Oct 2015 07:28:00 GMT", "")]
    [120.0, 1.5, 90.0, 60.0, None]
    """
    if isinstance(asked, bytes):
        asked = asked.decode("latin-1")
    if isinstance(asked, str):
        asked = _of_text(asked.strip())
    if asked is None:
        return None
    if isinstance(asked, datetime.datetime):
        return max((_aware(asked) - now).total_seconds(), 0.0)
    if type(asked) is not bool and isinstance(asked, numbers.Real):
        asked = _as_float(asked)
    return seconds(asked, "RateLimitError")


def _as_float(number: numbers.Real) -> float:
    try:
        return float(number)
    except OverflowError:  # an int may be larger than any float
        return math.inf


def _of_text(text: str) -> Any:
    """Return what a header's text says: nothing, a number, a date, or a duration as it stands."""
    if not text:
        return None
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    if _PARTS.fullmatch(text):
        return sum(
            seconds(part.lower(), "RateLimitError") for part in re.findall(_ONE_PART, text, re.IGNORECASE)
        )
    return _date_of(text) or text


def _date_of(text: str) -> datetime.datetime | None:
    """Read a date as HTTP writes it, in any of its three forms, or as ISO 8601 does."""
    for read in (email.utils.parsedate_to_datetime, datetime.datetime.fromisoformat):
        try:
            return read(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _aware(when: datetime.datetime) -> datetime.datetime:
    return when if when.utcoffset() is not None else when.replace(tzinfo=datetime.UTC)
