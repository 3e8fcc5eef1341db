"""The tasks that this process knows, by queue and name; a cell that runs later adds to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flownb.errors import OptionError

if TYPE_CHECKING:
    from flownb.arguments import Rate
    from flownb.tasks.task import Task

# Written by whichever thread defines a task, mostly the one that runs cells; read by workers at any time.
_by_queue: dict[str, dict[str, Task]] = {}
#: queues of tasks that have something to load before their first row, once a process; asked for every job
to_prepare: set[str] = set()
_listeners: list[Callable[[str], None]] = []


def register(task: Task) -> None:
    """Add a task, or replace the one of the same name, and call the listeners.

    Raises OptionError where another task of the queue says another `concurrency`, which is the queue's.
    """
    if task.concurrency is not None:
        _refuse_other_concurrency(task)
    for queue, tasks in list(_by_queue.items()):
        if queue != task.queue and task.name in tasks and _was_moved(tasks[task.name], task):
            del tasks[task.name]
            if not tasks:
                del _by_queue[queue]
    _by_queue.setdefault(task.queue, {})[task.name] = task
    if task.setup or task.batch_size is not None:
        to_prepare.add(task.queue)
    for listener in list(_listeners):
        listener(task.queue)


def _refuse_other_concurrency(task: Task) -> None:
    for other in tasks(task.queue):
        if other.name != task.name and other.concurrency not in (None, task.concurrency):
            raise OptionError(
                f"task {task.name}.concurrency: {task.concurrency}, but task {other.name} of queue {task.queue!r} says "
                f"{other.concurrency}, and it is the queue's: give it to one of them, or the same to both"
            )


def _was_moved(before: Task, task: Task) -> bool:
    """Say whether a cell was edited to give its task another queue; one function may make tasks of several queues."""
    return before.__module__ == task.__module__ and before.bytecode is not task.bytecode


def queues() -> list[str]:
    """Return the queues that tasks of this process wait in."""
    return list(_by_queue)


def tasks(queue: str) -> list[Task]:
    """Return the tasks of a queue."""
    return list(_by_queue.get(queue, {}).values())


def find(queue: str, name: str) -> Task | None:
    """Return the task for a job: the only one of its queue, or the one of that name."""
    tasks = _by_queue.get(queue)
    if tasks is None:
        return None
    task = tasks.get(name)
    return task if task is not None or len(tasks) != 1 else next(iter(tasks.values()))


def rates(queue: str) -> tuple[Rate, ...]:
    """Return the limits of a queue: of its tasks' limiters, of each kind the one that lets the fewest begin."""
    found: dict[tuple[str, int], Rate] = {}
    for task in _by_queue.get(queue, {}).values():
        for rate in task.rates:
            kind = rate.unit, rate.ms
            found[kind] = min(found.get(kind, rate), rate)
    return tuple(found.values())


def limiter(queue: str) -> dict[str, int] | None:
    """Return the limiter of a queue: of its tasks' limiters, the one that lets the fewest start."""
    limiters = [task.limiter for task in _by_queue.get(queue, {}).values() if task.limiter]
    return min(limiters, key=lambda limiter: limiter["max"] / limiter["duration"], default=None)


def concurrency(queue: str) -> int | None:
    """Return how many jobs of a queue may run at a time, where one of its tasks says so."""
    of_tasks = (task.concurrency for task in _by_queue.get(queue, {}).values())
    return next((most for most in of_tasks if most is not None), None)


def is_async(queue: str) -> bool:
    """Say whether a task of the queue is `async`."""
    return any(task.is_async for task in _by_queue.get(queue, {}).values())


def listen(listener: Callable[[str], None]) -> Callable[[], None]:
    """Call `listener` with its queue whenever a task is added; returns the call that ends it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener) if listener in _listeners else None
