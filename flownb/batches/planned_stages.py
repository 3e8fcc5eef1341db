"""The jobs above the rows of a batch, ready to be sent: the root, and the aggregates of each group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flownb.adding.planned_job import PlannedJob
from flownb.batches.row_ids import id_above
from flownb.batches.row_plan import RowPlan
from flownb.options import JobOptions
from flownb.tasks.task import Task
from flownb.wire import codec, keys


class PlannedStages:
    """The root and the aggregates of a `RowPlan`; they come first in the plan's `jobs`."""

    def __init__(self, row_plan: RowPlan, jobs: list[PlannedJob]) -> None:
        self._request = row_plan.request
        self._flow = row_plan.flow
        self._by = row_plan.rows.by
        self._prefix = row_plan.request.store.prefix
        self._jobs = jobs
        self.ids: list[str] = []  #: of one aggregate a level, from the rows up

    def add(self, groups: Sequence[tuple[Any, list[int]]] | None) -> list[int]:
        """Add the root and the aggregates; return where those right above the rows stand in the plan."""
        stages = self._request.stages
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
        jobs = self._jobs
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
        name, flow = self._request.name, self._flow
        base = keys.base(self._prefix, keys.BATCH_QUEUE)
        options = JobOptions.read(None, "root")
        self._jobs.append(PlannedJob(name, base, flow, "{}", options, {}, []))
        return 0

    def _by_values(self, label: Any) -> dict[str, Any]:
        by = self._by
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
        jobs, flow = self._jobs, self._flow
        position = len(jobs)
        options = JobOptions.read(stage.options, f"into: {stage.name}")
        parents = dict.fromkeys(above, options.policy or "fpof")
        id = flow if not jobs else id_above(flow, level, n)
        base = keys.base(self._prefix, stage.queue)
        bind = json.dumps(
            {"frame": (stage.required or stage.optional)[0], **({"empty": True} if is_empty else {})}
        )
        self.ids.insert(0, id)
        jobs.append(PlannedJob(stage.name, base, id, codec.encode(data, "by"), options, parents, [], bind))
        for parent in above:
            jobs[parent].children.append(position)
        return position
