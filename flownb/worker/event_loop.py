"""The loop of a worker's `async` functions: one thread for all of them, and who holds it up."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from flownb.errors import printable
from flownb.worker.own_calls import belongs_to

log = logging.getLogger("flownb.worker")

CANCEL_SECONDS = 2.0  # that cancelled coroutines have at the end
LOOK_SECONDS = 0.5  # between two questions whether the loop goes on
BLOCKED_SECONDS = 0.5  # without an answer of the loop, after which it is looked who holds it up
HELD_SECONDS = (
    0.25  # that one task has been seen to run: a busy loop is late, too, and is held up by none of its tasks
)


class Loop:
    """One asyncio loop in a thread of its own; made when it is first needed."""

    def __init__(self, name: str, identity: str = "") -> None:
        self._name = name
        self._identity = identity  # of the worker whose jobs run here
        self._lock = threading.Lock()  # slots start the loop, a closing thread ends it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.context = contextvars.Context()  #: for coroutines to begin in; the loop's thread writes it first
        # The pump's thread alone reads and writes these, but for the loop's answer, which takes the time away.
        self._asked_at: float | None = None  # monotonic time of a question that has no answer yet
        self._ask_again = 0.0
        self._holder: tuple[asyncio.Task[Any], float] | None = None  # what was seen to run, and since when
        self._named: set[str] = set()  # tasks that were named once

    def submit(self, awaitable: Any) -> Future[Any]:
        """Run an awaitable in the loop; the future that holds its result cancels it, too."""

        async def to_end() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(to_end(), self.started())

    def started(self) -> asyncio.AbstractEventLoop:
        """Return the loop, which runs."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), daemon=True)
                self._thread.name = f"flownb-{self._name}-asyncio"
                self._thread.start()
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        belongs_to(self._identity)
        self.context = contextvars.copy_context()
        try:
            loop.run_forever()
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def close(self) -> None:
        """Cancel what still runs, so that no slot waits for it any more, and end."""
        with self._lock:
            if self._loop is not None:
                asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
                self._loop = self._thread = None

    # ---- who holds it up ----------------------------------------------------------------------------

    @property
    def look_seconds(self) -> float:
        """How long a look may be put off."""
        return math.inf if self._loop is None else LOOK_SECONDS

    def look(self, now: float) -> None:
        """In the pump's thread, every now and then: ask the loop for a sign, and name what keeps it from giving one."""
        loop, asked = self._loop, self._asked_at
        if loop is None:
            return
        if asked is None:
            if now < self._ask_again:
                return
            self._asked_at, self._ask_again, self._holder = now, now + LOOK_SECONDS, None
            call_soon(loop, self._answer)
        elif now - asked > BLOCKED_SECONDS:
            self._name_holder(loop, now, asked)

    def _answer(self) -> None:
        self._asked_at = None

    def _name_holder(self, loop: asyncio.AbstractEventLoop, now: float, asked: float) -> None:
        task = asyncio.current_task(loop)
        if task is None:
            return
        if self._holder is None or self._holder[0] is not task:
            self._holder = task, now
        name = task.get_name()
        if now - self._holder[1] < HELD_SECONDS or name in self._named:
            return
        self._named.add(name)
        log.warning(
            "%s has held up the event loop for %.1f s: no other async row of this worker goes on meanwhile; await what "
            "takes long, or write it with def",
            printable(name),
            now - asked,
        )


def call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call a function in a loop, from any thread, unless the loop has ended."""
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # it has ended
        log.debug("the loop has ended")


async def _cancel_all() -> None:
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=CANCEL_SECONDS)
    asyncio.get_running_loop().stop()
