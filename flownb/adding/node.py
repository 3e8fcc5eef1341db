"""A tree on its way in: what a caller writes down before anything is stored."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic

from flownb.arguments import items, shown
from flownb.errors import FlowError
from flownb.typed import Value
from flownb.wire import keys

_KEYS = dict.fromkeys(("name", "queueName", "queue_name", "data", "opts", "children", "prefix"))


class Node(Generic[Value]):
    """A job to be: a name, a queue, data, options, and the jobs it waits for.

    A `Node` used twice in a tree is one job with two parents. Dicts with the keys ``name``,
    ``queueName``, ``data``, ``opts`` and ``children`` mean the same, and both mix freely.

    >>> leaf = Node("load", "etl", {"day": "2013-01-01"}, {"attempts": 3})
    >>> Node("report", "etl", children=[leaf])
    Node('report', 'etl', 1 child)
    """

    __slots__ = ("bind", "children", "data", "name", "opts", "prefix", "problem", "queue", "weights")

    def __init__(
        self,
        name: str,
        queue: str,
        data: Any = None,
        opts: Mapping[str, Any] | None = None,
        children: Iterable[Any] = (),
        *,
        prefix: str | None = None,
    ) -> None:
        self.name = name
        self.queue = queue
        self.data = {} if data is None else data
        self.opts = opts
        self.children = children
        self.prefix = prefix
        #: says why it cannot be stored: a task's argument is missing, or its function was replaced
        self.problem: Callable[[], str | None] | None = None
        #: a task's parameters that are filled from children: name -> Node, list or dict of Nodes
        self.bind: Mapping[str, Any] | None = None
        #: what it weighs in units that its queue limits: ``tokens=12 usd=0.5``; ``?``: its worker is to say so
        self.weights: str | None = None

    def __repr__(self) -> str:
        children = self.children if isinstance(self.children, (list, tuple)) else ()
        more = f", {len(children)} {'child' if len(children) == 1 else 'children'}" if children else ""
        return f"Node({shown(self.name)}, {shown(self.queue)}{more})"


def check_names(name: Any, queue: Any) -> None:
    """Raise `FlowError` if `name` cannot be a job's name, or `queue` not a queue's."""
    problem = keys.problem_with_name(name)
    if problem:
        raise FlowError(f"name {problem}")
    problem = keys.problem_with_queue(queue)
    if problem:
        raise FlowError(f"queueName {problem}")


def listed(given: Any, says: str) -> list[Any]:
    """Return the nodes of a list that a caller gave; raise FlowError for what is none, beginning as `says`."""
    found = None if isinstance(given, (str, bytes, Mapping, Node)) else items(given)
    if found is None:
        raise FlowError(f"{says} a list of nodes, not {type(given).__name__}")
    return found


def read(mention: Any) -> Node:
    """Return what a caller wrote as a `Node`; raise FlowError, without its path, if it is none."""
    if isinstance(mention, Node):
        return mention
    if type(mention) is not dict and not isinstance(mention, Mapping):
        hint = "; call its .node(...)" if hasattr(mention, "node") else ""
        raise FlowError(f"a node is a dict or a Node, not {type(mention).__name__}{hint}")
    if not mention.keys() <= _KEYS.keys():
        raise FlowError(_unknown_key(mention))
    get = mention.get
    queue = get("queueName", get("queue_name", _MISSING))
    if queue is _MISSING or "name" not in mention:
        raise FlowError(f"{'name' if 'name' not in mention else 'queueName'!r} is missing")
    children = get("children")
    node = Node(
        mention["name"], queue, None, get("opts"), () if children is None else children, prefix=get("prefix")
    )
    if "data" in mention:
        node.data = mention["data"]
    return node


def _unknown_key(mention: Mapping[Any, Any]) -> str:
    key = next(key for key in mention if key not in _KEYS)
    near = difflib.get_close_matches(key[:60] if isinstance(key, str) else "", _KEYS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_KEYS)}"
    return f"a node has no {shown(key)}; {hint}"


_MISSING = object()
