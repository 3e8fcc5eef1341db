"""What becomes of a flow whose storing was cut short: it is taken back, or the same call again stores the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from flownb.adding.planned_job import Plan, PlannedJob
from flownb.adding.send import SAME_CALL_AGAIN, CutShort
from flownb.connection import Connection
from flownb.errors import FlownbError, ServerUnreachable
from flownb.steering import remove
from flownb.wire.records import ACTIVE, COMPLETED, FAILED
from flownb.wire.store import Store

_IN_THIS_PROCESS = SAME_CALL_AGAIN.replace("call again", "call again in this process")

# Ids of jobs whose storing was cut short, by what the jobs are; any thread writes.
_begun: dict[str, list[str]] = {}


def resume(plan: Plan, name: str | None, connection: Connection) -> None:
    """Give a plan the ids under which this process has begun to store the same one, if it has.

    Where the server was lost, the caller cannot know what it has carried out: the same call again is the same flow.
    """
    if _begun and (ids := _begun.pop(_of(plan.jobs, connection, name, plan.flow), None)):
        plan.rename(ids[0])


def resume_jobs(jobs: Sequence[PlannedJob], connection: Connection) -> None:
    """Do the same for jobs outside any flow."""
    if _begun and (ids := _begun.pop(_of(jobs, connection), None)):
        for job, id in zip(jobs, ids, strict=True):
            job.id = id


def leave(plan: Plan, name: str | None, connection: Connection) -> str:
    """Remember what may be stored of a flow; say in words how it is finished."""
    _begun[_of(plan.jobs, connection, name, plan.flow)] = [plan.flow]
    return _IN_THIS_PROCESS


def leave_jobs(jobs: Sequence[PlannedJob], connection: Connection) -> str:
    """Do the same for jobs outside any flow."""
    _begun[_of(jobs, connection)] = [job.id for job in jobs]
    return _IN_THIS_PROCESS


def take_back(store: Store, plan: Plan, name: str | None, connection: Connection, error: CutShort) -> str:
    """Remove what is stored of a flow, or remember it where the server is not there; say which in words."""
    if isinstance(error, ServerUnreachable):
        return leave(plan, name, connection)
    try:
        begun = _count_begun(store, plan.flow)
        remove.remove_flow(store, plan.flow, only_own=True)
    except FlownbError as second:
        return (
            f"what was stored of it could not be taken back ({second}); remove() it when the server allows it"
        )
    words = "what was stored of it was taken back"
    return f"{words}; {begun:,} of its jobs had begun already" if begun else words


def _count_begun(store: Store, flow: str) -> int:
    counts = store.flows.read_counts(flow)
    return sum(map(counts.count, (ACTIVE, COMPLETED, FAILED)))


def _of(
    jobs: Sequence[PlannedJob], connection: Connection, name: str | None = None, new_id: str | None = None
) -> str:
    """Return what jobs are known by, whatever ids they were given this time."""
    digest = hashlib.blake2b(repr((connection.place, name)).encode())
    for job in jobs:
        bind = job.bind and new_id and job.bind.replace(new_id, "")
        about = (job.name, job.base, job.options.job_id, job.data, bind, job.parents, dict(job.options.wire))
        digest.update(repr(about).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
