"""A tree on its way in: what a caller writes down before anything is stored."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from flownb.errors import FlowError

_KEYS = {
    "name": "name",
    "queueName": "queue",
    "queue_name": "queue",
    "data": "data",
    "opts": "opts",
    "children": "children",
    "prefix": "prefix",
}


class Node:
    """A job to be: a name, a queue, data, options, and the jobs it waits for.

    A `Node` used twice in a tree is one job with two parents. Dicts with the keys ``name``,
    ``queueName``, ``data``, ``opts`` and ``children`` mean the same, and both mix freely.

    >>> leaf = Node("load", "etl", {"day": "2013-01-01"}, {"attempts": 3})
    >>> Node("report", "etl", children=[leaf])
    Node('report', 'etl', 1 child)
    """

    __slots__ = ("bind", "children", "data", "name", "opts", "prefix", "problem", "queue")

    def __init__(
        self,
        name: str,
        queue: str,
        data: Any = None,
        opts: Mapping[str, Any] | None = None,
        children: Iterable[Any] = (),
        *,
        prefix: str | None = None,
        bind: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.queue = queue
        self.data = {} if data is None else data
        self.opts = opts
        self.children = children
        self.prefix = prefix
        self.problem: str | None = None  # why it cannot be stored yet: a task's argument is missing
        self.bind = bind  # a task's parameters that are filled from children: name -> Node, list or dict of Nodes

    def __repr__(self) -> str:
        children = self.children if isinstance(self.children, (list, tuple)) else ()
        more = f", {len(children)} {'child' if len(children) == 1 else 'children'}" if children else ""
        return f"Node({self.name!r}, {self.queue!r}{more})"


def read(mention: Any, path: str) -> Node:
    """Return what a caller wrote as a `Node`; `path` is its place in a message."""
    if isinstance(mention, Node):
        return mention
    if not isinstance(mention, Mapping):
        hint = "; call its .node(...)" if hasattr(mention, "node") else ""
        raise FlowError(f"{path}: a node is a dict or a Node, not {type(mention).__name__}{hint}")
    parts: dict[str, Any] = {}
    for key, value in mention.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_KEYS)}"
            raise FlowError(f"{path}: a node has no {key!r}; {hint}")
        parts[_KEYS[key]] = value
    for key, name in (("name", "name"), ("queue", "queueName")):
        if key not in parts:
            raise FlowError(f"{path}: {name!r} is missing")
    children = parts.get("children")
    node = Node(parts["name"], parts["queue"], None, parts.get("opts"), () if children is None else children)
    node.prefix = parts.get("prefix")
    if "data" in parts:
        node.data = parts["data"]
    return node
