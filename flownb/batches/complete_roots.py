"""Complete the roots of batches whose rows have all ended, where no worker does it."""

from __future__ import annotations

import secrets

from flownb.api.job import Job
from flownb.api.summary import summarise
from flownb.errors import NotAllowed
from flownb.wire import codec, keys
from flownb.wire.lease_records import FetchingWorker
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store

MOST_ROOTS = 10  #: completed by one call
LOCK_MS = 15_000


def complete_roots(store: Store, prefix: str) -> None:
    """Take the roots that wait to be run and complete them, as a worker would, where this user may take jobs."""
    base = keys.base(prefix, keys.BATCH_QUEUE)
    token = secrets.token_hex(8)
    worker = FetchingWorker(token=token, lock_ms=LOCK_MS)
    try:
        taken = store.leases.finish_and_fetch([base], outcomes=[], want=MOST_ROOTS, worker=worker).taken
    except NotAllowed:  # workers complete them
        return
    if taken:
        outcomes = []
        for one in taken:
            summary = codec.encode(summarise(Job(one.record, store=store)), "summary")
            outcomes.append(
                Outcome(base, one.record.id, token, one.record.attempts_started, "completed", summary)
            )
        store.leases.finish_and_fetch([base], outcomes=outcomes, want=0, worker=worker)
