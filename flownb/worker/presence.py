"""Middleware that shows BullMQ's dashboards and ``getWorkers()`` a worker: they count connections by their names."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flownb.api.waits_in_slots import connections
from flownb.connection import Connection
from flownb.wire import keys
from flownb.worker.middleware import Middleware
from flownb.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("flownb.worker")

SECONDS_A_SIGN = 300.0  # between two on a connection that seems whole: a network may have swallowed its end


class Presence(Middleware):
    """One idle connection for each queue of a worker: a connection has one name, a worker may serve many queues."""

    _connection: Connection  # written by `on_start`

    def __init__(self) -> None:
        # By queue, with the time of the last sign; the pump's thread writes, and `on_stop` after its end.
        self._clients: dict[str, tuple[Redis, float]] = {}
        self._ids: dict[str, str] = {}  # of these connections, by queue; the same

    def on_start(self, settings: WorkerSettings) -> None:
        self._connection = settings.connection

    def on_sweep(self, bases: Sequence[str]) -> None:
        """Be seen at these queues and no other; anew where a connection has broken, which costs no command to see."""
        for base in self._clients.keys() - set(bases):
            self._close(base)
        for base in bases:
            try:
                if not self._is_seen(base):
                    self._give_sign(base)
            except Exception as error:  # some servers let nobody name connections: dashboards do without
                log.debug("no sign of a worker for %s: %s", base, error)

    def on_stop(self) -> None:
        self.on_sweep([])

    def _is_seen(self, base: str) -> bool:
        client, signed = self._clients.get(base, (None, 0.0))
        if client is None or client.connection is None or time.monotonic() > signed + SECONDS_A_SIGN:
            return False
        try:
            return not client.connection.can_read(timeout=0)  # raises where the server has hung up
        except Exception:
            return False

    def _give_sign(self, base: str) -> None:
        from redis import Redis

        self._close(base)
        pool = self._connection.worker_client().connection_pool
        client = Redis(connection_pool=pool, single_connection_client=True)
        self._clients[base] = client, time.monotonic()
        client.client_setname(keys.worker_sign(base))
        self._ids[base] = id = str(client.client_id())
        connections.add(id)

    def _close(self, base: str) -> None:
        client, _ = self._clients.pop(base, (None, 0.0))
        connections.discard(self._ids.pop(base, ""))
        if client is not None:
            client.close()
            client.connection_pool.disconnect()
