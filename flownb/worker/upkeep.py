"""What a worker does at intervals: sweep its queues, check the lease keeper, notify parents of shared jobs."""

from __future__ import annotations

import logging

from flownb.errors import ServerError
from flownb.state.catch_up import SharedJobs
from flownb.wire.store import Store
from flownb.worker.keeper_rounds import WatchedQueue
from flownb.worker.lease_keeper import keeper
from flownb.worker.middleware import Hooks
from flownb.worker.recovery import Recovery
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")


class Upkeep:
    """The times of the next sweep and check; the pump's thread alone writes them."""

    def __init__(self, settings: WorkerSettings, store: Store, hooks: Hooks, recovery: Recovery) -> None:
        self._settings = settings
        self._store = store
        self._hooks = hooks
        self._recovery = recovery
        self._shared_jobs = SharedJobs(store)
        self._next_sweep = 0.0  # monotonic time
        self._next_check = 0.0  # monotonic time
        self._sweeps = 0

    def run_if_due(self, now: float) -> bool:
        """Sweep and check where it is time; say whether the sweep has put jobs back into a queue."""
        found_jobs = False
        if now >= self._next_check:
            self._next_check = now + self.check_seconds
            keeper.check()
            self._recovery.keep_new_leases()
        if now >= self._next_sweep:
            self._next_sweep = now + self._settings.stalled_interval
            found_jobs = self._sweep(self._settings.bases())
        return found_jobs

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
        self._next_sweep = 0.0

    def _sweep(self, bases: list[str]) -> bool:
        try:
            for on_sweep in self._hooks.on_sweep:
                on_sweep(bases)
            if not bases:
                return False
            stalled = self._store.leases.sweep_stalled(
                bases,
                interval=max(int(self._settings.stalled_interval * 1000), 1),
                most=self._settings.max_stalled_count,
            )
            self._recovery.try_unwritable()
            self._sweeps += 1  # one queue a sweep: many queues on a slow network would hold up the jobs
            self._recovery.give_back_forgotten(bases[self._sweeps % len(bases)])
        except ServerError as error:
            self._recovery.complain(error)
            return False
        self._notify_parents()
        if stalled:
            some = ", ".join(stalled[:5])
            log.warning("%d jobs had lost their worker and wait again: %s", len(stalled), some)
        return bool(stalled)

    def _notify_parents(self) -> None:
        """Notify further parents of shared jobs that another program's worker ended: whoever is there does it."""
        try:
            self._shared_jobs.notify_parents()
        except ServerError as error:
            self._recovery.complain(error)
