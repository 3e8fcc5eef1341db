"""What a worker does at intervals: sweep its queues, check the lease keeper, notify parents of shared jobs."""

from __future__ import annotations

import logging
import math

from flownb.errors import ServerError
from flownb.state.catch_up import SharedJobs
from flownb.wire.store import Store
from flownb.wire.store.leases import Sweep
from flownb.worker.keeper_rounds import WatchedQueue
from flownb.worker.lease_keeper import keeper
from flownb.worker.middleware import Hooks
from flownb.worker.recovery import Recovery
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")

LOOK_SECONDS = 5.0  # at most, between two looks for jobs that nobody was woken for
IDLE_SECONDS = 15.0  # at most, while no job waits or runs in the worker's queues
IDLE_INTERVALS = 3  # stalled intervals: who asks for short ones is to notice soon


class Upkeep:
    """The times of the next sweep and check; the pump's thread alone writes them."""

    def __init__(self, settings: WorkerSettings, store: Store, hooks: Hooks, recovery: Recovery) -> None:
        self._settings = settings
        self._store = store
        self._hooks = hooks
        self._recovery = recovery
        self._shared_jobs = SharedJobs(store)
        self._next_hooks = 0.0  # monotonic time
        self._next_sweep = 0.0  # monotonic time
        self._next_check = 0.0  # monotonic time
        self._sweeps = 0

    def run_if_due(self, now: float) -> bool:
        """Sweep and check where it is time; say whether the sweep has seen jobs in a queue."""
        found_jobs = False
        if now >= self._next_check:
            self._next_check = now + self.check_seconds
            keeper.check()
            self._recovery.keep_new_leases()
        if now >= min(self._next_hooks, self._next_sweep):
            found_jobs = self._sweep(self._settings.bases(), now)
        return found_jobs

    def next_due(self) -> float:
        """Return when the next sweep is due (monotonic time)."""
        return min(self._next_hooks, self._next_sweep)

    @property
    def _look_seconds(self) -> float:
        return min(self._settings.stalled_interval, LOOK_SECONDS)

    @property
    def _idle_seconds(self) -> float:
        """How long to wait while no job waits or runs.

        A job that starts meanwhile, and whose worker dies, has its lease until after the next sweep: it is not found
        later than if the sweeps had gone on.
        """
        settings = self._settings
        longest = min(settings.lock_ms / 1000, IDLE_INTERVALS * settings.stalled_interval, IDLE_SECONDS)
        return max(self._look_seconds, longest)

    @property
    def check_seconds(self) -> float:
        """How often the keeper of leases is checked: well within a lease."""
        return min(self._settings.stalled_interval, self._settings.lock_ms / 4000)

    def watch_queues(self) -> None:
        """Have the leases kept of jobs in the queues that are served now."""
        settings = self._settings
        address = settings.connection.address()
        for base in settings.bases():
            keeper.watch(
                WatchedQueue(
                    base,
                    settings.connection.prefix,
                    settings.identity,
                    settings.lock_ms,
                    settings.max_stalled_count,
                ),
                address,
            )

    def queues_changed(self) -> None:
        """Watch the new queues, and sweep at once: the sweep notes on the server that they are served."""
        self.watch_queues()
        self._next_hooks = self._next_sweep = 0.0

    def _sweep(self, bases: list[str], now: float) -> bool:
        try:
            if now >= self._next_hooks:
                self._next_hooks = now + self._settings.stalled_interval
                for on_sweep in self._hooks.on_sweep:
                    on_sweep(bases)
            if now < self._next_sweep:
                return False
            self._next_sweep = now + self._look_seconds
            sweep = self._ask(bases)
            if sweep is None or sweep.is_idle:
                self._next_sweep = now + self._wait_when_idle(sweep)
                return False
            self._sweeps += 1  # one queue a sweep: many queues on a slow network would hold up the jobs
            self._recovery.give_back_forgotten(bases[self._sweeps % len(bases)])
        except ServerError as error:
            self._recovery.complain(error)
            return False
        if sweep.stalled:
            some = ", ".join(sweep.stalled[:5])
            log.warning("%d jobs had lost their worker and wait again: %s", len(sweep.stalled), some)
        return True

    def _wait_when_idle(self, sweep: Sweep | None) -> float:
        if sweep is None:
            return self._idle_seconds
        if sweep.has_shared:
            return self._look_seconds
        due = math.inf if sweep.due_ms is None else sweep.due_ms / 1000
        return min(self._idle_seconds, max(self._look_seconds, due))

    def _ask(self, bases: list[str]) -> Sweep | None:
        """Have the queues swept, and follow what the server says is to be done besides."""
        if not bases:
            return None
        sweep = self._store.leases.sweep_stalled(
            bases,
            interval=max(int(self._settings.stalled_interval * 1000), 1),
            idle=int(self._idle_seconds * 1000),
            most=self._settings.max_stalled_count,
        )
        for on_swept in self._hooks.on_swept:
            on_swept(bases, sweep)
        self._recovery.try_unwritable()
        if sweep.has_shared:
            self._notify_parents()
        return sweep

    def _notify_parents(self) -> None:
        """Notify further parents of shared jobs that another program's worker ended: whoever is there does it."""
        try:
            self._shared_jobs.notify_parents()
        except ServerError as error:
            self._recovery.complain(error)
