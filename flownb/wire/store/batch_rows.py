"""What batches keep beside their jobs: which rows a job holds, and how long a row of a queue took."""

from __future__ import annotations

from typing import Any

from flownb.wire import codec
from flownb.wire.server_errors import server_errors
from flownb.wire.store.server import Server


class BatchRows:
    """The rows of many-row jobs."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read_ids(self, name: str) -> tuple[dict[str, bytes], int]:
        """Return which rows the many-row jobs of a batch's name hold: packed ids, by the key of a job that is there.

        And how many of its jobs are noted, with those that are gone.
        """
        with self._server.pipeline() as pipe:
            found: Any = self._server.client.hgetall(self._server.key("rows", name))
            for key in found:
                pipe.exists(key)
            stored = pipe.execute()
        there = (pair for pair, exists in zip(found.items(), stored, strict=True) if exists)
        return {codec.text(key): ids for key, ids in there}, len(found)

    def read_seconds(self, queue: str, name: str) -> float | None:
        """Return how many seconds a row took when such jobs were last run, None if that is not known."""
        with server_errors():
            found: Any = self._server.client.hget(self._server.key("run-times"), f"{queue}/{name}")
        return None if found is None else float(found)

    def write_seconds(self, queue: str, name: str, seconds: float) -> None:
        """Remember how many seconds a row took."""
        with server_errors():
            self._server.client.hset(self._server.key("run-times"), f"{queue}/{name}", f"{seconds:.3g}")
