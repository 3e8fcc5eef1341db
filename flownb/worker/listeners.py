"""What a worker's own listeners are called with: `Worker.on`. What all workers of a queue do is for `QueueEvents`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from flownb.api.job import Job
from flownb.arguments import shown
from flownb.connection import Connection
from flownb.errors import OptionError
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.middleware import Middleware, log
from flownb.worker.settings import WorkerSettings

Listener = Callable[..., object]

#: what happens in a worker, and what listeners get with it
EVENTS = {
    "ready": "nothing",
    "active": "the job",
    "completed": "the job and its value",
    "failed": "the job and why, also where another attempt follows",
    "paused": "nothing",
    "resumed": "nothing",
    "closing": "nothing",
    "closed": "nothing",
}
_OF_RUNS = ("before_run", "on_answers")  # hooks that are called with runs


class Listeners(Middleware):
    """The listeners of one worker; it lives as long as the worker, through its starts and ends."""

    def __init__(self) -> None:
        self._functions: dict[
            str, tuple[Listener, ...]
        ] = {}  # replaced as a whole by the thread that calls `add`
        self.on_more: Callable[[], None] = lambda: None  #: called once there is a listener more
        self._running: dict[tuple[str, str], Taken] = {}  # the slots' threads add, the pump's takes out

    def add(self, event: Any, function: Any) -> None:
        """Have `function` called at each event of this name; refuse one that there is not."""
        if not isinstance(event, str) or event not in EVENTS:
            near = difflib.get_close_matches(shown(event).strip("'"), EVENTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EVENTS)}"
            raise OptionError(f"event {shown(event)}: a worker tells of no such event; {hint}")
        if not callable(function):
            raise OptionError(f"function: one that takes {EVENTS[event]}, not {type(function).__name__}")
        self._functions = {**self._functions, event: (*self._functions.get(event, ()), function)}
        self.on_more()

    def tell(self, event: str, *about: Any) -> None:
        """Call the listeners of an event; one that raises is logged, and the others are called."""
        for function in self._functions.get(event, ()):
            try:
                function(*about)
            except (Exception, SystemExit):
                log.exception("the worker goes on after a listener for %r failed", event)

    # ---- hooks ----------------------------------------------------------------------------------------

    def wants(self, hook: str) -> bool:
        """Runs are of interest once somebody listens."""
        return super().wants(hook) and (hook not in _OF_RUNS or bool(self._functions))

    def on_start(self, settings: WorkerSettings) -> None:
        self._connection: Connection = settings.connection
        self._store = Store(self._connection.client(), self._connection.prefix)
        self.tell("ready")

    def before_run(self, taken: Taken) -> None:
        self._running[taken.base, taken.record.id] = taken
        if "active" in self._functions:
            self.tell("active", self._job(taken))

    def on_answers(self, outcomes: Sequence[Outcome], answers: Sequence[str]) -> None:
        if self._running:
            for outcome, answer in zip(outcomes, answers, strict=True):
                if outcome.kind != "begun":
                    self._tell_end(outcome, answer)

    def _tell_end(self, outcome: Outcome, answer: str) -> None:
        taken = self._running.pop((outcome.base, outcome.id), None)
        if taken is None or answer != "done":
            return
        if outcome.kind == "completed":
            taken.record.returnvalue = outcome.value
            job = self._job(taken)
            self.tell("completed", job, job.returnvalue)
        elif outcome.kind in ("failed", "retry"):
            taken.record.failed_reason = outcome.reason
            self.tell("failed", self._job(taken), outcome.reason)

    def on_stop(self) -> None:
        self._running.clear()
        self.tell("closed")

    def _job(self, taken: Taken) -> Job:
        return Job(taken.record, store=self._store, connection=self._connection)
