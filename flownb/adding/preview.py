"""A tree that is not stored yet, as a snapshot: folded as a stored one would be, so that it can be drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from flownb.adding.planned_job import Plan
from flownb.wire import keys
from flownb.wire.folding import group_siblings
from flownb.wire.records import (
    MOST_NODES,
    OPTIONAL,
    WAITING,
    WAITING_CHILDREN,
    FlowCounts,
    JobRecord,
    Node,
    Snapshot,
)


def snapshot_of_plan(plan: Plan) -> Snapshot:
    """Show a tree that is not stored yet, folded as a stored one would be."""
    drawn = _Preview(plan).drawn
    states = Counter((keys.queue_of_base(job.base), _state(plan, i)) for i, job in enumerate(plan.jobs))
    by_stage: dict[str, dict[str, int]] = {}
    for (queue, state), count in states.items():
        by_stage.setdefault(queue, {})[state] = count
    return Snapshot(
        name=plan.root.name,
        state=_state(plan, 0),
        nodes=tuple(_node(plan, i, node) for i, node in enumerate(drawn)),
        counts=FlowCounts(by_stage=by_stage),
        created=0,
        left_out=len(plan.jobs) - sum(len(node.members) for node in drawn),
    )


@dataclass
class _Drawn:
    """One node of the picture: a planned job, or many siblings that look alike."""

    name: str
    members: list[int]  #: positions in the plan
    optional: bool
    children: list[int] = field(default_factory=list)  #: numbers of drawn nodes


class _Preview:
    """Walks a plan level by level; `drawn` are the nodes, the root first."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.drawn: list[_Drawn] = []
        self._number_of: dict[int, int] = {}  # position in the plan -> number of the drawn node
        level = [self._draw(plan.root.name, [0], optional=False)]
        while level:
            level = [child for parent in level for child in self._draw_children(parent)]

    def _draw_children(self, parent: int) -> list[int]:
        """Draw the children of a node; return those that were not drawn before."""
        node = self.drawn[parent]
        below = list(dict.fromkeys(child for i in node.members for child in self.plan.jobs[i].children))
        new: list[int] = []
        for _, name, indexes in group_siblings(
            (self.plan.jobs[i].base, self.plan.jobs[i].name) for i in below
        ):
            members = [below[index] for index in indexes]
            known = self._number_of.get(members[0])
            if known is not None:
                node.children.append(known)
            elif len(self.drawn) < MOST_NODES:
                policy = self.plan.jobs[members[0]].parents.get(node.members[0], "fpof")
                new.append(self._draw(name, members, optional=policy in OPTIONAL))
        node.children += new
        return new

    def _draw(self, name: str, members: list[int], *, optional: bool) -> int:
        number = len(self.drawn)
        self._number_of.update(dict.fromkeys(members, number))
        self.drawn.append(_Drawn(name, members, optional))
        return number


def _state(plan: Plan, position: int) -> str:
    return WAITING_CHILDREN if plan.jobs[position].children else WAITING


def _node(plan: Plan, number: int, drawn: _Drawn) -> Node:
    job, state = plan.jobs[drawn.members[0]], _state(plan, drawn.members[0])
    queue, count = keys.queue_of_base(job.base), len(drawn.members)
    alone = JobRecord(key=job.key, id=job.id, queue=queue, name=job.name, state=state) if count == 1 else None
    return Node(
        id=f"n{number}",
        name=drawn.name,
        queue=queue,
        states={state: count},
        count=count,
        job=alone,
        optional=drawn.optional,
        children=tuple(f"n{child}" for child in dict.fromkeys(drawn.children)),
    )
