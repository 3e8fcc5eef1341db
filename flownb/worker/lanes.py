"""Lanes: queues of a worker that share slots. A worker that was told how many jobs run at a time has one lane.

One that opens as many slots as its tasks need has a lane for `def` tasks, one for `async` tasks, and one for each queue
whose tasks say how many may run. Each lane asks the server for jobs of its own queues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from flownb.api.waits_in_slots import lanes
from flownb.wire import keys
from flownb.worker.blocker import Blocker
from flownb.worker.coroutines import Coroutines
from flownb.worker.fetching import Fetching
from flownb.worker.settings import WorkerSettings
from flownb.worker.slots import Held, Slots, SlotsOfWorker


class Lane:
    """Queues that share slots, and when to ask the server for jobs of theirs; the pump's thread alone uses it."""

    def __init__(self, worker: SlotsOfWorker, wake: Callable[[Lane], None], width: int) -> None:
        self.bases: list[str] = []
        self.shares = False  #: are there several queues that take turns?
        self.held = 0  #: jobs that wait for a slot, or run in one
        self.fetching = Fetching(width)
        self._is_async = worker.running.is_async
        self._threads = Slots(worker, width)
        self._coroutines = Coroutines(worker, width)
        self.blocker = Blocker(worker.name, worker.connection, lambda: wake(self))
        self.blocker.start()
        lanes.add(self)

    @property
    def width(self) -> int:
        """How many jobs run at a time."""
        return self._threads.width

    def widen(self, width: int) -> None:
        self._threads.width = self._coroutines.width = self.fetching.concurrency = width

    def put(self, jobs: list[Held]) -> None:
        """Hand out jobs; all that a call has brought at once, as that costs each of them less."""
        self.held += len(jobs)
        if self._is_async is None:
            self._threads.put(jobs)
            return
        for_threads = []
        for held in jobs:
            if self._is_async(held.taken):
                self._coroutines.put(held)
            else:
                for_threads.append(held)
        self._threads.put(for_threads)

    def put_in_thread(self, held: Held) -> None:
        """Its function is no coroutine: it was when the job came, and was defined anew."""
        held.in_loop = False
        self._threads.put([held])

    def note_end(self, held: Held) -> None:
        """A job has ended, or was taken back."""
        self.held -= 1
        # A queue's limit may let another begin; the end is to be told anyway.
        self.fetching.may_have_work = True
        if not held.in_loop:
            self._threads.held -= 1

    def waiting(self) -> int:
        """Return how many jobs no slot has started."""
        return self._threads.waiting() + self._coroutines.waiting()

    def room(self) -> int:
        """Return how many more jobs to hold: none while a coroutine keeps others from beginning."""
        room = self.fetching.room(self.held, self.waiting())
        return 0 if room and self._coroutines.is_held_up(time.monotonic()) else room

    def is_held_up(self, now: float) -> bool:
        """Say whether jobs wait behind a coroutine that keeps them from beginning."""
        return self._coroutines.waiting() > 0 and self._coroutines.is_held_up(now)

    def take_back(self) -> list[Held]:
        return self._threads.take_back() + self._coroutines.take_back()

    def abandon(self, held: Held) -> None:
        (self._coroutines if held.in_loop else self._threads).abandon(held)

    def close(self) -> None:
        lanes.discard(self)
        self.blocker.close()
        self._threads.close()
        self._coroutines.close()


class Lanes:
    """The lanes of a worker, which change as tasks are defined."""

    def __init__(self, settings: WorkerSettings, make: Callable[[int], Lane]) -> None:
        self._settings = settings
        self._make = make
        self._lanes: dict[str, Lane] = {}
        self._by_base: dict[str, Lane] = {}
        self.queues_changed()

    def queues_changed(self) -> None:
        """Serve the queues that there are now, each in the lane that is its own now."""
        self._by_base = {}
        for lane in self._lanes.values():
            lane.bases = []
        for base in self._settings.bases():
            name, width = self._settings.lane_of(base)
            lane = self._lanes.get(name) or self._lanes.setdefault(name, self._make(width))
            if lane.width != width:
                lane.widen(width)
            lane.bases.append(base)
            self._by_base[base] = lane
        for lane in self:
            # That of batches' roots, which take no time, takes no turn.
            lane.shares = sum(keys.queue_of_base(base) != keys.BATCH_QUEUE for base in lane.bases) > 1
            lane.fetching.may_have_work = True
            lane.blocker.interrupt()

    def of(self, base: str) -> Lane:
        """Return the lane of a queue; of one that is served no more, any."""
        return self._by_base.get(base) or next(iter(self._lanes.values()))

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def wake(self) -> None:
        """There may be jobs in any queue."""
        for lane in self:
            lane.fetching.may_have_work = True

    def note_time(self, now: float) -> None:
        for lane in self:
            lane.fetching.note_time(now)

    def room(self, lane: Lane, held: int) -> int:
        """Return how many more jobs a lane is to hold, `held` being those of all: a job that is to run alone waits."""
        room = lane.room() if lane.bases else 0
        if room and held:
            for one in self:
                if one.fetching.suspect_in is not None:
                    return 0
        return room

    def turn(self) -> None:
        """Let another lane be the first to ask."""
        if len(self._lanes) > 1:
            name = next(iter(self._lanes))
            self._lanes[name] = self._lanes.pop(name)

    def due(self) -> list[float]:
        """Return when delayed jobs are due, or limits end (monotonic time)."""
        return [due for lane in self if (due := lane.fetching.next_due) is not None]

    def close(self) -> None:
        for lane in self:
            lane.close()
