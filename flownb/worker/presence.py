"""Middleware that shows BullMQ's dashboards and ``getWorkers()`` a worker: they count connections by their names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flownb.connection import Connection
from flownb.wire import keys
from flownb.worker.middleware import Middleware
from flownb.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("flownb.worker")


class Presence(Middleware):
    """One idle connection for each queue of a worker: a connection has one name, a worker may serve many queues."""

    _connection: Connection  # written by `on_start`

    def __init__(self) -> None:
        self._clients: dict[
            str, Redis
        ] = {}  # by queue; the pump's thread writes, and `on_stop` after its end

    def on_start(self, settings: WorkerSettings) -> None:
        self._connection = settings.connection

    def on_sweep(self, bases: Sequence[str]) -> None:
        """Be seen at these queues and no other; anew at each sweep, as connections may break."""
        for base in self._clients.keys() - set(bases):
            self._clients.pop(base).close()
        for base in bases:
            try:
                if base not in self._clients:
                    self._clients[base] = self._connection.worker_client()
                self._clients[base].client_setname(keys.worker_sign(base))
            except Exception as error:  # some servers let nobody name connections: dashboards do without
                log.debug("no sign of a worker for %s: %s", base, error)

    def on_stop(self) -> None:
        self.on_sweep([])
