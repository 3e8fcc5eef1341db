"""Why a flow does not end: what keeps it, job by job and queue by queue, and what to do about it. Reads only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from flownb.diagnosis import flow_reasons, job_reasons, queue_reasons, reason_words
from flownb.diagnosis.reasons import Reason, Reasons, Urgency
from flownb.files.folder_of_flow import is_embedded
from flownb.state import failed_jobs
from flownb.state.ahead import FlowAhead, read_ahead
from flownb.state.flow_state import FlowState
from flownb.state.removed_jobs import count_removed
from flownb.wire import keys, versions
from flownb.wire.records import (
    ACTIVE,
    CANCELLED,
    COMPLETED,
    DELAYED,
    FAILED,
    WAITING,
    WAITING_CHILDREN,
    JobRecord,
)
from flownb.wire.store import Store
from flownb.wire.store.job_records import BRIEF_FIELDS
from flownb.wire.store.queue_facts import PendingChildren, QueueFacts, WaitFacts

MOST_JOBS = 500  #: unfinished jobs below the root that are looked at
MOST_IN_LINE = 2000  #: waiting jobs of a queue among which one is searched for
_FIELDS = (*BRIEF_FIELDS, "opts", "fl")
_COUNT_PATIENCE_SECONDS = 1.0  # for counting jobs that nobody counted


def explain(
    store: Store, flow_state: FlowState, record: Mapping[str, str], most: int = MOST_JOBS
) -> list[Reason]:
    """Return what keeps a flow from ending, the worst first; of a failed flow its root cause.

    Of a completed flow how many children it went without, as another program removed them; else nothing.

    At most `most` unfinished jobs below the root are looked at.
    """
    if "ended" not in record:
        if versions.is_layout_unknown(record):
            return [flow_reasons.stored_by_newer(record)]
        return _Explainer(store, flow_state, record, most).explain()
    if record["ended"] == COMPLETED:
        removed = count_removed(store, flow_state)
        return [flow_reasons.completed_without(record, removed)] if removed else []
    return [_root_cause(store, record)]


def _root_cause(store: Store, record: Mapping[str, str]) -> Reason:
    if record["ended"] == CANCELLED:
        return Reason(
            reason_words.plain(record["name"]), "it was cancelled", "run what is left of it with retry()"
        )
    job, names = failed_jobs.root_cause(store, record.get("cause"), record["root"])
    is_batch = record.get("kind") == "batch"
    anew = "run fan_out again" if is_batch else "add the flow again"
    again = anew if is_batch else "run what failed with retry()"
    if job is None:
        without = "run it without that job with retry(), or "
        return Reason(
            reason_words.plain(record["name"]), "the job that failed it was removed", without + anew
        )
    mend, then = {
        "timeout": ("mend what hangs, or give it a longer timeout", anew),
        "crashed": ("see whether it takes too much memory, or what it calls crashes", again),
        "stalled": ("its workers died while it ran: see whether it takes too much memory", again),
        "missing": ("set the server's maxmemory-policy to noeviction", anew),
    }.get(job.why or "", ("mend its function or its data", again))
    return Reason(
        reason_words.path(names),
        f"it failed: {reason_words.plain(failed_jobs.describe(job.failed_reason))}",
        f"{mend}, then {then}",
    )


class _Explainer:
    """Walks down from the root through what each parent still waits for, then asks job by job what keeps it."""

    def __init__(self, store: Store, flow_state: FlowState, record: Mapping[str, str], most: int) -> None:
        self._store = store
        self._flow_state = flow_state
        self._record = record
        self._most = most
        self._now = store.server.read_time()
        self._counts = flow_state.counts(_COUNT_PATIENCE_SECONDS)
        self._reasons = Reasons(record["root"], record["name"])
        self._parents: list[tuple[JobRecord, PendingChildren]] = []
        self._others: list[tuple[JobRecord, WaitFacts]] = []  # jobs that wait for no children
        self._queues: dict[str, QueueFacts] = {}
        has_task = json.loads(record.get("spec", "{}")).get("code") is not None
        self._batch = record["name"] if has_task else None  #: of a batch whose rows a task runs
        self._ahead: dict[str, list[FlowAhead]] = {}

    def explain(self) -> list[Reason]:
        """Return the reasons, the worst first."""
        root = self._record["root"]
        if problem := self._store.server.read_write_problem():
            self._reasons.add(root, flow_reasons.server_trouble(problem))
        if self._counts.paused:
            self._reasons.add(root, flow_reasons.flow_paused(self._counts))
        self._walk()
        jobs = [*(job for job, _ in self._parents), *(job for job, _ in self._others)]
        bases = (keys.base_of(job.key) for job in jobs)
        self._queues = self._store.queue_facts.read(bases, signs_tell_all=is_embedded(self._store))
        for parent, pending in self._parents:
            self._explain_parent(parent, pending)
        self._explain_others()
        self._explain_flow()
        return self._reasons.in_order()

    # ---- the walk --------------------------------------------------------------------------------------------

    def _walk(self) -> None:
        """Read what has not ended, level by level."""
        level, left = [self._record["root"]], self._most
        while level:
            parents = self._read_level(level)
            level = []
            for parent, pending in self._read_pending(parents, left):
                level += self._reasons.reach(parent.key, pending.keys, left - len(level))
            left -= len(level)

    def _read_level(self, level: Sequence[str]) -> list[JobRecord]:
        """Read jobs, the oldest first; return those that wait for children."""
        records = self._store.jobs.read(level, _FIELDS)
        found = self._store.queue_facts.read_waits(level)
        parents = []
        for key, job, waits in sorted(zip(level, records, found, strict=True), key=_age):
            if job is None or not waits.whole or job.why == "missing":
                self._explain_missing(key, job, waits)
                continue
            self._reasons.names[key] = job.name
            if job.state == WAITING_CHILDREN:
                parents.append(job)
            else:
                self._others.append((job, waits))
        return parents

    def _read_pending(
        self, parents: Sequence[JobRecord], left: int
    ) -> list[tuple[JobRecord, PendingChildren]]:
        """Read what parents of one level wait for: each has its share of what may still be looked at."""
        if not parents:
            return []
        asked = [(job.key, job.flow or self._flow_state.flow) for job in parents]
        share = max(left // len(parents), 1)
        pending = list(zip(parents, self._store.queue_facts.read_pending(asked, share), strict=True))
        self._parents += pending
        return pending

    # ---- reasons of jobs -------------------------------------------------------------------------------------

    def _explain_missing(self, key: str, job: JobRecord | None, waits: WaitFacts) -> None:
        if job is not None and job.name != "?":
            self._reasons.names[key] = job.name
        parent = self._reasons.parent_of.get(key) or ""
        why = job_reasons.removed_or_lost(job, waits, parent, self._reasons.name_above(key))
        self._reasons.add(key, why)

    def _explain_parent(self, parent: JobRecord, pending: PendingChildren) -> None:
        self._explain_queue(parent, Urgency.LATER)
        if not pending.count and not pending.sealed:
            self._reasons.add(parent.key, flow_reasons.no_child_left(parent, self._queue_of(parent)))

    def _explain_queue(self, job: JobRecord, urgency: Urgency) -> bool:
        """Say why nobody starts jobs of this one's queue; return whether that is so."""
        base = keys.base_of(job.key)
        found = queue_reasons.no_start(
            base, self._queue_of(job), self._queues[base], urgency, is_batch=self._batch is not None
        )
        for why in found:
            self._reasons.add(job.key, why)
        return bool(found)

    def _explain_others(self) -> None:
        unlisted, abandoned = self._read_unlisted(), self._read_abandoned()
        for job, waits in self._others:
            self._explain_frozen(job)
            if job.key in unlisted:
                self._reasons.add(job.key, job_reasons.listed_nowhere(job, self._queue_of(job)))
            elif job.state in (COMPLETED, FAILED):
                self._explain_ended(job)
            elif job.state == ACTIVE:
                self._explain_active(job, waits, is_abandoned=job.key in abandoned)
            else:
                self._explain_waiting(job, waits)

    def _explain_frozen(self, job: JobRecord) -> None:
        base = keys.base_of(job.key)
        for why in queue_reasons.frozen_workers(base, self._queue_of(job), self._queues[base]):
            self._reasons.add(job.key, why)

    def _read_unlisted(self) -> set[str]:
        """Return waiting jobs that nobody will take, as their queue does not list them; asked twice, as jobs move."""
        waiting = [job.key for job, _ in self._others if job.state == WAITING]
        searchable = [key for key in waiting if self._queues[keys.base_of(key)].waiting <= MOST_IN_LINE]
        unlisted = self._store.queue_facts.read_unlisted(searchable)
        if not unlisted:
            return set()
        again = zip(unlisted, self._store.jobs.read(unlisted, ("name",)), strict=True)
        still = [key for key, job in again if job and job.state == WAITING]
        return set(self._store.queue_facts.read_unlisted(still))

    def _read_abandoned(self) -> set[str]:
        """Return the active jobs of which nobody has the lease. One that has just ended has none either: its lease was
        read after its state, so it is looked at again.
        """
        active = (job for job, waits in self._others if job.state == ACTIVE and waits.lease_ms is None)
        return self._store.queue_facts.read_still_active({job.key: job.attempts_started for job in active})

    def _explain_ended(self, job: JobRecord) -> None:
        parent = self._reasons.parent_of.get(job.key)
        if parent is None or not self._store.queue_facts.is_pending(parent, job.key):
            return  # the root, or this job, has ended since the walk began
        why = job_reasons.ended_but_awaited(job, parent, self._reasons.name_above(job.key))
        self._reasons.add(job.key, why)

    def _explain_active(self, job: JobRecord, waits: WaitFacts, *, is_abandoned: bool) -> None:
        if is_abandoned:
            facts = self._queues[keys.base_of(job.key)]
            self._reasons.add(job.key, job_reasons.worker_died(job, waits, facts, self._queue_of(job)))
        else:
            self._reasons.add(job.key, job_reasons.running(job, waits, self._now))

    def _explain_waiting(self, job: JobRecord, waits: WaitFacts) -> None:
        if waits.deferred:
            self._reasons.add(job.key, job_reasons.to_be_failed(job, waits.deferred))
        if job.state == DELAYED and waits.due is not None and waits.due > self._now:
            why = job_reasons.delayed(job, waits.due, self._now, self._queue_of(job), self._batch)
            self._reasons.add(job.key, why)
            self._explain_queue(job, Urgency.NOW)
        elif not self._explain_queue(job, Urgency.NOW):
            if waits.suspect and not waits.deferred:
                self._reasons.add(job.key, job_reasons.suspected(job))
            self._explain_turn(job, is_held=bool(waits.deferred or waits.suspect) or self._counts.paused)

    def _explain_turn(self, job: JobRecord, *, is_held: bool) -> None:
        """Say which limits hold back a job that a worker could take; if none does, that it is in line."""
        base, queue = keys.base_of(job.key), self._queue_of(job)
        limits = queue_reasons.limits_reached(base, queue, self._queues[base])
        limits += flow_reasons.at_its_bound(self._record, self._counts)
        if not limits and not is_held:
            limits = [queue_reasons.in_line(base, queue, self._queues[base], self._read_ahead(base))]
        for why in limits:
            self._reasons.add(job.key, why)

    def _read_ahead(self, base: str) -> list[FlowAhead]:
        if base not in self._ahead:
            self._ahead[base] = read_ahead(self._store, self._flow_state.flow, base, self._now)
        return self._ahead[base]

    # ---- reasons of the flow ---------------------------------------------------------------------------------

    def _explain_flow(self) -> None:
        root = self._record["root"]
        if "stored" not in self._record or any(pending.sealed for _, pending in self._parents):
            why = flow_reasons.half_stored(self._record, self._counts, self._flow_state.flow)
            self._reasons.add(root, why)
        waiting = flow_reasons.waits_for_children(self._parents, root, self._counts, self._reasons)
        for parent, why in waiting:
            self._reasons.add(parent.key, why)

    def _queue_of(self, job: JobRecord) -> str:
        return keys.short(keys.base_of(job.key), self._store.prefix)


def _age(found: tuple[str, JobRecord | None, Any]) -> tuple[int, list[Any]]:
    """Sort by creation, then by id with its numbers as numbers."""
    key, job, _ = found
    parts = re.split(r"(\d+)", keys.split(key)[2])
    return job.timestamp if job else 0, [int(part) if part.isdecimal() else part for part in parts]
