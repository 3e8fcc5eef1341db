"""Counts how many are inside at a time, threads or coroutines."""

from __future__ import annotations

import asyncio
import threading


class Gauge:
    """How many are inside ``now``, and the ``most`` that have been at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1

    async def until(self, many: int) -> None:
        """Stay inside until so many are, or have been; for ever where fewer may be."""
        with self:
            while self.most < many:
                await asyncio.sleep(0.001)
