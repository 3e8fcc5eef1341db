"""How many jobs or rows end in a second, by what one view has seen of the counts."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 60.0  #: of which the rate is
_LEAST_SECONDS = 1.0
_STILL_SECONDS = 5.0  # in which nothing has ended, at least, before it is said that nothing ends
_STILL_ENDS = 10  # and at least the time in which so many ended before


class EndRate:
    """The counts that were seen lately. Of one thread at a time.

    >>> rate = EndRate()
    >>> rate.note(0.0, 100), rate.note(10.0, 120)
    (None, None)
    >>> rate.per_second(10.0)
    2.0
    >>> rate.note(30.0, 120)  # it stands still
    >>> rate.per_second(30.0)
    0.0
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()  # seconds, ended
        self._moved = 0.0  # when it was seen last that some had ended

    def note(self, now: float, ended: int) -> None:
        """So many had ended at this moment."""
        if self._seen and ended < self._seen[-1][1]:  # some run again
            self._seen.clear()
        if not self._seen or ended > self._seen[-1][1]:
            self._moved = now
        self._seen.append((now, ended))
        while self._seen[0][0] < now - WINDOW_SECONDS:
            self._seen.popleft()

    def per_second(self, now: float) -> float | None:
        """The rate until this moment, 0 where all stands still; None while too little was seen."""
        if not self._seen or now - self._seen[0][0] < _LEAST_SECONDS:
            return None
        rate = (self._seen[-1][1] - self._seen[0][1]) / (now - self._seen[0][0])
        still = now - self._moved
        return 0.0 if still > _STILL_SECONDS and still * rate > _STILL_ENDS else rate
