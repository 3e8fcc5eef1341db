"""Checks whether a flow's counts can be believed: flownb's scripts keep them, other programs' workers do not.

What those workers did shows in BullMQ's own keys: fewer of the flow's jobs are waited for than were counted.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence

from flownb.state.child_search import ChildSearch
from flownb.state.shape import Group, Shape
from flownb.wire import keys
from flownb.wire.many_rows import counts_of
from flownb.wire.records import COMPLETED, FAILED, FlowCounts
from flownb.wire.store import Store
from flownb.wire.store.limits import FEW_JOBS, JOBS_A_READ
from flownb.wire.store.missed_writes import CountComparison

_PAUSE_PER_CHECK = 50  # a pause is this many times as long as the quickest check: 2 % of the time goes here
_SOON = 1.0  # seconds after which other programs' moves are seen, unless a check takes long
_PAUSE_PER_LONG_CHECK = 10  # then the pause is at least this many times as long


class CountCheck:
    """Reads one flow's counts and compares them; what was found once stays found."""

    def __init__(self, store: Store, flow: str, shape: Shape) -> None:
        self._store = store
        self._flow = flow
        self._shape = shape
        # Written by whoever asks for counts, a live view's reader or a cell: both would write the same.
        self._total = -1  # jobs when the tree was read
        self._parents: list[str] = []
        self._shared: list[
            tuple[str, int]
        ] = []  # shared jobs, and how many parents each has beside the first
        self._bases: list[str] = []  # queues of the flow's jobs
        self._is_as_declared = False  # as many jobs are counted as were declared
        self._is_added_to = False  # of a large flow: a parent keeps more children than were declared
        self._search = ChildSearch(store, shape.children_in_pieces)  # of a large flow
        self._declared: dict[str, set[str]] = {}  # of a small flow, parent -> children
        self._quickest = math.inf  # seconds that a check of this tree took
        self._next_check = 0.0  # of the monotonic clock
        self.others_ran_jobs = False  #: another program's worker has had a job of the flow

    def check_next_time(self) -> None:
        """Compare at the next question, however short ago the last one was: something has ended."""
        self._next_check = 0.0

    def counts(self) -> FlowCounts:
        """Return the stored counts. See `others_ran_jobs` whether they can be believed."""
        if self.others_ran_jobs or time.monotonic() < self._next_check:
            return self._store.flows.read_counts(self._flow)
        began = time.monotonic()
        reads = self._read()
        if (total := sum(reads[-1].jobs.values())) != self._total:
            self._total = total
            self._read_tree()
            reads = self._read()
        self.others_ran_jobs = self._is_added_to or self._tell_of_others(reads) or self._has_new_children()
        self._plan_next_check(time.monotonic() - began)
        return counts_of(reads[-1].fields)

    def _plan_next_check(self, seconds: float) -> None:
        """Pause in proportion to what the quickest check took: a slow one says how busy this machine was, no more."""
        self._quickest = min(self._quickest, seconds)
        longest = max(_SOON, _PAUSE_PER_LONG_CHECK * self._quickest)
        self._next_check = time.monotonic() + min(_PAUSE_PER_CHECK * self._quickest, longest)

    def _tell_of_others(self, reads: Sequence[CountComparison]) -> bool:
        """Say whether what was read shows that another program's worker has had a job of the flow."""
        if any(read.others for read in reads) or min(reads[-1].jobs.values(), default=0) < 0:
            return True
        can_compare = self._is_as_declared and not any(read.notifying for read in reads)
        return can_compare and not _agree(reads)

    def _has_new_children(self) -> bool:
        """Does a parent keep children that nobody declared? Of a large flow some are looked at each time."""
        if not self._declared:
            return bool(self._search.look(self._parents))
        parents = list(self._declared)
        for parent, kept in zip(parents, self._store.children.read_few(parents), strict=True):
            if not kept <= self._declared[parent]:
                self._declared[parent] = set(self._shape.children(parent))  # it may have added some itself
                if not kept <= self._declared[parent]:
                    return True
        return False

    def _read(self) -> list[CountComparison]:
        """Everything in one read, or piece by piece, and the counts once more at the end."""
        pieces = max(-(-len(self._parents) // JOBS_A_READ), -(-len(self._shared) // JOBS_A_READ), 1)
        reads = []
        for i in range(pieces):
            reads.append(
                self._read_piece(slice(i * JOBS_A_READ, (i + 1) * JOBS_A_READ), [] if i else self._bases)
            )
        if pieces > 1:
            reads.append(self._read_piece(slice(0), []))
        return reads

    def _read_piece(self, part: slice, bases: Sequence[str]) -> CountComparison:
        parents, shared = self._parents[part], self._shared[part]
        return self._store.missed_writes.compare_counts(self._flow, self._shape.root, parents, shared, bases)

    def _read_tree(self) -> None:
        branches = [(parent, groups) for parent, groups in self._shape.branches() if groups]
        groups = [group for _, below in branches for group in below]
        self._parents = [parent for parent, _ in branches]
        root = keys.base_of(self._shape.root)
        self._bases = list(dict.fromkeys([root, *(group["base"] for group in groups)]))
        declared = 1 + sum(group["count"] for group in groups)
        self._shared = []
        if len(branches) > 1 and declared != self._total:
            declared = self._read_shared()
        # A flow that took over jobs of another one, or lost some, is not what was declared.
        self._is_as_declared = declared == self._total
        self._quickest = math.inf
        self._declared, self._is_added_to = {}, False
        if declared <= FEW_JOBS:
            lists = zip(self._parents, self._store.declared.read_many(self._parents), strict=True)
            self._declared = {
                parent: {key for piece in pieces for key in piece.keys} for parent, pieces in lists
            }
        else:
            self._is_added_to = self._has_more_children(branches)

    def _read_shared(self) -> int:
        """Note how many parents each shared job has beside the first; return how many jobs are declared in all."""
        times = Counter(key for parent in self._parents for key in set(self._shape.children(parent)))
        self._shared = [(key, n - 1) for key, n in times.items() if n > 1]
        return len(times.keys() | {self._shape.root})

    def _has_more_children(self, branches: Sequence[tuple[str, list[Group]]]) -> bool:
        """Does a parent keep children that nobody declared?"""
        counts = self._store.children.counts(self._parents)
        more = [
            parent
            for (parent, groups), count in zip(branches, counts, strict=True)
            if sum(count) > sum(group["count"] for group in groups)
        ]
        return any(
            set(self._store.children.read_all(parent)) - set(self._shape.children(parent)) for parent in more
        )


def _agree(reads: Sequence[CountComparison]) -> bool:
    """Between the first read and the last jobs may end: what was found must lie between what was counted."""
    first, last = reads[0], reads[-1]
    pending = sum(read.pending for read in reads) + (not last.root_ended)
    return _unended(last) <= pending <= _unended(first)


def _unended(read: CountComparison) -> int:
    ended = (f"{COMPLETED}@", f"{FAILED}@")
    return sum(n for field, n in read.jobs.items() if not field.startswith(ended))
