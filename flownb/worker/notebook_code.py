"""Notebook code: functions defined in cells, of which no two kernels may run different ones for one queue.

Code of a module is deployed, and may differ for a while. Code of two notebooks that meet in one queue is a mistake, and
each would run the other's jobs.
"""

from __future__ import annotations

import contextlib
import secrets
import weakref
from collections.abc import Iterable, Mapping

from flownb.connection import Connection
from flownb.errors import FlowError, ServerError
from flownb.tasks import registry
from flownb.tasks.code import code_of, is_edited
from flownb.tasks.task import Task
from flownb.wire import keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store import Store, kernel_code
from flownb.wire.store.kernel_code import KernelCode

_KERNEL = secrets.token_hex(6)


class NotebookCode:
    """What this kernel has registered on one server: the code of its cells, by queue."""

    def __init__(self, connection: Connection) -> None:
        self._store = Store(connection.client(), connection.prefix)
        address = {**connection.address(), "client_name": kernel_code.sign_of(_KERNEL)}
        self._presence = Connection.client_from_address(address)
        # Written by whoever defines a task, adds a flow or starts a worker. Two threads that register at once write the
        # same: the tasks of the registry.
        self._registered: dict[str, list[Task]] = {}

    def may_serve(self, queue: str) -> bool:
        """Say whether this kernel's workers may serve a queue: with code of modules always, else once registered."""
        tasks = registry.tasks(queue)
        return self._registered.get(queue) == tasks or not any(map(_is_notebook_code, tasks))

    def register(self) -> dict[str, str]:
        """Note on the server what this kernel runs, and that the kernel lives.

        Returns why a queue cannot be served, for those for which another living kernel runs another function.
        """
        mine = {queue: registry.tasks(queue) for queue in registry.queues()}
        mine = {queue: tasks for queue, tasks in mine.items() if any(map(_is_notebook_code, tasks))}
        self._forget(self._registered.keys() - mine.keys())
        if not mine:
            return {}
        with contextlib.suppress(ServerError), server_errors():
            self._presence.ping()
        fresh = {queue: tasks for queue, tasks in mine.items() if self._registered.get(queue) != tasks}
        bases = [keys.base(self._store.prefix, queue) for queue in fresh]
        noted = self._store.kernels.read(bases) if fresh else []
        refused: dict[str, str] = {}
        for base, (queue, tasks), by_kernel in zip(bases, fresh.items(), noted, strict=True):
            if why := self._register_queue(base, queue, tasks, by_kernel):
                refused[queue] = why
        return refused

    def register_for(self, queues: Iterable[str]) -> None:
        """Register what this kernel runs, and raise FlowError where it cannot serve one of these queues."""
        refused = self.register()
        for queue in queues:
            if queue in refused:
                raise FlowError(refused[queue])

    def close(self) -> None:
        """Close the connection whose name says that this kernel lives."""
        self._presence.close()

    def _register_queue(
        self, base: str, queue: str, tasks: list[Task], by_kernel: Mapping[str, KernelCode]
    ) -> str | None:
        """Note what this kernel runs for one queue; return why it may not."""
        mine = {task.name: code_of(task.function) for task in tasks}
        others = [
            kernel for kernel, code in by_kernel.items() if kernel != _KERNEL and _is_other_code(mine, code)
        ]
        if others and not self._store.kernels.read_live_kernels().isdisjoint(others):
            return (
                f"task {tasks[0].name!r}: another kernel runs another function for queue {queue!r}, and each would "
                f'run the other\'s jobs; give this one a queue of its own: @fn.task(queue="{queue}-2")'
            )
        self._store.kernels.write(base, _KERNEL, mine, gone=others)
        self._registered[queue] = tasks
        return None

    def _forget(self, queues: Iterable[str]) -> None:
        """Give queues free for which this kernel has no function any more: its tasks were moved."""
        for queue in queues:
            self._store.kernels.forget(keys.base(self._store.prefix, queue), _KERNEL)
            self._registered.pop(queue, None)


def notebook_code_on(connection: Connection) -> NotebookCode:
    """Return what this kernel has registered on a server; it lasts until the connection closes."""
    if connection not in _by_connection:
        _by_connection[connection] = NotebookCode(connection)
        connection.on_close(_by_connection[connection].close)
    return _by_connection[connection]


_by_connection: weakref.WeakKeyDictionary[Connection, NotebookCode] = weakref.WeakKeyDictionary()


def _is_notebook_code(task: Task) -> bool:
    return task.function.__module__ == "__main__"


def _is_other_code(one: KernelCode, other: KernelCode) -> bool:
    return one.keys() != other.keys() or any(is_edited(one[name], other[name]) for name in one)
