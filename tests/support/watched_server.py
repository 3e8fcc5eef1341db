"""Watches a server: which commands it gets, and what it holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis


@contextmanager
def watched(client: redis.Redis) -> Iterator[list[str]]:
    """Note every command that the server gets, those inside scripts too."""
    noted: list[str] = []
    ready = threading.Event()

    def watch() -> None:
        with client.monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                if "stop-watching" in command["command"]:
                    return
                noted.append(command["command"])

    thread = threading.Thread(target=watch)
    thread.start()
    assert ready.wait(10)
    try:
        yield noted
    finally:
        client.echo("stop-watching")
        thread.join(10)


def contents(client: redis.Redis) -> dict[bytes, Any]:
    """Everything that is stored; the bytes of a dump change when a table is only looked at."""
    read = {
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xlen,
    }
    return {key: read[client.type(key)](key) for key in client.scan_iter()}


def writes_among(client: redis.Redis, commands: list[str]) -> set[str]:
    """Which of these commands write. What a script does stands among them itself."""
    known = {name.upper(): about for name, about in client.command().items()}
    names = {command.split()[0].upper() for command in commands}
    return {name for name in names if "write" in known[name]["flags"]}
