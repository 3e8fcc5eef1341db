"""Merging bare mentions: a node named again elsewhere, without its children, is the job it names.

This is the guide's order workflow: same name, queue and data, no children and no id.
"""

from __future__ import annotations

from flownb.adding.planned_job import PlannedJob
from flownb.adding.walk import Walk


def merge_bare_mentions(walk: Walk) -> set[int]:
    """Give each bare mention's parents to the job that it names; return the positions that are gone by that."""
    jobs = [visited.job for visited in walk.visited]
    named: dict[tuple[str, str], list[int]] = {}  # jobs with children, by queue and name
    for position, job in enumerate(jobs):
        if job.children:
            named.setdefault((job.base, job.name), []).append(position)
    merged: set[int] = set()
    for position, job in enumerate(jobs):
        if not _is_bare(job) or (job.base, job.name) not in named:
            continue
        same = [other for other in named[job.base, job.name] if _may_be(job, jobs[other])]
        if len(same) == 1 and not _is_below(jobs, position, same[0]):
            walk.merge(position, same[0])
            merged.add(position)
    return merged


def _is_bare(job: PlannedJob) -> bool:
    return not job.children and not job.id and job.data != "{}" and bool(job.parents)


def _may_be(mention: PlannedJob, job: PlannedJob) -> bool:
    """Side by side under one parent they are two jobs."""
    return job.data == mention.data and not mention.parents.keys() & job.parents.keys()


def _is_below(jobs: list[PlannedJob], position: int, other: int) -> bool:
    above, seen = list(jobs[position].parents), set[int]()
    while above:
        step = above.pop()
        if step == other:
            return True
        if step not in seen:  # shared jobs are reached by many ways
            seen.add(step)
            above += jobs[step].parents
    return False
