"""Parents before children: the order in which jobs are stored; a cycle has none and is refused."""

from __future__ import annotations

from collections.abc import Set

from flownb.adding.walk import Walk
from flownb.errors import FlowError


def parents_first(walk: Walk, merged: Set[int]) -> list[int]:
    """Return the positions of the jobs, level by level as BullMQ writes them; raise FlowError for a cycle.

    `merged` are positions that are other jobs' by now.
    """
    jobs = [visited.job for visited in walk.visited]
    if not walk.shared and not jobs[0].parents:  # a tree is in order as it was walked
        return list(range(len(jobs)))
    waits_for = {i: len(job.parents) for i, job in enumerate(jobs) if i not in merged}
    order = [] if jobs[0].parents else [0]
    for position in order:
        for child in jobs[position].children:
            waits_for[child] -= 1
            if not waits_for[child]:
                order.append(child)
    if len(order) < len(waits_for):
        raise FlowError(_cycle(walk, {i for i, n in waits_for.items() if n}))
    return order


def _cycle(walk: Walk, stuck: Set[int]) -> str:
    """Name the jobs of one cycle among those that cannot be ordered."""
    trail: dict[int, None] = {}
    step = min(stuck)
    while step not in trail:  # every stuck job has a stuck parent: walking up must come round
        trail[step] = None
        step = next(parent for parent in walk.visited[step].job.parents if parent in stuck)
    cycle = [*list(trail)[list(trail).index(step) :], step]
    names = [walk.visited[position].job.name for position in reversed(cycle)]
    return f"{walk.path(step)}: cycle: {' -> '.join(names)}; a job cannot wait for itself"
