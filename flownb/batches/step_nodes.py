"""Rows of several steps in a picture: a chain of nodes, a stage a step, where the tree has one node for all rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flownb.wire.records import Node


def with_stages(
    nodes: Sequence[Node], row_queue: str, states: Mapping[str, Mapping[str, int]]
) -> Iterator[Node]:
    """Yield the nodes; for that of all rows one a step, the last on top. `states` are of each step's rows.

    Where rows stand in several nodes, or some of them alone, nobody counts the steps of each: these name all steps.
    """
    of_rows = [node for node in nodes if node.queue == row_queue and node.job is None]
    are_all_together = not any(node.queue == row_queue and node.job for node in nodes)
    for node in nodes:
        if are_all_together and len(of_rows) == 1 and node is of_rows[0]:
            yield from _stages(node, states)
        elif node in of_rows:
            yield dataclasses.replace(node, name=joined(states))
        else:
            yield node


def _stages(node: Node, states: Mapping[str, Mapping[str, int]]) -> Iterator[Node]:
    ids = [*(f"{node.id}-{at}" for at in range(1, len(states))), node.id]
    below: tuple[str, ...] = node.children
    for id, (name, found) in zip(ids, states.items(), strict=True):
        is_last = id == node.id
        yield dataclasses.replace(
            node,
            id=id,
            name=name,
            queue=name,  # as a person reads it: which queue its jobs are in is not to be seen
            states=found,
            optional=node.optional and is_last,
            children=below,
            words="",
        )
        below = (id,)


def joined(names: Iterable[str]) -> str:
    """Return what a row's job is called that runs these steps.

    >>> joined(["fetch", "parse"])
    'fetch > parse'
    """
    return " > ".join(names)
