"""The jobs of a batch, ready to be sent: the root, the aggregates of each group, and below them the rows."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flownb.adding.planned_job import Plan, PlannedJob
from flownb.batches import job_size, row_steps
from flownb.batches.brakes import pilot_of
from flownb.batches.grouped_rows import Groups
from flownb.batches.planned_stages import PlannedStages
from flownb.batches.row_plan import RowPlan
from flownb.batches.row_steps import RowStep
from flownb.files.references import MARK
from flownb.files.rows_in_files import SMALL_BYTES, RowsToFiles
from flownb.tasks.weights import UNKNOWN, sum_of
from flownb.wire import child_list, codec, keys, many_rows, stored_steps
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
        self._policy = self._job.options.policy or "idof"  # rows are optional, unless somebody says otherwise
        self._steps = row_steps.packed(self._job.steps) if self._job.steps else ""
        self._steps_done = row_plan.steps_done
        # Rows in jobs of several queues are one node of a picture.
        self._stage = (self._base, self._job.name) if len(self._job.queues) > 1 else None
        self.many_row_jobs: list[str] = []  #: ids of those that hold many rows and are not there yet
        self._kept: dict[str, int] = {}  # jobs that are there already, by key: where each stands in the plan
        self._sent: set[str] = set()  # large inputs that are stored with a job of the plan
        self._placed: dict[int, tuple[int, int | None]] = {}  # where runs of several groups are in the plan
        # With a pilot, the keys of all rows' jobs by the first row of each:
        self._first_rows: dict[int, str] = {}
        self.plan = Plan(
            row_plan.flow,
            self._prefix,
            [],
            joins=row_plan.request.reuse,
            paused=row_plan.paused,
            seen=row_plan.seen,
        )
        groups = self._rows.groups
        folder = row_plan.request.folder_of_rows
        self._files = None if folder is None else RowsToFiles(folder)
        stages = PlannedStages(row_plan, self.plan.jobs)
        above, self._stage_ids = stages.add(groups), stages.ids
        self.parents = len(self.plan.jobs)
        members = self._members(groups)
        repeats = self._rows.repeats
        self._in_several = repeats.in_several(members) if repeats else set()
        self._first_of_run = repeats.first_rows() if repeats else []
        for parent, positions in zip(above, members, strict=True):
            if groups is None or positions:
                self._add_rows(parent, positions)
        if self._files is not None:
            self._files.write()
        if row_plan.request.brakes.is_set:
            self._add_brakes(row_plan)
        if row_plan.shares_jobs:
            self._add_counts(row_plan)

    def _members(self, groups: Groups | None) -> list[Sequence[int]]:
        """The rows of the frame in each group; all together where there are none."""
        return [range(self._rows.height)] if groups is None else [positions for _, positions in groups]

    def _add_counts(self, row_plan: RowPlan) -> None:
        """Note how many rows run, and how many have ended already."""
        earlier = row_plan.earlier
        note = many_rows.note_of(len(self._rows), earlier.count(COMPLETED), earlier.count(FAILED))
        counts = keys.own(self._prefix, "counts", row_plan.flow)
        self.plan.notes.append((counts, f"rows@{self._base}", note))
        if self._job.steps:
            note = row_steps.note_of(self._job.steps, row_plan.steps_before())
            self.plan.notes.append((counts, f"rows-steps@{self._base}", note))

    def _add_brakes(self, row_plan: RowPlan) -> None:
        """Note what may pause the batch, and which jobs its pilot runs."""
        brakes, flow = row_plan.request.brakes, row_plan.flow
        key = keys.own(self._prefix, "brakes", flow)
        fields = {**brakes.fields(), "base": self._base, "name": self._job.name}
        fields |= row_steps.brake_fields(self._prefix, [s.stored() for s in self._job.steps if s.begins])
        self.plan.notes += [(key, name, value.encode()) for name, value in fields.items()]
        if row_plan.pilot:
            jobs = [self._first_rows[position] for position in sorted(self._first_rows)]
            calls = -(-row_plan.pilot // self._job.rows_a_call)
            pilot = keys.own(self._prefix, "pilot", flow)
            self.plan.notes += [(pilot, job, b"1") for job in pilot_of(jobs, calls)]

    # ---- the rows -----------------------------------------------------------------------------------

    def _add_rows(self, parent: int, positions: Sequence[int]) -> None:
        if self._rows.repeats is not None:
            self._add_repeated_rows(parent, self._rows.repeats.among(positions))
            return
        if not self._batch.shares_jobs:
            self._add_jobs_of_one_row(parent, positions)
            self.plan.rows[parent] = self._planned(list(positions))
            return
        kept = self._add_kept(parent, positions)
        members = kept + self._add_new(parent, positions)
        order = [position for some in members for position, _ in some]
        places = [within for some in members for _, within in some] if kept else None  # None: all, in order
        self.plan.rows[parent] = self._planned(order, [len(some) for some in members], places)

    def _add_repeated_rows(self, parent: int, rows_of: Mapping[int, list[int]]) -> None:
        """Add runs, each with its rows below this parent; a run that is there already gets one parent more."""
        members = self._add_placed(parent, [run for run in rows_of if run in self._placed])
        runs = [run for run in rows_of if run not in self._placed]
        if self._batch.shares_jobs:
            members += self._add_kept(parent, runs) + self._add_new(parent, runs)
        else:
            first = len(self.plan.jobs)
            self._add_jobs_of_one_row(parent, runs)
            self._placed |= {run: (first + n, None) for n, run in enumerate(runs) if run in self._in_several}
            members += [[(run, None)] for run in runs]
        expanded = [[(row, within) for run, within in some for row in rows_of[run]] for some in members]
        self.plan.rows[parent] = self._planned(
            [row for some in expanded for row, _ in some],
            list(map(len, expanded)),
            [within for some in expanded for _, within in some],
        )

    def _add_placed(self, parent: int, runs: Sequence[int]) -> list[list[tuple[int, int | None]]]:
        """Put jobs that other groups have brought below one parent more; each holds one run."""
        for run in runs:
            job = self._placed[run][0]
            self.plan.jobs[job].parents[parent] = self._policy
            self.plan.jobs[parent].children.append(job)
        return [[(run, self._placed[run][1])] for run in runs]

    def _add_jobs_of_one_row(self, parent: int, positions: Sequence[int]) -> None:
        job, base, jobs = self._job, self._base, self.plan.jobs
        ids, texts, start = self._batch.ids, self._rows.texts, len(jobs)
        parents, childless = {parent: self._policy}, list[int]()  # the same for every row
        for position in positions:
            above = dict(parents) if position in self._in_several else parents
            jobs.append(
                PlannedJob(job.name, base, ids[position], texts[position], job.options, above, childless)
            )
            if self._rows.large or self._rows.has_files:
                self._add_what_texts_refer_to(jobs[-1], [position])
            if self._rows.weights:
                jobs[-1].weights = self._rows.weights[position]
        jobs[parent].children.extend(range(start, len(jobs)))
        if self._batch.pilot:
            self._first_rows |= {position: keys.job_in(base, ids[position]) for position in positions}

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
                members.setdefault(key, []).append((position, within))
        kept: list[list[tuple[int, int | None]]] = []
        for key, rows in members.items():
            self._keep(parent, key)
            self._add_what_texts_refer_to(self.plan.jobs[self._kept[key]], [position for position, _ in rows])
            kept.append(rows)
            for later in self._batch.earlier.later_jobs(key):  # they go with their rows
                self._keep(parent, later)
                kept.append([])
        return kept

    def _keep(self, parent: int, key: str) -> None:
        jobs, job = self.plan.jobs, self._job
        if key in self._kept:
            jobs[self._kept[key]].parents[parent] = self._policy
        else:
            self._kept[key] = len(jobs)
            base, id, above = keys.base_of(key), keys.id_of(key), {parent: self._policy}
            jobs.append(PlannedJob(job.name, base, id, "{}", job.options, above, []))
            jobs[-1].shown_as = self._stage
        jobs[parent].children.append(self._kept[key])

    def _add_new(self, parent: int, positions: Sequence[int]) -> list[list[tuple[int, int | None]]]:
        """Add the jobs of rows that are not there yet; return their rows, and where each is in its job."""
        found = self._batch.earlier.found
        new = [position for position in positions if found[position] is None]
        shared = [position for position in new if position in self._in_several]
        own = [position for position in new if position not in self._in_several] if shared else new
        members: list[list[tuple[int, int | None]]] = []
        for some, stretch in self._jobs_of(own, shared):
            self._placed |= {
                position: (len(self.plan.jobs), 0) for position in some if position in self._in_several
            }
            self.plan.jobs[parent].children.append(len(self.plan.jobs))
            self.plan.jobs.append(self._many_row_job(parent, some, stretch))
            members.append([(position, within) for within, position in enumerate(some)])
        return members

    def _jobs_of(self, own: list[int], shared: list[int]) -> Iterator[tuple[list[int], RowStep | None]]:
        """Yield the rows of each job to add, and the step that it is named after.

        What several groups wait for has a job of its own: none that has several parents can delegate rows.
        """
        for stretch, some in self._by_stretch(shared):
            yield from (([position], stretch) for position in some)
        for stretch, some in self._by_stretch(own):
            for of_job in job_size.cut(some, self._rows.texts, self._batch.rows_per_job):
                yield of_job, stretch

    def _by_stretch(self, positions: list[int]) -> Iterator[tuple[RowStep | None, list[int]]]:
        """Yield rows by the step that their first job is named after; None: the first one."""
        stretches = stored_steps.stretches([step.begins for step in self._job.steps])
        if len(stretches) < 2:
            # Rows that do not run any more are no jobs with those that do: these may have to be handed on.
            through = self._batch.rows_through
            for some in (
                [at for at in positions if at in through],
                [at for at in positions if at not in through],
            ):
                if some:
                    yield None, some
            return
        done = self._steps_done
        for steps in stretches:
            some = [at for at in positions if min(len(done.get(at, ())), len(self._job.steps) - 1) in steps]
            if some:
                yield (self._job.steps[steps.start] if steps.start else None), some

    def _many_row_job(self, parent: int, positions: list[int], step: RowStep | None) -> PlannedJob:
        job, texts = self._job, self._rows.texts
        name, base, options = job.name, self._base, job.options
        if step is not None:
            name, base, options = step.name, keys.base(self._prefix, step.task.queue), step.options
        ids = [self._batch.ids[position] for position in positions]
        id = job_size.id_of(ids)
        held = zlib.compress(",".join(ids).encode(), 1)
        rows_of_name = keys.own(self._prefix, "rows", self._batch.request.name)
        kept = self._kept_by_steps(positions)
        data = many_rows.data_of([texts[position] for position in positions], kept)
        in_file = self._files is not None and len(data) > SMALL_BYTES and not kept
        if self._files is not None and in_file:
            data = self._files.data_in_file(id, data, len(positions))
        made = PlannedJob(
            name,
            base,
            id,
            data,
            options,
            {parent: self._policy},
            [],
            self._bind_of(positions, in_file=in_file, has_kept=bool(kept)),
            ((rows_of_name, keys.job_in(base, id), held),),
            shown_as=self._stage,
        )
        self.many_row_jobs.append(id)
        self._add_what_texts_refer_to(made, positions)
        self._first_rows[positions[0]] = made.key
        if step is not None:
            made.weights = UNKNOWN if step.is_weighed else None
        elif self._rows.weights:
            made.weights = sum_of(self._rows.weights[position] for position in positions)
        for position in positions:
            texts[position] = ""  # a large batch is not held twice
        return made

    def _bind_of(self, positions: list[int], *, in_file: bool, has_kept: bool) -> str:
        takes_many = self._job.batch_size is not None
        bind = many_rows.bind_of(
            self._in_batch(positions),
            self._batch.slice_ms,
            self._labels_of(positions) if takes_many else None,
            self._steps,
            in_file=in_file,
            has_kept=has_kept,
        )
        return many_rows.note_together(bind) if takes_many and self._steps else bind

    def _kept_by_steps(self, positions: list[int]) -> list[str]:
        """What steps of these rows have returned in earlier jobs, as JSON; nothing where none has."""
        done = self._steps_done
        if done.keys().isdisjoint(positions):
            return []
        return [codec.encode(done.get(position, []), "steps") for position in positions]

    def _labels_of(self, positions: list[int]) -> list[Any] | None:
        """The labels of rows that a task takes many at a time; None where the first one's position says them all."""
        in_batch = self._in_batch(positions)
        if self._rows.labels:
            return [self._rows.labels[at - self._batch.start] for at in in_batch]
        return None if in_batch[-1] - in_batch[0] == len(in_batch) - 1 else in_batch

    def _add_what_texts_refer_to(self, job: PlannedJob, positions: list[int]) -> None:
        if self._rows.has_files and any(MARK in self._rows.texts[position] for position in positions):
            job.bind = many_rows.note_files(job.bind)
        self._add_large_inputs(job, positions)

    def _in_batch(self, positions: list[int]) -> list[int]:
        """Where these rows of a piece, or the first row of each of these runs, stand in the batch."""
        first = self._first_of_run
        return [self._batch.start + (first[at] if first else at) for at in positions]

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
        if self._batch.request.brakes.is_set:
            record["brakes"] = "1"
        if self._rows.group_index is not None:
            record["groups"] = json.dumps(self._rows.group_index)
        if (most := self._batch.request.concurrency) is not None:
            record["concurrency"] = str(most)
        return record

    def spec(self) -> dict[str, Any]:
        """What a new kernel needs to give the results their index and columns again."""
        rows, request = self._rows, self._batch.request
        codes = self._batch.oldest_codes()
        steps = zip(self._job.steps, request.salts, strict=True)
        return {
            "task": self._job.name,
            "queue": self._job.queue,
            "version": self._job.version,
            "rows": rows.height,
            "unique": rows.repeats is not None,  # several rows may be one run
            "yields": self._job.yields,
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
            "pilot": self._batch.pilot or request.earlier.get("pilot"),
            "code": codes[self._job.name],
            "added_code": self._job.code,
            "stage_codes": [stage.code_by_now() for stage in request.stages],
            "index": rows.index_spec,
            **(
                {"steps": [step.spec(codes[step.name], salt) for step, salt in steps]}
                if request.salts
                else {}
            ),
        }
