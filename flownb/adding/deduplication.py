"""What `Queue.add(deduplication=)` takes: checked, and as it is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flownb.arguments import flag, is_unicode, milliseconds, parts, shown
from flownb.errors import OptionError
from flownb.wire.job_rows import Deduplication

MOST_CHARACTERS = 256


def read_deduplication(given: Any, where: str) -> Deduplication:
    """Check what a caller gave.

    >>> read_deduplication({"id": "ada", "ttl": "5s"}, "deduplication").ttl
    5000
    """
    read = parts(given, where, _READERS, "{'id': 'ada', 'ttl': 5000}")
    if "id" not in read:
        raise OptionError(f"{where}: 'id' is missing: of the jobs with one id one at a time is added")
    read["keep_last"] = read.pop("keepLastIfActive", False)
    return Deduplication(**read)


def stored_parts(deduplication: Deduplication) -> dict[str, Any]:
    """Return what stands in the stored options, under BullMQ's names."""
    parts = {**deduplication._asdict(), "keepLastIfActive": deduplication.keep_last}
    del parts["keep_last"]
    return {name: value for name, value in parts.items() if value not in (None, False)}


def _id(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MOST_CHARACTERS or not is_unicode(value):
        raise OptionError(f"{what}: a text of 1 to {MOST_CHARACTERS} characters, not {shown(value)}")
    return str.__str__(value)


def _flag(value: Any, what: str) -> bool:
    return flag(what, value)


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "id": _id,
    "ttl": milliseconds,
    "extend": _flag,
    "replace": _flag,
    "reschedule": _flag,
    "keepLastIfActive": _flag,
}
