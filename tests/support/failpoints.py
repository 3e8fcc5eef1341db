"""Named places of a worker at which a fault test kills its process.

`FLOWNB_FAILPOINT=before_finish@3` in the environment of a worker process of tests kills it the third time it comes
there. The places are put around the package's own classes by `install`, in the process of the test: the package
itself knows nothing of them.

    after_fetch         the server has given jobs, the worker has not seen them
    before_run          a slot has a job and has not called its function
    after_run           the function has returned
    before_finish       outcomes are about to be sent
    after_finish_sent   they have arrived, and the worker has not seen the answer
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

VARIABLE = "FLOWNB_FAILPOINT"


def install() -> None:
    """Put what the environment asks for at its place."""
    if not (asked := os.environ.get(VARIABLE)):
        return
    place, _, number = asked.partition("@")
    visits = itertools.count(1)

    def reach() -> None:
        if next(visits) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    _PLACES[place](reach)


def _around_runs(reach: Callable[[], None], hook: str) -> None:
    from flownb.worker.middleware import Middleware
    from flownb.worker.worker import Worker

    failing = type("Failing", (Middleware,), {hook: lambda self, *given: reach()})
    Worker._middleware = (*Worker._middleware, failing)


def _around_calls(reach: Callable[[], None], *, before: bool, having: str) -> None:
    from flownb.wire.store.leases import Leases

    called = Leases.finish_and_fetch

    def finish_and_fetch(self: Leases, *given: Any, **named: Any) -> Any:
        has_outcomes = bool(named["outcomes"])
        if before and has_outcomes:
            reach()
        turn = called(self, *given, **named)
        if not before and (has_outcomes if having == "outcomes" else turn.taken):
            reach()
        return turn

    Leases.finish_and_fetch = finish_and_fetch  # type: ignore[method-assign]


_PLACES: dict[str, Callable[[Callable[[], None]], None]] = {
    "after_fetch": lambda reach: _around_calls(reach, before=False, having="jobs"),
    "before_run": lambda reach: _around_runs(reach, "before_run"),
    "after_run": lambda reach: _around_runs(reach, "after_run"),
    "before_finish": lambda reach: _around_calls(reach, before=True, having="outcomes"),
    "after_finish_sent": lambda reach: _around_calls(reach, before=False, having="outcomes"),
}
