"""Reads which jobs of a flow have failed, and which one failed the flow."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from flownb.state.shape import Shape
from flownb.wire import keys
from flownb.wire.records import FAILED, MOST_FAILURES, NO_CAUSE, JobRecord
from flownb.wire.store import Store
from flownb.wire.store.job_records import ALL_FIELDS, BRIEF_FIELDS

_LONGEST_PATH = 100  # jobs from a root down
_NEWEST_A_QUEUE = 10 * MOST_FAILURES  # failed jobs of a queue that are looked at


def read_failures(store: Store, shape: Shape, failed: int, most: int = MOST_FAILURES) -> list[JobRecord]:
    """Read the jobs of a flow that failed by themselves, the oldest first. `failed` is how many jobs have failed."""
    if not failed:
        return []
    found = list(islice(failed_keys(store, shape), min(failed, 2 * most)))
    records = [r for r in store.jobs.read(found, ALL_FIELDS) if r and r.why not in NO_CAUSE]
    return sorted(records, key=lambda r: r.finished_on or 0)[:most]


def failed_keys(store: Store, shape: Shape) -> Iterator[str]:
    """Yield the keys of a flow's failed jobs: the root, then what failed each parent, from the top down."""
    record = store.jobs.read([shape.root], BRIEF_FIELDS)[0]
    if record and record.state == FAILED:
        yield shape.root
    seen = {shape.root}
    for parent, _ in shape.branches():
        failed = [*store.children.read_failed(parent), *store.children.read_ignored(parent)]
        fresh = [key for key in failed if key not in seen]
        seen.update(fresh)
        yield from dict.fromkeys(fresh)
    yield from (key for key in _failed_without_policy(store, shape) if key not in seen)


def _failed_without_policy(store: Store, shape: Shape) -> list[str]:
    """Return failed jobs without a policy, the newest of each queue: no parent keeps them, each names its parent."""
    branches = dict(shape.branches())
    bases = dict.fromkeys(group["base"] for groups in branches.values() for group in groups)
    newest = [
        keys.job_in(base, id)
        for base in bases
        for id in store.queues.read_ids(base, FAILED, 0, _NEWEST_A_QUEUE)
    ]
    return [job.key for job in store.jobs.read(newest, ("parentKey",)) if job and job.parent_key in branches]


def root_cause(store: Store, cause: str | None, root: str) -> tuple[JobRecord | None, list[str]]:
    """Return the job that failed the flow and the names on the way from the root down to it.

    A shared job may have been removed with another flow: then the deepest job that is left is returned. None where the
    one that failed by itself is gone.
    """
    record = (
        store.jobs.read([cause or root])[0] or store.jobs.read([store.children.read_first_failure(root)])[0]
    )
    if record and record.why == "child" and store.children.read_first_failure(record.key) == record.key:
        return None, []  # it failed because of a child that nobody keeps: that one was removed since
    top = store.jobs.read([root], ("fl",))[0]
    names: list[str] = []
    step = record
    while step is not None and len(names) < _LONGEST_PATH:
        names.append(step.name)
        step = _parent_in_flow(store, step, top.flow if top else None) if step.key != root else None
    return record, names[::-1]


def _parent_in_flow(store: Store, job: JobRecord, flow: str | None) -> JobRecord | None:
    """Return the parent through which a job belongs to this flow: of a shared job it need not be the first."""
    above = [
        *([job.parent_key] if job.parent_key else []),
        *store.shared.read_further_parents([job.key])[job.key],
    ]
    found = [parent for parent in store.jobs.read(above) if parent]
    return next((parent for parent in found if parent.flow == flow), found[0] if found else None)


def describe(reason: str | None) -> str:
    """Return a failed job's reason as one line."""
    return " ".join((reason or "no reason was stored").split())
