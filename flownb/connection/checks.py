"""Is this server fit for flownb? Read once, before the first write.

Reasons are one line and name the command that mends the matter.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flownb.errors import ServerError

if TYPE_CHECKING:
    import redis

OLDEST = (6, 2)


def ensure_client_library() -> None:
    """Raise ServerError where another file or folder of that name hides redis-py, which flownb reaches servers with."""
    try:
        spec = importlib.util.find_spec("redis")
    except ValueError:  # it is loaded, and was made by hand
        return
    if spec is None:
        raise ServerError(
            "redis-py is not installed, which flownb reaches the server with: pip install redis"
        )
    folders = spec.submodule_search_locations
    if folders is None or not any((Path(folder) / "client.py").exists() for folder in folders):
        hides = spec.origin or "a folder named redis"
        raise ServerError(f"{hides} hides redis-py, which flownb reaches the server with: rename it")


def version_reason(info: Mapping[str, object]) -> str | None:
    """Why the server is too old, from its INFO; None if it is not, or does not tell.

    >>> version_reason({"redis_version": "5.0.14"})
    'the server is Redis 5.0.14, flownb needs 6.2 or newer: upgrade it, or use the embedded one'
    """
    told = str(info.get("redis_version", ""))  # Valkey tells the Redis it is compatible with: 7.2.4
    numbers = re.match(r"(\d+)\.(\d+)", told)
    if not numbers or (int(numbers[1]), int(numbers[2])) >= OLDEST:
        return None
    return f"the server is Redis {told}, flownb needs 6.2 or newer: upgrade it, or use the embedded one"


def eviction_reason(info: Mapping[str, object]) -> str | None:
    """Why the server may throw jobs away, from its INFO; None if it does not, or does not tell.

    >>> eviction_reason({"maxmemory_policy": "allkeys-lru"})
    'the server may evict jobs (allkeys-lru): run `CONFIG SET maxmemory-policy noeviction` on it'
    """
    policy = info.get("maxmemory_policy")
    if policy in (None, "", "noeviction"):
        return None
    return f"the server may evict jobs ({policy}): run `CONFIG SET maxmemory-policy noeviction` on it"


def replica_reason(info: Mapping[str, object]) -> str | None:
    """Why the server takes no writes of clients, from its INFO; None if it does, or does not tell.

    >>> replica_reason({"role": "slave", "slave_read_only": 1})
    'the server is a read-only replica: connect to its primary'
    """
    if info.get("role") != "slave" or not info.get("slave_read_only"):
        return None
    return "the server is a read-only replica: connect to its primary"


def scripts_reason(client: redis.Redis) -> str | None:
    """Why flownb's scripts cannot run; None if they can. A script that returns 1 writes nothing."""
    import redis

    try:
        client.eval("return 1", 0)
    except redis.exceptions.NoPermissionError:
        return "this user may not run scripts: allow it with `ACL SETUSER <user> +@scripting`"
    return None


def read_info(client: redis.Redis) -> dict[str, object]:
    """INFO, with the eviction policy from CONFIG where INFO leaves it out; {} where neither is allowed."""
    import redis

    info: dict[str, object] = {}
    try:
        info = {str(key): value for key, value in client.info().items()}
        if "maxmemory_policy" not in info:
            policy = client.config_get("maxmemory-policy")
            info["maxmemory_policy"] = policy.get("maxmemory-policy")
    except redis.exceptions.ResponseError:
        pass  # a hosted server that tells nothing is taken as fit
    return info


def reason_against_writing(client: redis.Redis) -> str | None:
    """The first reason not to write on this server, or None."""
    info = read_info(client)
    return version_reason(info) or replica_reason(info) or eviction_reason(info) or scripts_reason(client)
