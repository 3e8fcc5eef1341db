"""The workers of tasks: they serve what this process has defined with ``@task``; a kernel starts its own."""

from __future__ import annotations

import functools
import json
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from flownb import connection as connections
from flownb.api.job import Job
from flownb.connection import Connection
from flownb.errors import FlowError
from flownb.tasks import binding, registry, rows_as_arguments
from flownb.tasks.setup import SetupFailed
from flownb.tasks.task import Task
from flownb.wire import keys, stored_steps
from flownb.wire.many_rows import holds_rows
from flownb.wire.store.job_records import Taken
from flownb.wire.stored_steps import StoredStep
from flownb.worker.added_tasks import added_tasks_on
from flownb.worker.end_of_batch import EndOfBatch
from flownb.worker.registered_code import CodeRegistration, is_of_a_cell, registered_code_on
from flownb.worker.retry_policy import BackoffRetry
from flownb.worker.setup_stops import KERNEL_WORKER, SetupStops, stops
from flownb.worker.weighing import weighing
from flownb.worker.work import Work, WorkStep
from flownb.worker.worker import MOST_SLOTS, Worker, is_running

THREADS = 4  # for `def` tasks, where nobody says how many
COROUTINES = 100  # of `async` tasks at a time, where nobody says how many

_starting = threading.RLock()


class TaskWorker(Worker):
    """Serves every task of this process's modules, or those of some queues, also tasks defined after it was started.

    Without `concurrency` it opens as many slots as its tasks need, in threads; in processes it has four.

    Raises FlowError where kernels run other functions for all of these queues; it takes up a queue when that is over.
    """

    _middleware = (*Worker._middleware, CodeRegistration, SetupStops, EndOfBatch)
    _is_deployed = True

    def __init__(
        self, *, concurrency: int | None = None, queues: Iterable[str] | None = None, **options: Any
    ) -> None:
        slots = THREADS if concurrency is None else concurrency
        super().__init__(queues or keys.BATCH_QUEUE, binding.unknown, concurrency=slots, **options)
        self._calls_coroutine = True  # tasks may be, those too that are defined later
        self._is_wide = concurrency is None and self._executor == "threads"
        self._only = list(queues) if queues is not None else None
        # By queue and name, the last one made; all slots write:
        self._works: dict[tuple[str, str], Work] = {}
        self._works_of_steps: dict[
            tuple[str, str], tuple[tuple[Any, ...], Work]
        ] = {}  # with what each was made of

    def task_queues(self) -> list[str]:
        """Return the queues of tasks that are served now."""
        known = [queue for queue in registry.queues() if self._only is None or queue in self._only]
        return [queue for queue in known if self._code.may_serve(queue) and not stops.has_all_of(queue)]

    def _served(self) -> list[str]:
        return [*self.task_queues(), keys.BATCH_QUEUE]

    def _work_for(self, taken: Taken) -> Work:
        record = taken.record
        if stored_steps.has_steps(record.bind):
            return self._work_of_steps(taken)
        task = self._task_for(record.flow, record.queue, record.name)
        if task is None:
            return super()._work_for(taken)
        if taken.is_unweighed:
            return weighing(task)
        if task.setup and (stopped := _stopped_by_setup(task)):
            return stopped
        work = self._works.get((record.queue, record.name))
        if work is None or work.task is not task:
            work = self._works[record.queue, record.name] = _work_of(task)
        return work

    def _work_of_steps(self, taken: Taken) -> Work:
        """Return what runs the steps of a job's rows that are this job's; without one of them nothing runs."""
        tasks = []
        of_rows, here = _steps_of(taken)
        for step in of_rows[here.start : here.stop]:
            task = self._task_for(taken.record.flow, step.queue, step.name)
            if task is None or task.name != step.name:
                return super()._work_for(taken)
            if task.setup and (stopped := _stopped_by_setup(task)):
                return stopped
            tasks.append(task)
        about = (of_rows, here.start, taken.is_unweighed, tasks)
        place = taken.record.queue, taken.record.name
        made = self._works_of_steps.get(place)
        if made is None or made[0] != about:
            made = self._works_of_steps[place] = about, _work_of_steps(*about)
        return made[1]

    def _task_for(self, flow: str | None, queue: str, name: str) -> Task | None:
        now = self._code.task(queue, name)
        return self._added.task_for(flow, queue, name, now, is_deployed=self._is_deployed)

    def _is_async(self, taken: Taken) -> bool:
        bind = taken.record.bind
        if stored_steps.has_steps(bind):
            return _have_coroutine(taken)
        task = registry.find(taken.record.queue, taken.record.name)
        return task is not None and task.is_async and not (task.batch_size is not None and holds_rows(bind))

    def _lane_of(self, base: str) -> tuple[str, int]:
        if not self._is_wide:
            return super()._lane_of(base)
        queue = keys.queue_of_base(base)
        name, width = ("async", COROUTINES) if registry.is_async(queue) else ("threads", THREADS)
        most, of_flows = registry.concurrency(queue), self._added.most_of_flows(queue)
        if most is None and of_flows <= width:
            return name, width
        return f"queue {queue}", min(most or of_flows, MOST_SLOTS)

    def _limiter_of(self, base: str) -> dict[str, int] | None:
        return registry.limiter(keys.queue_of_base(base))

    def _begin(self) -> None:
        connection = connections.current(self._connection)
        connection.ensure_writable()
        self._added, self._code = added_tasks_on(connection), registered_code_on(connection)
        self._register()
        stops.clear(registry.queues())
        stop = registry.listen(self._defined)  # a queue is registered before the pump hears of it
        super()._begin()
        self._stops = [
            stop,
            registry.listen(lambda _: self._pump.queues_changed()),
            self._code.listen(self._pump.queues_changed),
            self._added.listen(self._pump.queues_changed),
            stops.listen(self._pump.queues_changed),
        ]
        self._pump.queues_changed()  # what changed since the pump has begun: a setup may have failed already

    def _register(self) -> None:
        self._code.deploy(self._only)
        refused = self._code.register()
        self._added.give_concurrency(self.task_queues())
        if refused and not self.task_queues():
            raise FlowError(next(iter(refused.values())))
        for why in refused.values():
            print(f"flownb worker: waits with one queue: {why}", flush=True)

    def _defined(self, queue: str) -> None:
        self._code.register()
        self._added.give_concurrency([queue])
        self._go_on_with(queue)

    def _go_on_with(self, queue: str) -> None:
        """A task was defined anew: where its setup had failed, its rows run by what it is now."""
        for _, name in stops.clear([queue]):
            if (task := registry.find(queue, name)) is not None:
                self._added.replace(task)

    def _end(self) -> None:
        for stop in self._stops:
            stop()
        super()._end()
        if self.name is None or not is_running(self.name):
            self._code.withdraw()

    def __repr__(self) -> str:
        width = "" if self._is_wide else f"concurrency={self.concurrency}, "
        return f"workers({width}{'running' if self.running else 'not running'})"


def _steps_of(taken: Taken) -> tuple[tuple[StoredStep, ...], range]:
    """Return the steps of a job's rows, and which of them run in this job."""
    steps = stored_steps.steps_in(json.loads(taken.record.bind or "{}"))
    return steps, stored_steps.stretch_of(steps, taken.record.name)


def _have_coroutine(taken: Taken) -> bool:
    """Is a step that runs in this job `async`? One of many rows at a time waits in a thread."""
    steps, here = _steps_of(taken)
    tasks = [task for step in steps[here.start : here.stop] if (task := registry.find(step.queue, step.name))]
    return any(task.is_async for task in tasks) and all(task.batch_size is None for task in tasks)


def _work_of(task: Task) -> Work:
    call = binding.call_with_setup if task.setup else binding.call
    if task.batch_size is not None:
        call = rows_as_arguments.call_for_one
    return Work(functools.partial(call, task), _retry_of(task), task=task)


def _work_of_steps(
    of_rows: Sequence[StoredStep], first: int, is_unweighed: bool, tasks: Sequence[Task]
) -> Work:
    """Return what runs these `tasks`, which are the steps from the `first` one of a job's rows on."""
    steps = [WorkStep(task, _retry_of(task), of_rows[first + at].opts) for at, task in enumerate(tasks)]
    return Work(
        functools.partial(binding.call, tasks[0]),
        steps[0].retry,
        task=tasks[0],
        steps=tuple(steps),
        names=tuple(step.name for step in of_rows),
        first_step=first,
        stays=is_unweighed,  # a function that weighs does not travel
    )


def _stopped_by_setup(task: Task) -> Work | None:
    """Return what stands for a task's work where its setup has failed in this process."""
    why = stops.why_of(task.queue, task.name)
    if not why:
        return None
    is_served = stops.has_all_of(task.queue)  # no more: it goes back; else another worker may know the task
    return Work(functools.partial(_stand_still, why) if is_served else binding.unknown, stays=True)


def _stand_still(why: str, job: Job) -> Any:
    raise SetupFailed(why)


def _retry_of(task: Task) -> BackoffRetry:
    backoff = None if task.backoff is None else functools.partial(_ask_task, task.backoff)
    return BackoffRetry(task.retry_on, backoff)


def _ask_task(
    backoff: Callable[[int, BaseException], Any], made: int, _: str, error: BaseException, __: Job
) -> Any:
    """Ask a task's own backoff function."""
    return backoff(made, error)


def workers(
    concurrency: int | None = None, *, executor: Any = "threads", connection: Connection | None = None
) -> TaskWorker:
    """Serve every task of this process from now on, `concurrency` rows or jobs at a time; ``close()`` ends it.

    Without `concurrency` as many as the tasks ask for: `def` in 4 threads and 100 calls of `async def` at a time, or as
    many as a task's or a flow's own ``concurrency=`` says; processes are four. An `async` call takes no thread.

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
        self._added.give_concurrency(self.task_queues())

    def _defined(self, queue: str) -> None:
        refused = self._code.register()
        self._added.give_concurrency([queue] if queue not in refused else [])
        if queue in refused and any(map(is_of_a_cell, registry.tasks(queue))):
            # An import goes on: it may need no more than other tasks of its module.
            raise FlowError(refused[queue])
        self._go_on_with(queue)


def register_code(connection: Connection, queues: Iterable[str]) -> None:
    """Register what this process runs where its workers serve, or will, and what its tasks say of their queues.

    Raises FlowError where another process runs other functions for one of these queues.
    """
    queues = list(queues)
    stops.clear(queues)
    if not connection.read_only and (connection.embedded or is_running(KERNEL_WORKER)):
        registered_code_on(connection).register_for(queues)
    added_tasks_on(connection).give_concurrency(queues)


def widen(connection: Connection, flow: str, queues: Iterable[str], most: int | None) -> None:
    """A flow that is about to be added lets so many of its jobs run at a time: open as many slots for its queues."""
    added_tasks_on(connection).widen(flow, queues, most)


def keep_tasks(connection: Connection, name: str, flow: str, tasks: Iterable[Task]) -> None:
    """Let a batch's jobs run here by these functions as they are now."""
    added_tasks_on(connection).keep(name, flow, tasks)


def has_kept_tasks(connection: Connection, flow: str) -> bool:
    """Say whether this kernel runs a flow's jobs by the functions that it was added with."""
    return added_tasks_on(connection).has(flow)


def take_over_batch(connection: Connection, name: str, flow: str) -> None:
    """Let what has not run of a batch run here by the functions as they are defined by now."""
    stops.clear(registry.queues())
    added_tasks_on(connection).take_over(name, flow)
    added_tasks_on(connection).widen_as_stored(flow)
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
        if served := [queue for queue in registry.queues() if queue not in refused]:
            print(f"flownb: this kernel serves {_with_slots(served)}")
        _KernelWorker(connection=connection, name=KERNEL_WORKER).start()


def _with_slots(queues: Iterable[str]) -> str:
    """Return queues of tasks in words, and how many of their rows run at a time."""
    by_slots: dict[str, list[str]] = {}
    for queue in queues:
        most = registry.concurrency(queue)
        if registry.is_async(queue):
            slots = f"{most or COROUTINES} async calls at a time"
        else:
            slots = f"{most or THREADS} threads"
        by_slots.setdefault(slots, []).append(queue)
    return "; ".join(f"{', '.join(some)} with {slots}" for slots, some in by_slots.items())


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
