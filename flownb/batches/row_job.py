"""What runs for each row, and with which options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from flownb.arguments import shown
from flownb.batches.columns import type_name
from flownb.batches.row_steps import (
    RowStep,
    are_steps,
    check_names,
    has_own_jobs,
    more_queues,
    most_rows_a_call,
    parameters_of,
    refuse_early_yields,
    refuse_rows_parted,
    version_of,
)
from flownb.errors import FlowError, OptionError
from flownb.options import JobOptions
from flownb.tasks.task import Task
from flownb.tasks.task_options import read_task_options
from flownb.wire import keys, stored_steps


@dataclass(frozen=True, kw_only=True)
class RowJob:
    """What runs for each row."""

    name: str
    queue: str
    version: str
    required: list[str]
    optional: list[str]
    options: JobOptions
    alone: bool  #: a job holds one row, unless the caller says otherwise
    whole_row: bool = False
    any_column: bool = False
    takes_job: bool = False  #: its parameter `job` receives the Job
    is_ours: bool = True  #: a flownb worker runs it, not whoever serves the queue
    is_limited: bool = False
    loaded: tuple[str, ...] = ()  #: parameters that its setup fills
    batch_size: int | None = None  #: how many rows a call takes; None: one, as plain values
    task: Task | None = None  #: None where others serve the queue
    steps: tuple[RowStep, ...] = ()  #: of each row, where it has several; then the rest is of the first one
    code: str | None = None  #: of this function, to know an edited one; None where others serve the queue

    @property
    def rows_a_call(self) -> int:
        """How many rows a job holds that makes one call."""
        return self.batch_size or 1

    @property
    def tasks(self) -> list[Task]:
        """The tasks that run here for each row, in order."""
        return [step.task for step in self.steps] or ([self.task] if self.task else [])

    @property
    def codes(self) -> dict[str, str | None]:
        """The code of each task, by name."""
        return {step.name: step.code for step in self.steps} or {self.name: self.code}

    @property
    def places(self) -> list[tuple[str, str]]:
        """What names each step of a row, and its version."""
        steps = [(step.place, step.version) for step in self.steps]
        return steps or [(f"{self.queue}/{self.name}", self.version)]

    @property
    def queues(self) -> list[str]:
        """The queues in which rows have jobs, that of the first step first."""
        return [self.queue, *(more_queues(self.steps) if self.steps else ())]

    @property
    def yields(self) -> bool:
        """Has each row several results? That of the last step says so."""
        return bool(self.tasks) and self.tasks[-1].yields

    @property
    def timed_name(self) -> str:
        """Under which name it is remembered how long a row takes."""
        return stored_steps.timed_name(self.name, [step.stored() for step in self.steps])

    @classmethod
    def read(cls, task: Any, opts: dict[str, Any]) -> RowJob:
        """Read what `fan_out` is given: a task, a list of them, or a queue's name."""
        if are_steps(task):
            return cls._of_steps(task, opts)
        if isinstance(task, list | tuple):
            task = task[0]
        if isinstance(task, str):
            problem = keys.problem_with_queue(task)
            if problem:
                raise FlowError(f"task {shown(task)}: a queue's name {problem}")
            options = _options_of_rows(opts)
            return cls(
                name=task,
                queue=task,
                version="1",
                required=[],
                optional=[],
                options=options,
                alone=True,
                any_column=True,
                is_ours=False,
            )
        if not isinstance(task, Task):
            raise no_task(
                "task",
                task,
                "a task (a function with @flownb.task above it), a list of tasks or a queue's name",
            )
        options = _options_of_rows(opts, task.options)
        return cls(
            name=task.name,
            queue=task.queue,
            version=version_of(task),
            required=task.required,
            optional=task.optional,
            options=options,
            alone=task.needs_its_own_job or bool(options.timeout),
            whole_row=task.whole_row is not None,
            any_column=task.takes_any,
            takes_job=task.takes_job,
            is_limited=bool(task.rates),
            loaded=tuple(one.name for one in task.setup),
            batch_size=task.batch_size,
            task=task,
            code=task.code_by_now(),
        )

    @classmethod
    def _of_steps(cls, tasks: Sequence[Any], opts: dict[str, Any]) -> RowJob:
        """Read several tasks, which run one after another for each row."""
        steps = read_steps(tasks, opts)
        first = steps[0].task
        required, optional = parameters_of([step.task for step in steps])
        return cls(
            name=first.name,
            queue=first.queue,
            version=steps[0].version,
            required=required,
            optional=optional,
            options=steps[0].options,
            alone=any(step.task.needs_its_own_job or step.has_own_jobs for step in steps),
            any_column=any(step.task.takes_any or step.task.whole_row is not None for step in steps),
            takes_job=any(step.task.takes_job for step in steps),
            batch_size=most_rows_a_call(steps),
            task=first,
            steps=steps,
            code=steps[0].code,
        )


def read_steps(tasks: Sequence[Any], opts: dict[str, Any]) -> tuple[RowStep, ...]:
    """Return the steps that a list of tasks stands for; raise `FlowError` or `OptionError` for what is none."""
    if not tasks:
        raise FlowError("task: the list is empty; give the task, or the tasks that run one after another")
    for task in tasks:
        if not isinstance(task, Task):
            raise no_task("task", task, "a step is a task (a function with @flownb.task above it)")
    check_names(tasks)
    refuse_early_yields(tasks)
    later = {name: value for name, value in opts.items() if name != "delay"}  # which is that of the whole row
    steps: list[RowStep] = []
    for task in tasks:
        options = _options_of_rows(later if steps else opts, task.options)
        own = has_own_jobs(task, options)
        begins = bool(steps) and (own or steps[-1].has_own_jobs)
        steps.append(
            RowStep(task=task, options=options, code=task.code_by_now(), has_own_jobs=own, begins=begins)
        )
    refuse_rows_parted(steps)
    return tuple(steps)


def no_task(parameter: str, given: Any, wanted: str) -> FlowError:
    """Return the refusal of what was given as `parameter` instead of a task."""
    if isinstance(given, FunctionType) and given.__name__ == "<lambda>":
        return FlowError(f"{parameter}: a lambda has no name; write it with def, and @flownb.task above it")
    if isinstance(given, FunctionType):
        return FlowError(f"{parameter}: make it a task first: @flownb.task above {given.__name__}")
    return FlowError(f"{parameter}: {wanted}, not {type_name(given)}")


_BELONGS_ELSEWHERE = {
    **dict.fromkeys(
        ("queue", "version", "retry_on", "batch_size", "setup"),
        "it belongs to the task: @flownb.task({}=...)",
    ),
    "executor": "whoever works says it: flownb.workers({}=...)",
}


def _options_of_rows(opts: dict[str, Any], of_task: Mapping[str, Any] | None = None) -> JobOptions:
    for name in opts.keys() & _BELONGS_ELSEWHERE.keys():
        raise OptionError(f"fan_out.{name}: {_BELONGS_ELSEWHERE[name].format(name)}")
    if callable(opts.get("backoff")):
        raise OptionError("fan_out.backoff: a function belongs to the task: @flownb.task(backoff=...)")
    options = JobOptions.read({**(of_task or {}), **read_task_options(opts, "fan_out")}, "fan_out")
    if options.removes:
        raise OptionError(
            "fan_out: removeOnComplete and removeOnFail would take the rows' results and errors away; remove the "
            "whole batch when you have them: batch.remove()"
        )
    return options
