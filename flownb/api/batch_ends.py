"""Ends of batches that this process has written: whoever waits for one asks the server at once."""

from __future__ import annotations

import threading


class BatchEnds:
    """How many there were; workers count, threads that wait look."""

    def __init__(self) -> None:
        self._counting = threading.Condition()
        self.count = 0  #: written under the lock

    def note(self) -> None:
        """A batch has ended: wake all that wait for one."""
        with self._counting:
            self.count += 1
            self._counting.notify_all()

    def wait_for_more(self, count: int, seconds: float) -> None:
        """Wait until there are more than `count`, at most for so many seconds."""
        with self._counting:
            self._counting.wait_for(lambda: self.count != count, seconds)


batch_ends = BatchEnds()
