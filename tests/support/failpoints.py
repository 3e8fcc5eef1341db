"""Named places of a worker at which a fault test ends, freezes or delays its process.

`FLOWNB_FAILPOINT=before_finish:kill@3` in the environment of a worker process of tests kills it the third time it comes
there. The places are put around the package's own classes by `install`, in the process of the test: the package
itself knows nothing of them.

    after_fetch         the server has given jobs, the worker has not seen them
    before_run          a slot has a job and has not called its function
    after_run           the function has returned
    before_finish       outcomes are about to be sent
    after_finish_sent   they have arrived, and the worker has not seen the answer
    in_chunk            a producer has sent one chunk of a large flow, and is about to send the next
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

VARIABLE = "FLOWNB_FAILPOINT"
PLACES = ("after_fetch", "before_run", "after_run", "before_finish", "after_finish_sent", "in_chunk")


def install() -> None:
    """Put what the environment asks for at its place."""
    if not (asked := os.environ.get(VARIABLE)):
        return
    place, _, rest = asked.partition(":")
    deed, _, number = rest.partition("@")
    if place not in PLACES or deed not in _DEEDS:
        raise ValueError(f"{VARIABLE}={asked}: no such place or deed")
    visits = itertools.count(1)

    def reach() -> None:
        if next(visits) == int(number or 1):
            _DEEDS[deed]()

    _INSTALLERS[place](reach)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


_DEEDS: dict[str, Callable[[], None]] = {"kill": _kill, "freeze": _freeze, "delay": lambda: time.sleep(5)}


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


def _around_chunks(reach: Callable[[], None]) -> None:
    from flownb.wire.store.jobs import Jobs

    called, sent = Jobs.add, itertools.count()

    def add(self: Jobs, *given: Any, **named: Any) -> Any:
        if next(sent):
            reach()
        return called(self, *given, **named)

    Jobs.add = add  # type: ignore[method-assign]


_INSTALLERS: dict[str, Callable[[Callable[[], None]], None]] = {
    "after_fetch": lambda reach: _around_calls(reach, before=False, having="jobs"),
    "before_run": lambda reach: _around_runs(reach, "before_run"),
    "after_run": lambda reach: _around_runs(reach, "after_run"),
    "before_finish": lambda reach: _around_calls(reach, before=True, having="outcomes"),
    "after_finish_sent": lambda reach: _around_calls(reach, before=False, having="outcomes"),
    "in_chunk": _around_chunks,
}
