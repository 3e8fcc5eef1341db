"""Registered code: the functions that a process runs for a queue, noted on the server before it serves that queue.

A kernel is refused beside a process that runs other functions for the queue: each would run the other's jobs. Processes
of `flownb worker` may differ among themselves, as they do while a new version of a module is deployed.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from flownb.api.given_limits import settle
from flownb.connection import Connection
from flownb.errors import FlowError, ServerError
from flownb.tasks import registry
from flownb.tasks.code import changes, in_brackets, is_edited
from flownb.tasks.task import Task
from flownb.wire import keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store import Store, kernel_code
from flownb.wire.store.kernel_code import KernelCode, KernelNote
from flownb.worker.middleware import Middleware
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")

_PROCESS = secrets.token_hex(6)


class RegisteredCode:
    """What this process has registered on one server: the code of its tasks, by queue."""

    def __init__(self, connection: Connection) -> None:
        self._store = Store(connection.client(), connection.prefix)
        address = {**connection.address(), "client_name": kernel_code.sign_of(_PROCESS)}
        self._presence = Connection.client_from_address(address)
        self._presence_id: int | None = None
        self._changing = threading.RLock()  # whoever defines a task, adds work or serves registers
        self._registered: dict[str, tuple[list[Task], KernelCode]] = {}
        self._fixed: dict[str, dict[str, Task]] = {}  # the same tasks as they were when they were registered
        self._refused: dict[str, str] = {}  # why, by queue
        self._listeners: list[Callable[[], None]] = []
        self._only: Sequence[str] | None = None
        self._is_deployed = False

    def deploy(self, queues: Sequence[str] | None) -> None:
        """Register from now on as `flownb worker` does, for these queues (None: for all)."""
        self._is_deployed, self._only = True, queues

    def task(self, queue: str, name: str) -> Task | None:
        """Return the task for a job as it was when work was last added."""
        task = registry.find(queue, name)
        return task if task is None else self._fixed.get(queue, {}).get(task.name, task)

    def may_serve(self, queue: str) -> bool:
        """Say whether this process may serve a queue: its tasks are registered as they are."""
        registered = self._registered.get(queue)
        return registered is not None and registered[0] == registry.tasks(queue)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when other queues may be served than before; returns the call that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def register(self, queues: Container[str] | None = None) -> dict[str, str]:
        """Note on the server what this process runs, and that it lives.

        Modules' tasks are looked at anew in these `queues` alone: a kernel may have imported many. Returns why a queue
        cannot be served, for those for which another living process runs another function.
        """
        with self._changes():
            self._register_all(queues)
            return dict(self._refused)

    def register_for(self, queues: Iterable[str]) -> None:
        """Register what this process runs, and raise FlowError where it cannot serve one of these queues."""
        asked = set(queues)
        refused = self.register(asked)
        for queue in refused:
            if queue in asked:
                raise FlowError(refused[queue])

    def renew(self) -> None:
        """Show that this process lives; register again what it may have lost while it was not to be seen.

        A deployed one also asks again for the queues that it was refused: a kernel does so when it adds work.
        """
        with self._changes():
            if not self._is_seen():
                for queue, asked in list(self._registered.items()):
                    if why := self._register_queue(queue, *asked):
                        self._forget([queue])
                        self._refused[queue] = why
                        log.warning("served here no longer: %s", why)
            if self._is_deployed and self._refused:
                self._register_all()

    def withdraw(self) -> None:
        """Let others have the queues: nothing is served here any more."""
        with self._changing:
            self._presence.connection_pool.disconnect()

    def close(self) -> None:
        """Close the connection whose name says that this process lives."""
        self._presence.close()

    @contextlib.contextmanager
    def _changes(self) -> Iterator[None]:
        """Hold off other threads; call the listeners once other queues may be served than before."""
        with self._changing:
            before = set(self._registered)
            yield
            is_changed = before != set(self._registered)
        if is_changed:  # outside the lock: who listens may have locks of its own
            for listener in list(self._listeners):
                listener()

    def _register_all(self, asked: Container[str] | None = None) -> None:
        queues = registry.queues() if self._only is None else self._only
        mine = {queue: tasks for queue in queues if (tasks := registry.tasks(queue))}
        self._forget(self._registered.keys() - mine.keys())
        self._refused = {}
        if not mine:
            return
        if not self._is_seen():
            self._registered.clear()  # while it was not seen, others may have claimed its queues
        for queue, tasks in mine.items():
            is_asked = asked is None or queue in asked or any(map(is_of_a_cell, tasks))
            if is_asked or not self.may_serve(queue):
                self._register_tasks(queue, tasks)

    def _register_tasks(self, queue: str, tasks: list[Task]) -> None:
        """Register the tasks of one queue as they are now."""
        codes = {task.name: task.code_by_now() for task in tasks}
        is_new = self._registered.get(queue) != (tasks, codes)
        why = self._register_queue(queue, tasks, codes) if is_new else None
        if why is not None:
            self._forget([queue] if queue in self._registered else [])
            self._refused[queue] = why
        elif not self._is_deployed:
            self._fixed[queue] = {task.name: task.as_it_is_now(codes[task.name]) for task in tasks}

    def _is_seen(self) -> bool:
        """Show on the server that this process lives; say whether it was to be seen there all the time."""
        with contextlib.suppress(ServerError), server_errors():
            before, self._presence_id = self._presence_id, int(self._presence.client_id())
            return before == self._presence_id
        return True  # nobody else registers on a server that does not answer

    def _register_queue(self, queue: str, tasks: list[Task], mine: KernelCode) -> str | None:
        """Note what this process runs for one queue; return why it may not."""
        base = keys.base(self._store.prefix, queue)
        while True:
            noted = self._store.kernels.read(base)
            others = {
                process: note
                for process, note in noted.items()
                if process != _PROCESS and _is_other_code(mine, note.code)
            }
            living = self._store.kernels.read_live_kernels().intersection(others) if others else set()
            in_the_way = [
                others[process]
                for process in sorted(living)
                if not (self._is_deployed and others[process].is_deployed)
            ]
            if in_the_way:
                return self._refusal(queue, tasks, mine, in_the_way[0])
            gone = [process for process in others if process not in living]
            if self._store.kernels.claim(
                base, _PROCESS, mine, is_deployed=self._is_deployed, seen=noted, gone=gone
            ):
                self._registered[queue] = tasks, mine
                settle(self._store, queue, registry.rates(queue))
                return None

    def _refusal(self, queue: str, tasks: list[Task], mine: KernelCode, other: KernelNote) -> str:
        """Say which function another process runs otherwise, and what mends it."""
        name = next((name for name in mine if is_edited(other.code.get(name), mine[name])), tasks[0].name)
        who = "a `flownb worker`" if other.is_deployed else "another kernel"
        what = in_brackets(changes(other.code.get(name), mine[name]))
        if mine.keys() != other.code.keys():
            what = f" (its tasks are {', '.join(sorted(other.code))}, here {', '.join(sorted(mine))})"
        is_edited_in_a_cell = any(task.name == name and is_of_a_cell(task) for task in tasks)
        older = "" if is_edited_in_a_cell else "restart the one of the two whose module is older, or "
        return (
            f"task {name!r}: {who} runs another function for queue {queue!r}{what}, and each would run the other's "
            f'jobs; {older}give this one a queue of its own: @fn.task(queue="{queue}-2")'
        )

    def _forget(self, queues: Iterable[str]) -> None:
        """Give queues free for which this process has no function any more, or another one than it may run."""
        for queue in list(queues):
            self._store.kernels.forget(keys.base(self._store.prefix, queue), _PROCESS)
            self._registered.pop(queue, None)
            self._fixed.pop(queue, None)


class CodeRegistration(Middleware):
    """Keeps what a worker of tasks has registered, and takes up queues that it was refused, sweep by sweep."""

    _registered: RegisteredCode  # written by `on_start`, read by the pump's thread

    def on_start(self, settings: WorkerSettings) -> None:
        self._registered = registered_code_on(settings.connection)

    def on_sweep(self, bases: Sequence[str]) -> None:
        self._registered.renew()


def registered_code_on(connection: Connection) -> RegisteredCode:
    """Return what this process has registered on a server; it lasts until the connection closes."""
    if connection not in _by_connection:
        _by_connection[connection] = RegisteredCode(connection)
        connection.on_close(_by_connection[connection].close)
    return _by_connection[connection]


_by_connection: weakref.WeakKeyDictionary[Connection, RegisteredCode] = weakref.WeakKeyDictionary()


def is_of_a_cell(task: Task) -> bool:
    """Say whether a task's function stands in a cell, or in the script that runs; else in a module."""
    return task.function.__module__ == "__main__"


def _is_other_code(one: KernelCode, other: KernelCode) -> bool:
    return one.keys() != other.keys() or any(is_edited(one[name], other[name]) for name in one)
