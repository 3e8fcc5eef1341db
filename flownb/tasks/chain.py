"""`chain`: tasks one after another, each with the value of the one before."""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar, overload

from flownb.adding.node import Node
from flownb.arguments import shown
from flownb.errors import OptionError
from flownb.tasks import registry
from flownb.tasks.node_arguments import problem_with
from flownb.tasks.task import Task
from flownb.typed import Returned

_Awaited = TypeVar("_Awaited")
_Async: TypeAlias = Coroutine[Any, Any, _Awaited]

#: anything `chain` puts in line
_Step: TypeAlias = Task | Node


@overload
def chain(*steps: *tuple[*tuple[_Step, ...], Task[..., _Async[_Awaited]]]) -> Node[_Awaited]: ...
@overload
def chain(*steps: *tuple[*tuple[_Step, ...], Task[..., Returned] | Node[Returned]]) -> Node[Returned]: ...
def chain(*steps: *tuple[*tuple[_Step, ...], Any]) -> Node:
    """Put steps one after another: each gets the previous one's value as its first free argument.

    A step is a task, or a node of a task whose other arguments are filled. Returns the last one, the root.

    >>> @task
    ... def load(day): ...
    >>> @task
    ... def count(rows): ...
    >>> chain(load.node("2013-01-01"), count)
    Node('count', 'count', 1 child)
    """
    return _in_line(list(steps))


def _in_line(steps: list[Any]) -> Node:
    node: Node | None = None
    for step in steps:
        if isinstance(step, Task):
            node = step.node() if node is None else step.node(node)
        elif isinstance(step, Node):
            node = step if node is None else _continue(node, step)
        else:
            raise OptionError(f"chain: a step is a task or a node, not {type(step).__name__}")
    if node is None:
        raise OptionError("chain: give it the steps, as in chain(load.node(day), count)")
    return node


def _continue(previous: Node, step: Node) -> Node:
    """Return the step as a node whose first free argument is the previous one's value."""
    known = registry.find(step.queue, step.name)
    bound = (step.bind or {}).get("values", {})
    names = [] if known is None else known.required + known.optional
    free = [name for name in names if name not in step.data and name not in bound]
    if known is None or not free:
        raise OptionError(
            f"chain: {shown(step.name)} has no free argument for the value of {shown(previous.name)}"
        )
    values = {free[0]: previous, **bound}
    children = [previous, *step.children]
    node = Node(  # the step stays as it is: it may stand in another chain
        step.name, step.queue, step.data, step.opts, children, prefix=step.prefix
    )
    node.bind = {**(step.bind or {}), "values": values}
    node.problem = functools.partial(problem_with, known, {*step.data, *values})
    return node
