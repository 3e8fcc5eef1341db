"""Notebook code: functions defined in cells, of which no two kernels may run different ones for one queue.

Code of a module is deployed, and may differ for a while. Code of two notebooks that meet in one queue is a mistake, and
each would run the other's jobs.
"""

from __future__ import annotations

import contextlib
import secrets
import weakref
from collections.abc import Callable, Iterable

from flownb.connection import Connection
from flownb.errors import FlowError, ServerError
from flownb.tasks import registry
from flownb.tasks.code import changes, code_of, in_brackets, is_edited
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
        self._registered: dict[str, tuple[list[Task], KernelCode]] = {}
        self._fixed: dict[str, dict[str, Task]] = {}  # the same tasks as they were when they were registered
        self._listeners: list[Callable[[], None]] = []

    def task(self, queue: str, name: str) -> Task | None:
        """Return the task for a job as it was when work was last added; of a module as it is now."""
        task = registry.find(queue, name)
        return task if task is None else self._fixed.get(queue, {}).get(task.name, task)

    def may_serve(self, queue: str) -> bool:
        """Say whether this kernel's workers may serve a queue: with code of modules always, else once registered."""
        tasks = registry.tasks(queue)
        registered = self._registered.get(queue)
        return (registered is not None and registered[0] == tasks) or not any(map(_is_notebook_code, tasks))

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when a queue may not be served any more: what its functions use is not what it was."""
        self._listeners.append(listener)

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
        codes = {
            queue: {task.name: code_of(task.function) for task in tasks} for queue, tasks in mine.items()
        }
        refused: dict[str, str] = {}
        for queue, tasks in mine.items():
            asked = tasks, codes[queue]
            why = None if self._registered.get(queue) == asked else self._register_queue(queue, *asked)
            if why is None:
                self._fixed[queue] = {task.name: task.as_it_is_now(codes[queue][task.name]) for task in tasks}
            else:
                refused[queue] = why
        self._give_up(refused)
        return refused

    def _give_up(self, queues: Iterable[str]) -> None:
        """Serve queues no longer that this kernel could serve until now."""
        lost = [queue for queue in queues if queue in self._registered]
        self._forget(lost)
        if lost:
            for listener in self._listeners:
                listener()

    def register_for(self, queues: Iterable[str]) -> None:
        """Register what this kernel runs, and raise FlowError where it cannot serve one of these queues."""
        refused = self.register()
        for queue in queues:
            if queue in refused:
                raise FlowError(refused[queue])

    def close(self) -> None:
        """Close the connection whose name says that this kernel lives."""
        self._presence.close()

    def _register_queue(self, queue: str, tasks: list[Task], mine: KernelCode) -> str | None:
        """Note what this kernel runs for one queue; return why it may not."""
        base = keys.base(self._store.prefix, queue)
        while True:
            noted = self._store.kernels.read(base)
            others = {
                kernel: note.code
                for kernel, note in noted.items()
                if kernel != _KERNEL and _is_other_code(mine, note.code)
            }
            living = self._store.kernels.read_live_kernels().intersection(others) if others else set()
            if living:
                return _refusal(queue, tasks, mine, others[min(living)])
            if self._store.kernels.claim(base, _KERNEL, mine, seen=noted, gone=list(others)):
                self._registered[queue] = tasks, mine
                return None

    def _forget(self, queues: Iterable[str]) -> None:
        """Give queues free for which this kernel has no function any more: its tasks were moved."""
        for queue in queues:
            self._store.kernels.forget(keys.base(self._store.prefix, queue), _KERNEL)
            self._registered.pop(queue, None)
            self._fixed.pop(queue, None)


def notebook_code_on(connection: Connection) -> NotebookCode:
    """Return what this kernel has registered on a server; it lasts until the connection closes."""
    if connection not in _by_connection:
        _by_connection[connection] = NotebookCode(connection)
        connection.on_close(_by_connection[connection].close)
    return _by_connection[connection]


_by_connection: weakref.WeakKeyDictionary[Connection, NotebookCode] = weakref.WeakKeyDictionary()


def _is_notebook_code(task: Task) -> bool:
    return task.function.__module__ == "__main__"


def _refusal(queue: str, tasks: list[Task], mine: KernelCode, theirs: KernelCode) -> str:
    """Say which function another kernel runs otherwise, and what mends it."""
    edited = [task.name for task in tasks if is_edited(theirs.get(task.name), mine[task.name])]
    name = (edited or [tasks[0].name])[0]
    return (
        f"task {name!r}: another kernel runs another function for queue {queue!r}"
        f"{in_brackets(changes(theirs.get(name), mine[name]))}, and each would run the other's jobs; give this one a "
        f'queue of its own: @fn.task(queue="{queue}-2")'
    )


def _is_other_code(one: KernelCode, other: KernelCode) -> bool:
    return one.keys() != other.keys() or any(is_edited(one[name], other[name]) for name in one)
