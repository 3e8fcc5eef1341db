"""The tasks that this process knows, by queue and name; a cell that runs later adds to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flownb.tasks.task import Task

# Written by whichever thread defines a task, mostly the one that runs cells; read by workers at any time.
_by_queue: dict[str, dict[str, Task]] = {}
_listeners: list[Callable[[str], None]] = []


def register(task: Task) -> None:
    """Add a task, or replace the one of the same name, and call the listeners."""
    for queue, tasks in list(_by_queue.items()):
        if queue != task.queue and task.name in tasks and _was_moved(tasks[task.name], task):
            del tasks[task.name]
            if not tasks:
                del _by_queue[queue]
    _by_queue.setdefault(task.queue, {})[task.name] = task
    for listener in list(_listeners):
        listener(task.queue)


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
    tasks = _by_queue.get(queue, {})
    if len(tasks) == 1:
        return next(iter(tasks.values()))
    return tasks.get(name)


def limiter(queue: str) -> dict[str, int] | None:
    """Return the limiter of a queue: of its tasks' limiters, the one that lets the fewest start."""
    limiters = [task.limiter for task in _by_queue.get(queue, {}).values() if task.limiter]
    return min(limiters, key=lambda limiter: limiter["max"] / limiter["duration"], default=None)


def listen(listener: Callable[[str], None]) -> Callable[[], None]:
    """Call `listener` with its queue whenever a task is added; returns the call that ends it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener) if listener in _listeners else None
