"""From a tree to a plan: nodes checked, shared jobs found, parents put before children (`order` refuses cycles).

Every refusal names the node's path (``root/children[3]``) and comes before anything is written. A node is checked by
itself in `checked_node`, the tree is walked in `walk`, and `send` stores the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flownb.adding.bare_mentions import merge_bare_mentions
from flownb.adding.checked_node import NodeChecker
from flownb.adding.collection import NoCollection
from flownb.adding.node import Node
from flownb.adding.order import parents_first
from flownb.adding.planned_job import Plan, PlannedJob
from flownb.adding.walk import Walk
from flownb.errors import FlowError
from flownb.wire import codec, keys

MAX_ANNOUNCED = 5  # shared jobs that are announced, and parents that are named of each


def plan(
    tree: Any,
    *,
    prefix: str,
    flow: str | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
    share: bool = True,
) -> Plan:
    """Check a tree and lay it out; `defaults` are options by queue, under each node's own.

    A job is shared when the same object stands under several parents, when two nodes have the same queue
    and ``jobId``, or when a node is mentioned again, bare, elsewhere: same name, queue and data, no children.
    Without `share` each mention is a job of its own, as in BullMQ, and policies are BullMQ's.
    """
    with NoCollection():
        return _plan(tree, prefix, flow, defaults or {}, share)


def _plan(
    tree: Any, prefix: str, flow: str | None, defaults: Mapping[str, Mapping[str, Any]], share: bool
) -> Plan:
    walk = Walk(NodeChecker(prefix, defaults, share=share), share=share)
    walk.visit(tree)
    merged = merge_bare_mentions(walk) if share else set[int]()
    shared = _shared_jobs_in_words(walk)
    order = parents_first(walk, merged)
    flow = flow or keys.new_id()
    jobs = _in_order(walk, order)
    for i, job in enumerate(jobs):
        job.id = job.id or (f"{flow}-{i}" if i else flow)
    _bind_tasks(walk, order)
    return Plan(flow, prefix, jobs, shared)


def refuse_other_prefix(plan: Plan) -> None:
    """Raise FlowError for a root under another prefix than the connection's, under which handles look for it."""
    asked = keys.prefix_of_base(plan.root.base)
    if asked != plan.prefix:
        raise FlowError(
            f"root: prefix {asked!r} is not this connection's, {plan.prefix!r}: connect(prefix={asked!r}) to add it "
            "there, or give a prefix to children alone"
        )


def _in_order(walk: Walk, order: list[int]) -> list[PlannedJob]:
    """Return the jobs in their order; where that is not the walk's, parents and children are named anew."""
    jobs = [walk.visited[position].job for position in order]
    if order != list(range(len(walk.visited))):  # shared jobs have moved behind the last of their parents
        new_position = {position: i for i, position in enumerate(order)}
        for job in jobs:
            job.parents = {new_position[parent]: policy for parent, policy in job.parents.items()}
            job.children = [new_position[child] for child in job.children]
    return jobs


def _bind_tasks(walk: Walk, order: list[int]) -> None:
    """Say in each task's job which parameters receive which children's values, now that all ids are known."""

    def key_of(value: Any) -> Any:
        if isinstance(value, Node):
            return walk.visited[walk.position_of[id(value)]].job.key
        if isinstance(value, Mapping):
            return {name: key_of(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [key_of(item) for item in value]
        return value

    for position in order:
        job, bind, *_ = walk.visited[position]
        if bind:
            job.bind = codec.encode({name: key_of(value) for name, value in bind.items()}, "bind")


def _shared_jobs_in_words(walk: Walk) -> list[str]:
    """Say which jobs are shared, as a caller may not have meant it."""
    told = [_announcement(walk, position) for position in list(walk.shared)[:MAX_ANNOUNCED]]
    if len(walk.shared) > MAX_ANNOUNCED:
        told.append(f"shared: {len(walk.shared) - MAX_ANNOUNCED:,} more jobs")
    return told


def _announcement(walk: Walk, position: int) -> str:
    job = walk.visited[position].job
    parents = [walk.visited[parent].job.name for parent in job.parents]
    if len(parents) > MAX_ANNOUNCED:
        parents[MAX_ANNOUNCED - 1 :] = [f"{len(parents) - MAX_ANNOUNCED + 1:,} more"]
    return f"shared: {job.name} under {', '.join(parents[:-1])} and {parents[-1]}"
