"""`if_exists`: what adding a tree makes of an id that is stored already: "reuse", "rerun" or "error"."""

from __future__ import annotations

from flownb.adding.planned_job import Plan
from flownb.adding.send import taken
from flownb.errors import FlowError
from flownb.steering import remove
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, JobRecord
from flownb.wire.store import Store

CHOICES = ("reuse", "rerun", "error")
_FIELDS = ("name", "fl", "parentKey")

Known = tuple[str | None, bool]  # a flow that is there, and whether all of it is stored


def flow_to_reuse(store: Store, plan: Plan) -> Known:
    """Return the flow whose root has the id that the caller gave this root, and whether all of it is stored.

    Raises FlowError where that id is another kind of job: a handle would show something else than the tree.
    """
    if plan.root.options.job_id is None:
        return None, False
    found = store.jobs.read([plan.root.key], _FIELDS)[0]
    if found is None:
        return None, False
    record = store.flows.read(found.flow) if found.flow else {}
    if record.get("root") == plan.root.key:
        return found.flow, "stored" in record
    owner = f"part of flow {record['name']!r}" if record else "a job of its own"
    raise FlowError(
        f"root: opts.jobId {plan.root.id!r} is {owner} in queue {found.queue!r} already; give another jobId, or "
        "if_exists='rerun' to replace it"
    )


def refuse_stored(store: Store, plan: Plan) -> None:
    """Raise FlowError, with the node's path, when a job of this plan is there already."""
    for job in _found(store, plan):
        if job.flow == plan.flow:  # begun by this process, see `cut_short`
            continue
        raise taken(plan, job.key, job.state)


def remove_stored(store: Store, plan: Plan) -> None:
    """Remove what is there under the ids of this plan, so that all of it runs anew.

    Raises FlowError, with the node's path, for a job that runs, or that a flow which has not ended waits for;
    then nothing is removed.
    """
    found = _found(store, plan)
    flow = next((job.flow for job in found if job.key == plan.root.key), None)
    if flow and store.flows.read(flow).get("root") != plan.root.key:
        flow = None
    _check_free(store, plan, found, flow)
    if flow:
        remove.remove_flow(store, flow)
    for job in found:  # parents first: what is below goes with them
        remove.remove_job(store, job.key)


def _found(store: Store, plan: Plan) -> list[JobRecord]:
    """The jobs that are there under ids that the caller gave."""
    given = [job.key for job in plan.jobs if job.options.job_id is not None]
    return [job for job in store.jobs.read(given, _FIELDS) if job]


def _check_free(store: Store, plan: Plan, found: list[JobRecord], flow: str | None) -> None:
    """Raise FlowError where a job runs, or one that stays waits for it; `flow` is the flow that goes as a whole."""
    if flow and store.flows.read_counts(flow).count(ACTIVE):
        raise FlowError(
            f"root: jobs of flow {store.flows.read(flow)['name']!r} run right now; wait until they have ended, then "
            "add again"
        )
    going = {job.key for job in found}
    further = store.shared.read_further_parents([job.key for job in found])
    for job in found:
        if job.state == ACTIVE:
            raise FlowError(f"{plan.path(job.key)}: job {job.id!r} runs right now; wait until it has ended")
        parents = {job.parent_key, *further[job.key]} - going
        waiting = _waiting(store, [key for key in parents if key], flow)
        if waiting is not None:
            raise FlowError(
                f"{plan.path(job.key)}: {waiting.name!r} in queue {waiting.queue!r} waits for job {job.id!r}; wait "
                "until it has ended, or give another jobId"
            )


def _waiting(store: Store, parents: list[str], flow: str | None) -> JobRecord | None:
    """Return a parent outside the flow that has not ended."""
    for parent in store.jobs.read(parents, ("name", "fl")):
        if parent and parent.state not in (COMPLETED, FAILED) and (not flow or parent.flow != flow):
            return parent
    return None
