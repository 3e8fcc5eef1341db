"""What `fan_out` is asked for, whatever the rows are: the rows' task, the aggregates above them, the name."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from flownb.batches import frames, job_size
from flownb.batches.brakes import NO_BRAKES, Brakes
from flownb.batches.frame_kinds import PANDAS
from flownb.batches.grouped_rows import Grouped
from flownb.batches.row_counts import RowCounts
from flownb.batches.row_ids import fingerprint, identities
from flownb.batches.row_job import RowJob, no_task
from flownb.batches.row_steps import identity_of
from flownb.batches.row_weights import NO_WEIGHTS, RowWeights
from flownb.batches.rows import Rows
from flownb.batches.rows import read as read_rows
from flownb.connection import Connection
from flownb.errors import FlowError
from flownb.files.file_folder import FileFolder
from flownb.files.folder_of_flow import folder_of_batch
from flownb.tasks.code import changes, is_edited
from flownb.tasks.task import Task
from flownb.wire import keys
from flownb.wire.store import Store


class Edited(NamedTuple):
    """A task of the rows that was edited since."""

    name: str
    before: str | None  #: its code then
    now: str | None


class EarlierStep(NamedTuple):
    """A step of the rows of an earlier batch, as its spec has it."""

    place: str
    version: str
    salt: str
    code: str | None  #: that the oldest of its rows ran


def earlier_steps(spec: Mapping[str, Any]) -> list[EarlierStep]:
    """Return the steps of a batch from its spec; of one task that one, of no batch none."""
    if "task" not in spec:
        return []
    return [
        EarlierStep(
            f"{step['queue']}/{step['task']}", step["version"], step.get("salt", ""), step.get("code")
        )
        for step in spec.get("steps") or [spec]
    ]


@dataclass(frozen=True)
class Twin:
    """A batch without a name of its own, of the same rows, which another function of the same name ran."""

    name: str
    changed: list[str]  #: what the function uses otherwise now


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """What is asked for; `named` first says what the rows are for, then what the newest batch of that name was."""

    connection: Connection
    store: Store
    job: RowJob
    stages: list[Task]  #: the aggregates, up to the root
    by: str | Sequence[str] | None
    grouped: Grouped | None  #: groups that pandas has made of the rows; else `by` names columns
    rows_per_job: int | None  #: None: found out
    kind: str = PANDAS  #: of frame in which results come back
    key: tuple[str, ...] = ()  #: the columns whose values are the rows' labels
    files: str | None = None  #: the folder for values that go to files; None: the embedded server's
    is_lazy: bool = False  #: the rows are read from a file or a lazy frame, piece by piece
    brakes: Brakes = NO_BRAKES
    weigh: RowWeights = NO_WEIGHTS
    concurrency: int | None = None  #: how many rows run at a time
    name: str = ""
    #: spec of the newest batch of this name
    earlier: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    newest: str | None = None  #: the flow that the name meant then
    reuse: bool = True  #: rows of earlier runs of the name are kept, and what these have spent counts
    twin: Twin | None = None  #: why the name is not the one that the rows alone would give
    salts: tuple[
        str, ...
    ] = ()  #: of several steps: what distinguishes rows from those before each one's last rerun

    @property
    def base(self) -> str:
        """The qualified name of the rows' queue."""
        return keys.base(self.store.prefix, self.job.queue)

    @property
    def folder(self) -> FileFolder | None:
        """Where files of the batch's rows are; None where nobody has said where."""
        return folder_of_batch(self.store, self.name, self.files or self.earlier.get("files"))

    @cached_property
    def folder_of_rows(self) -> FileFolder | None:
        """Where the rows of jobs stand that share one; None where they stand in the jobs themselves.

        They go where the caller has named a folder, and where a lazy source says that there are many of them.
        """
        folder = self.folder if self.job.is_ours else None  # other programs read plain data
        return folder if folder is not None and (self.is_lazy or not folder.is_own) else None

    @property
    def tasks(self) -> list[Task]:
        """The tasks that run here: for the rows, and above them."""
        return [*self.job.tasks, *self.stages]

    def read_rows(self, rows: Any, start: int = 0) -> Rows:
        """Turn rows into texts that fill the task's parameters; `start` is the first one's number."""
        job = self.job
        return read_rows(
            rows,
            job.required,
            job.optional,
            key=self.key,
            by=self.by,
            grouped=self.grouped,
            whole_row=job.whole_row,
            any_column=job.any_column,
            takes_job=job.takes_job,
            loaded=job.loaded,
            refer=job.is_ours,
            start=start,
            weigh=self.weigh.of,
        )

    def named(self, name: str | None, rows: Rows, *, reuse: bool) -> BatchRequest:
        """Return the request under this name, or one made of the rows; without `reuse` no earlier row is known.

        Where nobody gave a name, another function makes another batch: its name is made of its code too.
        """
        twin = None
        if name is None:
            ids = self._ids(rows.by_content, self.job.places, name="")
            name = f"{self.job.tasks[-1].name if self.job.steps else self.job.name}-{fingerprint(ids)[1:9]}"
            before = earlier_steps(_spec_of(self.store, self.store.flows.find(name)))
            if reuse and (edited := self.edited(before)):
                twin = Twin(name, [change for one in edited for change in changes(one.before, one.now)])
                name = f"{name}-{fingerprint([code or '' for code in self.job.codes.values()])[1:5]}"
        if not reuse and not self.job.steps:
            anew = {"salt": secrets.token_hex(8)}
            return dataclasses.replace(self, name=name, earlier=anew, reuse=False)
        newest = self.store.flows.find(name)
        earlier = _spec_of(self.store, newest)
        if not reuse:  # what was spent, and a pilot, are those of the runs before
            earlier = {what: said for what, said in earlier.items() if what not in ("account", "pilot")}
        found = dataclasses.replace(self, name=name, earlier=earlier, newest=newest, reuse=reuse, twin=twin)
        return (
            dataclasses.replace(found, salts=found.choose_salts(rerun=not reuse)) if self.job.steps else found
        )

    def looked_up_again(self) -> BatchRequest:
        """Return the request, now that somebody has stored rows of its name."""
        newest = self.store.flows.find(self.name)
        found = dataclasses.replace(self, earlier=_spec_of(self.store, newest), newest=newest)
        return dataclasses.replace(found, salts=found.choose_salts(rerun=False)) if self.job.steps else found

    def choose_salts(self, *, rerun: bool) -> tuple[str, ...]:
        """Return the salts of the steps: those of the newest batch as far as its steps are the same ones.

        A rerun gives new ones to the first step that was edited and to all behind it; if none was, to all.
        """
        before = earlier_steps(self.earlier)
        same = 0
        for (place, version), step in zip(self.job.places, before, strict=False):
            if (place, version) != (step.place, step.version):
                break
            same += 1
        salts = [step.salt for step in before[:same]] + [""] * (len(self.job.steps) - same)
        if rerun:
            codes = list(self.job.codes.values())
            edited = [at for at in range(same) if is_edited(before[at].code, codes[at])]
            is_new = same < len(before) or same < len(self.job.steps)
            first = edited[0] if edited else same if is_new else 0
            salts[first:] = [secrets.token_hex(8)] * (len(salts) - first)
        return tuple(salts)

    @property
    def salt(self) -> str:
        """What distinguishes rows of one task from those before the last ``if_exists="rerun"``."""
        first = self.earlier.get("steps", [self.earlier])[0]
        return str(first.get("salt", ""))

    @property
    def places(self) -> list[tuple[str, str]]:
        """Of each step of a row: its place, and its version since it was last run anew."""
        salts = self.salts or (self.salt,)
        places = zip(self.job.places, salts, strict=True)
        return [(place, version + salt) for (place, version), salt in places]

    def with_ids(self, rows: Rows, seen: RowCounts | None = None) -> Rows:
        """Return the rows with their ids; `seen` counts equal rows that came piece by piece before."""
        return dataclasses.replace(
            rows, ids=self._ids(rows.by_content, self.places, name=self.name, earlier=seen)
        )

    def _ids(
        self, texts: Sequence[str], places: Sequence[Sequence[str]], *, name: str, **more: Any
    ) -> list[str]:
        task, version = identity_of(places)
        return identities(texts, name=name, task=task, version=version, **more)

    def steps_kept(self) -> int:
        """How many of the steps the newest batch of this name has in common with this one, if it has others as well."""
        before, same = self._places_before, 0
        if before == self.places:
            return 0
        while same < min(len(before), len(self.places)) and before[same] == self.places[same]:
            same += 1
        return same

    def _shares_steps(self) -> bool:
        """Has the newest batch of this name some steps of this one, wherever they stand, but others as well?"""
        return self._places_before != self.places and not set(self._places_before).isdisjoint(self.places)

    @property
    def _places_before(self) -> list[tuple[str, str]]:
        """As `places`, of the newest batch of this name."""
        return [(step.place, step.version + step.salt) for step in earlier_steps(self.earlier)]

    def with_earlier_ids(self, rows: Rows, given: Any, start: int = 0, seen: RowCounts | None = None) -> Rows:
        """Return the rows with the ids that they had in the newest batch of this name, where that had other steps.

        `given` is what the rows were read from.
        """
        earlier = self.earlier
        if not self._shares_steps() or earlier["whole_row"]:
            return rows
        texts = rows.by_content
        if list(rows.columns) != earlier["columns"]:
            try:
                like = dataclasses.replace(
                    self,
                    by=None,
                    grouped=None,
                    job=dataclasses.replace(self.job, any_column=False, optional=[]),
                )
                found = dataclasses.replace(like.job, required=earlier["columns"])
                texts = dataclasses.replace(like, job=found).read_rows(given, start=start).by_content
            except FlowError:  # a column is gone: so are the rows that it made
                return rows
        ids = self._ids(texts, self._places_before, name=self.name, earlier=seen)
        return dataclasses.replace(rows, ids_before=ids)

    def is_known(self) -> bool:
        """Is there a batch of this name already?"""
        return self.store.flows.find(self.name) is not None

    def edited(self, before: Sequence[EarlierStep]) -> list[Edited]:
        """Return which tasks of the rows were edited since these steps ran in the same version, in order."""
        steps = zip(self.job.places, self.job.codes.items(), before, strict=False)
        return [
            Edited(name, step.code, code)
            for place, (name, code), step in steps
            if place == (step.place, step.version) and is_edited(step.code, code)
        ]

    def size_of_jobs(self, rows: int) -> tuple[int, int | None]:
        """How many of so many rows a job holds, and how long it may take (ms) if that is to be found out."""
        if self.rows_per_job is not None:
            return self.rows_per_job, None
        a_call = self.job.rows_a_call
        if self.brakes.is_set or self.job.alone or self.store.queues.is_limited(self.base):
            return a_call, None
        seconds = self.store.batch_rows.read_seconds(self.job.queue, self.job.timed_name)
        fit = job_size.fitting(rows, seconds)
        return max(fit // a_call, 1) * a_call, round(job_size.JOB_SECONDS * 1000)


def refuse_shared_queues(request: BatchRequest) -> None:
    """Raise `FlowError` where a step has jobs in the queue of a task of `into`: that one's would be counted as rows."""
    for stage in request.stages:
        if stage.queue in request.job.queues[1:]:
            raise FlowError(
                f"into: task {stage.name} has queue {stage.queue!r}, in which the rows have jobs for a step: give it "
                "another queue"
            )


def _spec_of(store: Store, flow: str | None) -> dict[str, Any]:
    """Return what a batch says of its rows, and whose account it has; nothing of another flow, or of none."""
    record = store.flows.read(flow) if flow else {}
    return {**frames.spec_of(record), "account": record.get("account", flow)} if "spec" in record else {}


def read_stages(into: Any, by: Sequence[str] | str | None) -> list[Task]:
    """Return the aggregates of ``into=``; raise `FlowError` for what is no task, or has a parameter nothing fills."""
    stages = [] if into is None else list(into) if isinstance(into, list | tuple) else [into]
    groups = _names(by)
    for i, stage in enumerate(stages):
        _check_stage(stage, filled=groups if i == 0 else [])
    if by is not None and not stages:
        raise FlowError("by: groups need a task to go into; give into=")
    return stages


def _names(by: Sequence[str] | str | None) -> list[str]:
    if by is None:
        return []
    return [by] if isinstance(by, str) else [str(name) for name in by]


def _check_stage(stage: Any, filled: list[str]) -> None:
    if not isinstance(stage, Task):
        raise no_task("into", stage, "a task, or a list of tasks up to the root")
    if not stage.required and not stage.optional:
        raise FlowError(f"into: task {stage.name} needs a parameter for the DataFrame of what is below it")
    if stage.takes_job and "job" in filled:
        raise FlowError(
            f"into: the parameter 'job' of task {stage.name} receives the Job, not the value of by=; rename the column"
        )
    unfilled = [name for name in stage.required[1:] if name not in filled]
    if unfilled:
        raise FlowError(
            f"into: nothing fills the parameter {unfilled[0]!r} of task {stage.name}: its first one receives a "
            "DataFrame, others of the first task the values of by=; give it a default"
        )
