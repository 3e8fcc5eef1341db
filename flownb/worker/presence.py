"""Signs that a worker is there, for BullMQ's dashboards and ``getWorkers()``: they count connections by their names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flownb.connection import Connection
from flownb.wire import keys

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("flownb.worker")


class Presence:
    """One idle connection a queue of a worker's: a connection has one name, and a worker may serve many queues."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._clients: dict[str, Redis] = {}

    def show(self, bases: Sequence[str]) -> None:
        """Have a sign for each of these queues and for no other; asked at each sweep, as connections may break."""
        for base in self._clients.keys() - set(bases):
            self._clients.pop(base).close()
        for base in bases:
            try:
                if base not in self._clients:
                    self._clients[base] = self._connection.worker_client()
                self._clients[base].client_setname(keys.worker_sign(base))
            except Exception as error:  # some servers let nobody name connections: dashboards do without
                log.debug("no sign of a worker for %s: %s", base, error)

    def close(self) -> None:
        self.show([])
