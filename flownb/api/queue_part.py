"""What the parts of `Queue` share: its name, its connection, its store."""

from __future__ import annotations

from flownb.api.job import store_of
from flownb.connection import Connection
from flownb.wire import keys


class QueuePart:
    """A queue by its name; the classes above add what can be done with it."""

    def __init__(self, name: str, *, connection: Connection | None = None) -> None:
        self.name = keys.checked_queue(name)
        self._connection, self._store = store_of(connection)
        self._base = keys.base(self._connection.prefix, self.name)
