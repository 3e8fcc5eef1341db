"""Middleware that removes what flows ask to have removed after their end, in a thread that lives while it has work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from flownb.steering.auto_remove import remove_due
from flownb.wire.store import Store
from flownb.wire.store.leases import Sweep
from flownb.worker.middleware import Middleware
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")

CLOSE_SECONDS = 2.0  # for which `on_stop` waits for the flow at hand; the next worker finishes what is left


class AutoRemover(Middleware):
    """Removes on a thread of its own, so that a large flow holds up no job."""

    _store: Store  # written by `on_start`
    _name: str  # written by `on_start`

    def __init__(self) -> None:
        self._stopped = threading.Event()
        # The pump's thread writes it; `on_stop` reads it after its end:
        self._thread: threading.Thread | None = None

    def on_start(self, settings: WorkerSettings) -> None:
        connection = settings.connection
        self._name = settings.name
        self._store = Store(connection.client(), connection.prefix)

    def on_swept(self, bases: Sequence[str], sweep: Sweep) -> None:
        """Begin to remove what is due, unless something is being removed."""
        if sweep.due_ms != 0 or (self._thread is not None and self._thread.is_alive()):
            return
        flows, now = self._store.due_removals.claim_due()
        if flows:
            self._thread = threading.Thread(
                target=self._remove_all,
                args=(flows, now),
                name=f"flownb-{self._name}-auto-remover",
                daemon=True,
            )
            self._thread.start()

    def on_stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _remove_all(self, flows: list[str], now: int) -> None:
        while flows and not self._stopped.is_set():
            for flow in flows:
                self._remove(flow, now)
                if self._stopped.is_set():
                    return
            try:
                flows, now = self._store.due_removals.claim_due()
            except Exception as error:
                log.debug("no more is removed now: %s", error)
                return

    def _remove(self, flow: str, now: int) -> None:
        try:
            remove_due(self._store, flow, now)
        except Exception as error:  # a job of the flow still runs, or the server is away: again in a minute
            log.debug("flow %s is removed later: %s", flow, error)
