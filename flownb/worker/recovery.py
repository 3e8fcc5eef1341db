"""What the pump does when the server does not answer: complain, wait, and find out what a lost answer held."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from contextlib import suppress

from flownb.errors import FlownbError, ServerError, printable
from flownb.wire import keys
from flownb.wire.store import Store
from flownb.worker.held_jobs import HeldJobs
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")

COMPLAINT_SECONDS = 10.0  # between two complaints in the log


class Recovery:
    """Failures in a row, and what is in doubt since; the pump's thread alone reads and writes it."""

    def __init__(self, settings: WorkerSettings, store: Store, held: HeldJobs) -> None:
        self._settings = settings
        self._store = store
        self._held = held
        self.failures = 0  # in a row
        self.is_unsure = False  # an answer was lost, and with it perhaps jobs that were fetched
        self._last_complaint = 0.0  # monotonic time
        self._damaged: set[str] = set()  # queues of which it was logged
        self._unknown: set[str] = set()  # flows of which it was logged

    def complain(self, error: FlownbError) -> None:
        """Log an error, once in ten seconds, and wait a little longer after each failure in a row."""
        self.failures += 1
        if time.monotonic() - self._last_complaint > COMPLAINT_SECONDS:
            self._last_complaint = time.monotonic()
            log.warning("%s (failure %d in a row; trying again)", error, self.failures)
        time.sleep(min(0.05 * 2 ** min(self.failures, 6), 1.0) * random.uniform(0.5, 1.0))

    def note_damage(self, base: str) -> None:
        """Log that a queue has a damaged key, once for each queue."""
        if base not in self._damaged:
            self._damaged.add(base)
            log.warning(
                "a key of queue %s holds something else than it should: nothing of that queue moves until it is "
                "repaired; doctor() says which key",
                keys.queue_of_base(base),
            )

    def note_unknown_flows(self, flows: Sequence[str]) -> None:
        """Log that a newer flownb has stored a flow, once for each flow."""
        for flow in flows:
            if flow not in self._unknown:
                self._unknown.add(flow)
                log.warning(
                    "flow %s was stored by a newer flownb: this worker leaves its jobs alone; update this worker",
                    printable(keys.home_and_flow(flow)[1]),
                )

    def note_fault(self, error: Exception) -> None:
        """Log a fault of the worker's own, which must not leave jobs to a worker that only looks alive."""
        self.failures += 1
        log.exception("the worker goes on after an unexpected %s", type(error).__name__)
        time.sleep(min(0.1 * self.failures, 1.0))

    def recover(self) -> None:
        """Give back jobs that came with a lost answer, and take the leases anew that ran out while the server was away.

        A lease stays lost when somebody has started the job since. Where this fails too, it is done again after the
        next call that arrives.
        """
        self.is_unsure = True
        known = self._held.known()
        try:
            for base in self._settings.bases():
                self._give_back_unknown(base, known)
            leases = self._held.leases()
            if leases:
                self._store.leases.extend([leases[0][0]], leases, lock_ms=self._settings.lock_ms)
            self.is_unsure = False
        except ServerError:
            pass

    def try_unwritable(self) -> None:
        """Send the outcomes of queues with a damaged key once more: somebody may have repaired it."""
        self._held.try_unwritable()

    def give_back_forgotten(self, base: str) -> None:
        """Give back what the server says this worker runs in a queue, and the worker does not.

        A server that comes back with older data, as a replica in place of its master or after a power failure, has
        jobs as running whose ends were written to what is lost. Their lease is kept, so nobody else would take them,
        and where the client has sent its call again by itself no error has told of it.
        """
        self._give_back_unknown(base, self._held.known())

    def keep_new_leases(self) -> None:
        """Take the leases anew, where they have ended, of jobs so new that the keeper may not know them.

        All leases end when the server's clock is set forward.
        """
        lock_ms = self._settings.lock_ms
        leases = self._held.leases(newer_than=time.monotonic() - lock_ms / 2000)
        if leases:
            with suppress(ServerError):  # the next check tries again
                self._store.leases.extend([leases[0].base], leases, lock_ms=lock_ms)

    def _give_back_unknown(self, base: str, known: set[tuple[str, str]]) -> None:
        mine = self._store.queues.read_locks(base, self._settings.identity)
        unknown = {id: lock for id, lock in mine.items() if (base, id) not in known}
        self._store.leases.give_back(base, unknown)
