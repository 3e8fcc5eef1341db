"""What adding an id that is there already means: ``if_exists="reuse"``, ``"rerun"`` or ``"error"``."""

from __future__ import annotations

from flownb.adding.planned_job import Plan
from flownb.adding.send import taken
from flownb.errors import FlowError
from flownb.steering import remove
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, JobRecord
from flownb.wire.store import Store

CHOICES = ("reuse", "rerun", "error")
_FIELDS = ("name", "fl", "parentKey")


def flow_to_reuse(store: Store, made: Plan) -> tuple[str | None, bool]:
    """Return the flow whose root has the id that the caller gave this root, and whether all of it is stored.

    Raises FlowError where that id is another kind of job: a handle would show something else than the tree.
    """
    if made.root.options.job_id is None:
        return None, False
    found = store.jobs.read([made.root.key], _FIELDS)[0]
    if found is None:
        return None, False
    record = store.flows.read(found.flow) if found.flow else {}
    if record.get("root") == made.root.key:
        return found.flow, "stored" in record
    owner = f"part of flow {record['name']!r}" if record else "a job of its own"
    raise FlowError(
        f"root: opts.jobId {made.root.id!r} is {owner} in queue {found.queue!r} already; give another jobId, or "
        "if_exists='rerun' to replace it"
    )


def refuse(store: Store, made: Plan) -> None:
    """Raise FlowError, with the node's path, when a job of this plan is there already."""
    for job in _found(store, made):
        raise taken(made, job.key, job.state)


def clear(store: Store, made: Plan) -> None:
    """Remove what is there under the ids of this plan, so that all of it runs anew.

    Raises FlowError, with the node's path, for a job that runs, or that a flow which has not ended waits for;
    then nothing is removed.
    """
    found = _found(store, made)
    flow = next((job.flow for job in found if job.key == made.root.key), None)
    if flow and store.flows.read(flow).get("root") != made.root.key:
        flow = None
    _check_free(store, made, found, flow)
    if flow:
        remove.remove_flow(store, flow)
    for job in found:  # parents first: what is below goes with them
        remove.remove_job(store, job.key)


def _found(store: Store, made: Plan) -> list[JobRecord]:
    """The jobs that are there under ids that the caller gave."""
    given = [job.key for job in made.jobs if job.options.job_id is not None]
    return [job for job in store.jobs.read(given, _FIELDS) if job]


def _check_free(store: Store, made: Plan, found: list[JobRecord], flow: str | None) -> None:
    going = {job.key for job in found}
    if flow and store.flows.read_counts(flow).count(ACTIVE):
        raise FlowError(
            f"root: jobs of flow {store.flows.read(flow)['name']!r} run right now; wait until they have ended, then "
            "add again"
        )
    further = store.shared.read_further_parents([job.key for job in found])
    for job in found:
        if job.state == ACTIVE:
            raise FlowError(f"{made.path(job.key)}: job {job.id!r} runs right now; wait until it has ended")
        above = [key for key in {job.parent_key, *further[job.key]} if key and key not in going]
        for parent in store.jobs.read(above, ("name", "fl")):
            if parent and parent.state not in (COMPLETED, FAILED) and (not flow or parent.flow != flow):
                raise FlowError(
                    f"{made.path(job.key)}: {parent.name!r} in queue {parent.queue!r} waits for job {job.id!r}; wait "
                    "until it has ended, or give another jobId"
                )
