"""A batch as a plan: what runs for each row, the jobs above the rows, and what of it is there already."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from flownb.adding.planned_job import Plan, PlannedJob
from flownb.adding.send import store_plan
from flownb.batches import job_size, labels
from flownb.batches.row_job import RowJob
from flownb.batches.rows import Rows, fingerprint
from flownb.batches.stored_rows import END_FIELDS, Home, Jobs, Row, known_rows
from flownb.options import JobOptions
from flownb.tasks.code import code_of, is_edited
from flownb.tasks.task import Task
from flownb.wire import codec, keys, many_rows
from flownb.wire.records import CANCELLED, COMPLETED, FAILED
from flownb.wire.store import Store, large_inputs

NEW, RUNNING, WHOLE = "new", "running", "whole"  #: how much of a flow is there


class Layout:
    """A batch as a plan: the root, the stages, the groups, the rows; stored under ids made of what they are."""

    def __init__(
        self,
        store: Store,
        name: str,
        job: RowJob,
        stages: list[Task],
        found: Rows,
        ids: list[str],
        earlier: Mapping[str, Any],
        rows_per_job: int | None,
        expected: int = 0,
    ) -> None:
        self.store_ = store
        self.name = name
        self.job = job
        self.stages = stages
        self.rows = found
        self.ids = ids
        self.earlier = earlier  #: what the newest batch of this name says of itself
        self.flow = ""  #: set by `settle`
        self.parents = 0  #: jobs above the rows; set by `plan`
        self.start = 0  #: the position of the first row; of a batch that comes piece by piece more than 0
        self.homes: dict[str, Home] | None = (
            None  #: of rows in many-row jobs of this name, once they were read
        )
        self.labels = labels.labels(found.index, 0, len(found))
        self.sent: set[str] = set()  #: large inputs that stand beside a job of the plan
        self.base = keys.base(store.prefix, job.queue)
        self.size, self.slice_ms = self._size(rows_per_job, max(len(ids), expected))
        #: where each row is on the server already, and how it is doing
        self.there: list[tuple[Home, Row] | None] = [None] * len(ids)

    def store(self) -> str:
        """Store what is not there yet; return the flow's id."""
        there = self.settle()
        if there != NEW:
            self.store_.flows.set_name(self.name, self.flow)
            self._announce_joined() if there == RUNNING else self.announce(len(self.ids))
            self.announce_edited_stages(there)
            return self.flow
        plan = self.plan()
        store_plan(self.store_, plan, self.name, self.record())
        self.announce(sum(found is not None for found in self.there))
        return self.flow

    def settle(self) -> str:
        """Choose the flow's id and the rows' ids, and say how much of the flow is there. Writes nothing."""
        made = [f"{stage.queue}/{stage.name}/{stage.version}" for stage in self.stages]
        around = json.dumps(
            [self.rows.by, self.rows.groups, labels.index_to_json(self.rows.index)[0], self.labels]
        )
        generation = 0
        while True:
            self.flow = fingerprint(self.ids, self.name, *made, around, str(generation))
            record = self.store_.flows.read(self.flow)
            if record and "stored" not in record and "ended" not in record:
                self.size = json.loads(record["spec"])["rows_per_job"]
                self._look_for_rows()
                return NEW  # begun by a kernel that died meanwhile
            if record and "ended" not in record:
                return RUNNING
            if self.is_known and self.renew_failed_rows():
                generation = 0
            elif not record:
                return NEW
            elif self._aggregate_failed():
                generation += 1
            else:
                return WHOLE

    @property
    def is_known(self) -> bool:
        """Is there a batch of this name already?"""
        return self.store_.flows.find(self.name) is not None

    @property
    def is_grouped(self) -> bool:
        """Do jobs hold several rows, or did they in earlier batches of this name?"""
        return self.size > 1 or bool(self.homes)

    def count(self, state: str) -> int:
        """Return how many rows were there already in this state."""
        return sum(found is not None and found[1].state == state for found in self.there)

    def states(self) -> list[tuple[str | None, str | None]]:
        """Read each row's state and why it failed for good; None and None for a row that is not there."""
        self._look_for_rows()
        return [(found[1].state, found[1].why) if found else (None, None) for found in self.there]

    def _size(self, rows_per_job: int | None, rows: int) -> tuple[int, int | None]:
        """How many rows a job holds, of a batch of so many, and how long it may take if that is to be found out."""
        if rows_per_job is not None:
            return rows_per_job, None
        if self.job.alone or self.store_.queues.is_limited(self.base):
            return 1, None
        known = self.store_.batch_rows.read_seconds(self.job.queue, self.job.name)
        return job_size.fitting(rows, known), round(job_size.SLICE * 1000)

    def _aggregate_failed(self) -> bool:
        """Did a job above the rows fail, or was it cancelled? Its function may have been mended since."""
        ended, cause = self.store_.flows.read_end(self.flow)
        if ended == CANCELLED:
            return True
        if ended != FAILED or not cause:
            return False
        found = self.store_.jobs.read([cause], ("name", "why"))[0]
        return found is None or found.why != "unrecoverable"

    def renew_failed_rows(self) -> bool:
        """Give rows that failed before a new job each; an `UnrecoverableError` said that no run can mend it."""
        failed = [
            place
            for place, (state, why) in enumerate(self.states())
            if state == FAILED and why != "unrecoverable"
        ]
        for place in failed:
            id, _, times = self.ids[place].partition("-")
            self.ids[place] = f"{id}-{int(times or 0) + 1}"
        return bool(failed)

    def _look_for_rows(self) -> None:
        """Find the rows that are on the server already, whichever jobs they are in, and how they are doing."""
        if self.homes is None:
            self.homes = known_rows(self.store_, self.name)
        mine: list[Home] = [self.homes.get(id) or (keys.job_in(self.base, id), None) for id in self.ids]
        jobs = Jobs(self.store_, END_FIELDS)
        found = jobs.rows(mine)
        self.there = [
            None if row.state == "removed" else (home, row) for home, row in zip(mine, found, strict=True)
        ]

    def announce(self, kept: int, total: int | None = None) -> None:
        if kept:
            total = len(self.ids) if total is None else total
            rest = "none runs again" if kept == total else f"{total - kept:,} run"
            print(f"batch {self.name!r}: {kept:,} of {total:,} rows are there already, {rest}")
            self.announce_edited(kept)

    def announce_edited(self, kept: int) -> None:
        """Say that rows which are kept ran another function than the one that is here now."""
        if kept and is_edited(self._code_before(), self.job.code):
            print(
                f"batch {self.name!r}: {self.job.name} was edited since its first rows ran; {kept:,} rows are kept "
                'as they are: if_exists="rerun", or another version= on the task, runs them again'
            )

    def announce_edited_stages(self, there: str) -> None:
        """Say that an aggregate whose value is kept was made by another function than the one that is here now."""
        if there != WHOLE or not self.stages:
            return
        before = json.loads(self.store_.flows.read(self.flow)["spec"]).get("stage_codes", [])
        for stage, code in zip(self.stages, before, strict=False):
            if is_edited(code, code_of(stage.function)):
                print(
                    f"batch {self.name!r}: {stage.name} was edited since this batch was made; what it returned is "
                    "kept: another version= on the task runs it again, and no row"
                )

    def _code_before(self) -> str | None:
        """The code that the rows of the newest batch of this name ran, if it was this task in this version."""
        job, before = self.job, self.earlier
        same = (before.get("task"), before.get("queue"), before.get("version")) == (
            job.name,
            job.queue,
            job.version,
        )
        return before.get("code") if same else None

    def _oldest_code(self) -> str | None:
        """The code that the oldest rows ran: those that are kept, if any."""
        before = self._code_before()
        kept = is_edited(before, self.job.code) and any(self.there)
        return before if kept else self.job.code

    def _announce_joined(self) -> None:
        states = self.store_.flows.read_counts(self.flow).by_stage.get(self.job.queue, {})
        done = states.get(COMPLETED, 0) + states.get(FAILED, 0)
        print(f"batch {self.name!r} goes on: {done:,} of {len(self.ids):,} rows are done already")
        self.announce_edited(done)

    def plan(self) -> Plan:
        """Lay out the jobs above the rows, then those of the rows."""
        plan = Plan(self.flow, self.store_.prefix, [])
        above: list[int] = []
        self.stage_ids: list[str] = []
        self.kept: dict[str, int] = {}
        grouped = self.rows.groups
        if not self.stages or (grouped is not None and len(self.stages) == 1):  # one root, whatever is below
            options = JobOptions.read(None, "root")
            base = keys.base(self.store_.prefix, keys.BATCH_QUEUE)
            plan.jobs.append(PlannedJob(self.name, base, self.flow, "{}", options, {}, []))
            above = [0]
        for i, stage in reversed(list(enumerate(self.stages))):
            groups = grouped if i == 0 and grouped is not None else [(None, None)]
            above = [self._stage(plan, i, stage, n, label, above) for n, (label, _) in enumerate(groups)]
        members = [positions for _, positions in grouped] if grouped is not None else [range(len(self.ids))]
        self.parents = len(plan.jobs)
        add = self._members_in_groups if self.is_grouped else self._members
        for parent, positions in zip(above, members, strict=True):
            add(plan, parent, list(positions))
        if self.is_grouped:
            note = many_rows.note_of(len(self.ids), self.count(COMPLETED), self.count(FAILED))
            plan.notes.append((keys.own(self.store_.prefix, "counts", self.flow), f"rows@{self.base}", note))
        return plan

    def _stage(self, plan: Plan, i: int, stage: Task, n: int, label: Any, above: list[int]) -> int:
        data: dict[str, Any] = {}
        if i == 0 and self.rows.groups is not None:
            by = self.rows.by
            data = dict(zip(by, label if len(by) > 1 or isinstance(label, list) else [label], strict=True))
        place = len(plan.jobs)
        options = JobOptions.read(stage.options, f"into: {stage.name}")
        parents = dict.fromkeys(above, options.policy or "fpof")
        frame = (stage.required or stage.optional)[0]
        id = plan.flow if not plan.jobs else f"{plan.flow}-{i}-{n}"
        base = keys.base(self.store_.prefix, stage.queue)
        bind = json.dumps({"frame": frame})
        self.stage_ids.insert(0, id)
        plan.jobs.append(
            PlannedJob(stage.name, base, id, codec.encode(data, "by"), options, parents, [], bind)
        )
        for parent in above:
            plan.jobs[parent].children.append(place)
        return place

    def _members(self, plan: Plan, parent: int, positions: list[int]) -> None:
        job, base, start = self.job, self.base, len(plan.jobs)
        parents, childless = {parent: job.options.policy or "idof"}, list[int]()  # the same for every row
        for position in positions:
            text = self.rows.texts[position]
            plan.jobs.append(
                PlannedJob(job.name, base, self.ids[position], text, job.options, parents, childless)
            )
            if self.rows.large:
                self._put_beside(plan.jobs[-1], [position])
        plan.jobs[parent].children.extend(range(start, len(plan.jobs)))
        plan.rows[parent] = self._rows(positions)

    def _rows(self, order: list[int], *more: Any) -> codec.PlannedRows:
        labels_ = [self.labels[position] for position in order] if self.labels else []
        positions = [self.start + position for position in order] if self.start else order
        return codec.PlannedRows(positions, labels_, *more)

    def _members_in_groups(self, plan: Plan, parent: int, positions: list[int]) -> None:
        """The same where jobs hold several rows: those that are there already, then new ones."""
        kept: dict[str, list[tuple[int, int | None]]] = {}  # by a job's id: its rows, and their places in it
        new = []
        for position in positions:
            found = self.there[position]
            if found is None:
                new.append(position)
            else:
                key, place = found[0]
                kept.setdefault(keys.id_of(key), []).append((position, place))
        for id, held in kept.items():
            self._keep(plan, parent, id)
            self._put_beside(plan.jobs[self.kept[id]], [position for position, _ in held])
        rows = list(kept.values())
        for some in job_size.cut(new, self.rows.texts, self.size):
            plan.jobs[parent].children.append(len(plan.jobs))
            plan.jobs.append(self._group(parent, some))
            rows.append([(position, place) for place, position in enumerate(some)])
        order = [position for some in rows for position, _ in some]
        places = [place for some in rows for _, place in some] if kept else None  # None: all, in order
        plan.rows[parent] = self._rows(order, [len(some) for some in rows], places)

    def _keep(self, plan: Plan, parent: int, id: str) -> None:
        """A job that is there already, with whatever rows, goes below one parent more."""
        policy = self.job.options.policy or "idof"
        if id in self.kept:
            plan.jobs[self.kept[id]].parents[parent] = policy
        else:
            self.kept[id] = len(plan.jobs)
            plan.jobs.append(
                PlannedJob(self.job.name, self.base, id, "{}", self.job.options, {parent: policy}, [])
            )
        plan.jobs[parent].children.append(self.kept[id])

    def _group(self, parent: int, positions: list[int]) -> PlannedJob:
        job, ids = self.job, [self.ids[position] for position in positions]
        id = job_size.id_of(ids)
        holds = zlib.compress(",".join(ids).encode(), 1)
        made = PlannedJob(
            job.name,
            self.base,
            id,
            many_rows.data_of([self.rows.texts[position] for position in positions]),
            job.options,
            {parent: job.options.policy or "idof"},
            [],
            many_rows.bind_of(len(positions), self.start + positions[0], self.slice_ms),
            ((keys.own(self.store_.prefix, "rows", self.name), keys.job_in(self.base, id), holds),),
        )
        self._put_beside(made, positions)
        for position in positions:
            self.rows.texts[position] = ""  # a large batch is not held twice
        return made

    def _put_beside(self, made: PlannedJob, positions: list[int]) -> None:
        """Store the large inputs of these rows with the job that is made of them, unless another brings them along."""
        if not self.rows.large:
            return
        digests = large_inputs.digests_in(self.rows.texts[position] for position in positions)
        mine = [digest for digest in digests if digest in self.rows.large]
        if not mine:
            return
        made.bind = many_rows.refer(
            made.bind, many_rows.paths_of(self.rows.large_columns, self.rows.whole_row)
        )
        place = keys.own(self.store_.prefix, "inputs", self.flow)
        new = [digest for digest in mine if digest not in self.sent]
        self.sent.update(new)
        made.beside += tuple((place, digest, self.rows.large[digest].encode()) for digest in new)

    def record(self) -> dict[str, str]:
        """What the flow's record says of the batch."""
        return {"kind": "batch", "spec": json.dumps(self.spec())}

    def spec(self) -> dict[str, Any]:
        """What a new kernel needs to give the results their index and columns again."""
        return {
            "task": self.job.name,
            "queue": self.job.queue,
            "version": self.job.version,
            "rows": len(self.ids),
            "columns": list(self.rows.columns),
            "refers": self.rows.refers,
            "whole_row": self.rows.whole_row,
            "by": list(self.rows.by),
            "stages": self.stage_ids,
            "rows_per_job": self.size,
            "salt": self.earlier.get("salt", ""),
            "code": self._oldest_code(),
            "stage_codes": [code_of(stage.function) for stage in self.stages],
            "index": labels.index_to_json(self.rows.index)[0],
        }
