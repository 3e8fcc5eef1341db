"""Flows of other programs with a job in a queue: sought in that queue's own lists, as nobody keeps an index of them."""

from __future__ import annotations

from flownb.wire import keys
from flownb.wire.records import STATES
from flownb.wire.store import Store

MAX_SEARCHED = 250  # ids of each state of a queue
MAX_STEPS_UP = 100  # from such a job to its root


def find_foreign_roots(store: Store, queue: str) -> list[tuple[int, str]]:
    """Return the roots of other programs' flows with a job in this queue, each with when it was added (ms).

    The newest come first. Jobs without parent and children are no flows.
    """
    base, newest = keys.base(store.prefix, queue), MAX_SEARCHED - 1
    found = [
        keys.job_in(base, id) for state in STATES for id in store.queues.read_ids(base, state, 0, newest)
    ]
    tops = _topmost(store, found)
    outlines = store.children.read_names(list(tops))
    pairs = zip(tops.items(), outlines, strict=True)
    roots = [(added, root) for (root, added), outline in pairs if outline and outline.has_children]
    return sorted(roots, reverse=True)


def _topmost(store: Store, jobs: list[str]) -> dict[str, int]:
    """Follow other programs' jobs up to where no parent is; return these with when they were added (ms)."""
    tops: dict[str, int] = {}
    level, seen = list(dict.fromkeys(jobs)), set[str]()
    for _ in range(MAX_STEPS_UP):
        if not level:
            break
        seen.update(level)
        read = store.jobs.read(level, ("fl", "parentKey", "timestamp"))
        foreign = [job for job in read if job and job.flow is None]
        tops |= {job.key: job.timestamp for job in foreign if job.parent_key is None}
        level = list(dict.fromkeys(job.parent_key for job in foreign if job.parent_key))
        level = [parent for parent in level if parent not in seen]
    return tops
