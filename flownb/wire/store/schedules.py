"""BullMQ's job schedulers: what is stored of one, and the job that it adds next."""

from __future__ import annotations

from typing import Any

from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store.server import Server


class Schedules:
    """Job schedulers by their queue and id."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, base: str, scheduler: str) -> dict[str, str]:
        """Return what is stored of a job scheduler, empty if it is gone."""
        with server_errors():
            found: Any = self._server.client.hgetall(keys.job_in(keys.part(base, "repeat"), scheduler))
        return {codec.text(field): codec.text(value) for field, value in found.items()}

    def add_next_run(
        self, base: str, scheduler: str, *, at: int, next: int, opts: str, priority: int, name: str, data: str
    ) -> bool:
        """Add the next job of a scheduler whose present one was due `at` (ms); False where that was done before."""
        job = {"opts": opts, "priority": priority, "name": name, "data": data}
        reply = self._server.call("add_next_run", [base], scheduler=scheduler, at=at, next=next, **job)
        return bool(reply["added"])
