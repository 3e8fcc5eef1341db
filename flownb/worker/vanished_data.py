"""Middleware that warns when the server has come back without its data: who waits for jobs there waits for nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flownb.wire.store import Store
from flownb.worker.middleware import Middleware
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")


class VanishedData(Middleware):
    """Looks at each sweep whether the server still knows of the sweeps before; nothing of flownb's removes that."""

    _store: Store  # written by `on_start`, read by the pump's thread

    def __init__(self) -> None:
        self._noted: set[str] = set()  # queues whose sweeps were seen on the server; the pump's thread writes

    def on_start(self, settings: WorkerSettings) -> None:
        self._store = Store(settings.connection.client(), settings.connection.prefix)

    def on_sweep(self, bases: Sequence[str]) -> None:
        noted = self._store.queues.read_ever_served(bases)
        if self._noted & set(bases) - noted:
            log.warning(
                "the server has lost its data (it came back without a file, with another volume, or was flushed): the "
                "jobs and flows that were on it are gone; add them again"
            )
        self._noted = noted
