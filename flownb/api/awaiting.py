"""`await flow`: a wait in a thread of its own, so that the loop which awaits goes on, and one that can be given up."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

#: set by the one who awaits: nobody waits any more
_given_up: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar(
    "flownb_given_up", default=None
)


class NobodyWaits(BaseException):
    """Ends a wait that was given up; not an `Exception`, so that no handler on the way keeps it."""


def end_if_given_up() -> None:
    """Raise `NobodyWaits` in a wait that was given up."""
    event = _given_up.get()
    if event is not None and event.is_set():
        raise NobodyWaits


async def awaited(wait: Callable[[], T], name: str) -> T:
    """Return what `wait` returns, or raise what it raises, while the loop goes on; a cancel ends the wait alone.

    The thread is a daemon: an interpreter that ends does not wait for it, as it would for an executor's.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()
    event = threading.Event()

    def run() -> None:
        _given_up.set(event)
        try:
            tell = partial(_tell, ended, wait(), None)
        except NobodyWaits:
            return
        except BaseException as error:
            tell = partial(_tell, ended, None, error)
        with suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(tell)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name=f"flownb-{name}-await", daemon=True).start()
    try:
        return await ended
    finally:
        event.set()


def _tell(ended: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if ended.done():  # cancelled meanwhile
        return
    if error is None:
        ended.set_result(value)
    else:
        ended.set_exception(error)
