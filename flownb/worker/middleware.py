"""Worker middleware: hooks around a run, on an outcome, at each sweep, on start and stop. A feature is one class.

The order of calls, for a worker with middleware ``(A, B)``:

    A.on_start  B.on_start                   before any thread of the worker runs
      A.on_sweep  B.on_sweep                 once a `stalled_interval`, the first time at once
      A.before_run  B.before_run             then the job's function
      B.after_run  A.after_run               in the same thread, also when the run was given up meanwhile
      B.on_outcome  A.on_outcome             when the server has answered
    B.on_stop  A.on_stop                     after the last result was written, before the connections close

Hooks of different jobs run at the same time, in the slots' threads; those of the pump (`on_sweep`, `on_outcome`) one at
a time, and they hold up the worker while they run. A hook that raises is logged, and the worker goes on as if it had
returned. A hook that no middleware overrides is never called, and costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flownb.errors import ServerError
from flownb.wire.outcomes import Outcome
from flownb.wire.store.job_records import Taken
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")

Hook = Callable[..., None]


class Middleware:
    """The base of all middleware: override the hooks that are needed. Each start of a worker makes its own."""

    def on_start(self, settings: WorkerSettings) -> None:
        """The worker starts. In the thread that starts it."""

    def on_sweep(self, bases: Sequence[str]) -> None:
        """The worker sweeps these queues. In the pump's thread; a ServerError makes the worker wait and try again."""

    def before_run(self, taken: Taken) -> None:
        """A slot is about to run a job. In the slot's thread."""

    def after_run(self, taken: Taken, outcome: Outcome, seconds: float) -> None:
        """A run has ended; its outcome is not written yet. In the slot's thread."""

    def on_outcome(self, outcome: Outcome, answer: str) -> None:
        """The server has answered to an outcome: ``done``, ``stale``, ... (`Turn.answers`). In the pump's thread."""

    def on_stop(self) -> None:
        """The worker has run its last job. In the thread that closes it."""


class Hooks:
    """The hooks that some middleware of a worker overrides, in the order of their calls."""

    def __init__(self, middleware: Iterable[Middleware]) -> None:
        first_to_last = tuple(middleware)
        last_to_first = first_to_last[::-1]
        self.on_start = _overridden("on_start", first_to_last)
        self.on_sweep = _overridden("on_sweep", first_to_last, let_through=(ServerError,))
        self.before_run = _overridden("before_run", first_to_last)
        self.after_run = _overridden("after_run", last_to_first)
        self.on_outcome = _overridden("on_outcome", last_to_first)
        self.on_stop = _overridden("on_stop", last_to_first)


def _overridden(
    name: str, middleware: Sequence[Middleware], let_through: tuple[type[Exception], ...] = ()
) -> tuple[Hook, ...]:
    return tuple(
        _logged(getattr(each, name), let_through)
        for each in middleware
        if getattr(type(each), name) is not getattr(Middleware, name)
    )


def _logged(hook: Hook, let_through: tuple[type[Exception], ...]) -> Hook:
    def call(*given: Any) -> None:
        try:
            hook(*given)
        except let_through:
            raise
        except Exception:
            log.exception("the worker goes on after %s failed", hook.__qualname__)

    return call
