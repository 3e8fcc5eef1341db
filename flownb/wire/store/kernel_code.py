"""Which kernel runs which functions for a queue: notes on the server, and signs that a kernel is alive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flownb.wire import keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store import Store

Claim = Mapping[str, str]
"""A task's name -> its function's code, for all tasks of one queue."""

_SIGN = "flownb-kernel:"


def sign_of(kernel: str) -> str:
    """Return the name of a connection that a kernel holds for as long as it lives."""
    return f"{_SIGN}{kernel}"


def read_claims(store: Store, bases: Sequence[str]) -> list[dict[str, Claim]]:
    """Read what kernels run for each queue: kernel -> claim."""
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        for base in bases:
            pipe.hgetall(keys.own(store.prefix, "tasks", base))
        found = pipe.execute()
    return [{kernel.decode(): json.loads(claim) for kernel, claim in claims.items()} for claims in found]


def write_claim(store: Store, base: str, kernel: str, claim: Claim, *, gone: Sequence[str] = ()) -> None:
    """Note what a kernel runs for a queue, and forget kernels that are gone."""
    place = keys.own(store.prefix, "tasks", base)
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        pipe.hset(place, kernel, json.dumps(claim))
        if gone:
            pipe.hdel(place, *gone)
        pipe.execute()


def read_kernels(store: Store) -> set[str]:
    """Read which kernels live; none where we may not ask."""
    import redis.exceptions

    try:
        clients: Any = store.client.client_list()
    except redis.exceptions.RedisError:
        return set()
    names = (str(client.get("name", "")) for client in clients)
    return {name.removeprefix(_SIGN) for name in names if name.startswith(_SIGN)}
