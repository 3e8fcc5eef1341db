"""How many rows have ended lately, by what one view has seen of the counts: which of a batch's steps go how fast."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0  #: that are lately


class RecentEnds:
    """The counts that were seen lately. Of one thread at a time.

    >>> ends = RecentEnds()
    >>> ends.note(0.0, 100), ends.note(10.0, 120)
    (None, None)
    >>> ends.count
    20
    >>> ends.note(75.0, 121)
    >>> ends.count
    0
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()  # seconds, ended

    def note(self, now: float, ended: int) -> None:
        """So many had ended at this moment."""
        if self._seen and ended < self._seen[-1][1]:  # some run again
            self._seen.clear()
        self._seen.append((now, ended))
        while self._seen[0][0] < now - WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def count(self) -> int:
        """How many have ended lately."""
        return self._seen[-1][1] - self._seen[0][1] if self._seen else 0
