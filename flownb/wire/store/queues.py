"""Queues: which jobs they list, who serves them; pause, resume and limit them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flownb.errors import ServerRefused
from flownb.wire import codec, keys
from flownb.wire.records import ACTIVE, COMPLETED, DELAYED, FAILED, PRIORITIZED, WAITING, WAITING_CHILDREN
from flownb.wire.server_errors import server_errors
from flownb.wire.store.limits import IDS_A_READ, MOST_JOBS_A_CALL, in_pieces
from flownb.wire.store.server import Server

_LISTS = ("wait", "paused", "active")
#: what is left of a queue without jobs
_OWN = (
    *("events", "delay", "stalled-check", "stalled", "id", "pc", "marker", "meta"),
    *("metrics:completed", "metrics:completed:data", "metrics:failed", "metrics:failed:data"),
)
SORTED_STATES = (DELAYED, PRIORITIZED, WAITING_CHILDREN, COMPLETED, FAILED)  #: kept in a sorted set each


class Queues:
    """Queues by their qualified names, ``prefix:queue``."""

    def __init__(self, server: Server) -> None:
        self._server = server

    # ---- changes ------------------------------------------------------------------------------------

    def pause(self, base: str) -> None:
        self._server.call("pause_queue", [base])

    def resume(self, base: str) -> None:
        start = self._server.call("resume_queue", [base], start=None).get("after")
        while start is not None:
            start = self._server.call("resume_queue", [base], start=start).get("after")

    def is_paused(self, base: str) -> bool:
        with server_errors():
            return bool(self._server.client.hexists(keys.part(base, "meta"), "paused"))

    def tell_cleaned(self, base: str, count: int) -> None:
        """Tell listeners that so many jobs were cleaned away."""
        with server_errors():
            self._server.client.xadd(keys.part(base, "events"), {"event": "cleaned", "count": count})

    def forget(self, base: str) -> None:
        """Delete what is a queue's own: its events, settings, counters and schedules. Its jobs are gone before."""
        schedules = keys.part(base, "repeat")
        with server_errors():
            found: Any = self._server.client.zrange(schedules, 0, -1)
            own = [keys.job_in(schedules, codec.text(id)) for id in found]
            self._server.client.delete(*own, schedules, *(keys.part(base, name) for name in _OWN))

    def set_limit(self, base: str, limiter: Mapping[str, int] | None) -> None:
        """Set the queue-wide rate limit: `max` starts per `duration` ms; None ends it."""
        meta = keys.part(base, "meta")
        with server_errors():
            if limiter is None:
                self._server.client.hdel(meta, "max", "duration", "limiter-of")
            else:
                self._server.client.hdel(meta, "limiter-of")  # it is not the tasks' any more
                self._server.client.hset(meta, mapping={name: limiter[name] for name in ("max", "duration")})

    def is_limited(self, base: str) -> bool:
        """Say whether the queue has a rate limit of its own."""
        with server_errors():
            found: Any = self._server.client.hmget(keys.part(base, "meta"), ["max", "limits"])
        return any(value is not None for value in found)

    # ---- the jobs of a queue --------------------------------------------------------------------------

    def read_ids(self, base: str, state: str, start: int, end: int) -> list[str]:
        """Return job ids of one state, those to run next (or finished last) first."""
        with server_errors():
            if state == "waiting":
                return self._read_waiting(base, start, end)
            if state == "active":
                return self._read_list(base, "active", start, end)
            newest_first = state in (COMPLETED, FAILED)
            found: Any = self._server.client.zrange(keys.part(base, state), start, end, desc=newest_first)
        return [codec.text(id) for id in found]

    def read_oldest(
        self, base: str, state: str, start: int, count: int, before: int | None = None
    ) -> list[str]:
        """Return ids of one state, those first that came (or ended) first; of those that ended until `before` (ms)."""
        if state in (WAITING, ACTIVE):
            return self.read_ids(base, state, start, start + count - 1)
        with server_errors():
            found: Any = (
                self._server.client.zrange(keys.part(base, state), start, start + count - 1)
                if before is None
                else self._server.client.zrangebyscore(
                    keys.part(base, state), "-inf", before, start=start, num=count
                )
            )
        return [codec.text(id) for id in found]

    def _read_waiting(self, base: str, start: int, end: int) -> list[str]:
        """Read `wait`, and behind it what BullMQ 5 moved to `paused` when it paused the queue."""
        waiting: Any = self._server.client.llen(keys.part(base, "wait"))
        if start < 0 or end < 0:  # from the end of both lists
            paused: Any = self._server.client.llen(keys.part(base, "paused"))
            total = waiting + paused
            start = max(start + total, 0) if start < 0 else start
            end = end + total if end < 0 else end
        ids: list[str] = []
        if min(end, waiting - 1) >= start:
            ids += self._read_list(base, "wait", start, min(end, waiting - 1))
        if end - waiting >= max(start - waiting, 0):
            ids += self._read_list(base, "paused", max(start - waiting, 0), end - waiting)
        return ids

    def _read_list(self, base: str, name: str, start: int, end: int) -> list[str]:
        """Read a list from its right end, where the next job leaves it."""
        rows: Any = self._server.client.lrange(keys.part(base, name), -end - 1, -start - 1)
        return [id for id in map(codec.text, reversed(rows)) if not _is_marker(id)]

    def count_states(self, base: str) -> dict[str, int]:
        """Return how many jobs of a queue are in which state."""
        with self._server.pipeline() as pipe:
            for name in _LISTS:
                pipe.llen(keys.part(base, name))
                pipe.lindex(keys.part(base, name), 0)
                pipe.lindex(keys.part(base, name), -1)
            for name in SORTED_STATES:
                pipe.zcard(keys.part(base, name))
            found = pipe.execute()
        wait, paused, active = (_jobs_in_list(*found[i : i + 3]) for i in (0, 3, 6))
        return {
            "waiting": wait + paused,
            "active": active,
            **dict(zip(SORTED_STATES, found[9:], strict=True)),
        }

    def read_active(self, base: str) -> list[tuple[str, str | None]]:
        """Return the running jobs' ids with their lock tokens."""
        with server_errors():
            found: Any = self._server.client.lrange(keys.part(base, "active"), 0, -1)
            ids = [codec.text(id) for id in found]
            locks: list[Any] = []
            for some in in_pieces(ids, MOST_JOBS_A_CALL):
                part: Any = self._server.client.mget(
                    [keys.part(keys.job_in(base, id), "lock") for id in some]
                )
                locks += part
        return [(id, codec.text_or_none(lock)) for id, lock in zip(ids, locks, strict=True)]

    def read_locks(self, base: str, token: str) -> dict[str, str]:
        """Return the locks of the running jobs that one worker holds, by id: those that begin with its token."""
        return {id: lock for id, lock in self.read_active(base) if lock and lock.startswith(token)}

    def pages_of_parents(self, base: str) -> Iterator[list[str]]:
        """Yield the keys of a queue's jobs that wait for children, the newest first."""
        start = 0
        with server_errors():
            while True:
                page: Any = self._server.client.zrange(
                    keys.part(base, WAITING_CHILDREN), start, start + IDS_A_READ - 1, desc=True
                )
                yield [keys.job_in(base, codec.text(id)) for id in page]
                start += IDS_A_READ
                if len(page) < IDS_A_READ:
                    return

    # ---- workers --------------------------------------------------------------------------------------

    def leave_marker(self, base: str) -> None:
        """Wake a worker that sleeps on the queue: it looks for jobs."""
        with server_errors():
            self._server.client.zadd(keys.part(base, "marker"), {"0": 0})

    def read_served(self, *, signs_tell_all: bool = False) -> set[str] | None:
        """Return the queues some worker listens to (by its connection's name), None if we may not know.

        A worker's own notes count too, unless its signs tell all, as on the embedded server: it lets everybody name a
        connection, which ends with its process. A note outlasts a dead worker by some 15 s.
        """
        try:
            if signs_tell_all:
                return self.read_signs()
            signs, now = self.read_signs(), self._server.read_time()
            with server_errors():
                ours: Any = self._server.client.zrange(self._server.key("served"), now, "+inf", byscore=True)
        except ServerRefused:
            return None
        return signs | {codec.text(base) for base in ours}

    def read_signs(self) -> set[str]:
        """Return the queues that workers' connections are named after; a dead worker's are gone with it.

        Some servers let nobody name a connection: a worker has none there, nor in the seconds after it lost the server.
        """
        clients = self._server.read_clients()  # BullMQ's say prefix:base64(queue)[:w:name]
        found = (keys.base_of_sign(str(client.get("name", ""))) for client in clients)
        return {base for base in found if base}


def _is_marker(id: str) -> bool:
    """BullMQ 4 kept markers in its lists, at their ends."""
    return id.startswith("0:")


def _jobs_in_list(length: int, first: Any, last: Any) -> int:
    ends = [id for id in (first, last)[: min(length, 2)] if id is not None]
    return length - sum(_is_marker(codec.text(id)) for id in ends)
