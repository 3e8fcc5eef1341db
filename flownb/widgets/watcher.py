"""The one thread that reads for every live view of this kernel: often while something changes, seldom otherwise."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol

FASTEST, SLOWEST = 0.25, 5.0  #: seconds between two looks at a flow
SILENCE = (
    75.0  #: seconds after which a view no page speaks of is read no more; hidden pages speak once a minute
)
OUT_OF_SIGHT = 12.0  #: seconds after which a view that no page has in sight is read as seldom as can be
_SLOWER = 1.5
_SHARE = 4  # a look that takes long is followed by so many times as long without one


class View(Protocol):
    """What the watcher reads for."""

    def poll(self) -> bool:
        """Read, show, and say whether anything has changed. Raises nothing."""
        ...


@dataclass
class _Watched:
    view: View
    interval: float
    due: float
    heard: float  # when a page last said that it has it
    seen: float  # when one last said that it is in sight


class Watcher:
    """Polls views in a daemon thread, which ends when there is none left. Times are of the monotonic clock.

    While a cell runs, pages may not get through to the kernel: then silence does not count.
    """

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False

    def watch(self, view: View, *, on_screen: bool = True) -> None:
        """Read for a view from now on, at once; called again by each sign of life of a page."""
        with self._changed:
            now = time.monotonic()
            watched = self._watched.get(id(view))
            if watched is None:
                watched = self._watched[id(view)] = _Watched(view, FASTEST, now, now, now - OUT_OF_SIGHT)
            watched.heard = now
            if on_screen:
                if not self._is_in_sight(watched, now):
                    watched.interval, watched.due = FASTEST, now
                watched.seen = now
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flownb-views-reader", daemon=True)
                self._thread.start()
            self._changed.notify()

    def hurry(self, view: View) -> None:
        """Look at once: the user has just done something."""
        with self._changed:
            if watched := self._watched.get(id(view)):
                watched.interval, watched.due = FASTEST, time.monotonic()
                self._changed.notify()

    def forget(self, view: View) -> None:
        """Read for a view no more, until it is watched again."""
        with self._changed:
            self._watched.pop(id(view), None)
            self._changed.notify()

    def is_watching(self, view: View) -> bool:
        """Say whether a view is still read for."""
        with self._changed:
            return id(view) in self._watched

    def cell_begins(self) -> None:
        """The kernel runs a cell now: silence of the pages means nothing."""
        self._busy = True

    def cell_ends(self) -> None:
        """The kernel listens again; the pages have their whole time to speak."""
        with self._changed:
            self._busy = False
            now = time.monotonic()
            for watched in self._watched.values():
                watched.heard = now

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                if not self._busy:
                    self._watched = {k: w for k, w in self._watched.items() if now - w.heard < SILENCE}
                if not self._watched:
                    self._thread = None
                    return
                due = [watched for watched in self._watched.values() if watched.due <= now]
                if not due:
                    self._changed.wait(min(w.due for w in self._watched.values()) - now)
                    continue
            for watched in due:
                began = time.monotonic()
                changed = watched.view.poll()
                with self._changed:
                    now = time.monotonic()
                    if not self._is_in_sight(watched, now):
                        watched.interval = SLOWEST
                    else:
                        watched.interval = FASTEST if changed else min(watched.interval * _SLOWER, SLOWEST)
                    watched.due = now + max(watched.interval, _SHARE * (now - began))

    def _is_in_sight(self, watched: _Watched, now: float) -> bool:
        return self._busy or now - watched.seen < OUT_OF_SIGHT
