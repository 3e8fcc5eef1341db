"""The areas of the suite, each with its scenarios: name -> steps."""

from __future__ import annotations

from tests.interop.conformance import (
    delays,
    flows,
    jobs,
    policies,
    queues,
    schedulers,
    trees,
    verbs,
    worker_events,
    workers,
)

AREAS = {
    "flow": flows.SCENARIOS,
    "policy": policies.SCENARIOS,
    "job": jobs.SCENARIOS,
    "delay": delays.DELAYS,
    "priority": delays.PRIORITIES,
    "worker": workers.WORKERS,
    "retry": workers.RETRIES,
    "removal": workers.REMOVALS,
    "pause": queues.PAUSES,
    "rate limit": queues.LIMITS,
    "getter": queues.GETTERS,
    "event": queues.EVENTS,
    "many jobs": verbs.MANY,
    "one job": verbs.ONE,
    "deduplication": verbs.DEDUPLICATION,
    "queue setting": verbs.BINDING,
    "scheduler": schedulers.SCENARIOS,
    "worker event": worker_events.SCENARIOS,
    "tree": trees.SCENARIOS,
}
