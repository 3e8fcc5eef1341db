"""Looks for children that came in place of others: their parent's keys name as many as before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from flownb.wire.store import Store
from flownb.wire.store.limits import IDS_A_READ

_PAUSE_PER_LOOK = 50  # looks take 2 % of the time


class ChildSearch:
    """Goes through the children of a large flow's parents, some pages each time, round and round.

    `known` gives the children of a parent that are known, in pieces.
    """

    def __init__(self, store: Store, known: Callable[[str], Iterable[Iterable[str]]]) -> None:
        self._store = store
        self._known = known
        self._looking = threading.Lock()
        # Written by who holds `_looking`.
        self._pages: Iterator[tuple[str, bool]] = iter(())  # what is left of this round
        self._paid_until = time.monotonic()  # what looks have taken has its share of the time until then

    def look(self, parents: Sequence[str]) -> list[str]:
        """Return those of the parents looked at that keep a child which is not known. A look takes its share of the
        time since the last one, and one piece or page at least: where that took longer, further looks wait.

        Any thread may look; one that finds another looking leaves it to that one.
        """
        if not self._looking.acquire(blocking=False):
            return []
        try:
            return self._look(parents)
        finally:
            self._looking.release()

    def _look(self, parents: Sequence[str]) -> list[str]:
        began = time.monotonic()
        if began < self._paid_until:
            return []
        ends = began + (began - self._paid_until) / _PAUSE_PER_LOOK
        found: dict[str, None] = {}
        for parent, has_new in self._pages:
            if has_new:
                found[parent] = None
            if (now := time.monotonic()) > ends:
                self._paid_until = now + _PAUSE_PER_LOOK * (now - ends)
                return list(found)
        self._paid_until = began
        self._pages = self._look_through(parents)
        return list(found)

    def _look_through(self, parents: Sequence[str]) -> Iterator[tuple[str, bool]]:
        for parent in parents:
            known: set[str] = set()
            for piece in self._known(parent):
                known.update(piece)
                yield parent, False
            for page in self._store.children.pages(parent, IDS_A_READ):
                if not known.issuperset(page):  # the flow may have added some itself since
                    known.update(*self._known(parent))
                yield parent, not known.issuperset(page)
