"""Two worlds side by side: queues named after who acts on them, and what each holds, without times."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from redis import Redis

_TIME = re.compile(r"\b1\d{12}\b")  # ms since 1970
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")  # a client's own
_LEAST_DUE = 10**15  # a score of `delayed`: ms times 4096
_LEFT_OUT = (":stalled-check", ":stalled")  # a worker's own clock
#: what flownb alone keeps, or what two languages say differently
_UNLIKE = frozenset("ft rt runs said why stacktrace failedReason version".split())  # noqa: SIM905


def dump(redis: Redis, who: str) -> dict[str, Any]:
    """Return what the queues named ``<who>-...`` hold; times are told as such, and names without `who`."""
    found: dict[str, Any] = {}
    for key in sorted(key.decode() for key in redis.keys(f"bull:{who}-*")):
        if not key.endswith(_LEFT_OUT):
            found[_plain(key, who)] = _meaning(redis, key, who)
    return found


def without_events(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if not key.endswith(":events")}


def told(value: Any, who: str) -> Any:
    """Return what a call said, without times and without the name of who was asked."""
    return json.loads(_plain(json.dumps(value), who))


def _plain(text: str, who: str) -> str:
    return _ID.sub("an id", _TIME.sub('"a time"' if text.isdigit() else "0", text.replace(f"{who}-", "")))


def _meaning(redis: Redis, key: str, who: str) -> Any:
    read: dict[str, Callable[[], Any]] = {
        "hash": lambda: {
            field.decode(): _text(value, who) for field, value in redis.hgetall(key).items()
            if field.decode() not in _UNLIKE
        },
        "zset": lambda: [
            (_text(member, who), _score(key, score)) for member, score in redis.zrange(key, 0, -1, withscores=True)
        ],
        "list": lambda: [_text(row, who) for row in redis.lrange(key, 0, -1)],
        "set": lambda: sorted(_text(member, who) for member in redis.smembers(key)),
        "string": lambda: (_text(redis.get(key), who), redis.pttl(key) > 0),
        "stream": lambda: [
            {_text(name, who): _text(value, who) for name, value in fields.items() if name not in (b"failedReason",)}
            for _, fields in redis.xrange(key)
        ],
    }  # fmt: skip
    return read[redis.type(key).decode()]()


def _text(value: bytes, who: str) -> Any:
    text = _plain(value.decode(), who)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _score(key: str, score: float) -> Any:
    if key.endswith((":completed", ":failed", ":waiting-children", ":unsuccessful", ":repeat")) or (
        key.endswith(":marker") and score
    ):
        return "a time"
    return "due" if score >= _LEAST_DUE else score
