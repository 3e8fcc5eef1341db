"""The one thread that reads for every live view of this kernel: often while something changes, seldom otherwise."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol

FASTEST_SECONDS, SLOWEST_SECONDS = 0.25, 5.0  #: between two polls of a flow
#: after which a view no page speaks of is polled no more; hidden pages speak once a minute
SILENCE_SECONDS = 75.0
OUT_OF_SIGHT_SECONDS = 12.0  #: after which a view that no page has in sight is polled as seldom as can be
LAST_LOOK_SECONDS = 1.0  #: that a cell's end waits for the views to see what the cell has done
_SLOWDOWN = 1.5  # from one poll without a change to the next
_PAUSE_PER_POLL = 4  # times that a poll took: so a long one is followed by a long pause
_POLL_SHARE = 0.02  # of a core: what polls take of this process, on a slow machine too


class View(Protocol):
    """What the watcher reads for."""

    def poll(self) -> bool:
        """Read, show, and say whether anything has changed. Raises nothing."""
        ...


@dataclass
class _Watched:
    """A view and its times, of the monotonic clock; under the watcher's lock."""

    view: View
    interval: float  # seconds between two polls
    due: float
    heard: float  # when a page last said that it has the view
    seen: float  # when one last said that the view is in sight
    read: float = 0.0  # when the last poll began


class Watcher:
    """Polls views in a daemon thread, which ends when there is none left.

    While a cell runs, pages may not get through to the kernel: then silence does not count.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # Below: written under the lock of `_changed`, by any thread.
        self._watched: dict[int, _Watched] = {}
        self._thread: threading.Thread | None = None
        self._busy = False  # a cell runs; written by the thread that runs cells

    def watch(self, view: View, *, on_screen: bool = True) -> None:
        """Poll a view from now on, at once; called again by each sign of life of a page."""
        with self._changed:
            now = time.monotonic()
            watched = self._watched.get(id(view))
            if watched is None:
                watched = _Watched(view, FASTEST_SECONDS, now, now, now - OUT_OF_SIGHT_SECONDS)
                self._watched[id(view)] = watched
            watched.heard = now
            if on_screen:
                if not self._is_in_sight(watched, now):
                    watched.interval, watched.due = FASTEST_SECONDS, now
                watched.seen = now
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flownb-views-reader", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def poll_soon(self, view: View) -> None:
        """Poll a watched view at once: the user has just done something."""
        with self._changed:
            if watched := self._watched.get(id(view)):
                watched.interval, watched.due = FASTEST_SECONDS, time.monotonic()
                self._changed.notify_all()

    def forget(self, view: View) -> None:
        """Poll a view no more, until it is watched again."""
        with self._changed:
            self._watched.pop(id(view), None)
            self._changed.notify_all()

    def is_watching(self, view: View) -> bool:
        """Say whether a view is still polled."""
        with self._changed:
            return id(view) in self._watched

    def cell_begins(self) -> None:
        """The kernel runs a cell now: silence of the pages means nothing."""
        self._busy = True

    def cell_ends(self) -> None:
        """The kernel listens again; the pages have their whole time to speak.

        Views are read once more before the cell's end: what is saved right after it shows what the cell has done.
        """
        with self._changed:
            self._busy = False
            now = time.monotonic()
            for watched in self._watched.values():
                watched.heard = watched.due = now
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: all(watched.read >= now for watched in self._watched.values()), LAST_LOOK_SECONDS
            )

    def _run(self) -> None:
        while (due := self._wait_for_due_views()) is not None:
            for watched in due:
                self._poll(watched)

    def _wait_for_due_views(self) -> list[_Watched] | None:
        """The views to poll now. None when no view is left: then the thread has to end."""
        with self._changed:
            while True:
                now = time.monotonic()
                self._forget_silent_views(now)
                if not self._watched:
                    self._thread = None
                    return None
                due = [watched for watched in self._watched.values() if watched.due <= now]
                if due:
                    return due
                self._changed.wait(min(watched.due for watched in self._watched.values()) - now)

    def _forget_silent_views(self, now: float) -> None:
        if not self._busy:
            self._watched = {
                id: watched for id, watched in self._watched.items() if now - watched.heard < SILENCE_SECONDS
            }

    def _poll(self, watched: _Watched) -> None:
        began, used = time.monotonic(), time.thread_time()
        changed = watched.view.poll()
        used = time.thread_time() - used
        with self._changed:
            now = time.monotonic()
            if not self._is_in_sight(watched, now):
                watched.interval = SLOWEST_SECONDS
            elif changed:
                watched.interval = FASTEST_SECONDS
            else:
                watched.interval = min(watched.interval * _SLOWDOWN, SLOWEST_SECONDS)
            watched.due = now + max(watched.interval, _PAUSE_PER_POLL * (now - began), used / _POLL_SHARE)
            watched.read = began
            self._changed.notify_all()

    def _is_in_sight(self, watched: _Watched, now: float) -> bool:
        return self._busy or now - watched.seen < OUT_OF_SIGHT_SECONDS


watcher = Watcher()
"""The watcher of this kernel."""
