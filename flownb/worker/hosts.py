"""Calls the functions of rows, and waits: in a slot's thread, which may wait, or in the loop, which goes on meanwhile.

What runs rows is written once, as coroutines. In a slot's thread nothing in them waits for a loop: they run through.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

from flownb.wire.plain_json import AS_IT_IS

T = TypeVar("T")

#: of a call: what it returned, or what it raised; not raised here, as no `StopIteration` leaves a coroutine as one
End = tuple[Any, BaseException | None]

#: what most functions return; to ask whether it is to be awaited costs half a microsecond
NEVER_AWAITED = AS_IT_IS | {dict, list}


class GivenUp(BaseException):
    """Ends a run that its worker has given up; not an `Exception`, so that no handler keeps it."""


class Host(Protocol):
    """Where the functions of a row are called."""

    may_wait: bool  #: may this thread wait for a file, or for the server?

    def call(self, is_async: bool, function: Callable[..., Any], *arguments: Any) -> End | Awaitable[End]:
        """Call a user's function, and wait for what it returns, if that is to be awaited."""

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call what may wait for a file, for the server, or for somebody who is asked."""


class InSlot:
    """In the slot's own thread."""

    may_wait = True

    def __init__(self, await_: Callable[[Any], Any] | None = None) -> None:
        self._await = await_ or _nothing_to_await

    def call(self, is_async: bool, function: Callable[..., Any], *arguments: Any) -> End:
        try:
            value = function(*arguments)
            if type(value) not in NEVER_AWAITED and inspect.isawaitable(value):
                value = self._await(value)
        except BaseException as error:
            return None, error
        return value, None

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)


def _nothing_to_await(value: Any) -> NoReturn:
    raise RuntimeError("no function is called here")


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine through whose host is `InSlot`."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("what runs in a slot's thread waits for a loop")


class InLoop:
    """In the loop that runs: a function that is not `async` is called in a thread, which ends with it."""

    may_wait = False

    def __init__(self, is_given_up: Callable[[], bool]) -> None:
        self._is_given_up = is_given_up

    async def call(self, is_async: bool, function: Callable[..., Any], *arguments: Any) -> End:
        try:
            call = partial(function, *arguments)
            value, error = (call(), None) if is_async else await _in_thread(call)
            if error is None and type(value) not in NEVER_AWAITED and inspect.isawaitable(value):
                value = await value
        except asyncio.CancelledError as cancelled:
            if self._is_given_up():
                raise GivenUp from None
            return None, CancelledError(*cancelled.args)  # the function's own affair
        except BaseException as raised:
            return None, raised
        return value, error

    async def aside(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.to_thread(function, *arguments)
        except asyncio.CancelledError:
            raise GivenUp from None


def _in_thread(function: Callable[[], Any]) -> Awaitable[End]:
    """Call a function in a thread of its own, in this context. The loop's few threads are for what is short."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    ended: asyncio.Future[End] = loop.create_future()

    def call() -> None:
        try:
            end: End = context.run(function), None
        except BaseException as error:
            end = None, error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_note, ended, end)

    threading.Thread(target=call, name="flownb-step", daemon=True).start()
    return ended


def _note(ended: asyncio.Future[End], end: End) -> None:
    if not ended.done():  # given up
        ended.set_result(end)
