"""Jobs that are added to a queue alone: some once for an id, some below a parent that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from flownb.adding.deduplication import read_deduplication, stored_parts
from flownb.adding.plan import plan, refuse_other_prefix
from flownb.adding.planned_job import PlannedJob
from flownb.arguments import shown
from flownb.errors import FlowError, OptionError, ParentJobCannotBeReplaced
from flownb.wire import keys
from flownb.wire.job_rows import DeduplicatedRow, Deduplication, JobDetails, JobRow, ParentRow
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS


class QueueJob(NamedTuple):
    """A checked job on its way to a queue."""

    planned: PlannedJob
    deduplication: Deduplication | None = None
    parent: str | None = None  #: its key

    @property
    def opts(self) -> str:
        """The stored options, as BullMQ's producer writes them."""
        opts = dict(self.planned.options.bullmq)
        if self.deduplication:
            opts["de"] = stored_parts(self.deduplication)
        if self.parent:
            base, id = keys.base_and_id(self.parent)
            opts["parent"] = {"id": id, "queue": base}
        return _json(opts)

    def row(self, opts: int, parent: int | bool = False) -> JobRow:
        """Return it for a script; `opts` and `parent` are positions of what travels beside it."""
        job, options = self.planned, self.planned.options
        details = JobDetails(options.delay, options.priority, options.lifo)
        return JobRow(1, job.id, job.name, job.data, opts, parent or False, details)


def checked_job(job: Any, where: str, base: str) -> QueueJob:
    """Check one job for the queue at `base`; `where` begins the message if it cannot be stored.

    Its options may hold `deduplication` and `parent`, as BullMQ's do; of the parent its key, or ``{"id", "queue"}``.
    """
    if not isinstance(job, Mapping):
        raise FlowError(f"{where}: a job is a dict of name, data and opts, not {type(job).__name__}")
    if job.get("prefix") is not None:
        raise FlowError(f"{where}: a job stands under its queue's prefix; leave 'prefix' out here")
    if "children" in job:
        raise FlowError(f"{where}: a job with children is a flow; add it with FlowProducer().add(...)")
    opts, deduplication, parent = job.get("opts"), None, None
    if isinstance(opts, Mapping):
        given = {name: opts[name] for name in ("deduplication", "parent") if opts.get(name) is not None}
        opts = {name: value for name, value in opts.items() if name not in ("deduplication", "parent")}
        if len(given) > 1:
            raise OptionError(
                f"{where}: deduplication and parent: BullMQ takes one of them; leave the other out"
            )
        if "deduplication" in given:
            deduplication = read_deduplication(given["deduplication"], f"{where}: opts.deduplication")
        if "parent" in given:
            parent = _parent_key(given["parent"], f"{where}: opts.parent", base)
    prefix, queue = keys.prefix_of_base(base), keys.queue_of_base(base)
    try:
        planned = plan({**job, "opts": opts, "queueName": queue}, prefix=prefix)
        refuse_other_prefix(planned)
    except (FlowError, OptionError) as error:
        raise type(error)(f"{where}{str(error).removeprefix('root')}") from None
    return QueueJob(planned.root, deduplication, parent)


def _parent_key(given: Any, where: str, base: str) -> str:
    prefix = keys.prefix_of_base(base)
    if isinstance(given, Mapping):
        id, queue = given.get("id"), given.get("queue")
        given = (
            keys.job_in(str.__str__(queue), str.__str__(id))
            if isinstance(id, str) and isinstance(queue, str)
            else given
        )
    key = keys.from_short(str.__str__(given), prefix) if isinstance(given, str) else ""
    if not all(keys.split(key)):
        raise OptionError(
            f"{where}: a Job, 'queue:id' or BullMQ's {{'id': ..., 'queue': 'bull:orders'}}, not {shown(given)}"
        )
    return key


def store_jobs(store: Store, base: str, jobs: Sequence[QueueJob], start: int) -> list[str]:
    """Store jobs in order, from the `start`-th on, a chunk; return the ids of those that stand for them."""
    ids: list[str] = []
    for some in _calls(jobs[start : start + CHUNK_JOBS]):
        ids += _store_deduplicated(store, base, some) if some[0].deduplication else _store(store, base, some)
    return ids


def _calls(jobs: Sequence[QueueJob]) -> Iterator[list[QueueJob]]:
    for _, some in groupby(jobs, lambda job: job.deduplication is None):
        yield list(some)


def _store(store: Store, base: str, jobs: Sequence[QueueJob]) -> list[str]:
    edges = {(job.parent, job.planned.options.bullmq_policy or ""): None for job in jobs if job.parent}
    number = {edge: at for at, edge in enumerate(edges, 1)}
    parents = [_parent_row(parent, policy) for parent, policy in number]
    rows = [
        job.row(at, number.get((job.parent or "", job.planned.options.bullmq_policy or ""), False))
        for at, job in enumerate(jobs, 1)
    ]
    try:
        store.jobs.add(
            [base], jobs=rows, opts=[job.opts for job in jobs], parents=parents, bullmq=bool(parents)
        )
    except ParentJobCannotBeReplaced as error:
        raise FlowError(
            f"job {keys.short(str(error), store.prefix)!r} is there, and has another parent already; BullMQ gives a "
            "job one: give another jobId"
        ) from None
    return [job.planned.id for job in jobs]


def _parent_row(key: str, policy: str) -> ParentRow:
    base, id = keys.base_and_id(key)
    link = {"id": id, "queueKey": base} | ({policy: True} if policy else {})
    return ParentRow(key, _json(link), policy, is_outside=True)


def _store_deduplicated(store: Store, base: str, jobs: Sequence[QueueJob]) -> list[str]:
    rows = [
        DeduplicatedRow(job.row(at), job.deduplication) for at, job in enumerate(jobs, 1) if job.deduplication
    ]
    return store.jobs.add_deduplicated(base, rows, opts=[job.opts for job in jobs])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
