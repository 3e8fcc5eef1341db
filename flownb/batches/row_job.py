"""What runs for each row, and with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from flownb.arguments import shown
from flownb.batches.columns import type_name
from flownb.errors import FlowError, OptionError
from flownb.options import JobOptions
from flownb.tasks.code import code_of
from flownb.tasks.task import Task, read_task_options
from flownb.wire import keys


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
    task: Task | None = None  #: None where others serve the queue
    code: str | None = None  #: of this function, to know an edited one; None where others serve the queue

    @classmethod
    def read(cls, task: Any, opts: dict[str, Any]) -> RowJob:
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
            raise no_task("task", task, "a task (a function with @flownb.task above it) or a queue's name")
        options = _options_of_rows(opts, task.options)
        return cls(
            name=task.name,
            queue=task.queue,
            version=task.version,
            required=task.required,
            optional=task.optional,
            options=options,
            alone=task.needs_its_own_job or bool(options.timeout),
            whole_row=[*task.required, *task.optional] == ["row"] and not task.takes_any,
            any_column=task.takes_any,
            takes_job=task.takes_job,
            is_limited=task.limiter is not None,
            task=task,
            code=code_of(task.function),
        )


def no_task(parameter: str, given: Any, wanted: str) -> FlowError:
    """Return the refusal of what was given as `parameter` instead of a task."""
    if isinstance(given, FunctionType) and given.__name__ == "<lambda>":
        return FlowError(f"{parameter}: a lambda has no name; write it with def, and @flownb.task above it")
    if isinstance(given, FunctionType):
        return FlowError(f"{parameter}: make it a task first: @flownb.task above {given.__name__}")
    return FlowError(f"{parameter}: {wanted}, not {type_name(given)}")


_BELONGS_ELSEWHERE = {
    **dict.fromkeys(("queue", "version", "retry_on"), "it belongs to the task: @flownb.task({}=...)"),
    **dict.fromkeys(("concurrency", "executor"), "whoever works says it: flownb.workers({}=...)"),
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
