"""Counts a flow's jobs beside its stored counts: these agree unless another program ran jobs or a key was lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from flownb.state.shape import Declared
from flownb.wire import keys
from flownb.wire.records import COMPLETED, FAILED, WAITING, JobRecord
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS

_FIELDS = ("name", "fl")


@dataclass(frozen=True, slots=True)
class Recount:
    """What the counts say and what was counted: ``state@queue key`` -> jobs."""

    was: dict[str, int]
    counts: dict[str, int]

    @property
    def agrees(self) -> bool:
        return all(self.was.get(field, 0) == n for field, n in self.counts.items())


def recount(store: Store, flow: str, root: str, *, others_too: bool = False) -> Recount | None:
    """Count a flow's jobs; None while they move, and where both would not be of the same jobs.

    Other programs move no counts: where they had, or removed, a job, only `others_too` compares.
    """
    was = store.flows.read_job_counts(flow)
    found: Counter[str] = Counter()
    missing, jobs = 0, list(Declared(store, root).jobs())
    for start in range(0, len(jobs), CHUNK_JOBS):
        some = jobs[start : start + CHUNK_JOBS]
        records = store.jobs.read(some, _FIELDS)
        for job, record, run in zip(some, records, store.job_facts.read_last_runs(some), strict=True):
            if not others_too and not (record and run.by_flownb):
                return None
            if record is None:
                missing += 1
            elif state := _counted_as(record, flow, run.flows):
                found[f"{state}@{keys.base_of(job)}"] += 1
    # Jobs that nobody declared are not among these. Counts that say less than there is were lost.
    known = sum(was.values()) - found.total() <= missing
    if not known or store.flows.read_job_counts(flow) != was:
        return None
    return Recount(was, dict.fromkeys(was, 0) | dict(found))


def _counted_as(record: JobRecord, flow: str, further: set[str]) -> str | None:
    """The state that a flow counts a job as: one of another flow that it shares waits until it has ended."""
    if record.flow == flow:
        return record.state
    if flow not in further:
        return None
    return record.state if record.state in (COMPLETED, FAILED) else WAITING
