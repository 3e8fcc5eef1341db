"""A `logging` record of every step from one state to another that a call of this program made on the server.

The logger is ``flownb.flows.jobs``, the fields are ``flow job attempt state``. A record holds nothing of a job's data
or value, and of an error only its type. Without a listener a call costs one check: the server sends no steps.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from flownb.wire import keys
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, STATES

log = logging.getLogger("flownb.flows.jobs")

_OTHER_EVENTS = ("stalled", "removed")  # events that are no state


def has_listener() -> bool:
    """Say whether somebody listens."""
    return log.isEnabledFor(logging.INFO)


def write(steps: Sequence[Sequence[Any]]) -> None:
    """Write a record for each step; one is what ``lua/lib/queue.lua`` answers: ``base event id about``."""
    for base, event, id, about in steps:
        if event in STATES or event in _OTHER_EVENTS:
            _write_one(keys.short(keys.job_in(base, id), keys.prefix_of_base(base)), event, *about)


def _write_one(
    job: str,
    event: str,
    name: str | None,
    flow: str | None,
    starts: str | None,
    reason: str | None,
    why: str | None,
) -> None:
    attempt = int(starts or 0)
    level, word = logging.DEBUG, event
    if event == FAILED:
        level, word = logging.INFO, CANCELLED if why == CANCELLED else f"failed ({_blamed(reason, why)})"
    elif event == "stalled":
        level, word = logging.INFO, "stalled: its worker is gone"
    elif reason and event not in ("active", COMPLETED, "removed"):
        level, word = logging.INFO, f"{event}, after an attempt that failed ({_blamed(reason, None)})"
    about = {"flow": flow or None, "job": job, "attempt": attempt, "state": event}
    log.log(level, "job %s (%s), start %d, %s", name or "?", job, attempt, word, extra=about)


def _blamed(reason: str | None, why: str | None) -> str:
    return "a child" if why == "child" else (reason or "").partition(":")[0]
