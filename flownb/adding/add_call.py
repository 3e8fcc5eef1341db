"""The arguments of one `add_jobs`: jobs as rows, which point to their queues, options and parents by number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import starmap
from typing import Any

from flownb.adding.declared_children import groups_of, pieces_of
from flownb.adding.planned_job import Plan, PlannedJob
from flownb.adding.removal_options import keep_of
from flownb.options import JobOptions
from flownb.wire import keys
from flownb.wire.job_rows import FieldRow, JobDetails, JobRow, ParentRow


class AddCall:
    """The arguments of one `add_jobs`: what repeats is said once and pointed to."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.prefix = plan.prefix
        self.jobs: list[JobRow] = []
        self.parents: list[ParentRow] = []
        self.opts: list[str] = []  # JSON texts
        self.fields: list[FieldRow] = []
        self.unseal: list[str] = []  # keys of parents
        # Numbers, from 1, of what rows point to:
        self._queue_numbers: dict[str, int] = {}  # by qualified name
        self._opts_numbers: dict[int, int] = {}  # by id() of the options, which many jobs share
        self._parent_numbers: dict[tuple[int, str], int] = {}  # by position in the plan and policy
        # What few jobs have:
        self._flow_prefixes: dict[str, str] = {}  # by queue: the flow's prefix, where the queue's is another
        self._with_details = set[int]()  # by id() of the options: when or where a job runs, or its removal
        self._keeps: dict[int, str] = {}  # by id() of the options: what is removed after the flow's end
        self._number_queue(plan.root.base)  # the first queue tells where the flow's record lives

    @property
    def bases(self) -> list[str]:
        return list(self._queue_numbers)

    def arguments(self) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "opts": self.opts,
            "parents": self.parents,
            "unseal": self.unseal,
            "fields": self.fields,
        }

    def add(self, positions: range) -> None:
        """Add the jobs at these positions of the plan."""
        plan, append = self.plan, self.jobs.append
        queue_number, opts_number = self._queue_numbers.get, self._opts_numbers.get
        parent_number = self._parent_numbers.get
        for i, job in enumerate(plan.jobs[positions.start : positions.stop], positions.start):
            options, base, edges = job.options, job.base, job.parents
            queue = queue_number(base) or self._number_queue(base)
            opts = opts_number(id(options)) or self._number_opts(options)
            parents: Any
            if len(edges) == 1:
                [edge] = edges.items()
                parents = parent_number(edge) or self._number_parent(*edge)
            else:
                parents = self._none_or_several(edges)
            details = None
            if (
                job.children
                or job.bind
                or job.weights
                or base in self._flow_prefixes
                or id(options) in self._with_details
            ):
                details = self._details_of(job)
                self.fields += starmap(FieldRow, job.beside)
            append(JobRow(queue, job.id, job.name, job.data, opts, parents, details))
            if job.children:
                self._declare(i, job)
        if positions.start == 0:
            self.fields += starmap(FieldRow, plan.notes)

    def _none_or_several(self, edges: Mapping[int, str]) -> Any:
        """Return the numbers of a shared job's parents; False for a root."""
        numbers = [self._parent_numbers.get(edge) or self._number_parent(*edge) for edge in edges.items()]
        return numbers or False

    def _details_of(self, job: PlannedJob) -> JobDetails:
        options = job.options
        return JobDetails(
            delay=options.delay,
            priority=options.priority,
            lifo=options.lifo,
            has_children=bool(job.children),
            bind=job.bind,
            flow_prefix=self._flow_prefixes.get(job.base),
            keep=self._keeps.get(id(options)),
            weights=job.weights,
        )

    def release(self, parents: Iterable[int]) -> None:
        """Let parents, all of whose children are sent by this call, wait for nothing but these."""
        self.unseal += [self.plan.jobs[i].key for i in parents]

    def _number_queue(self, base: str) -> int:
        number = self._queue_numbers[base] = len(self._queue_numbers) + 1
        if keys.prefix_of_base(base) != self.prefix:  # such a job says where its flow's record is
            self._flow_prefixes[base] = keys.part(self.prefix, "")
        return number

    def _number_opts(self, options: JobOptions) -> int:
        self.opts.append(json.dumps(dict(options.wire), separators=(",", ":")))
        number = self._opts_numbers[id(options)] = len(self.opts)
        if options.delay or options.priority or options.lifo:
            self._with_details.add(id(options))
        if options.removes:
            self._with_details.add(id(options))
            self._keeps[id(options)] = keep_of(options)
        return number

    def _number_parent(self, position: int, policy: str) -> int:
        parent = self.plan.jobs[position]
        link = json.dumps({"id": parent.id, "queueKey": parent.base, policy: True}, separators=(",", ":"))
        is_outside = self.plan.grows and not position
        self.parents.append(ParentRow(parent.key, link, policy, is_outside))
        number = self._parent_numbers[position, policy] = len(self.parents)
        return number

    def _declare(self, position: int, job: PlannedJob) -> None:
        """Write down a parent's children in their order, and the summary that a picture is drawn from."""
        key = keys.own(self.prefix, "children", job.key)
        for number, piece in enumerate(pieces_of(self.plan, position)):
            self.fields.append(FieldRow(key, str(number), piece))
        groups = json.dumps(groups_of(self.plan, position), separators=(",", ":")).encode()
        self.fields.append(FieldRow(key, "groups", groups))
