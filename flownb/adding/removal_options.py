"""What a flow stores of its jobs' ``removeOnComplete`` and ``removeOnFail``."""

from __future__ import annotations

import json

from flownb.adding.planned_job import Plan
from flownb.options import JobOptions


def keep_of(options: JobOptions) -> str:
    """Return a job's stored field ``keep``: count and age (s) by the state it ends in.

    >>> keep_of(JobOptions.read({"removeOnComplete": True, "removeOnFail": {"age": 60}}, "root"))
    '{"completed":[0,null],"failed":[null,60.0]}'
    """
    rules = {"completed": options.remove_on_complete, "failed": options.remove_on_fail}
    kept = {state: [rule.count, rule.age] for state, rule in rules.items() if rule}
    return json.dumps(kept, separators=(",", ":"))


def field_of(plan: Plan) -> dict[str, str]:
    """Return what a flow's record says of it: nothing, or whose options ask for a removal."""
    options = {id(job.options): job.options for job in plan.jobs[1:]}
    if any(each.removes for each in options.values()):
        return {"tidy": "jobs"}
    return {"tidy": "root"} if plan.root.options.removes else {}
