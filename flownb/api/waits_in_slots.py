"""Waits of running jobs: a flow whose jobs could run in slots alone that such waits hold never ends, and is told so."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeVar

from flownb.api.current_run import JobInSlot, Lane, current
from flownb.errors import FlownbError, FlowStuck
from flownb.state.stored_flow import COUNT_PATIENCE_SECONDS, StoredFlow
from flownb.wire import keys
from flownb.wire.records import ACTIVE, DELAYED, PRIORITIZED, WAITING, FlowCounts
from flownb.wire.store import Store

T = TypeVar("T")

LOOK_SECONDS = 1.0  # between two looks; what both see lasts: jobs move while they are read


lanes: set[Lane] = set()  #: of all workers of this process that take jobs; these write
connections: set[str] = set()  #: ids of those by which these workers are seen on the server; they write


class Wait:
    """One job's wait for one flow."""

    def __init__(self, stored: StoredFlow, job: JobInSlot) -> None:
        self.stored = stored
        self.job = job

    def lanes_needed(self) -> list[Lane] | None:
        """Return the lanes without which no job of the flow begins; None where it may go on otherwise, or later."""
        store, counts = self.stored.store, self.stored.flow_state.counts(COUNT_PATIENCE_SECONDS)
        needed: list[Lane] = []
        for queue in _queues_of_what_waits(counts):
            base = keys.base(store.prefix, queue)
            serving = [lane for lane in tuple(lanes) if base in lane.bases]
            if not serving or _is_served_elsewhere(store, base):
                return None
            needed += serving
        return needed or None


def _queues_of_what_waits(counts: FlowCounts) -> list[str]:
    """Return the queues of a flow that waits for slots alone; none where something runs, or will be due."""
    if counts.paused or counts.count(ACTIVE) or counts.count(DELAYED):
        return []
    stages = [
        stage
        for stage, states in counts.by_stage.items()
        if not states.keys().isdisjoint((WAITING, PRIORITIZED))
    ]
    if keys.BATCH_QUEUE in stages:  # whoever waits for a batch runs its root
        return []
    return [queue for stage in stages for queue in counts.queues_of(stage)]


class WaitsInSlots:
    """All waits of running jobs in this process, and which of them are in each other's way."""

    def __init__(self) -> None:
        self._waits: set[Wait] = set()  # each is added and taken out by the thread that waits
        self._looking = threading.Lock()
        self._next_look = 0.0  # monotonic time; the rest is written by who holds the lock
        self._stuck: set[Wait] = set()  # as the last look saw it

    def noted(self, stored: StoredFlow, answers: Iterator[T]) -> Iterator[T]:
        """Yield the answers for which somebody waits until the flow has ended; in a running job the wait is noted.

        Raises `FlowStuck` where it cannot end.
        """
        run = current.get()
        if run is None or run.slot is None:
            yield from answers
            return
        wait, began = Wait(stored, run.slot), time.monotonic()
        while True:
            self._waits.add(wait)
            try:
                answer = next(answers)
            except StopIteration:
                return
            finally:
                self._waits.discard(wait)
            yield answer
            if time.monotonic() - began > LOOK_SECONDS:
                self._refuse(wait)

    def _refuse(self, wait: Wait) -> None:
        """Raise `FlowStuck` for a wait that cannot end, and only for one of several: its slot may help the others."""
        if time.monotonic() < self._next_look or not self._looking.acquire(blocking=False):
            return
        try:
            before, self._stuck = self._stuck, self._find_stuck(wait)
            self._next_look = time.monotonic() + LOOK_SECONDS
            if wait not in before & self._stuck:
                return
            self._stuck = set()
        finally:
            self._looking.release()
        raise FlowStuck(_words(wait))

    def _find_stuck(self, asking: Wait) -> set[Wait]:
        waits = {*self._waits, asking}
        jobs = Counter(job.lane for job in {wait.job for wait in waits})
        if not any(n >= lane.width for lane, n in jobs.items()):  # the usual case costs no question
            return set()
        found = stuck_among({wait: _lanes_needed(wait) for wait in waits})
        return found & {*self._waits, asking}  # in the meantime they held their slots


def stuck_among(needed: Mapping[Wait, list[Lane] | None]) -> set[Wait]:
    """Return the waits for flows whose jobs could only run in slots that these waits hold; `needed` are their lanes."""
    stuck = {wait for wait, lanes in needed.items() if lanes is not None}
    while True:
        going_on = {wait.job for wait in needed.keys() - stuck}
        jobs = {wait.job for wait in stuck} - going_on
        held = Counter(job.lane for job in jobs if not job.abandoned)
        left = {wait for wait in stuck if all(held[lane] >= lane.width for lane in needed[wait] or ())}
        if left == stuck:
            return stuck
        stuck = left


def _is_served_elsewhere(store: Store, base: str) -> bool:
    """May a worker of another process take its jobs? It may where those of this process are not seen either."""
    seen = store.settings.read_connections(base)
    return not seen or not seen <= connections


def _lanes_needed(wait: Wait) -> list[Lane] | None:
    try:
        return wait.lanes_needed()
    except FlownbError:  # the flow is gone, or the server is away: whoever waits hears of it
        return None


def _words(wait: Wait) -> str:
    slots = wait.job.lane.width
    held = f"all {slots} slots" if slots > 1 else "the one slot"
    return (
        f"flow {wait.stored.name!r} cannot end: its jobs wait for a slot, and {held} of this process that could run "
        "them hold jobs that wait for flows as this one does; wait without a slot: job.add_children([...]); or make it "
        "a step of the row: fan_out(rows, [first, second]); or let a worker of its own serve it: flownb worker MODULE"
    )


waits_in_slots = WaitsInSlots()
