"""``semantics="bullmq"``: a tree stored as BullMQ's own producer would, and nothing more."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from flownb.adding.chunks import calls_of
from flownb.adding.planned_job import Plan, PlannedJob
from flownb.adding.send import CutShort, saying
from flownb.errors import FlowError, ParentJobCannotBeReplaced, ServerError
from flownb.wire import keys
from flownb.wire.job_rows import JobDetails, JobRow, ParentRow
from flownb.wire.store import Store
from flownb.wire.store.limits import MOST_BYTES_A_CALL, MOST_JOBS_A_CALL


def store_as_bullmq(store: Store, plan: Plan, when_cut_short: Callable[[CutShort], str]) -> None:
    """Store a plan that was made without sharing. Raises FlowError, with the node's path, for a job that has a parent.

    BullMQ would report nothing there, and the new parent would wait for ever. `when_cut_short` is that of `store_plan`.
    """
    sizes = [len(job.data) for job in plan.jobs]
    in_one_call = len(sizes) <= MOST_JOBS_A_CALL and sum(sizes) <= MOST_BYTES_A_CALL
    calls = [range(len(sizes))] if in_one_call else list(calls_of(sizes))
    last_call = _last_calls(plan, calls)
    for number, positions in enumerate(calls):
        call = _Call(plan)
        for i in positions:
            call.add(plan.jobs[i])
        whole = [plan.jobs[parent].key for parent, last in last_call.items() if last == number]
        try:
            store.jobs.add(
                list(call.bases),
                jobs=call.jobs,
                opts=list(call.opts),
                parents=call.parents,
                seal=None if in_one_call else keys.seal(store.prefix, plan.flow),
                unseal=whole,
                bullmq=True,
            )
        except ParentJobCannotBeReplaced as error:
            key = str(error)
            raise FlowError(
                f"{plan.path(key)}: opts.jobId {keys.split(key)[2]!r} is a job that has another parent already, and "
                "BullMQ gives a job one; leave semantics='bullmq' out to share the job, or give another jobId"
            ) from None
        except (ServerError, KeyboardInterrupt) as error:
            raise saying(error, number, when_cut_short) from None


def _last_calls(plan: Plan, calls: list[range]) -> dict[int, int]:
    """Return for each parent the call that stores its last child: from then on it waits for its children alone."""
    call_of = {i: number for number, positions in enumerate(calls) for i in positions}
    return {i: call_of[max(job.children)] for i, job in enumerate(plan.jobs) if job.children}


class _Call:
    """The arguments of one `add_jobs`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.bases: dict[str, int] = {}
        self.jobs: list[JobRow] = []
        self.opts: dict[str, int] = {}
        self.parents: list[ParentRow] = []
        self._parent_numbers: dict[tuple[int, str], int] = {}

    def add(self, job: PlannedJob) -> None:
        options, parent = job.options, self._parent(job)
        opts = dict(options.bullmq)
        if job.parents:
            above = self.plan.jobs[next(iter(job.parents))]
            opts["parent"] = {"id": above.id, "queue": above.base}
        opts_number = self.opts.setdefault(_json(opts), len(self.opts) + 1)
        queue = self.bases.setdefault(job.base, len(self.bases) + 1)
        details = JobDetails(options.delay, options.priority, options.lifo, bool(job.children))
        self.jobs.append(JobRow(queue, job.id, job.name, job.data, opts_number, parent, details))

    def _parent(self, job: PlannedJob) -> int | Literal[False]:
        """Return the number of the job's parent in the call, False for a root."""
        for edge in job.parents.items():
            if edge not in self._parent_numbers:
                above, policy = self.plan.jobs[edge[0]], edge[1]
                link = {"id": above.id, "queueKey": above.base} | ({policy: True} if policy else {})
                self.parents.append(ParentRow(above.key, _json(link), policy))
                self._parent_numbers[edge] = len(self.parents)
            return self._parent_numbers[edge]
        return False


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
