"""A queue's settings and what they lead to: its limits, its lines by priority, its workers, its deduplication ids."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from flownb.arguments import Rate
from flownb.errors import ServerRefused
from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store.server import Server

_RANKS = 2**32  #: scores of `prioritized` that one priority has


def rates_of_text(limits: str | None) -> list[Rate]:
    """Return the limits that stand in the field `limits` of a queue's ``meta``; what cannot be read is none.

    >>> rates_of_text("60000 1000 tokens;soon")
    [Rate(most=60000.0, ms=1000, unit='tokens')]
    """
    found = []
    for part in (limits or "").split(";"):
        with contextlib.suppress(ValueError):
            most, ms, unit = part.split(" ")
            found.append(Rate(float(most), int(ms), unit))
    return found


class QueueSettings:
    """Queues by their qualified names, ``prefix:queue``."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def set(self, base: str, fields: Mapping[str, int | str | None]) -> None:
        """Set fields of a queue's ``meta``; None deletes one."""
        meta = keys.part(base, "meta")
        gone = [name for name, value in fields.items() if value is None]
        kept: dict[Any, Any] = {name: value for name, value in fields.items() if value is not None}
        with server_errors():
            if gone:
                self._server.client.hdel(meta, *gone)
            if kept:
                self._server.client.hset(meta, mapping=kept)

    def give_concurrency(self, base: str, concurrency: int | None) -> None:
        """Let at most so many jobs of a queue run, as its tasks say.

        None ends what tasks have said before, and not what a person has set.
        """
        meta, of_tasks = keys.part(base, "meta"), self._server.key("widths")
        client = self._server.client
        with server_errors():
            if concurrency is not None:
                client.hset(meta, "concurrency", concurrency)
                client.hset(of_tasks, base, concurrency)
            elif (before := client.hget(of_tasks, base)) is not None:
                if client.hget(meta, "concurrency") == before:
                    client.hdel(meta, "concurrency")
                client.hdel(of_tasks, base)

    def read(self, base: str, *names: str) -> list[str | None]:
        """Return fields of a queue's ``meta``."""
        with server_errors():
            found: Any = self._server.client.hmget(keys.part(base, "meta"), list(names))
        return [codec.text_or_none(value) for value in found]

    def read_limit_left(self, base: str, most: int | None) -> int:
        """Return for how many ms nothing may begin, as Redis's PTTL says it; 0 where fewer have begun than `most`, or
        than the queue allows.
        """
        limiter, meta = keys.part(base, "limiter"), keys.part(base, "meta")
        with self._server.pipeline() as pipe:
            pipe.pttl(limiter)
            pipe.get(limiter)
            pipe.hget(meta, "max")
            left, begun, of_queue = pipe.execute()
        bound = most or int(of_queue or 0)
        return 0 if bound and int(begun or 0) < bound else int(left)

    def count_priorities(self, base: str, priorities: Sequence[int]) -> dict[int, int]:
        """Return how many jobs wait of each of these priorities."""
        with self._server.pipeline() as pipe:
            pipe.llen(keys.part(base, "wait"))
            pipe.llen(keys.part(base, "paused"))
            for priority in priorities:
                first = priority * _RANKS
                pipe.zcount(keys.part(base, "prioritized"), first, first + _RANKS - 1)
            waiting, paused, *counts = pipe.execute()
        found = zip(priorities, counts, strict=True)
        return {priority: count if priority else waiting + paused for priority, count in found}

    def read_workers(self, base: str) -> list[dict[str, str]]:
        """Return the connections of workers that serve the queue, as BullMQ tells of them; none if we may not know."""
        sign = keys.worker_sign(base)
        try:
            clients = self._server.read_clients()
        except ServerRefused:
            return []
        found = []
        for client in clients:
            rawname = str(client.get("name", ""))
            if rawname == sign or rawname.startswith(f"{sign}:w:"):
                found.append({**client, "name": keys.queue_of_base(base), "rawname": rawname})
        return found

    def read_connections(self, base: str) -> frozenset[str]:
        """Return the ids of connections of workers that serve the queue, of all programs; none if we may not know."""
        signs = keys.worker_sign(base), base  # BullMQ's package for Python has the queue's key as it is
        try:
            clients = self._server.read_clients()
        except ServerRefused:
            return frozenset()
        names = ((client["id"], str(client.get("name", ""))) for client in clients)
        return frozenset(id for id, name in names if name.partition(":w:")[0] in signs)

    def remove_deduplication_key(self, base: str, id: str) -> bool:
        with server_errors():
            return bool(self._server.client.delete(keys.job_in(keys.part(base, "de"), id)))
