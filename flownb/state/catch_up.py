"""Making up for what other programs' workers do not know: shared jobs, failures that climb, a flow's end.

Every waiting handle does it for its flow, every flownb worker for the shared jobs of its prefix. Each deed is
one script that may be asked for twice; if nobody is there the flow pauses.
"""

from __future__ import annotations

import time

from flownb.state.shape import Shape
from flownb.wire.store import Store

_EVERY = 0.2  # seconds between two looks
_SHARE = 50  # a look takes at most this part of the time: 2 %


class SharedJobs:
    """Goes through the shared jobs that have not ended, some at a time, round and round."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursor = 0

    def look(self) -> int:
        """Tell further parents what became of jobs that other programs' workers ended; return how many were told."""
        self._cursor, told = self._store.notify_shared_parents(self._cursor)
        return told


class Coordinator:
    """Looks after one flow, at most a few times a second."""

    def __init__(self, store: Store, shape: Shape) -> None:
        self._store = store
        self._shape = shape
        self._shared = SharedJobs(store)
        self._failed: dict[str, int] = {}  # parent -> failed children, when it was seen to
        self._parents: list[str] = []
        self._next = 0.0

    def look(self) -> bool:
        """Do what is to be done; say whether anything changed."""
        began = time.monotonic()
        if began < self._next:
            return False
        self._parents = self._parents or [parent for parent, groups in self._shape.branches() if groups]
        # In this order: a shared job that fails between the two is told to all of its parents by the second.
        changed = self._fail_doomed() + self._shared.look()
        took = time.monotonic() - began
        self._next = began + max(_EVERY, _SHARE * took)
        return bool(changed)

    def _fail_doomed(self) -> int:
        families = zip(self._parents, self._store.read_children_counts(self._parents), strict=True)
        failed = {parent: family.failed for parent, family in families if family.failed}
        doomed = [parent for parent, n in failed.items() if n != self._failed.get(parent)]
        self._failed = failed
        return self._store.fail_deferred_parents(doomed[::-1])
