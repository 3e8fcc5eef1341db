"""The tree of a schedule as it is stored: a plan that is made once, and added anew at each tick."""

from __future__ import annotations

import json
from typing import Any

from flownb.adding.planned_job import Plan, PlannedJob
from flownb.arguments import shown
from flownb.errors import FlowError
from flownb.options import JobOptions
from flownb.wire import keys
from flownb.wire.store.limits import MOST_BYTES_A_CALL, MOST_JOBS_A_CALL

FLOW_OF_TEMPLATE = "flownb-every-flow"
"""The id of the flow in a template; the same each time, so that equal trees have equal templates."""


def check_template(plan: Plan) -> None:
    """Raise FlowError, with the node's path, for a tree that cannot be added again and again, in one call each time."""
    for job in plan.jobs:
        if job.options.job_id is not None:
            raise FlowError(
                f"{plan.path(job.key)}: opts.jobId {shown(job.options.job_id)} is the same at each tick, and a job "
                "runs once: leave it out; a Node used twice is one job"
            )
    size = sum(job.size for job in plan.jobs)
    if len(plan.jobs) > MOST_JOBS_A_CALL or size > MOST_BYTES_A_CALL:
        raise FlowError(
            f"root: {len(plan.jobs):,} jobs with {size:,} bytes of data; a tick adds at most {MOST_JOBS_A_CALL:,} jobs "
            f"and {MOST_BYTES_A_CALL:,} bytes: let a task add the rest while it runs, by job.add_children"
        )


def template_of(plan: Plan) -> str:
    """Return a plan as JSON; `plan_of` makes it again."""
    return json.dumps([_packed(job) for job in plan.jobs], separators=(",", ":"))


def _packed(job: PlannedJob) -> dict[str, Any]:
    packed: dict[str, Any] = {"name": job.name, "queue": job.base, "data": job.data}
    packed["opts"] = job.options.typed
    packed["parents"] = list(job.parents.items())
    packed["children"] = job.children
    if job.bind:
        packed["bind"] = job.bind
    return packed


def plan_of(template: str, prefix: str, flow: str) -> Plan:
    """Return the plan of a flow with this id."""
    options: dict[str, JobOptions] = {}
    jobs = []
    for i, packed in enumerate(json.loads(template)):
        job = PlannedJob(
            name=packed["name"],
            base=packed["queue"],
            id=f"{FLOW_OF_TEMPLATE}-{i}" if i else FLOW_OF_TEMPLATE,
            data=packed["data"],
            options=_options(packed["opts"], options),
            parents=dict(packed["parents"]),
            children=packed["children"],
            bind=packed.get("bind"),
        )
        jobs.append(job)
    plan = Plan(FLOW_OF_TEMPLATE, prefix, jobs)
    plan.rename(flow)
    return plan


def _options(stored: dict[str, Any], known: dict[str, JobOptions]) -> JobOptions:
    text = json.dumps(stored)
    found = known.get(text)
    if found is None:
        found = known[text] = JobOptions.read(stored, "opts")
    return found


def queues_of(plan: Plan) -> set[str]:
    """Return the names of the queues of a plan's jobs."""
    return {keys.queue_of_base(job.base) for job in plan.jobs}
