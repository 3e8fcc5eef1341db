"""Tasks that stand still in this process because their setup failed: no row fails of it, other workers go on with them.

A task goes on when it is defined anew, or when somebody adds, attaches or retries rows of it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from flownb.errors import ServerError
from flownb.tasks import registry, setup
from flownb.wire import keys
from flownb.wire.lease_records import StoppedTask
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.middleware import Middleware
from flownb.worker.run_outcomes import SETUP
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")

KERNEL_WORKER = "flownb-kernel"  # the name of a kernel's own worker
SWEEPS_KEPT = 3  # for which the note of a worker that says nothing any more stays on the server


class _Stops:
    """One a process. Slots add to it; whoever defines tasks or adds work takes out of it."""

    def __init__(self) -> None:
        # Held while a stop comes or goes: one that came between would count as known, and nobody would hear of it.
        self._lock = threading.Lock()
        self._why: dict[tuple[str, str], str] = {}  # by queue and name
        self._listeners: list[Callable[[], None]] = []

    def add(self, queue: str, name: str, why: str) -> bool:
        """A task stops; say whether it had not before."""
        with self._lock:
            is_new = (queue, name) not in self._why
            self._why[queue, name] = why
        if is_new:
            self._tell()
        return is_new

    def clear(self, queues: Iterable[str]) -> list[tuple[str, str]]:
        """Let the tasks of these queues try once more; return queue and name of those that had stopped."""
        asked = set(queues)
        with self._lock:
            gone = [task for task in self._why if task[0] in asked]
            for task in gone:
                del self._why[task]
        if gone:
            self._tell()
        return gone

    def why(self) -> dict[tuple[str, str], str]:
        """Return why tasks have stopped, by queue and name."""
        return dict(self._why)

    def why_of(self, queue: str, name: str) -> str | None:
        """Return why a task has stopped; None where it has not."""
        return self._why.get((queue, name))

    def has_all_of(self, queue: str) -> bool:
        """Have all tasks of a queue stopped? Then it is not served; else jobs of those are put off."""
        return bool(self._why) and all((queue, task.name) in self._why for task in registry.tasks(queue))

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when a task stops or may go on; returns the call that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()


stops = _Stops()


class SetupStops(Middleware):
    """Stops tasks whose setup has failed, says so on the server, and closes what was loaded with the worker."""

    _settings: WorkerSettings  # written by `on_start`
    _store: Store

    def __init__(self) -> None:
        self._noted: set[str] = set()  # queues; the pump's thread writes, and `on_stop` after its end

    def on_start(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._store = Store(settings.connection.client(), settings.connection.prefix)

    def after_run(self, taken: Taken, outcome: Outcome, seconds: float) -> None:
        if outcome.why == SETUP and stops.add(taken.record.queue, taken.record.name, outcome.reason or ""):
            if self._settings.name == KERNEL_WORKER:
                print(
                    f"flownb: {outcome.reason}; its rows wait: mend it and run the cell of the task again, or fan_out "
                    "once it works"
                )
            else:
                log.error("%s; its rows wait for another worker", outcome.reason)

    def on_sweep(self, bases: Sequence[str]) -> None:
        """Say on the server which tasks stand still here, as long as they do."""
        told = {}
        for (queue, name), why in stops.why().items():
            told[keys.base(self._store.prefix, queue)] = StoppedTask(
                name, why, os.getpid(), socket.gethostname()
            )
        last_ms = round(SWEEPS_KEPT * self._settings.stalled_interval * 1000)
        for base, note in told.items():
            self._store.kernels.note_stopped(base, self._settings.identity, note, last_ms=last_ms)
        for base in self._noted - told.keys():
            self._store.kernels.forget_stopped(base, self._settings.identity)
        self._noted = set(told)

    def on_stop(self) -> None:
        setup.release(self._settings.identity)
        with suppress(ServerError):
            for base in self._noted:
                self._store.kernels.forget_stopped(base, self._settings.identity)
