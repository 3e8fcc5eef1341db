"""Worker middleware: hooks around a run, on an outcome, at each sweep, on start and stop. A feature is one class.

The order of calls, for a worker with middleware ``(A, B)``:

    A.on_start  B.on_start                   before any thread of the worker runs
      A.on_sweep  B.on_sweep                 once a `stalled_interval`, the first time at once
      A.on_swept  B.on_swept                 after each sweep of the queues: seldom while nothing waits or runs
      A.before_run  B.before_run             then the job's function
      B.after_run  A.after_run               in the same thread, also when the run was given up meanwhile
      B.on_answers  A.on_answers             when the server has answered to outcomes of several runs
    B.on_stop  A.on_stop                     after the last result was written, before the connections close

Hooks of different jobs run at the same time, in the slots' threads; those of the pump (`on_sweep`, `on_swept`,
`on_answers`) one at a time, and they hold up the worker while they run. A hook that raises is logged, and the worker
goes on as if it had returned. A hook that no middleware wants is never called, and costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flownb.errors import ServerError
from flownb.wire.outcomes import Outcome
from flownb.wire.store.job_records import Taken
from flownb.wire.store.leases import Sweep
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")

Hook = Callable[..., None]


class Middleware:
    """The base of all middleware: override the hooks that are needed. Each start of a worker makes its own."""

    def on_start(self, settings: WorkerSettings) -> None:
        """The worker starts. In the thread that starts it."""

    def on_sweep(self, bases: Sequence[str]) -> None:
        """The worker sweeps these queues. In the pump's thread; a ServerError makes the worker wait and try again."""

    def on_swept(self, bases: Sequence[str], sweep: Sweep) -> None:
        """The server has swept the queues. In the pump's thread; a ServerError makes the worker wait and try again."""

    def before_run(self, taken: Taken) -> None:
        """A slot is about to run a job. In the slot's thread."""

    def after_run(self, taken: Taken, outcome: Outcome, seconds: float) -> None:
        """A run has ended; its outcome is not written yet. In the slot's thread."""

    def on_answers(self, outcomes: Sequence[Outcome], answers: Sequence[str]) -> None:
        """The server has answered to outcomes: ``done``, ``stale``, ... (`Turn.answers`). In the pump's thread."""

    def on_stop(self) -> None:
        """The worker has run its last job. In the thread that closes it."""

    def wants(self, hook: str) -> bool:
        """Is this hook to be called? Those are that a class overrides."""
        return getattr(type(self), hook) is not getattr(Middleware, hook)


class Hooks:
    """The hooks that some middleware of a worker wants, in the order of their calls."""

    def __init__(self, middleware: Iterable[Middleware]) -> None:
        self._middleware = tuple(middleware)
        self.look()

    def look(self) -> None:
        """See which hooks are wanted; in any thread."""
        first_to_last, last_to_first = self._middleware, self._middleware[::-1]
        # In the caller's thread: what interrupts that is the caller's.
        self.on_start = _wanted("on_start", first_to_last, caught=Exception)
        self.on_sweep = _wanted("on_sweep", first_to_last, let_through=(ServerError,))
        self.on_swept = _wanted("on_swept", first_to_last, let_through=(ServerError,))
        self.before_run = _wanted("before_run", first_to_last)
        self.after_run = _wanted("after_run", last_to_first)
        self.on_answers = _wanted("on_answers", last_to_first)
        self.on_stop = _wanted("on_stop", last_to_first, caught=Exception)


def _wanted(
    name: str,
    middleware: Sequence[Middleware],
    let_through: tuple[type[Exception], ...] = (),
    caught: type[BaseException] = BaseException,
) -> tuple[Hook, ...]:
    return tuple(_logged(getattr(each, name), let_through, caught) for each in middleware if each.wants(name))


def _logged(hook: Hook, let_through: tuple[type[Exception], ...], caught: type[BaseException]) -> Hook:
    def call(*given: Any) -> None:
        try:
            hook(*given)
        except let_through:
            raise
        except caught:  # a thread of the worker that ended here would keep its job for ever
            log.exception("the worker goes on after %s failed", hook.__qualname__)

    return call
