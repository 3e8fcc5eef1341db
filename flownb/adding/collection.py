"""Holds Python's garbage collector back while many jobs are planned: it would look through all of them again and again.

A plan keeps all that is made for it, so there is nothing to collect: that took up to half of the client's time.
"""

from __future__ import annotations

import gc
import threading
from types import TracebackType

MANY_OBJECTS = 10_000  # made inside: a collection of so many takes milliseconds


class NoCollection:
    """Inside it, in any thread, Python collects no cycles; nested and at once in several threads, the last one ends it.

    A collector that the program has switched off stays off.

    >>> import gc
    >>> with NoCollection():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """

    _lock = threading.Lock()
    _depth = 0  # how many threads and levels are inside; written under the lock, as `_was_enabled` is
    _was_enabled = False

    def __enter__(self) -> None:
        cls = NoCollection
        with cls._lock:
            if not cls._depth:
                cls._was_enabled = gc.isenabled()
                gc.disable()
            cls._depth += 1

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        cls = NoCollection
        with cls._lock:
            cls._depth -= 1
            if not cls._depth and cls._was_enabled:
                if gc.get_count()[0] > MANY_OBJECTS and not gc.get_freeze_count():
                    # What was made is old from now on; else the next collection would look through it after all.
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()
