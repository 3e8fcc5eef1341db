"""Which kernel runs which functions for a queue: notes on the server, and signs that a kernel is alive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flownb.wire.server_errors import server_errors
from flownb.wire.store.server import Server

KernelCode = Mapping[str, str]
"""A task's name -> its function's code, for all tasks of one queue."""

_SIGN = "flownb-kernel:"


def sign_of(kernel: str) -> str:
    """Return the name of a connection that a kernel holds for as long as it lives."""
    return f"{_SIGN}{kernel}"


class KernelCodes:
    """The code that kernels run, by queue."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, bases: Sequence[str]) -> list[dict[str, KernelCode]]:
        """Return what kernels run for each queue: kernel -> code."""
        with self._server.pipeline() as pipe:
            for base in bases:
                pipe.hgetall(self._server.key("tasks", base))
            found = pipe.execute()
        return [{kernel.decode(): json.loads(code) for kernel, code in codes.items()} for codes in found]

    def write(self, base: str, kernel: str, code: KernelCode, *, gone: Sequence[str] = ()) -> None:
        """Note what a kernel runs for a queue, and forget kernels that are gone."""
        codes = self._server.key("tasks", base)
        with self._server.pipeline() as pipe:
            pipe.hset(codes, kernel, json.dumps(code))
            if gone:
                pipe.hdel(codes, *gone)
            pipe.execute()

    def forget(self, base: str, kernel: str) -> None:
        """Forget what a kernel ran for a queue."""
        with server_errors():
            self._server.client.hdel(self._server.key("tasks", base), kernel)

    def read_live_kernels(self) -> set[str]:
        """Return which kernels live; none where we may not ask."""
        import redis.exceptions

        try:
            clients: Any = self._server.client.client_list()
        except redis.exceptions.RedisError:
            return set()
        names = (str(client.get("name", "")) for client in clients)
        return {name.removeprefix(_SIGN) for name in names if name.startswith(_SIGN)}
