"""What `fan_out` is asked for, whatever the rows are: the rows' task, the aggregates above them, the name."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.batches import frames, job_size
from flownb.batches.frame_kinds import PANDAS
from flownb.batches.grouped_rows import Grouped
from flownb.batches.row_counts import RowCounts
from flownb.batches.row_ids import fingerprint, identities
from flownb.batches.row_job import RowJob, no_task
from flownb.batches.rows import Rows
from flownb.batches.rows import read as read_rows
from flownb.connection import Connection
from flownb.errors import FlowError
from flownb.tasks.code import changes, is_edited
from flownb.tasks.task import Task
from flownb.wire import keys
from flownb.wire.store import Store


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
    name: str = ""
    earlier: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )  #: spec of the newest batch of this name
    twin: Twin | None = None  #: why the name is not the one that the rows alone would give

    @property
    def base(self) -> str:
        """The qualified name of the rows' queue."""
        return keys.base(self.store.prefix, self.job.queue)

    @property
    def tasks(self) -> list[Task]:
        """The tasks that run here: for the rows, and above them."""
        return [*([self.job.task] if self.job.task else []), *self.stages]

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
            refer=job.is_ours,
            start=start,
        )

    def named(self, name: str | None, rows: Rows, *, reuse: bool) -> BatchRequest:
        """Return the request under this name, or one made of the rows; without `reuse` no earlier row is known.

        Where nobody gave a name, another function makes another batch: its name is made of its code too.
        """
        if name is None:
            ids = self._ids(rows.texts, name="", salt="")
            name = f"{self.job.name}-{fingerprint(ids)[1:9]}"
            code = self.job.code
            before = dataclasses.replace(self, earlier=_spec_of_newest(self.store, name)).earlier_code()
            if reuse and is_edited(before, code):
                twin = Twin(name, changes(before, code))
                name = f"{name}-{fingerprint([code or ''])[1:5]}"
                return dataclasses.replace(
                    self, name=name, earlier=_spec_of_newest(self.store, name), twin=twin
                )
        earlier = _spec_of_newest(self.store, name) if reuse else {"salt": secrets.token_hex(8)}
        return dataclasses.replace(self, name=name, earlier=earlier)

    @property
    def salt(self) -> str:
        """What distinguishes rows from those before the last ``if_exists="rerun"``."""
        return str(self.earlier.get("salt", ""))

    def with_ids(self, rows: Rows, seen: RowCounts | None = None) -> Rows:
        """Return the rows with their ids; `seen` counts equal rows that came piece by piece before."""
        ids = self._ids(rows.texts, name=self.name, salt=self.salt, earlier=seen)
        return dataclasses.replace(rows, ids=ids)

    def _ids(self, texts: Sequence[str], *, name: str, salt: str, **more: Any) -> list[str]:
        task = f"{self.job.queue}/{self.job.name}"
        return identities(texts, name=name, task=task, version=self.job.version + salt, **more)

    def is_known(self) -> bool:
        """Is there a batch of this name already?"""
        return self.store.flows.find(self.name) is not None

    def earlier_code(self) -> str | None:
        """The code that the rows of the newest batch of this name ran, if it was this task in this version."""
        then = tuple(self.earlier.get(what) for what in ("task", "queue", "version"))
        return self.earlier.get("code") if then == (self.job.name, self.job.queue, self.job.version) else None

    def size_of_jobs(self, rows: int) -> tuple[int, int | None]:
        """How many of so many rows a job holds, and how long it may take (ms) if that is to be found out."""
        if self.rows_per_job is not None:
            return self.rows_per_job, None
        if self.job.alone or self.store.queues.is_limited(self.base):
            return 1, None
        seconds = self.store.batch_rows.read_seconds(self.job.queue, self.job.name)
        return job_size.fitting(rows, seconds), round(job_size.JOB_SECONDS * 1000)


def _spec_of_newest(store: Store, name: str) -> dict[str, Any]:
    """Return what the newest batch of this name says of its rows."""
    flow = store.flows.find(name)
    record = store.flows.read(flow) if flow else {}
    return frames.spec_of(record) if "spec" in record else {}


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
