"""The contract of everything that runs in the background: start once, close at any time, close twice.

`start` returns at once and is refused while running; `close` returns when all has ended, and is allowed before `start`
and twice; ``with`` does both; what still runs when the interpreter ends is closed then.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import Any, Self


class Service:
    """The base of background services: subclasses say how to begin and how to end."""

    def __init__(self) -> None:
        # Held while the service begins or ends, in whatever thread asks for that:
        self._lock = threading.RLock()
        self._running = False  # written under the lock

    def _begin(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        """Whether it was started and not closed since."""
        return self._running

    def start(self) -> Self:
        """Begin in the background and return; refused while it is running.

        >>> worker = Worker("doc-served", print).start()
        >>> worker.running
        True
        >>> worker.close()
        """
        with self._lock:
            if self._running:
                raise RuntimeError(f"{self!r} is running already; close() it first")
            self._begin()
            self._running = True
            _started[self] = None
        return self

    def close(self) -> None:
        """End, and return when the service has ended. Does nothing when it is not running.

        >>> worker = Worker("doc-served", print)
        >>> worker.close()
        """
        with self._lock:
            if self._running:
                self._running = False
                _started.pop(self, None)
                self._end()

    def close_at_exit(self) -> None:
        """End with the interpreter.

        >>> Worker("doc-served", print).start().close_at_exit()
        """
        self.close()

    def __enter__(self) -> Self:
        return self if self._running else self.start()

    def __exit__(self, *_: Any) -> None:
        self.close()


# In the order of their starts:
_started: weakref.WeakKeyDictionary[Service, None] = weakref.WeakKeyDictionary()


@atexit.register
def _close_all() -> None:
    for service in reversed(list(_started)):  # the newest first: no other takes what it gives back
        service.close_at_exit()
