"""The thread that reads a queue's stream of events and gives them to functions and loops."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from flownb.api.event import Event, read_event
from flownb.connection import Connection
from flownb.errors import JobMissing
from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store import Store
from flownb.wire.store.large_values import stands_for_large

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("flownb.events")

BLOCK_MS = 5000  # a quiet stream is asked again after this
MAX_A_READ = 500  # events a read
MAX_AHEAD = 1000  # events read ahead of a slow loop; the others wait on the server, which keeps some 10,000
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0  # between two tries while the server is away
COMPLAINT_SECONDS = 10.0  # for which the same complaint is not logged again


Functions = Mapping[str, Sequence[Callable[[Event], object]]]  # by the event's name


class EventReader(threading.Thread):
    """One run of a listener: one thread, one blocking connection, and how far it has read."""

    def __init__(self, base: str, functions: Functions, connection: Connection) -> None:
        super().__init__(name=f"flownb-{keys.queue_of_base(base)}-events", daemon=True)
        self.stopped = threading.Event()  #: set by whoever closes the listener
        self.wanted = threading.Event()  #: set once somebody listens: what is read before would be lost
        self._base = base
        self._functions = functions  # changed by the listener, in any thread
        self._connection = connection
        self._stream = keys.part(base, "events")
        # By this thread alone:
        # The id of the last event that was given out; by the starting thread before that:
        self._position = "0-0"
        self._client: Redis | None = None  # read by `end`, in the thread that closes
        self._failures = 0  # of the server, since it last answered
        self._complaints: dict[object, float] = {}  # when (monotonic seconds) each was logged last
        # By any thread, under the lock:
        self._feeding = threading.Lock()
        self._loops: list[
            weakref.ref[EventLoop]
        ] = []  # a loop that somebody left with `break` is gone from here
        self._ended = False

    def begin_at(self, asked: str) -> None:
        """Read from the event of this id on; ``$`` is the newest event now, so that none after `start` is missed."""
        if asked == "$":
            with server_errors():
                asked = self._newest(self._connection.client())
        self._position = asked if "-" in asked else f"{asked}-0"

    def feed(self, loop: EventLoop) -> None:
        """Give this loop too each event from now on."""
        with self._feeding:
            self._loops = [*(ref for ref in self._loops if ref() is not None), weakref.ref(loop)]
            if self._ended:
                loop.end()
        self.wanted.set()

    def end(self, patience: float) -> None:
        """Wait until the thread has ended. A read that waits for the server ends when its connection is taken."""
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
        # After a failover, or with a lost file, the stream ends before what was read already: go on from its end.
        self._position = min(self._position, self._newest(client), key=_order)
        while not self.stopped.is_set():
            found: Any = client.xread({self._stream: self._position}, count=MAX_A_READ, block=BLOCK_MS)
            self._failures = 0
            for id, fields in found[0][1] if found else ():
                if self.stopped.is_set():
                    return
                if fields:
                    found_event = read_event(
                        codec.text(id), fields, in_full=self._in_full, decode=self._decoded
                    )
                    self._call_functions(found_event)
                    self._fill_loops(found_event)
                # Only now: where the server could not be asked for a large value, the event is read again.
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
            self._complain("server", "%s (trying again)", error)
            self.stopped.wait(
                min(SHORTEST_PAUSE_SECONDS * 2.0 ** min(self._failures, 6), LONGEST_PAUSE_SECONDS)
            )
            self._failures += 1

    def _call_functions(self, event: Event) -> None:
        for function in self._functions.get(event.name, ()):
            try:
                function(event)
            except BaseException as error:  # also SystemExit: the listener goes on
                if function not in self._complaints:
                    self._complaints[function] = time.monotonic()
                    text = "a function for %r events failed with %s; its next failures are not told"
                    log.exception(text, event.name, type(error).__name__)

    def _fill_loops(self, event: Event) -> None:
        """Give every loop the event; wait for one that is far behind."""
        for ref in self._loops:
            while (loop := ref()) is not None and loop.is_full() and not self.stopped.is_set():
                del loop  # whoever held it may let go of it meanwhile
                self.stopped.wait(0.01)
            if loop is not None:
                loop.put(event)

    def _complain(self, about: str, message: str, *parts: object) -> None:
        """Log a complaint, at most once in `COMPLAINT_SECONDS`."""
        now = time.monotonic()
        if now - self._complaints.get(about, -math.inf) >= COMPLAINT_SECONDS:
            self._complaints[about] = now
            log.warning(message, *parts)

    # ---- what an event's fields need ----------------------------------------------------------------

    def _in_full(self, job_id: str | None, text: str) -> str:
        """Return a batch's large value, which is stored with its job alone; of a removed job the event's text."""
        if not stands_for_large(text) or self._client is None or job_id is None:
            return text
        key = keys.job_in(self._base, job_id)
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


class EventLoop(Iterator[Event]):
    """One ``for`` over a listener; filled by its thread, emptied by the loop's."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Event | None] = SimpleQueue()

    def is_full(self) -> bool:
        return self._inbox.qsize() >= MAX_AHEAD

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
