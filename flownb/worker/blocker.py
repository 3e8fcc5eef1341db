"""The blocker: one thread that sleeps on the queues' markers and wakes the pump when a job has come."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flownb.connection import Connection
from flownb.connection.address import LATE_SECONDS, make_client
from flownb.wire import keys

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("flownb.worker")

# Of one sleep on the server; the next follows at once, as the sweeps look for jobs anyway:
SLEEP_SECONDS = 30.0
PAUSE_AFTER_ERROR = 0.2  # seconds


class Blocker:
    """Sleeps only while it is armed, and wakes the pump once an arming: a second wake cannot come unasked."""

    def __init__(self, name: str, connection: Connection, wake: Callable[[], None]) -> None:
        self._connection = connection
        self._wake = wake
        self._markers: list[
            str
        ] = []  # the pump's thread writes, before it sets `_armed`, on which the blocker waits
        self._armed = threading.Event()  # set by the pump's thread and by `close`, cleared by the blocker
        # Set by `interrupt`, cleared by the blocker: what broke was to break.
        self._interrupted = threading.Event()
        self._closed = threading.Event()  # set by `close`
        self._client = make_client(connection.address(), timeout=SLEEP_SECONDS + LATE_SECONDS)
        self._thread = threading.Thread(target=self._loop, name=f"flownb-{name}-blocker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def arm(self, bases: Iterable[str]) -> None:
        """Wake the pump when one of these queues has a job for it."""
        self._markers = [keys.part(base, "marker") for base in bases]
        self._armed.set()

    def interrupt(self) -> None:
        """End the present sleep, as there are other queues now: hang up, and leave a marker.

        Another worker may take the marker; it is for a blocker that is just about to sleep, which a hang-up may miss.
        """
        if self._armed.is_set() and self._markers:
            try:
                self._connection.client().zadd(self._markers[0], {"0": 0})
            except Exception as error:
                log.debug("could not wake the blocker: %s", error)
            self._interrupted.set()
            self._client.connection_pool.disconnect(inuse_connections=True)

    def close(self) -> None:
        self._closed.set()
        self._armed.set()
        self._client.connection_pool.disconnect(inuse_connections=True)
        self._thread.join(2)
        self._client.close()

    def _loop(self) -> None:
        while self._armed.wait() and not self._closed.is_set():
            try:
                if self._client.bzpopmin(self._markers, timeout=SLEEP_SECONDS) is None:
                    continue
            except Exception as error:  # also the end of a closed worker's connection
                log.debug("the blocking connection broke: %s", error)
                if not self._interrupted.is_set():
                    self._closed.wait(PAUSE_AFTER_ERROR)
            self._interrupted.clear()
            self._armed.clear()
            self._wake()
            if self._closed.is_set():  # `close` may have armed it just before it was cleared
                return


def wake_another_worker(client: Redis, bases: Iterable[str]) -> None:
    """Put back the markers that a wake took, from a worker that has no slot free any more."""
    try:
        for base in bases:
            client.zadd(keys.part(base, "marker"), {"0": 0})
    except Exception as error:
        log.debug("could not pass on a wake: %s", error)
