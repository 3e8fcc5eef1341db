"""How far a flow is, read again and again by who waits: counts, the rate, and about how much time is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from flownb.api.progress import Progress
from flownb.state.flow_state import rows_to_come
from flownb.state.latest_estimate import LatestEstimate
from flownb.state.stored_flow import StoredFlow
from flownb.wire.records import HowFar


class HowFarReader:
    """Reads how far one flow is: of a batch its rows are counted, of any other flow its jobs."""

    def __init__(self, stored: StoredFlow, progress: Callable[[], Progress]) -> None:
        self._stored = stored
        self._progress = progress
        self._estimate = LatestEstimate(stored)

    def read(self) -> HowFar:
        """Return how far it is now."""
        progress = self._progress()
        counts = progress.counts
        unit, row_queue = "row", self._stored.row_queue
        states = counts.by_stage.get(row_queue or "")
        if states is None:
            unit, row_queue = "job", None
            states = sum(map(Counter, counts.by_stage.values()), Counter[str]())
        estimate = self._estimate.read(counts)
        return HowFar.of(
            unit,
            states,
            rate=estimate.rate(row_queue),
            left=None if progress.paused else estimate.left,
            still=self._seconds_since(estimate.stopped),
            spent=self._stored.spent_in_words(counts),
            paused=progress.paused or "",
            to_come=rows_to_come(self._stored.record_now()),
        )

    def _seconds_since(self, moment: int | None) -> float:
        return 0.0 if moment is None else max(self._stored.store.server.read_time() - moment, 0) / 1000
