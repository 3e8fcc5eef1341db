"""The jobs of a batch, ready to be sent: the root, the aggregates of each group, and below them the rows."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

from flownb.adding.planned_job import Plan, PlannedJob
from flownb.batches import job_size
from flownb.batches.row_ids import id_above
from flownb.batches.row_plan import RowPlan
from flownb.options import JobOptions
from flownb.tasks.code import code_of
from flownb.tasks.task import Task
from flownb.wire import child_list, codec, keys, many_rows
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.store import large_inputs


class PlannedJobs:
    """The jobs of a `RowPlan`: `plan` is what is sent, `record` what the flow's record says of the batch.

    In the plan the jobs above the rows come first; there are `parents` of them.
    """

    def __init__(self, row_plan: RowPlan) -> None:
        self._batch = row_plan
        self._rows = row_plan.rows
        self._job = row_plan.request.job
        self._base = row_plan.request.base
        self._prefix = row_plan.request.store.prefix
        self._policy = (
            self._job.options.policy or "idof"
        )  # rows are optional, unless an option says otherwise
        self._stage_ids: list[str] = []
        self._kept: dict[str, int] = {}  # jobs that are there already, by id: where each stands in the plan
        self._sent: set[str] = set()  # large inputs that are stored with a job of the plan
        self.plan = Plan(row_plan.flow, self._prefix, [])
        groups = self._rows.groups
        above = self._add_stages(groups)
        self.parents = len(self.plan.jobs)
        members = [range(len(self._rows))] if groups is None else [positions for _, positions in groups]
        for parent, positions in zip(above, members, strict=True):
            if groups is None or positions:
                self._add_rows(parent, positions)
        if row_plan.shares_jobs:
            earlier = row_plan.earlier
            note = many_rows.note_of(len(self._rows), earlier.count(COMPLETED), earlier.count(FAILED))
            counts = keys.own(self._prefix, "counts", row_plan.flow)
            self.plan.notes.append((counts, f"rows@{self._base}", note))

    # ---- above the rows -----------------------------------------------------------------------------

    def _add_stages(self, groups: Sequence[tuple[Any, list[int]]] | None) -> list[int]:
        """Add the root and the aggregates; return where those right above the rows stand in the plan."""
        stages = self._batch.request.stages
        above: list[int] = []
        if not stages or (groups is not None and len(stages) == 1):  # one root, whatever is below
            above = [self._add_plain_root()]
        for level, stage in reversed(list(enumerate(stages))):
            if level == 0 and groups is not None:
                above = self._add_groups(stage, groups, above)
            else:
                above = [self._add_stage(level, stage, 0, {}, above)]
        return above

    def _add_groups(
        self, stage: Task, groups: Sequence[tuple[Any, list[int]]], above: list[int]
    ) -> list[int]:
        """Add an aggregate for each group. One without rows waits for one with rows, whose columns its frame has."""
        empty = [n for n, (_, members) in enumerate(groups) if not members]
        filled = [n for n, (_, members) in enumerate(groups) if members]
        made = {
            n: self._add_stage(0, stage, n, self._by_values(groups[n][0]), above, is_empty=n in empty)
            for n in [*empty, *filled]
        }
        jobs = self.plan.jobs
        for parent in above:
            jobs[parent].children = [made[n] for n in range(len(groups))]
        if filled:
            like = made[filled[0]]
            for n in empty:
                jobs[made[n]].children.append(like)
                jobs[like].parents[made[n]] = "idof"
        return [made[n] for n in range(len(groups))]

    def _add_plain_root(self) -> int:
        """Add a root that is nothing but the end of what is below it."""
        name, flow = self._batch.request.name, self._batch.flow
        base = keys.base(self._prefix, keys.BATCH_QUEUE)
        options = JobOptions.read(None, "root")
        self.plan.jobs.append(PlannedJob(name, base, flow, "{}", options, {}, []))
        return 0

    def _by_values(self, label: Any) -> dict[str, Any]:
        by = self._rows.by
        return dict(zip(by, label if len(by) > 1 or isinstance(label, list) else [label], strict=True))

    def _add_stage(
        self,
        level: int,
        stage: Task,
        n: int,
        data: dict[str, Any],
        above: list[int],
        *,
        is_empty: bool = False,
    ) -> int:
        jobs, flow = self.plan.jobs, self._batch.flow
        position = len(jobs)
        options = JobOptions.read(stage.options, f"into: {stage.name}")
        parents = dict.fromkeys(above, options.policy or "fpof")
        id = flow if not jobs else id_above(flow, level, n)
        base = keys.base(self._prefix, stage.queue)
        bind = json.dumps(
            {"frame": (stage.required or stage.optional)[0], **({"empty": True} if is_empty else {})}
        )
        self._stage_ids.insert(0, id)
        jobs.append(PlannedJob(stage.name, base, id, codec.encode(data, "by"), options, parents, [], bind))
        for parent in above:
            jobs[parent].children.append(position)
        return position

    # ---- the rows -----------------------------------------------------------------------------------

    def _add_rows(self, parent: int, positions: Sequence[int]) -> None:
        if not self._batch.shares_jobs:
            self._add_jobs_of_one_row(parent, positions)
            return
        kept = self._add_kept(parent, positions)
        members = kept + self._add_new(parent, positions)
        order = [position for some in members for position, _ in some]
        places = [within for some in members for _, within in some] if kept else None  # None: all, in order
        self.plan.rows[parent] = self._planned(order, [len(some) for some in members], places)

    def _add_jobs_of_one_row(self, parent: int, positions: Sequence[int]) -> None:
        job, base, jobs = self._job, self._base, self.plan.jobs
        ids, texts, start = self._batch.ids, self._rows.texts, len(jobs)
        parents, childless = {parent: self._policy}, list[int]()  # the same for every row
        for position in positions:
            jobs.append(
                PlannedJob(job.name, base, ids[position], texts[position], job.options, parents, childless)
            )
            if self._rows.large:
                self._add_large_inputs(jobs[-1], [position])
        jobs[parent].children.extend(range(start, len(jobs)))
        self.plan.rows[parent] = self._planned(list(positions))

    def _planned(self, order: list[int], *more: Any) -> child_list.ChildRows:
        start, labels = self._batch.start, self._rows.labels
        positions = [start + position for position in order] if start else order
        return child_list.ChildRows(
            positions, [labels[position] for position in order] if labels else [], *more
        )

    def _add_kept(self, parent: int, positions: Sequence[int]) -> list[list[tuple[int, int | None]]]:
        """Put jobs that are there already below one parent more; return its rows and where each is in its job."""
        members: dict[str, list[tuple[int, int | None]]] = {}
        for position in positions:
            found = self._batch.earlier.found[position]
            if found is not None:
                key, within = found[0]
                members.setdefault(keys.id_of(key), []).append((position, within))
        for id, rows in members.items():
            self._keep(parent, id)
            self._add_large_inputs(self.plan.jobs[self._kept[id]], [position for position, _ in rows])
        return list(members.values())

    def _keep(self, parent: int, id: str) -> None:
        jobs, job = self.plan.jobs, self._job
        if id in self._kept:
            jobs[self._kept[id]].parents[parent] = self._policy
        else:
            self._kept[id] = len(jobs)
            jobs.append(PlannedJob(job.name, self._base, id, "{}", job.options, {parent: self._policy}, []))
        jobs[parent].children.append(self._kept[id])

    def _add_new(self, parent: int, positions: Sequence[int]) -> list[list[tuple[int, int | None]]]:
        """Add the jobs of rows that are not there yet; return their rows, and where each is in its job."""
        found = self._batch.earlier.found
        new = [position for position in positions if found[position] is None]
        members: list[list[tuple[int, int | None]]] = []
        for some in job_size.cut(new, self._rows.texts, self._batch.rows_per_job):
            self.plan.jobs[parent].children.append(len(self.plan.jobs))
            self.plan.jobs.append(self._many_row_job(parent, some))
            members.append([(position, within) for within, position in enumerate(some)])
        return members

    def _many_row_job(self, parent: int, positions: list[int]) -> PlannedJob:
        job, texts = self._job, self._rows.texts
        ids = [self._batch.ids[position] for position in positions]
        id = job_size.id_of(ids)
        held = zlib.compress(",".join(ids).encode(), 1)
        rows_of_name = keys.own(self._prefix, "rows", self._batch.request.name)
        made = PlannedJob(
            job.name,
            self._base,
            id,
            many_rows.data_of([texts[position] for position in positions]),
            job.options,
            {parent: self._policy},
            [],
            many_rows.bind_of(len(positions), self._batch.start + positions[0], self._batch.slice_ms),
            ((rows_of_name, keys.job_in(self._base, id), held),),
        )
        self._add_large_inputs(made, positions)
        for position in positions:
            texts[position] = ""  # a large batch is not held twice
        return made

    def _add_large_inputs(self, job: PlannedJob, positions: list[int]) -> None:
        """Store the large inputs of these rows with their job, unless another job of the plan brings them."""
        rows = self._rows
        if not rows.large:
            return
        digests = large_inputs.digests_in(rows.texts[position] for position in positions)
        mine = [digest for digest in digests if digest in rows.large]
        if not mine:
            return
        job.bind = many_rows.refer(job.bind, many_rows.paths_of(rows.large_columns, rows.whole_row))
        inputs = keys.own(self._prefix, "inputs", self._batch.flow)
        new = [digest for digest in mine if digest not in self._sent]
        self._sent.update(new)
        job.beside += tuple((inputs, digest, rows.large[digest].encode()) for digest in new)

    # ---- the record ---------------------------------------------------------------------------------

    def record(self) -> dict[str, str]:
        """What the flow's record says of the batch."""
        record = {"kind": "batch", "spec": json.dumps(self.spec())}
        if self._rows.group_index is not None:
            record["groups"] = json.dumps(self._rows.group_index)
        return record

    def spec(self) -> dict[str, Any]:
        """What a new kernel needs to give the results their index and columns again."""
        rows, request = self._rows, self._batch.request
        return {
            "task": self._job.name,
            "queue": self._job.queue,
            "version": self._job.version,
            "rows": len(rows),
            "columns": list(rows.columns),
            "refers": rows.refers,
            "whole_row": rows.whole_row,
            "frame": request.kind,
            "key": list(request.key),
            "name": request.name,
            "files": request.files or request.earlier.get("files"),
            "by": list(rows.by),
            "stages": self._stage_ids,
            "stage_names": [stage.name for stage in request.stages],
            "stage_queues": [stage.queue for stage in request.stages],
            "rows_per_job": self._batch.rows_per_job,
            "salt": request.salt,
            "code": self._batch.oldest_code(),
            "added_code": self._job.code,
            "stage_codes": [code_of(stage.function) for stage in request.stages],
            "index": rows.index_spec,
        }
