"""Reads a stored tree down to a depth, some children of each parent: BullMQ's getFlow."""

from __future__ import annotations

from typing import Any

from flownb.api.job import Job
from flownb.connection import Connection
from flownb.wire.store import Store


def read_tree(
    store: Store, connection: Connection, root: str, depth: int, most: int
) -> dict[str, Any] | None:
    """Return ``{"job": Job, "children": [...]}`` from a job down; None where it is not there.

    Level by level, so that a deep tree costs a few round trips a level. Children that are gone are left out.
    """
    level, parents = [root], list[dict[str, Any]]()
    top: dict[str, Any] | None = None
    below_of: list[list[str]] = []
    for floor in range(depth):
        records = store.jobs.read(level)
        nodes = {
            key: {"job": Job(record, store=store, connection=connection)}
            for key, record in zip(level, records, strict=True)
            if record
        }
        if floor == 0:
            top = nodes.get(root)
        for parent, below in zip(parents, below_of, strict=True):
            parent["children"] = [nodes[key] for key in below if key in nodes]
        counts = store.children.counts(list(nodes))
        with_children = [key for key, count in zip(nodes, counts, strict=True) if any(count)]
        parents = [nodes[key] for key in with_children]
        below_of = [store.children.first_of_each(key, most) for key in with_children]
        level = list(dict.fromkeys(key for below in below_of for key in below))
        if not level:
            break
    return top
