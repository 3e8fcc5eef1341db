"""Weighs a job whose arguments come of children: it goes back in line with what it weighs, and begins then."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import NoReturn

from flownb.api.job import Job
from flownb.errors import FlowError, OptionError, UnrecoverableError
from flownb.tasks import binding, registry
from flownb.tasks.row_values import RowValues
from flownb.tasks.task import Task
from flownb.tasks.weights import refuse_heavy, text_of
from flownb.worker.work import Work


class Weighed(BaseException):
    """Ends a run in which a job was weighed: it goes back in line, and begins when its queue's limits have room."""

    def __init__(self, weights: str) -> None:
        super().__init__(weights)
        self.weights = weights


def weights_of(task: Task, row: RowValues) -> dict[str, float]:
    """Return what a call of a step weighs. Raises `UnrecoverableError` where that cannot be told, or is too much."""
    if task.weights is None:
        return {}
    values = {one.name: one.default for one in task.parameters if one.default is not inspect.Parameter.empty}
    try:
        for name in task.weights.names:
            if not row.fill(values, name) and name not in values and name not in task.weights.optional:
                raise OptionError(
                    f"its weight needs {name!r}, which is no column, and no earlier step returned it"
                )
        found = task.weights.of(values)
        refuse_heavy(found, registry.rates(task.queue), task.queue, f"the call of {task.name}")
    except (FlowError, OptionError) as error:
        raise UnrecoverableError(str(error)) from error.__cause__
    return found


def weighing(task: Task) -> Work:
    """Return what a worker runs for a job that is not weighed yet."""
    return Work(functools.partial(_weigh, task), stays=True)


def _weigh(task: Task, job: Job) -> NoReturn:
    if task.weights is None:
        raise Weighed("")
    data = job.data if isinstance(job.data, Mapping) else {}
    try:
        found = task.weights.of({**data, **binding.arguments_of(task, job)})
        refuse_heavy(found, registry.rates(task.queue), task.queue, f"the call of {task.name}")
    except (FlowError, OptionError) as error:
        raise UnrecoverableError(str(error)) from error.__cause__
    raise Weighed(text_of(found))
