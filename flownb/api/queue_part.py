"""What the parts of `Queue` share: its name, its connection, its store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flownb.api.job import store_of
from flownb.arguments import one_of
from flownb.connection import Connection
from flownb.wire import keys
from flownb.wire.records import WAITING

WAIT, PAUSED = "wait", "paused"  # BullMQ's names of the lists of jobs that wait


class QueuePart:
    """A queue by its name; the classes above add what can be done with it."""

    def __init__(self, name: str, *, connection: Connection | None = None) -> None:
        self.name = keys.checked_queue(name)
        self._connection, self._store = store_of(connection)
        self._base = keys.base(self._connection.prefix, self.name)

    def _state(self, named: Any, states: Collection[str]) -> str | None:
        """Return which of the states is meant, by any of BullMQ's names; None where no job can be in it."""
        found = one_of("state", named, (*states, WAIT, PAUSED))
        if found == PAUSED and not self._store.queues.is_paused(self._base):
            return None
        return WAITING if found in (WAIT, PAUSED) else found
