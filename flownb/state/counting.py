"""Counts a flow's jobs by BullMQ's own keys: right whoever ran them, also where nobody kept counts.

Small flows are counted job by job. Of a wide parent the server says how many children have ended; where the
others are is read from their queue, so that the cost of counting does not grow with the flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from flownb.state.shape import Group, Shape
from flownb.wire import keys
from flownb.wire.records import (
    ACTIVE,
    COMPLETED,
    DELAYED,
    FAILED,
    PRIORITIZED,
    WAITING,
    FlowCounts,
    JobRecord,
)
from flownb.wire.store import Store

MOST_SINGLY = 1000  #: jobs of which each is asked for its state, or ids among which the flow's are sought

_Stages = dict[str, Counter[str]]  # queue -> state -> jobs


def count(store: Store, shape: Shape) -> FlowCounts:
    """Count the jobs of a flow, as far as its shape is known."""
    branches = list(shape.branches())
    total = 1 + sum(_size(groups) for _, groups in branches)
    wide: dict[str, list[Group]] = {}
    if total > MOST_SINGLY and not _shares(branches, total, shape):
        wide = {parent: groups for parent, groups in branches if _is_uniform(groups)}
    stages: _Stages = {}
    for parent, below in _one_by_one(branches, wide, shape):
        _count_each(store, parent, below, stages)
    exact = _count_wide(store, wide, shape.root, stages)
    return FlowCounts(by_stage=_without_zeros(stages), counting=not (shape.complete and exact))


def _without_zeros(stages: _Stages) -> dict[str, dict[str, int]]:
    return {queue: {state: n for state, n in counted.items() if n} for queue, counted in stages.items()}


def _size(groups: Sequence[Group]) -> int:
    return sum(group["count"] for group in groups)


def _is_uniform(groups: Sequence[Group]) -> bool:
    """Leaves of one queue and nothing else: the parent's own keys say how many of them have ended."""
    return bool(groups) and all(group["leaf"] and group["base"] == groups[0]["base"] for group in groups)


def _shares(branches: Sequence[tuple[str, list[Group]]], total: int, shape: Shape) -> bool:
    """Has a job several parents? Then a sum over parents would count it twice."""
    return sum(bool(groups) for _, groups in branches) > 1 and sum(1 for _ in shape.jobs()) < total


def _one_by_one(
    branches: Sequence[tuple[str, list[Group]]], wide: dict[str, list[Group]], shape: Shape
) -> Iterator[tuple[str, list[str]]]:
    """Yield the root, then the children of each parent that is not counted as a whole; each job once."""
    seen = {shape.root}
    yield "", [shape.root]
    for parent, groups in branches:
        if groups and parent not in wide:
            fresh = [key for key in dict.fromkeys(shape.children(parent)) if key not in seen]
            seen.update(fresh)
            yield parent, fresh


def _count_each(store: Store, parent: str, jobs: Sequence[str], stages: _Stages) -> None:
    states = [job.state if job else None for job in store.jobs.read(jobs, ("name",))]
    gone = [key for key, state in zip(jobs, states, strict=True) if state is None]
    kept = dict(zip(gone, store.children.read_ends(parent, gone), strict=True))  # removed as they ended
    for key, state in zip(jobs, states, strict=True):
        if known := state or kept[key]:
            stages.setdefault(keys.queue_of(key), Counter())[known] += 1


def _count_wide(store: Store, wide: dict[str, list[Group]], root: str, stages: _Stages) -> bool:
    """Count what has ended by the parents' keys, the rest by its queue's lists; say whether that is exact."""
    pending: dict[str, dict[str, int]] = {}  # queue's key -> parent -> children it waits for
    for (parent, groups), children in zip(wide.items(), store.children.counts(list(wide)), strict=True):
        base, size = groups[0]["base"], _size(groups)
        counted = stages.setdefault(keys.queue_of_base(base), Counter())
        failed = children.ignored + children.failed
        waits = max(min(children.pending, size - children.completed - failed), 0)
        if any(group.get("forgotten", True) for group in groups):  # else those that are missing were removed
            failed = max(size - children.completed - waits, 0)
        counted[COMPLETED] += children.completed
        counted[FAILED] += failed
        if waits:
            pending.setdefault(base, {})[parent] = waits
    exact = True
    for base, parents in pending.items():
        counted = stages[keys.queue_of_base(base)]
        if sum(parents.values()) <= MOST_SINGLY:
            for parent in parents:
                _count_each(store, parent, store.children.read_pending(parent), stages)
        else:
            exact &= _count_in_queue(store, base, parents, root, counted)
    return exact


def _count_in_queue(
    store: Store, base: str, parents: dict[str, int], root: str, counted: Counter[str]
) -> bool:
    """Find those of `parents`' children that are somewhere else than in the line: the rest waits."""
    rest, exact, sizes = sum(parents.values()), True, store.queues.count_states(base)
    for state in (ACTIVE, DELAYED, PRIORITIZED, FAILED):
        found = _newest(store, base, state)
        ours = [job for job in found if job.state == state and job.parent_key in parents]
        if state == FAILED:  # those without a policy: their parent waits for ever
            ours = _awaited(store, ours)
        number = min(len(ours), rest)
        counted[state] += number
        rest -= number
        exact &= sizes[state] <= MOST_SINGLY or (state == FAILED and _reach_back(store, found, root))
    counted[WAITING] += rest
    return exact


def _newest(store: Store, base: str, state: str) -> list[JobRecord]:
    ids = store.queues.read_ids(base, state, 0, MOST_SINGLY - 1)
    found = store.jobs.read([keys.job_in(base, id) for id in ids], ("parentKey", "finishedOn"))
    return [job for job in found if job]


def _reach_back(store: Store, failed: Sequence[JobRecord], root: str) -> bool:
    """Say whether the oldest of these failed before the flow was added, so that none of its failures is older."""
    added = store.jobs.read([root], ("timestamp",))[0]
    oldest = (failed[-1].finished_on if failed else None) or 0
    return added is not None and oldest < added.timestamp


def _awaited(store: Store, jobs: Sequence[JobRecord]) -> list[JobRecord]:
    """Return those of these jobs that their parent still waits for."""
    children_of: dict[str, list[JobRecord]] = {}
    for job in jobs:
        children_of.setdefault(job.parent_key or "", []).append(job)
    return [
        job
        for parent, children in children_of.items()
        for job, awaited in zip(
            children, store.children.are_awaited(parent, [job.key for job in children]), strict=True
        )
        if awaited
    ]
