"""How far a flow is, read again and again by who waits: counts, the rate, and about how much time is left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from flownb.api.progress import Progress
from flownb.state.eta import Estimate
from flownb.state.stored_flow import StoredFlow
from flownb.wire.records import HowFar

_ESTIMATE_SECONDS = 2.0  # between two estimates of the time left


class HowFarReader:
    """Reads how far one flow is: of a batch its rows are counted, of any other flow its jobs."""

    def __init__(self, stored: StoredFlow, progress: Callable[[], Progress]) -> None:
        self._stored = stored
        self._progress = progress
        self._estimate: Estimate | None = None
        self._estimated_at = float("-inf")  # of the monotonic clock

    def read(self) -> HowFar:
        """Return how far it is now."""
        now, progress = time.monotonic(), self._progress()
        counts = progress.counts
        unit, row_queue = "row", self._stored.row_queue
        states = counts.by_stage.get(row_queue or "")
        if states is None:
            unit, row_queue = "job", None
            states = sum(map(Counter, counts.by_stage.values()), Counter[str]())
        if now - self._estimated_at > _ESTIMATE_SECONDS:
            self._estimated_at = now
            self._estimate = self._stored.estimate(counts) if progress.active else None
        estimate = self._estimate if progress.active else None
        return HowFar.of(
            unit,
            states,
            rate=estimate.rate(row_queue) if estimate else 0.0,
            left=estimate.left if estimate else None,
            spent=self._stored.spent_in_words(counts),
            paused=progress.paused or "",
        )
