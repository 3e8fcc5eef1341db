"""How long a call waits for the server: some seconds, or until the caller's own timeout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LAST_WORD_SECONDS = 0.7  # that a call may take when the caller's timeout is over
_SHORTEST_SECONDS = 0.01  # a timeout of 0 would be none

_caller_waits_until: ContextVar[float | None] = ContextVar("caller_waits_until", default=None)
_call_ends: ContextVar[float | None] = ContextVar("call_ends", default=None)


@contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Let calls of this thread end soon after `deadline`, a monotonic time; None is none."""
    token = _caller_waits_until.set(deadline)
    try:
        yield
    finally:
        _caller_waits_until.reset(token)


@contextmanager
def of_call(seconds: float) -> Iterator[None]:
    """Let a call last for so many seconds at most; inside another call it has the time of that one."""
    if _call_ends.get() is not None:
        yield
        return
    now = time.monotonic()
    ends, caller = now + seconds, _caller_waits_until.get()
    if caller is not None:
        ends = min(ends, max(caller, now) + LAST_WORD_SECONDS)
    token = _call_ends.set(ends)
    try:
        yield
    finally:
        _call_ends.reset(token)


def left() -> float | None:
    """Return for how many seconds the call of this thread may still last; None outside any call."""
    ends = _call_ends.get()
    return None if ends is None else max(ends - time.monotonic(), _SHORTEST_SECONDS)
