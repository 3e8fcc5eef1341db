"""Removes what flows that have ended ask for, beside a worker's work: in a thread that lives while there is some."""

from __future__ import annotations

import logging
import threading

from flownb.steering.auto_remove import tidy
from flownb.wire.store import Store

log = logging.getLogger("flownb.worker")

CLOSE_SECONDS = 2.0  # for which `close` waits for the flow at hand; the next worker finishes what is left


class AutoRemover:
    """One a worker; asked at each sweep."""

    def __init__(self, name: str, store: Store) -> None:
        self._name = name
        self._store = store
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def remove_due(self) -> None:
        """Begin to remove what is due, if anything is and nothing is being removed."""
        if self._thread is not None and self._thread.is_alive():
            return
        flows, now = self._store.claim_auto_remove()
        if flows:
            self._thread = threading.Thread(
                target=self._run, args=(flows, now), name=f"flownb-{self._name}-auto-remover", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _run(self, flows: list[str], now: int) -> None:
        while flows and not self._stopped.is_set():
            for flow in flows:
                try:
                    tidy(self._store, flow, now)
                except Exception as error:  # a job of it still runs, or the server is away: again in a minute
                    log.debug("flow %s is removed later: %s", flow, error)
                if self._stopped.is_set():
                    return
            try:
                flows, now = self._store.claim_auto_remove()
            except Exception as error:
                log.debug("no more is removed now: %s", error)
                return
