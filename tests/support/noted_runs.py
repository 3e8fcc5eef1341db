"""How often each row ran, for tasks that note it."""

from __future__ import annotations

import collections
import threading


class NotedRuns(collections.Counter):
    """How often a row ran."""

    def __init__(self):
        super().__init__()
        self.noting = threading.Lock()

    def note(self, n):
        """Note that a row runs; return how often it has."""
        with self.noting:
            self[n] += 1
            return self[n]

    def fresh(self):
        """Return what ran since the last time, and forget it."""
        with self.noting:
            found = dict(self)
            self.clear()
        return found
