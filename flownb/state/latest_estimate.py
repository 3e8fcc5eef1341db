"""How long one flow still takes, and since when it stands still, for all who show it; asked again every few seconds."""

from __future__ import annotations

import time
from dataclasses import replace

from flownb.state.eta import Estimate
from flownb.state.snapshot import read_oldest_start
from flownb.state.stored_flow import StoredFlow
from flownb.wire import keys
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, PRIORITIZED, WAITING, FlowCounts

ESTIMATE_SECONDS = 2.0  #: between two estimates

_NOTHING_KNOWN = Estimate(None, {})


class LatestEstimate:
    """The estimate of one flow. Of one thread at a time."""

    def __init__(self, stored: StoredFlow) -> None:
        self._stored = stored
        self._found = _NOTHING_KNOWN
        self._found_at = float("-inf")  # of the monotonic clock

    def read(self, counts: FlowCounts) -> Estimate:
        """Return the latest estimate; of a flow in which nothing runs it has no more than since when nothing ends."""
        if not counts.count(ACTIVE) and not _has_come_to_a_halt(counts):
            return _NOTHING_KNOWN
        if time.monotonic() - self._found_at > ESTIMATE_SECONDS:
            self._found_at = time.monotonic()
            self._found = self._estimate(counts)
        return self._found if counts.count(ACTIVE) else Estimate(None, {}, self._found.stopped)

    def _estimate(self, counts: FlowCounts) -> Estimate:
        found = self._stored.estimate(counts)
        is_told = found.stopped is not None and not self._is_plausible(found, counts)
        return found if is_told else replace(found, stopped=None)

    def _is_plausible(self, found: Estimate, counts: FlowCounts) -> bool:
        """Say whether what runs has only just begun, as after a pause, or limits hold back what could run."""
        store = self._stored.store
        if counts.count(ACTIVE):
            begun = read_oldest_start(store, self._stored.flow_state.shape, counts)
            return begun is None or store.server.read_time() - begun <= 1000 * found.plausible
        bases = [keys.base(store.prefix, queue) for queue in counts.queues]
        return any(facts.is_limited for facts in store.queue_facts.read(bases).values())


def _has_come_to_a_halt(counts: FlowCounts) -> bool:
    """Say whether some has ended and more could run, while nothing does and nobody has paused it."""
    ended, ready = ((COMPLETED, FAILED), (WAITING, PRIORITIZED))
    return not counts.paused and all(any(map(counts.count, states)) for states in (ended, ready))
