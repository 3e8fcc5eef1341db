"""Which kernel or `flownb worker` runs which functions for a queue: notes on the server, and signs that it is alive."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from flownb.errors import ServerRefused
from flownb.wire import codec
from flownb.wire.lease_records import StoppedTask
from flownb.wire.server_errors import server_errors
from flownb.wire.store.server import Server

KernelCode = Mapping[str, str]
"""A task's name -> its function's code, for all tasks of one queue."""

_SIGN = "flownb-kernel:"


def sign_of(kernel: str) -> str:
    """Return the name of a connection that a kernel holds for as long as it lives."""
    return f"{_SIGN}{kernel}"


class KernelNote(NamedTuple):
    """What one kernel, or one `flownb worker`, runs for a queue."""

    code: KernelCode
    is_deployed: bool  #: by `flownb worker`
    text: str  #: as it is stored


class KernelCodes:
    """The code that kernels run, by queue."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, base: str) -> dict[str, KernelNote]:
        """Return what kernels run for a queue, by kernel."""
        with server_errors():
            found: Any = self._server.client.hgetall(self._server.key("tasks", base))
        texts = {codec.text(kernel): codec.text(code) for kernel, code in found.items()}
        notes = {kernel: json.loads(text) for kernel, text in texts.items()}
        return {
            kernel: KernelNote(note["tasks"], note["deployed"], texts[kernel])
            for kernel, note in notes.items()
        }

    def claim(
        self,
        base: str,
        kernel: str,
        code: KernelCode,
        *,
        is_deployed: bool = False,
        seen: Mapping[str, KernelNote],
        gone: Sequence[str] = (),
    ) -> bool:
        """Note what a kernel runs for a queue, and forget kernels that are gone.

        Nothing is written, and the answer is False, if other kernels' notes are not those that were `seen` any more.
        """
        notes = [[other, note.text, other in gone] for other, note in seen.items() if other != kernel]
        note = json.dumps({"deployed": is_deployed, "tasks": dict(code)})
        reply = self._server.call("claim_queue", [base], kernel=kernel, code=note, seen=notes)
        return bool(reply["claimed"])

    def forget(self, base: str, kernel: str) -> None:
        """Forget what a kernel ran for a queue."""
        with server_errors():
            self._server.client.hdel(self._server.key("tasks", base), kernel)

    def note_stopped(self, base: str, worker: str, task: StoppedTask, *, last_ms: int) -> None:
        """Note that a task of a queue stands still on a worker; the note lasts for so long."""
        key = self._server.key("stopped", base)
        with self._server.pipeline() as pipe:
            pipe.hset(key, worker, json.dumps(asdict(task)))
            pipe.pexpire(key, last_ms)
            pipe.execute()

    def forget_stopped(self, base: str, worker: str) -> None:
        """Take the note back: the task goes on, or the worker ends."""
        with server_errors():
            self._server.client.hdel(self._server.key("stopped", base), worker)

    def read_live_kernels(self) -> set[str]:
        """Return which kernels live; none where we may not ask."""
        try:
            clients = self._server.read_clients()
        except ServerRefused:
            return set()
        names = (str(client.get("name", "")) for client in clients)
        return {name.removeprefix(_SIGN) for name in names if name.startswith(_SIGN)}
