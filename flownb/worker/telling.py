"""Tells the server at once what runs have spent, so that their worker may die right after."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from flownb.adding.child_jobs import Run
from flownb.api.current_run import JobInSlot, current
from flownb.api.spending import NO_ROWS, Account
from flownb.connection import patience
from flownb.errors import FlownbError
from flownb.wire.amounts import Amounts, flat, flat_of_rows
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.accounts import SpentByRun
from flownb.wire.store.job_records import Taken
from flownb.worker.patient_calls import patiently
from flownb.worker.run_log import RunLog
from flownb.worker.run_outcomes import with_lines, with_spent

log = logging.getLogger("flownb.worker")

PATIENCE_SECONDS = 1.0  # for a server that is away: the end of the run tells it, too


class RunOfJob(Run, Account):
    """One run of a job, its account and its log: one object, as every job that runs makes one."""

    def __init__(
        self, taken: Taken, store: Store, log: RunLog | None = None, slot: JobInSlot | None = None
    ) -> None:
        self.taken = taken  # without a further call: the rest stands in the class until it is written
        self._store = store
        self.log = log
        self.slot = slot

    def tell(self) -> None:
        """Tell now; from a coroutine in a thread of its own, as its loop must not wait."""
        if _is_in_loop():
            _teller.tell(self)
        else:
            _tell(self._store, [self])

    def tell_untold(self) -> None:
        """Tell what rows have spent that is not confirmed, before the end of the run counts it into the sum.

        Their next run knows of it by that alone, where this one has not saved it with them.
        """
        if self.untold:
            with suppress(FlownbError):
                patiently(lambda: _send(self._store, [self]))

    def with_what_it_left(self, outcome: Outcome) -> Outcome:
        """Return the outcome of the run with the lines that it has printed, and what it has spent."""
        if self.log is not None and (lines := self.log.take()):
            outcome = with_lines(self.taken, outcome, lines)
        return with_spent(outcome, self.spent) if self.spent else outcome

    @property
    def store(self) -> Store:
        return self._store


def this_run() -> RunOfJob | None:
    """Return the run whose function, or whose rows, the caller is about to call."""
    run = current.get()
    return run if isinstance(run, RunOfJob) else None


def spent_by(taken: Taken, spent: Amounts, rows: Mapping[int, Amounts] = NO_ROWS) -> SpentByRun:
    """Return what a run of a job has spent, and rows of the job over all of its runs, as the server is told."""
    return SpentByRun(
        taken.base, taken.record.id, taken.record.attempts_started, flat(spent), flat_of_rows(rows)
    )


def _tell(store: Store, accounts: Sequence[RunOfJob]) -> None:
    """Tell the server, or leave it to the next time, and to the ends of the runs."""
    with suppress(FlownbError), patience.until(time.monotonic() + PATIENCE_SECONDS):
        _send(store, accounts)


def _send(store: Store, accounts: Sequence[RunOfJob]) -> None:
    told = [(account, *account.to_tell()) for account in accounts]
    store.accounts.tell([spent_by(account.taken, spent, rows) for account, spent, rows in told])
    for account, _, rows in told:
        account.confirm(rows)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Teller:
    """One thread a process, for what coroutines spend; begun when the first of them does.

    Each call tells all that is untold: what a kill takes along was said while the call before was on its way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None  # written under the lock
        self._untold: SimpleQueue[RunOfJob] = SimpleQueue()

    def tell(self, account: RunOfJob) -> None:
        if not self._is_running():
            with self._lock:
                if not self._is_running():
                    self._thread = threading.Thread(target=self._run, name="flownb-spent-teller", daemon=True)
                    self._thread.start()
        self._untold.put(account)

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()  # not in a process that was forked

    def _run(self) -> None:
        while True:
            try:
                for store, accounts in self._take_all().items():
                    _tell(store, list(accounts))
            except Exception as error:
                log.exception(
                    "what jobs have spent is told at their ends, after an unexpected %s", type(error).__name__
                )

    def _take_all(self) -> dict[Store, dict[RunOfJob, None]]:
        """Wait for the first account of which something is untold; return each once, with the others, by its store."""
        taken: dict[Store, dict[RunOfJob, None]] = {}
        account = self._untold.get()
        with suppress(Empty):
            while True:
                taken.setdefault(account.store, {})[account] = None
                account = self._untold.get_nowait()
        return taken


_teller = _Teller()
