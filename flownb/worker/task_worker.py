"""The workers of tasks: they serve what this process has defined with ``@task``; a kernel starts its own."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Self

from flownb import connection as connections
from flownb.api.job import Job
from flownb.connection import Connection
from flownb.errors import FlowError
from flownb.tasks import binding, registry
from flownb.tasks.task import Task
from flownb.wire import keys
from flownb.wire.store.job_records import Taken
from flownb.worker.added_tasks import added_tasks_on
from flownb.worker.registered_code import CodeRegistration, is_of_a_cell, registered_code_on
from flownb.worker.retry_policy import BackoffRetry
from flownb.worker.work import Work
from flownb.worker.worker import Worker, is_running

KERNEL_WORKER = "flownb-kernel"  # the name of a kernel's own worker
KERNEL_THREADS = 4

_starting = threading.RLock()


class TaskWorker(Worker):
    """Serves every task of this process's modules, or those of some queues, also tasks defined after it was started.

    Raises FlowError where kernels run other functions for all of these queues; it takes up a queue when that is over.
    """

    _middleware = (*Worker._middleware, CodeRegistration)
    _is_deployed = True

    def __init__(self, *, concurrency: int = 4, queues: Iterable[str] | None = None, **options: Any) -> None:
        super().__init__(queues or keys.BATCH_QUEUE, binding.unknown, concurrency=concurrency, **options)
        self._only = list(queues) if queues is not None else None

    def task_queues(self) -> list[str]:
        """Return the queues of tasks that are served now."""
        known = [queue for queue in registry.queues() if self._only is None or queue in self._only]
        return list(filter(self._code.may_serve, known))

    def _served(self) -> list[str]:
        return [*self.task_queues(), keys.BATCH_QUEUE]

    def _work_for(self, taken: Taken) -> Work:
        now = self._code.task(taken.record.queue, taken.record.name)
        task = self._added.task_for(taken, now, is_deployed=self._is_deployed)
        if task is None:
            return super()._work_for(taken)
        backoff = None if task.backoff is None else functools.partial(_ask_task, task.backoff)
        return Work(functools.partial(binding.call, task), BackoffRetry(task.retry_on, backoff), task=task)

    def _limiter_of(self, base: str) -> dict[str, int] | None:
        return registry.limiter(keys.queue_of_base(base))

    def _begin(self) -> None:
        connection = connections.current(self._connection)
        connection.ensure_writable()
        self._added, self._code = added_tasks_on(connection), registered_code_on(connection)
        self._register()
        stop = registry.listen(self._defined)  # a queue is registered before the pump hears of it
        super()._begin()
        self._stops = [
            stop,
            registry.listen(lambda _: self._pump.queues_changed()),
            self._code.listen(self._pump.queues_changed),
        ]

    def _register(self) -> None:
        self._code.deploy(self._only)
        refused = self._code.register()
        if refused and not self.task_queues():
            raise FlowError(next(iter(refused.values())))
        for why in refused.values():
            print(f"flownb worker: waits with one queue: {why}", flush=True)

    def _defined(self, queue: str) -> None:
        self._code.register()

    def _end(self) -> None:
        for stop in self._stops:
            stop()
        super()._end()
        if self.name is None or not is_running(self.name):
            self._code.withdraw()

    def __repr__(self) -> str:
        return f"workers(concurrency={self.concurrency}, {'running' if self.running else 'not running'})"


def _ask_task(
    backoff: Callable[[int, BaseException], Any], made: int, _: str, error: BaseException, __: Job
) -> Any:
    """Ask a task's own backoff function."""
    return backoff(made, error)


def workers(
    concurrency: int = 4, *, executor: Any = "threads", connection: Connection | None = None
) -> TaskWorker:
    """Serve every task of this process from now on, `concurrency` rows or jobs at a time; ``close()`` ends it.

    Replaces the workers that a kernel on the embedded server starts by itself, and those of an earlier call, whose
    running rows finish. Inside a ``with``, the end of the block ends it. With ``executor="processes"`` each
    runs in a process, functions of a notebook's cells too: a function and what it uses go to a process once, and stay
    there, so that a model loaded in one row is there for the next. `executor` may be any `concurrent.futures.Executor`.
    Raises `OptionError`, and `ServerError` where the server cannot be reached.

    >>> serving = workers(concurrency=2)
    >>> serving
    workers(concurrency=2, running)
    >>> serving.close()
    """
    serving = _KernelWorker(
        concurrency=concurrency, executor=executor, connection=connection, name=KERNEL_WORKER
    )
    return serving.start()


class _KernelWorker(TaskWorker):
    """Serves what a kernel defines and imports. One a process: starting another replaces the one before."""

    _hurries_former = False
    _is_deployed = False

    def start(self) -> Self:
        """Begin, unless it has begun: `workers` returns a worker that runs.

        >>> serving = workers(2).start()
        >>> serving.close()
        """
        with self._lock:
            return self if self._running else super().start()

    def _register(self) -> None:
        for why in self._code.register().values():
            print(f"flownb: not served here: {why}")

    def _defined(self, queue: str) -> None:
        refused = self._code.register()
        if queue in refused and any(map(is_of_a_cell, registry.tasks(queue))):
            raise FlowError(
                refused[queue]
            )  # an import goes on: it may need no more than other tasks of its module


def register_code(connection: Connection, queues: Iterable[str]) -> None:
    """Register what this process runs where its workers serve, or will.

    Raises FlowError where another process runs other functions for one of these queues.
    """
    if not connection.read_only and (connection.embedded or is_running(KERNEL_WORKER)):
        registered_code_on(connection).register_for(queues)


def keep_tasks(connection: Connection, name: str, flow: str, tasks: Iterable[Task]) -> None:
    """Let a batch's jobs run here by these functions as they are now."""
    added_tasks_on(connection).keep(name, flow, tasks)


def has_kept_tasks(connection: Connection, flow: str) -> bool:
    """Say whether this kernel runs a flow's jobs by the functions that it was added with."""
    return added_tasks_on(connection).has(flow)


def take_over_batch(connection: Connection, name: str, flow: str) -> None:
    """Let what has not run of a batch run here by the functions as they are defined by now."""
    added_tasks_on(connection).take_over(name, flow)
    if not connection.read_only and (connection.embedded or is_running(KERNEL_WORKER)):
        registered_code_on(connection).register()


def start_kernel_worker(connection: Connection) -> None:
    """Start the kernel's own worker on an embedded server, once there are tasks to serve."""
    if not connection.embedded or connection.read_only:
        return
    with _starting:
        if is_running(KERNEL_WORKER):
            return
        if not registry.queues():
            _start_with_first_task(connection)
            return
        refused = registered_code_on(connection).register()
        tasks = ", ".join(queue for queue in registry.queues() if queue not in refused)
        if tasks:
            print(f"flownb: this kernel serves {tasks} with {KERNEL_THREADS} threads")
        _KernelWorker(concurrency=KERNEL_THREADS, connection=connection, name=KERNEL_WORKER).start()


def _start_with_first_task(connection: Connection) -> None:
    """Let the worker start when a cell defines a task: in a kernel that was restarted `attach` may come first."""
    if connection in _awaited:
        return

    def start(queue: str) -> None:
        forget()
        start_kernel_worker(connection)

    def forget() -> None:
        unlisten()
        _awaited.discard(connection)

    _awaited.add(connection)
    unlisten = registry.listen(start)
    connection.on_close(forget)


_awaited: weakref.WeakSet[Connection] = weakref.WeakSet()
