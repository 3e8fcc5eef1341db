"""The steps that a list of tasks stands for in `fan_out`: what is refused, and what a batch says of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.arguments import shown
from flownb.batches.jobs_of_rows import Row
from flownb.errors import FlowError, OptionError
from flownb.options import JobOptions
from flownb.tasks.task import Task
from flownb.wire import codec, keys, stored_steps
from flownb.wire.records import COMPLETED
from flownb.wire.stored_steps import StoredStep

_ON_THE_TASKS = ("concurrency", "limiter", "weight", "batch_size")


@dataclass(frozen=True, kw_only=True)
class RowStep:
    """One step of each row."""

    task: Task
    options: JobOptions
    code: str
    has_own_jobs: bool = False  #: has each row a job for it?
    begins: bool = False  #: does it begin a job: has it, or the step before, jobs of its own?

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def holds_one_row(self) -> bool:
        """Does it ask for what counts jobs, so that a job holds one row?"""
        return bool(self.task.rates) or self.task.concurrency is not None or bool(self.options.timeout)

    @property
    def is_weighed(self) -> bool:
        """Does its worker say what a row weighs, as that takes what the steps before it have returned?"""
        return self.begins and self.task.weights is not None

    @property
    def place(self) -> str:
        """What names it: its queue and its task."""
        return f"{self.task.queue}/{self.task.name}"

    @property
    def version(self) -> str:
        return version_of(self.task)

    def spec(self, code: str | None, salt: str) -> dict[str, Any]:
        """Return it as the spec of its batch has it; `code` is that of its oldest rows."""
        return {
            "task": self.name,
            "queue": self.task.queue,
            "version": self.version,
            "salt": salt,
            "code": code,
            "added_code": self.code,
            **({"begins": True} if self.begins else {}),
        }

    def stored(self) -> StoredStep:
        """Return it as a job's ``bind`` names it."""
        return StoredStep(
            self.name, self.task.queue, json.dumps(self.options.wire), self.begins, self.is_weighed
        )


def are_steps(task: Any) -> bool:
    """Is this a list of tasks that stands for several steps?"""
    return isinstance(task, list | tuple) and len(task) != 1


def refuse_options(task: Any, opts: Mapping[str, Any]) -> None:
    """Raise `OptionError` for what belongs to one step, and is asked of all."""
    for name in opts.keys() & _ON_THE_TASKS if are_steps(task) else ():
        raise OptionError(
            f"fan_out.{name}: with several steps it belongs to the one that it is meant for: @flownb.task({name}=...)"
        )


def check_names(tasks: Sequence[Task]) -> None:
    """Raise `FlowError` where two steps have one name, since columns and failures are told by it."""
    seen: set[str] = set()
    for task in tasks:
        if task.name in seen:
            raise FlowError(
                f"task: step {shown(task.name)} stands twice in the list; a step's value stands under its name, so "
                "give the second function another one"
            )
        seen.add(task.name)


def has_own_jobs(task: Task, options: JobOptions) -> bool:
    """Does a step ask for what holds for jobs? Then each row has a job for it; other steps share their row's job."""
    bounds = (task.rates, task.concurrency, task.batch_size, options.timeout, task.options.get("delay"))
    return task.queue != task.name or any(bounds)


def refuse_rows_parted(steps: Sequence[RowStep]) -> None:
    """Raise `FlowError` where one step takes many rows at a time, and another one has a job for fewer."""
    most = most_rows_a_call(steps)
    for one in steps:
        if most is not None and one.task.batch_size != most and one.holds_one_row:
            raise FlowError(
                f"task: step {shown(one.name)} has a limiter, a concurrency or a timeout, which count jobs, and a job "
                f"holds {most} rows for the step with batch_size={most}; give a batch of its own to one of them"
            )


def most_rows_a_call(steps: Sequence[RowStep]) -> int | None:
    """Return how many rows a call of a step takes, of the one that takes most; None where each takes one."""
    return max((step.task.batch_size for step in steps if step.task.batch_size is not None), default=None)


def refuse_many_rows(steps: Sequence[RowStep], size: int | None) -> None:
    """Raise `OptionError` for so many rows a job beside a step that asks for what counts jobs."""
    for step in steps:
        if step.holds_one_row:
            raise OptionError(
                f"rows_per_job={size}: step {step.name!r} has a limiter, a concurrency or a timeout, and these count "
                "jobs, so a job holds one row; leave rows_per_job out"
            )


def row_queues(spec: Mapping[str, Any]) -> list[str]:
    """Return the queues in which the rows of a stored batch have jobs, that of the first step first."""
    return list(dict.fromkeys([spec["queue"], *(step.queue for step in begun_in(spec))]))


def begun_in(spec: Mapping[str, Any]) -> list[StoredStep]:
    """Return the steps of a stored batch that begin a job."""
    return [StoredStep(step["task"], step["queue"]) for step in spec.get("steps", ()) if step.get("begins")]


def steps_by_queue(spec: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the steps that the rows of a stored batch go through in each queue.

    >>> steps = [{"task": "fetch", "queue": "web"}, {"task": "parse", "queue": "cpu"}]
    >>> steps_by_queue({"queue": "web", "steps": steps})
    {'web': ['fetch', 'parse']}
    >>> steps_by_queue({"queue": "web", "steps": [*steps, {"task": "ask", "queue": "llm", "begins": True}]})
    {'web': ['fetch', 'parse'], 'llm': ['ask']}
    """
    queue, found = spec["queue"], dict[str, list[str]]()
    for step in spec.get("steps", ()):
        queue = step["queue"] if step.get("begins") else queue
        found.setdefault(queue, []).append(step["task"])
    return found


def brake_fields(prefix: str, steps: Iterable[StoredStep]) -> dict[str, str]:
    """Return what a batch's brakes say of later steps that begin a job: these are rows, too."""
    return {f"row:{keys.base(prefix, step.queue)} {step.name}": "1" for step in steps}


def more_queues(steps: Sequence[RowStep]) -> list[str]:
    """Return the queues, beside that of the first step, in which rows have jobs."""
    queues = dict.fromkeys(step.task.queue for step in steps if step.begins)
    return [queue for queue in queues if queue != steps[0].task.queue]


def refuse_early_yields(tasks: Sequence[Task]) -> None:
    """Raise `FlowError` for a task that yields before the last one: what the next one is called with is one row."""
    for task in tasks[:-1]:
        if task.yields:
            raise FlowError(
                f"task: step {shown(task.name)} yields, which only the last one may; return a list, or let the next "
                "steps run in a batch of their own: fan_out(batch.results(), next_task)"
            )


def version_of(task: Task) -> str:
    """Return the version of a task that rows are told by: one that yields by now has returned other values before."""
    return f"{task.version} yields" if task.yields else task.version


def parameters_of(tasks: Sequence[Task]) -> tuple[list[str], list[str]]:
    """Return which columns the rows must have, and which others steps may take.

    A later step's parameter is filled by a column, by what a step before returned, or by that step's whole value: which
    one, the run tells. So it is with what tells a later step's weight, as its worker weighs it.
    """
    first = tasks[0].required if tasks[0].whole_row is None else []
    names = [name for task in tasks for name in (*task.required, *task.optional) if task.whole_row is None]
    names += [name for task in tasks[1:] if task.weights is not None for name in task.weights.names]
    return list(first), [name for name in dict.fromkeys(names) if name not in first]


def names_in(spec: Mapping[str, Any]) -> list[str]:
    """Return the names of a stored batch's steps; none where its rows have one task."""
    return [step["task"] for step in spec.get("steps", ())]


def columns_of(spec: Mapping[str, Any]) -> str | tuple[str, ...]:
    """Return what columns are named after: the rows' task, or each of their steps."""
    return tuple(names_in(spec)) or spec["task"]


def step_at(row: Row, names: Sequence[str]) -> str | None:
    """Return the step at which a row has failed, runs or waits; None once it is through."""
    return None if row.state == COMPLETED else step_of(row, names)


def step_of(row: Row, names: Sequence[str]) -> str:
    """Return the first step that a row is not through."""
    done = len(codec.decode(row.partial)) if row.partial else 0
    return names[min(done, len(names) - 1)]


def packed(steps: Sequence[RowStep]) -> str:
    """Return the text that stands in the ``bind`` of each job."""
    return stored_steps.packed(step.stored() for step in steps)


def note_of(steps: Sequence[RowStep], before: Sequence[int]) -> bytes:
    """Return what a flow's counts say of the steps; `before` as in `RowPlan.steps_before`."""
    return stored_steps.note_of([step.name for step in steps], before, more_queues(steps))


def identity_of(places: Sequence[Sequence[str]]) -> tuple[str, str]:
    """Return what rows of these steps, each a place and a version, are told by: a task and a version.

    >>> identity_of([["fetch/fetch", "1"]]), identity_of([["q/a", "1"], ["q/b", "2"]])
    (('fetch/fetch', '1'), ('[["q/a","1"],["q/b","2"]]', ''))
    """
    if len(places) == 1:  # as of one task: steps that are added behind it keep what it has done
        place, version = places[0]
        return place, version
    return json.dumps(places, separators=(",", ":")), ""
