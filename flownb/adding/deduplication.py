"""What `Queue.add(deduplication=)` takes: checked, and as it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flownb.arguments import flag, is_unicode, milliseconds, shown
from flownb.errors import OptionError
from flownb.wire.job_rows import Deduplication

MOST_CHARACTERS = 256
_SNAKE = {"keep_last_if_active": "keepLastIfActive"}


def read_deduplication(given: Any, where: str) -> Deduplication:
    """Check what a caller gave.

    >>> read_deduplication({"id": "ada", "ttl": "5s"}, "deduplication").ttl
    5000
    """
    if not isinstance(given, Mapping):
        raise OptionError(
            f"{where}: a dict with an id, such as {{'id': 'ada', 'ttl': 5000}}, not {shown(given)}"
        )
    named: dict[Any, Any] = {_SNAKE.get(name, name): value for name, value in given.items()}
    unknown = [shown(name) for name in named if name not in _READERS]
    if unknown:
        raise OptionError(f"{where}: no such part {unknown[0]}; there are {', '.join(_READERS)}")
    if named.get("id") is None:
        raise OptionError(f"{where}: 'id' is missing: of the jobs with one id one at a time is added")
    read: dict[str, Any] = {
        name: _READERS[name](value, f"{where}.{name}") for name, value in named.items() if value is not None
    }
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
