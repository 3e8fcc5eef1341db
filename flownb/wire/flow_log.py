"""A `logging` record of what a program does to flows: logger ``flownb.flows``, fields ``flow`` and ``job``."""

from __future__ import annotations

import logging

from flownb.wire import keys

log = logging.getLogger("flownb.flows")


def log_flow(what: str, *, flow: str | None, job: str | None = None) -> None:
    """Write one record, `what` in words; `job` is the key of the job it is about."""
    if log.isEnabledFor(logging.INFO):
        name = keys.short(job, keys.prefix_of(job)) if job else None
        about = f"job {name}" if name else f"flow {flow}"
        log.info("%s %s", about, what, extra={"flow": flow, "job": name})
