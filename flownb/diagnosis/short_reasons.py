"""What keeps flows from ending, in a few words each: from their counts and their queues, of which each is read once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from flownb.diagnosis import flow_reasons, queue_reasons, reason_words
from flownb.diagnosis.reasons import Urgency, Why
from flownb.files.folder_of_flow import is_embedded
from flownb.state.failed_jobs import describe
from flownb.state.listed_flow import Unended
from flownb.wire import keys, versions
from flownb.wire.records import ACTIVE, DELAYED, WAITING_CHILDREN, FlowCounts, JobRecord
from flownb.wire.store import Store
from flownb.wire.store.queue_facts import QueueFacts


class ShortReasons:
    """Reasons for a list of flows. What a single job is kept by is told by `explain` alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queues: dict[str, QueueFacts] = {}

    def why(self, record: Mapping[str, str], counts: FlowCounts, unended: Unended, flow: str | None) -> str:
        """Return the worst that keeps a flow from ending which has not ended."""
        if versions.is_layout_unknown(record):
            return flow_reasons.stored_by_newer(record).why
        found = [self._trouble] if self._trouble else []
        if counts.paused:
            found.append(flow_reasons.flow_paused(counts))
        if "stored" not in record and "total" in record:
            found.append(flow_reasons.half_stored(record, counts, flow))
        for base, states in unended.items():
            found += self._of_queue(base, states, is_batch=record.get("kind") == "batch")
        return min(found, key=lambda why: why.urgency).why if found else ""

    @cached_property
    def _trouble(self) -> Why | None:
        problem = self._store.server.read_write_problem()
        return flow_reasons.server_trouble(problem) if problem else None

    def _of_queue(self, base: str, states: Mapping[str, int], *, is_batch: bool) -> list[Why]:
        if base not in self._queues:
            self._queues |= self._store.queue_facts.read([base], signs_tell_all=is_embedded(self._store))
        facts, queue = self._queues[base], keys.short(base, self._store.prefix)
        urgency = Urgency.LATER if states.keys() == {WAITING_CHILDREN} else Urgency.NOW
        found = queue_reasons.no_start(base, queue, facts, urgency, is_batch=is_batch)
        if urgency == Urgency.LATER:
            return found
        found += queue_reasons.frozen_workers(base, queue, facts)
        if ACTIVE in states:
            return [*found, _of_jobs(Urgency.WELL, states[ACTIVE], f"in queue {queue!r} run")]
        if states.keys() == {DELAYED}:
            return [*found, _of_jobs(Urgency.IN_TIME, states[DELAYED], f"in queue {queue!r} are delayed")]
        return [
            *found,
            *queue_reasons.limits_reached(base, queue, facts),
            queue_reasons.in_line(base, queue, facts, ()),
        ]


def _of_jobs(urgency: Urgency, n: int, what: str) -> Why:
    return Why(urgency, "jobs", "", f"{n:,} of its jobs {what}", "wait")


def failure(blamed: JobRecord | None) -> str:
    """Return why a flow failed, from the job that failed it; None: that is gone."""
    if blamed is None:
        return "the job that failed it was removed"
    return f"it failed: {reason_words.plain(describe(blamed.failed_reason))}"
