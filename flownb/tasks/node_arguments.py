"""The arguments of a task's node: which of them are nodes themselves, and why a node cannot be stored."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from flownb.adding.node import Node
from flownb.errors import OptionError
from flownb.tasks import registry
from flownb.tasks.code import changes, in_brackets, is_edited

if TYPE_CHECKING:
    from flownb.tasks.task import Task


def holds_nodes(value: Any, name: str, task_name: str) -> bool:
    """Is an argument a node, or a list or dict of nodes?"""
    if isinstance(value, Node):
        return True
    if isinstance(value, (list, tuple, Mapping)) and value:
        items = list(value.values()) if isinstance(value, Mapping) else list(value)
        nodes = sum(isinstance(item, Node) for item in items)
        if nodes and nodes < len(items):
            raise OptionError(
                f"{task_name}.node(): {name!r} mixes nodes and values; pass them as two arguments"
            )
        return nodes > 0
    return False


def nodes_in(value: Any) -> list[Node]:
    """Return the nodes of such an argument."""
    if isinstance(value, Node):
        return [value]
    return list(value.values() if isinstance(value, Mapping) else value)


def bind_of(values: Mapping[str, Any], *, has_files: bool) -> dict[str, Any] | None:
    """Return what a task's job notes beside its data: which arguments are children's values, and that some are files.

    >>> bind_of({}, has_files=False), bind_of({}, has_files=True)
    (None, {'files': True})
    """
    made: dict[str, Any] = {"values": values} if values else {}
    if has_files:
        made["files"] = True
    return made or None


def problem_with(task: Task, given: Container[str]) -> str | None:
    """Say why a node of this task cannot be stored.

    It lacks an argument, which `chain` may still fill; or the function that made this task has made another of the same
    name since, with other values in its closure.
    """
    missing = [name for name in task.required if name not in given]
    if missing:
        return f"task {task.name}: its argument {missing[0]!r} is missing"
    now = registry.find(task.queue, task.name)
    if now is None or now is task or now.bytecode is not task.bytecode:
        return None
    if not is_edited(task.code, now.code):
        return None
    return (
        f"task {task.name!r}: queue {task.queue!r} has another task of this name by now"
        f"{in_brackets(changes(task.code, now.code))}, and a job finds its function by its name: give each a queue of "
        f'its own, @fn.task(queue=f"{task.name}-{{...}}")'
    )
