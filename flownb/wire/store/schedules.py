"""BullMQ's job schedulers: what is stored of one, the jobs that it adds, and what flownb keeps beside its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flownb.wire import codec, keys
from flownb.wire.job_rows import FieldRow
from flownb.wire.requests import ScheduledJob
from flownb.wire.server_errors import server_errors
from flownb.wire.store.job_records import number
from flownb.wire.store.server import Server

A_PAGE = 100  # schedulers that are read at once

STORED, CHANGED, TAKEN = "stored", "changed", "taken"  # what `upsert` answers


class Schedules:
    """Job schedulers by their queue and id."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, base: str, scheduler: str) -> dict[str, str]:
        """Return what is stored of a job scheduler, empty if it is gone."""
        return self._hash(keys.job_in(keys.part(base, "repeat"), scheduler))

    def read_due(self, base: str, scheduler: str) -> int | None:
        """Return when the next job of a scheduler is due (ms), None if there is no such scheduler."""
        with server_errors():
            found: Any = self._server.client.zscore(keys.part(base, "repeat"), scheduler)
        return None if found is None else number(found)

    def has_run(self, base: str, scheduler: str, due: int) -> bool:
        """Say whether the job of a scheduler that is due then (ms) is stored."""
        with server_errors():
            return bool(
                self._server.client.exists(keys.job_in(keys.part(base, "repeat"), f"{scheduler}:{due}"))
            )

    def pages(self, base: str) -> Iterator[tuple[str, int]]:
        """Yield the schedulers of a queue and when the next job of each is due (ms), the first due first."""
        start, key = 0, keys.part(base, "repeat")
        while True:
            with server_errors(key):
                found: Any = self._server.client.zrange(key, start, start + A_PAGE - 1, withscores=True)
            yield from ((codec.text(scheduler), number(due)) for scheduler, due in found)
            start += A_PAGE
            if len(found) < A_PAGE:
                return

    def read_some(self, base: str, start: int, end: int, *, newest_first: bool) -> list[tuple[str, int]]:
        """Return schedulers of a queue by when the next job of each is due (ms)."""
        key = keys.part(base, "repeat")
        with server_errors(key):
            found: Any = self._server.client.zrange(key, start, end, desc=newest_first, withscores=True)
        return [(codec.text(scheduler), number(due)) for scheduler, due in found]

    def add_next_run(
        self, base: str, scheduler: str, *, at: int, next: int, opts: str, priority: int, name: str, data: str
    ) -> bool:
        """Add the next job of a scheduler whose present one was due `at` (ms); False where that was done before."""
        job = {"opts": opts, "priority": priority, "name": name, "data": data}
        reply = self._server.call("add_next_run", [base], scheduler=scheduler, at=at, next=next, **job)
        return bool(reply["added"])

    def upsert(
        self,
        base: str,
        scheduler: str,
        *,
        before: int | None,
        due: int,
        fields: Mapping[str, str],
        job: ScheduledJob,
        own: Mapping[str, str] | None = None,
    ) -> str:
        """Store a scheduler and its next job, due then (ms).

        `before` is what `read_due` has said; `own` is what flownb keeps beside. Returns `STORED`; `CHANGED` where
        another has changed the scheduler since, and `TAKEN` where a job that runs or has ended has the id: nothing is
        written then.
        """
        beside = [FieldRow(self._own(scheduler), field, value) for field, value in (own or {}).items()]
        reply = self._server.call(
            "upsert_schedule",
            [base],
            scheduler=scheduler,
            before=False if before is None else before,
            due=due,
            fields=[part for pair in fields.items() for part in pair],
            scheduled_job=job.packed(),
            beside=beside,
        )
        if reply["stored"]:
            return STORED
        return TAKEN if reply["taken"] else CHANGED

    def remove(self, base: str, scheduler: str) -> bool:
        """Remove a scheduler, its next job and what flownb keeps beside; False if it was gone already."""
        beside = self._own(scheduler) if keys.queue_of_base(base) == keys.BATCH_QUEUE else None
        reply = self._server.call("remove_schedule", [base], scheduler=scheduler, beside=beside)
        return bool(reply["removed"])

    # ---- what flownb keeps beside ---------------------------------------------------------------------

    def read_own(self, scheduler: str) -> dict[str, str]:
        """Return what flownb keeps of a schedule: the tree, and what became of the last ticks."""
        return self._hash(self._own(scheduler))

    def note(self, scheduler: str, **fields: str | int) -> None:
        """Note what became of a tick."""
        noted: Any = fields
        with server_errors():
            self._server.client.hset(self._own(scheduler), mapping=noted)

    def forget(self, scheduler: str) -> None:
        """Remove what flownb keeps of a schedule that is gone."""
        with server_errors():
            self._server.client.delete(self._own(scheduler))

    def _own(self, scheduler: str) -> str:
        return self._server.key("every", scheduler)

    def _hash(self, key: str) -> dict[str, str]:
        with server_errors(key):
            found: Any = self._server.client.hgetall(key)
        return {codec.text(field): codec.text(value) for field, value in found.items()}
