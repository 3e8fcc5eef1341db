"""Which function runs a row: the one that its batch was added with, or the one that this kernel has by now.

A kernel that adds a batch keeps the functions as they were then. A batch of another kernel, or of one that is gone,
runs here if its functions are the same ones, or if somebody here goes on with it: by `attach`, `retry` or `fan_out`.
"""

from __future__ import annotations

import contextlib
import json
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from flownb.connection import Connection
from flownb.errors import JobMissing, ServerError
from flownb.tasks import registry
from flownb.tasks.code import is_edited
from flownb.tasks.task import Task
from flownb.wire import keys
from flownb.wire.store import Store

MOST_VERDICTS = 1_000  # on flows of other kernels, that are remembered


class AddedTasks:
    """The functions of batches on one server, as this process runs them."""

    def __init__(self, connection: Connection) -> None:
        self._store = Store(connection.client(), connection.prefix)
        # Written by whoever adds, attaches or retries a batch; read by the slots' threads.
        self._kept: dict[str, dict[tuple[str, str], Task]] = {}  # by flow
        self._taken_over: set[str] = set()  # names
        self._verdicts: dict[tuple[str, str, str], bool] = {}
        self._concurrency: dict[str, int | None] = {}  # of queues, as this process has written it
        self._most: dict[str, tuple[list[str], int]] = {}  # by flow: its queues, and how many jobs may run
        self._listeners: list[Callable[[], None]] = []

    def keep(self, name: str, flow: str, tasks: Iterable[Task]) -> None:
        """Let a batch's jobs run by these functions as they are now; forget those of batches that have ended."""
        self._go_on_with(name)
        for other in {*self._kept, *self._most}:
            if other != flow and self._has_ended(other):
                self._kept.pop(other, None)
                self._most.pop(other, None)
        self._kept[flow] = {(task.queue, task.name): task.as_it_is_now() for task in tasks}

    def replace(self, task: Task) -> None:
        """Let what has not run of any batch run by this task as it is now: the one of before could not be set up."""
        for kept in self._kept.values():
            if (task.queue, task.name) in kept:
                kept[task.queue, task.name] = task.as_it_is_now()

    # ---- how many at a time -------------------------------------------------------------------------

    def give_concurrency(self, queues: Iterable[str]) -> None:
        """Write what this process's tasks say of how many jobs of these queues run, unless it is written."""
        for queue in queues:
            most = registry.concurrency(queue)
            if queue not in self._concurrency or self._concurrency[queue] != most:
                self._store.settings.give_concurrency(keys.base(self._store.prefix, queue), most)
                self._concurrency[queue] = most

    def widen(self, flow: str, queues: Iterable[str], most: int | None) -> None:
        """Open slots for a flow that lets so many of its jobs run, until it has ended."""
        if most is None:
            if self._most.pop(flow, None) is None:
                return
        else:
            self._most[flow] = list(queues), most
        for listener in list(self._listeners):
            listener()

    def widen_as_stored(self, flow: str) -> None:
        """Open slots for a flow that another kernel may have added."""
        record = self._store.flows.read(flow, "concurrency", "spec")
        if "concurrency" in record and "spec" in record:
            self.widen(flow, [json.loads(record["spec"])["queue"]], int(record["concurrency"]))

    def most_of_flows(self, queue: str) -> int:
        """Return how many slots the flows of a queue ask for that say how many of their jobs run."""
        return max((most for queues, most in list(self._most.values()) if queue in queues), default=0)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when flows ask for other slots than before; returns the call that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # ---- by which function --------------------------------------------------------------------------

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

    def task_for(
        self, flow: str | None, queue: str, name: str, now: Task | None, *, is_deployed: bool
    ) -> Task | None:
        """Return the function for a flow's job, `now` being the one that is defined by now; None where none may run it.

        Code that `flownb worker` has deployed runs whatever comes.
        """
        if flow is None:
            return now
        kept = self._kept.get(flow)
        if kept is not None:
            return kept.get((queue, name), now)
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
    steps = {step["task"]: step["added_code"] for step in spec.get("steps", ())}
    return {**dict(stages), spec["task"]: spec.get("added_code") or spec.get("code") or "", **steps}


def added_tasks_on(connection: Connection) -> AddedTasks:
    """Return what this process has added to a server; it lasts until the connection is gone."""
    if connection not in _by_connection:
        _by_connection[connection] = AddedTasks(connection)
    return _by_connection[connection]


_by_connection: weakref.WeakKeyDictionary[Connection, AddedTasks] = weakref.WeakKeyDictionary()
