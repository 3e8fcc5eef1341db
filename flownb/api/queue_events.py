"""`QueueEvents`: what happens in a queue, as it happens, whichever program makes it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from typing import Any, Self

from flownb import connection as connections
from flownb.api.event import EVENTS, Event
from flownb.api.event_reader import EventLoop, EventReader
from flownb.arguments import is_whole, shown
from flownb.connection import Connection
from flownb.errors import OptionError
from flownb.lifecycle import Service
from flownb.wire import keys

CLOSE_SECONDS = 10.0  # for which `close` waits for a function that still runs
EXIT_SECONDS = 1.0  # for which the end of the interpreter waits for one

_ID = re.compile(r"^(\$|\d+(-\d+)?)\Z")


class QueueEvents(Service):
    """Listens to a queue: every step of every job, whichever program makes it.

    The first `on` or ``for`` loop starts it; so do `start` and ``with``; `close` ends it. Functions given to `on`
    run one after the other in a thread of its own. Told are the events from then on, or those after
    `last_event_id`, an id in the stream (``"0"``: all that the server still has, about 10,000); so that each of
    several functions hears all of those, `on` does not start it then.
    How far a flow is, `Flow.progress` knows better: a stream forgets.

    >>> with QueueEvents("doc-heard") as events:
    ...     job = Queue("doc-heard").add("j")
    ...     events.close()
    >>> with QueueEvents("doc-heard", last_event_id="0") as events:
    ...     next(event for event in events if event.job_id == job.id)
    Event('added', {'name': 'j'})
    """

    def __init__(self, queue: str, *, connection: Connection | None = None, last_event_id: Any = "$") -> None:
        super().__init__()
        self.name = keys.checked_queue(queue)
        given = shown(last_event_id).strip("'")
        if not (isinstance(last_event_id, str) or is_whole(last_event_id)) or not _ID.match(given):
            raise OptionError(f"last_event_id: '$', '0' or an event's id, not {shown(last_event_id)}")
        self._connection = connection
        self._last_event_id = given
        # Written by any thread, under the lock of `Service`:
        self._functions: dict[str, list[Callable[[Event], object]]] = {}  # a list is replaced, never changed
        self._first_loops: list[EventLoop] = []
        self._reader: EventReader | None = None
        self._on_starts = self._last_event_id == "$"  # whether the next `on` starts the listener
        self._started_by_on = False  # whether `start` may still be called

    def start(self) -> Self:
        """Begin in the background and return; refused while it is running, unless `on` has started it.

        >>> events = QueueEvents("doc-heard").start()
        >>> events
        QueueEvents('doc-heard', running)
        >>> events.close()
        """
        with self._lock:
            if self._started_by_on:
                self._started_by_on = False
                return self
            return super().start()

    def on(self, event: Any, function: Callable[[Event], object]) -> Self:
        """Have `function` called with every `Event` of this name from now on; returns the listener, running.

        What the function raises is logged once and stops nothing. It may close the listener.

        >>> from queue import SimpleQueue
        >>> heard, flow = SimpleQueue(), add({"name": "greet", "queueName": "doc-greetings"})
        >>> with QueueEvents("doc-greetings").on("completed", heard.put):
        ...     with Worker("doc-greetings", lambda job: "hello"):
        ...         heard.get(timeout=30)
        Event('completed', {'returnvalue': 'hello'})
        """
        if not isinstance(event, str) or event not in EVENTS:
            near = difflib.get_close_matches(shown(event).strip("'").replace("_", "-"), EVENTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EVENTS)}"
            raise OptionError(f"event {shown(event)}: there is no such event; {hint}")
        if not callable(function):
            raise OptionError(f"function: one that takes an event, not {type(function).__name__}")
        with self._lock:
            before = self._functions.get(event, [])
            self._functions[event] = [*before, function]
            if self._on_starts:
                try:
                    super().start()
                except BaseException:
                    self._functions[event] = before
                    raise
                self._started_by_on = True
            elif self._reader is not None:
                self._reader.wanted.set()
        return self

    def __iter__(self) -> Iterator[Event]:
        """Yield each `Event` until `close`; starts listening where nobody has.

        A slow loop holds the reading up, for functions and other loops too: the server keeps the rest.
        """
        loop = EventLoop()
        with self._lock:
            if self._running and self._reader is not None:
                self._reader.feed(loop)
            else:
                self._first_loops = [loop]  # before the start, so that it misses nothing
                try:
                    self.start()
                finally:
                    self._first_loops = []
        return loop

    def close(self) -> None:
        """End; loops over it end when they have had what was read. A function that runs is waited for.

        >>> events = QueueEvents("doc-heard").on("failed", print)
        >>> events.close()
        >>> events
        QueueEvents('doc-heard', not running)
        """
        self._close(CLOSE_SECONDS)

    def close_at_exit(self) -> None:
        """End with the interpreter, which is not held up by a long function.

        >>> QueueEvents("doc-heard").start().close_at_exit()
        """
        self._close(EXIT_SECONDS)

    def _close(self, patience: float) -> None:
        super().close()
        if self._reader is not None:  # outside the lock: the one waited for may be closing this too
            self._reader.end(patience)

    def _begin(self) -> None:
        connection = connections.current(self._connection)
        reader = EventReader(keys.base(connection.prefix, self.name), self._functions, connection)
        reader.begin_at(self._last_event_id)
        for loop in self._first_loops:
            reader.feed(loop)
        self._reader = reader
        self._on_starts = False
        if self._functions:
            reader.wanted.set()
        self._unhook = connection.on_close(self.close)
        reader.start()

    def _end(self) -> None:
        self._started_by_on = False
        self._unhook()
        if self._reader is not None:
            self._reader.stopped.set()
            self._reader.wanted.set()

    def __repr__(self) -> str:
        return f"QueueEvents({self.name!r}, {'running' if self.running else 'not running'})"
