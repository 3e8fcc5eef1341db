"""Knows whether a worker's own job or listener makes a call: what waits for the worker's jobs would wait for itself.

A context variable, not the thread: coroutines run in the worker's loop, and with a thread pool jobs run in its threads.
"""

from __future__ import annotations

from contextvars import ContextVar

from flownb.errors import FlowError
from flownb.tasks import setup

_caller: ContextVar[str] = ContextVar("the worker whose job or listener this is", default="")


def belongs_to(identity: str) -> None:
    """Say of what runs in this thread, and in what it starts, whose it is."""
    _caller.set(identity)
    setup.user.set(identity)


def refuse_own(identity: str | None, call: str, instead: str) -> None:
    """Raise FlowError where a worker's own job or listener makes a call that waits for the worker's jobs.

    `identity` is the worker's; None while it does not run.
    """
    if _caller.get() == identity:
        raise FlowError(
            f"{call} in one of the worker's own jobs or listeners would wait for itself; {instead}"
        )
