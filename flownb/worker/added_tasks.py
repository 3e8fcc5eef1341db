"""Which function runs a row: the one that its batch was added with, or the one that this kernel has by now.

A kernel that adds a batch keeps the functions as they were then. A batch of another kernel, or of one that is gone,
runs here if its functions are the same ones, or if somebody here goes on with it: by `attach`, `retry` or `fan_out`.
"""

from __future__ import annotations

import contextlib
import json
import weakref
from collections.abc import Iterable
from typing import Any

from flownb.connection import Connection
from flownb.errors import JobMissing, ServerError
from flownb.tasks.code import is_edited
from flownb.tasks.task import Task
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken

MOST_VERDICTS = 1_000  # on flows of other kernels, that are remembered


class AddedTasks:
    """The functions of batches on one server, as this process runs them."""

    def __init__(self, connection: Connection) -> None:
        self._store = Store(connection.client(), connection.prefix)
        # Written by whoever adds, attaches or retries a batch; read by the slots' threads.
        self._kept: dict[str, dict[tuple[str, str], Task]] = {}  # by flow
        self._taken_over: set[str] = set()  # names
        self._verdicts: dict[tuple[str, str, str], bool] = {}

    def keep(self, name: str, flow: str, tasks: Iterable[Task]) -> None:
        """Let a batch's jobs run by these functions as they are now; forget those of batches that have ended."""
        self._go_on_with(name)
        for other in list(self._kept):
            if other != flow and self._has_ended(other):
                self._kept.pop(other, None)
        self._kept[flow] = {(task.queue, task.name): task.as_it_is_now() for task in tasks}

    def has(self, flow: str) -> bool:
        """Say whether functions are kept for a flow."""
        return flow in self._kept

    def take_over(self, name: str, flow: str) -> None:
        """Let what has not run of a batch, and of earlier ones of its name, run by the functions as they are by now."""
        self._kept.pop(flow, None)
        self._go_on_with(name)

    def _go_on_with(self, name: str) -> None:
        if name not in self._taken_over:
            self._taken_over.add(name)
            self._verdicts.clear()

    def task_for(self, taken: Taken, now: Task | None, *, is_deployed: bool) -> Task | None:
        """Return the function for a job, `now` being the one that is defined by now; None where none may run it.

        Code that `flownb worker` has deployed runs whatever comes.
        """
        flow = taken.record.flow
        if flow is None:
            return now
        kept = self._kept.get(flow)
        if kept is not None:
            return kept.get((taken.record.queue, taken.record.name), now)
        if now is None or is_deployed:
            return now
        return now if self._may_run(flow, now) else None

    def _may_run(self, flow: str, task: Task) -> bool:
        asked = flow, task.name, task.code
        if asked not in self._verdicts:
            if len(self._verdicts) >= MOST_VERDICTS:
                self._verdicts.clear()
            try:
                self._verdicts[asked] = self._is_same(flow, task)
            except ServerError:
                return False  # put off: the server is asked again
        return self._verdicts[asked]

    def _is_same(self, flow: str, task: Task) -> bool:
        record = self._store.flows.read(flow, "name", "spec")
        if "spec" not in record or record.get("name") in self._taken_over:
            return True
        return not is_edited(codes_of(json.loads(record["spec"])).get(task.name), task.code)

    def _has_ended(self, flow: str) -> bool:
        with contextlib.suppress(JobMissing):
            return self._store.flows.read_end(flow)[0] is not None
        return True


def codes_of(spec: dict[str, Any]) -> dict[str, str]:
    """Return the code of a batch's tasks as they were when it was added, by name."""
    stages = zip(spec["stage_names"], spec.get("stage_codes", ()), strict=False)
    return {**dict(stages), spec["task"]: spec.get("added_code") or spec.get("code") or ""}


def added_tasks_on(connection: Connection) -> AddedTasks:
    """Return what this process has added to a server; it lasts until the connection is gone."""
    if connection not in _by_connection:
        _by_connection[connection] = AddedTasks(connection)
    return _by_connection[connection]


_by_connection: weakref.WeakKeyDictionary[Connection, AddedTasks] = weakref.WeakKeyDictionary()
