"""Writing what other programs' workers leave unwritten: shared jobs, failures that climb, a flow's end.

Those workers know neither further parents nor flows. Every handle that waits or watches catches up for its flow,
every flownb worker for the shared jobs of its prefix; readers never do. Each step is one script that may be sent
twice. While nobody is there to catch up, the flow stands still.
"""

from __future__ import annotations

import math
import time

from flownb.state.shape import Shape
from flownb.wire.store import Store

_PAUSE_SECONDS = 0.2  # at least, between two rounds
_PAUSE_PER_ROUND = 50  # a pause is this many times as long as the round before it: 2 % of the time goes here


class SharedJobs:
    """Goes through the shared jobs of a prefix that have not ended, a page a call, round and round."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursor = 0  # written by the one thread that calls `notify_parents`

    def notify_parents(self) -> int:
        """Notify further parents of jobs that other programs' workers ended; return how many were notified."""
        self._cursor, notified = self._store.shared.notify_some(self._cursor)
        return notified


class CatchUp:
    """Catches up for one flow, at most a few times a second.

    A live view's reader and a waiting cell may share it. Then a round may run twice, which changes nothing.
    """

    def __init__(self, store: Store, shape: Shape) -> None:
        self._store = store
        self._shape = shape
        self._shared = SharedJobs(store)
        self._failed: dict[str, int] = {}  # parent -> failed children at the last round
        self._parents: list[str] = []  # filled by the first round
        self._next_round = 0.0  # of the monotonic clock
        self._first_asked = math.inf  # the same

    def catch_up(self, finished: str | None, root_finished: str | None, rounds_after: float) -> bool:
        """Write what is missing, unless the last round was just now; return whether anything changed.

        `finished` is when the flow ended, as its record has it, `root_finished` when its root did. The first round may
        be put off until `rounds_after` seconds after the first call.
        """
        if root_finished != finished:
            self._store.missed_writes.write_flow_end(self._shape.root)
            return True
        if finished is not None:
            return False
        began = time.monotonic()
        self._first_asked = min(self._first_asked, began)
        if began < max(self._next_round, self._first_asked + rounds_after):
            return False
        self._parents = self._parents or [parent for parent, groups in self._shape.branches() if groups]
        # In this order: a shared job that fails between the two notifies all of its parents in the second.
        changed = self._fail_doomed() + self._shared.notify_parents()
        took = time.monotonic() - began
        self._next_round = began + max(_PAUSE_SECONDS, _PAUSE_PER_ROUND * took)
        return bool(changed)

    def _fail_doomed(self) -> int:
        """Fail parents in line whose children have failed since the last round."""
        counts = zip(self._parents, self._store.children.counts(self._parents), strict=True)
        failed = {parent: count.failed for parent, count in counts if count.failed}
        doomed = [parent for parent, n in failed.items() if n != self._failed.get(parent)]
        self._failed = failed
        return self._store.missed_writes.fail_deferred_parents(doomed[::-1])
