"""What several tests of batches use."""

from __future__ import annotations

import collections
import threading

import pytest

import flownb as fn


class Runs(collections.Counter):
    """How often a row ran."""

    def __init__(self):
        super().__init__()
        self.noting = threading.Lock()

    def note(self, n):
        with self.noting:
            self[n] += 1

    def fresh(self):
        """Return what ran since the last time, and forget it."""
        with self.noting:
            found = dict(self)
            self.clear()
        return found


@pytest.fixture
def runs():
    return Runs()


@pytest.fixture
def square(runs):
    """A task that says of each row that it ran."""

    @fn.task
    def square(n):
        runs.note(n)
        return n * n

    return square
