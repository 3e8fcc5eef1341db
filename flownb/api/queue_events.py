"""What happens in a queue, as it happens: its stream of events, read in the background."""

from __future__ import annotations

import difflib
import logging
import math
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from flownb import connection as connections
from flownb.connection import Connection
from flownb.errors import FlowError, JobMissing, OptionError
from flownb.lifecycle import Service
from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store import Store
from flownb.wire.store.large_values import stands_for_large

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("flownb.events")

EVENTS = (
    "added",
    "waiting",
    "delayed",
    "waiting-children",
    "active",
    "progress",
    "completed",
    "failed",
    "retries-exhausted",
    "stalled",
    "drained",
    "removed",
    "duplicated",
    "deduplicated",
    "debounced",
    "cleaned",
    "paused",
    "resumed",
)

BLOCK_MS = 5000  # a quiet stream is asked again after this
MOST_A_READ = 500  # events a read
MOST_AHEAD = 1000  # events read ahead of a slow loop; the others wait on the server, which keeps some 10,000
PATIENCE = 10.0  # seconds for which `close` waits for a function that still runs

_SNAKE = {
    "failedReason": "failed_reason",
    "attemptsMade": "attempts_made",
    "deduplicationId": "deduplication_id",
    "deduplicatedJobId": "deduplicated_job_id",
    "debounceId": "debounce_id",
}
_ID = re.compile(r"^(\$|\d+(-\d+)?)\Z")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Event:
    """One event of a queue. `data` holds what else it tells, such as ``returnvalue`` or ``failed_reason``.

    A batch's value of more than 256 kB is ``{"flownb:large": bytes}`` once its job has been removed.

    >>> job = Queue("doc-told").add("mail")
    >>> with QueueEvents("doc-told", last_event_id="0") as events:
    ...     event = next(iter(events))
    >>> event.name, event.data, event.job_id == job.id
    ('added', {'name': 'mail'}, True)
    """

    name: str
    job_id: str | None  #: None where it is the queue's: drained, paused, resumed, cleaned
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)
    prev: str | None = None  #: the state the job came from
    delay: datetime | None = None  #: of ``delayed``: when the job is due
    id: str  #: its place in the stream; its first part is the server's time in ms

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {dict(self.data)!r})" if self.data else f"Event({self.name!r})"


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

    def __init__(self, queue: str, *, connection: Connection | None = None, last_event_id: str = "$") -> None:
        super().__init__()
        problem = keys.problem_with_queue(queue)
        if problem:
            raise FlowError(f"queue {queue!r}: the name {problem}")
        if not _ID.match(str(last_event_id)):
            raise OptionError(f"last_event_id: '$', '0' or an event's id, not {last_event_id!r}")
        self.name = queue
        self._connection = connection
        self._last_event_id = str(last_event_id)
        self._functions: dict[str, list[Callable[[Event], object]]] = {}
        self._first_loops: list[_Loop] = []
        self._reader: _Reader | None = None
        self._on_starts = self._last_event_id == "$"
        self._started_by_on = False

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

    def on(self, event: str, function: Callable[[Event], object]) -> Self:
        """Have `function` called with every `Event` of this name from now on; returns the listener, running.

        What the function raises is logged once and stops nothing. It may close the listener.

        >>> from queue import SimpleQueue
        >>> heard, flow = SimpleQueue(), add({"name": "greet", "queueName": "doc-greetings"})
        >>> with QueueEvents("doc-greetings").on("completed", heard.put):
        ...     with Worker("doc-greetings", lambda job: "hello"):
        ...         heard.get(timeout=30)
        Event('completed', {'returnvalue': 'hello'})
        """
        if event not in EVENTS:
            near = difflib.get_close_matches(str(event).replace("_", "-"), EVENTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EVENTS)}"
            raise OptionError(f"event {event!r}: there is no such event; {hint}")
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
        loop = _Loop()
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
        self._close(PATIENCE)

    def close_at_exit(self) -> None:
        """End with the interpreter, which is not held up by a long function.

        >>> QueueEvents("doc-heard").start().close_at_exit()
        """
        self._close(1.0)

    def _close(self, patience: float) -> None:
        super().close()
        if self._reader is not None:  # outside the lock: the one waited for may be closing this too
            self._reader.end(patience)

    def _begin(self) -> None:
        connection = connections.current(self._connection)
        reader = _Reader(self, connection, keys.base(connection.prefix, self.name))
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


class _Reader(threading.Thread):
    """One run of a listener: one thread, one blocking connection, and how far it has read."""

    def __init__(self, listener: QueueEvents, connection: Connection, base: str) -> None:
        super().__init__(name=f"flownb-{listener.name}-events", daemon=True)
        self.stopped = threading.Event()
        self.wanted = threading.Event()  # somebody hears: what is read before would be told to nobody
        self._listener = listener
        self._connection = connection
        self._stream = keys.part(base, "events")
        self._position = "0-0"
        self._client: Redis | None = None
        self._failures = 0
        self._complaints: dict[object, float] = {}
        self._feeding = threading.Lock()
        self._loops: list[weakref.ref[_Loop]] = []  # a loop that somebody left with `break` is gone from here
        self._ended = False

    def begin_at(self, asked: str) -> None:
        """Settle where to begin: ``$`` is the newest event now, so that none after `start` is missed."""
        if asked == "$":
            with server_errors():
                asked = self._newest(self._connection.client())
        self._position = asked if "-" in asked else f"{asked}-0"

    def feed(self, loop: _Loop) -> None:
        """Tell this loop too from now on."""
        with self._feeding:
            self._loops = [*(ref for ref in self._loops if ref() is not None), weakref.ref(loop)]
            if self._ended:
                loop.end()
        self.wanted.set()

    def end(self, patience: float) -> None:
        """Wait till it has ended. A read that waits for the server is ended by taking its connection."""
        until = time.monotonic() + patience
        while self.is_alive() and self is not threading.current_thread() and time.monotonic() < until:
            if self._client is not None:
                self._client.connection_pool.disconnect(inuse_connections=True)
            self.join(0.05)

    # ---- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        self.wanted.wait()
        while not self.stopped.is_set():
            try:
                self._client = self._connection.blocking_client()
                with server_errors():
                    self._listen(self._client)
            except Exception as error:  # the server is away, or `end` took the connection
                self._pause_after(error)
            finally:
                if self._client is not None:
                    self._client.close()
        with self._feeding:
            self._ended = True
            for loop in [ref() for ref in self._loops]:
                if loop is not None:
                    loop.end()

    def _listen(self, client: Redis) -> None:
        # After a failover, or with a lost file, the stream is behind what we have seen: go on where it is.
        self._position = min(self._position, self._newest(client), key=_order)
        while not self.stopped.is_set():
            found: Any = client.xread({self._stream: self._position}, count=MOST_A_READ, block=BLOCK_MS)
            self._failures = 0
            for id, fields in found[0][1] if found else ():
                if self.stopped.is_set():
                    return
                if fields:
                    self._tell(self._event(codec.text(id), fields))
                # Only now: an event that the server could not be asked more about is told later.
                self._position = codec.text(id)

    def _newest(self, client: Redis) -> str:
        import redis.exceptions

        try:
            about: Any = client.xinfo_stream(self._stream)
        except redis.exceptions.ResponseError as error:
            if "no such key" in str(error):
                return "0-0"
            raise
        return codec.text(about["last-generated-id"])

    def _pause_after(self, error: Exception) -> None:
        if not self.stopped.is_set():
            self._failures += 1
            self._complain("server", "%s (trying again)", error)
            self.stopped.wait(min(0.05 * 2.0 ** min(self._failures, 6), 1.0))

    def _tell(self, event: Event) -> None:
        for function in self._listener._functions.get(event.name, ()):
            try:
                function(event)
            except BaseException as error:  # also SystemExit: the listener goes on
                if function not in self._complaints:
                    self._complaints[function] = time.monotonic()
                    told = "a function for %r events failed with %s; its next failures are not told"
                    log.exception(told, event.name, type(error).__name__)
        for ref in self._loops:
            while (loop := ref()) is not None and loop.is_full() and not self.stopped.is_set():
                del loop  # whoever held it may let go of it meanwhile
                self.stopped.wait(0.01)
            if loop is not None:
                loop.put(event)

    def _complain(self, about: str, message: str, *parts: object) -> None:
        """Say it once in ten seconds."""
        now = time.monotonic()
        if now - self._complaints.get(about, -math.inf) >= 10:
            self._complaints[about] = now
            log.warning(message, *parts)

    # ---- one event ----------------------------------------------------------------------------------

    def _event(self, id: str, found: Mapping[Any, Any]) -> Event:
        fields = {codec.text(name): codec.text(value) for name, value in found.items()}
        name = fields.pop("event", "")
        job_id, prev, due = (fields.pop(part, None) for part in ("jobId", "prev", "delay"))
        data: dict[str, Any] = {_SNAKE.get(part, part): value for part, value in fields.items()}
        if name == "progress" and "data" in data:
            data["progress"] = data.pop("data")
        for part in ("returnvalue", "progress"):
            if name in ("completed", "progress") and part in data:
                text = self._in_full(job_id, data[part]) if part == "returnvalue" else data[part]
                data[part] = self._decoded(name, text)
        for part in ("attempts_made", "count"):
            if name in ("retries-exhausted", "cleaned") and data.get(part, "").isdigit():
                data[part] = int(data[part])
        return Event(name=name, job_id=job_id, data=data, prev=prev, delay=_point(due), id=id)

    def _in_full(self, job_id: str | None, text: str) -> str:
        """A batch's large value stands with its job alone; of one that is gone there is left what the event tells."""
        if not stands_for_large(text) or self._client is None:
            return text
        key = f"{self._stream.removesuffix('events')}{job_id}"
        try:
            with server_errors():
                return Store(self._client, self._connection.prefix).large_values.in_full({key: text})[key]
        except JobMissing:
            return text

    def _decoded(self, name: str, text: str) -> Any:
        try:
            return codec.decode(text)
        except (ValueError, RecursionError):
            self._complain("json", "a %r event holds no JSON; it is told as the text it is", name)
            return text


class _Loop(Iterator[Event]):
    """One ``for`` over a listener."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()

    def is_full(self) -> bool:
        return self._inbox.qsize() >= MOST_AHEAD

    def put(self, event: Event) -> None:
        self._inbox.put(event)

    def end(self) -> None:
        self._inbox.put(None)

    def __next__(self) -> Event:
        event = self._inbox.get()
        if event is None:
            self.end()  # it stays at its end
            raise StopIteration
        return event


def _order(id: str) -> tuple[int, ...]:
    return tuple(map(int, id.split("-")))


def _point(ms: str | None) -> datetime | None:
    try:
        return None if ms is None else datetime.fromtimestamp(float(ms) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
