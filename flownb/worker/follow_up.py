"""What follows from the ends of many jobs: cancelling descendants, notifying further parents, pausing flows whose
calls are all limited; on a side thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from flownb.steering import cancel
from flownb.wire import keys
from flownb.wire.store import Store
from flownb.wire.store.leases import Turn
from flownb.worker.settings import WorkerSettings

log = logging.getLogger("flownb.worker")


def follow_up(turn: Turn, settings: WorkerSettings) -> None:
    """Begin the work that follows from what a call has ended."""
    if turn.failed_parents:
        _in_background(cancel.cancel_below, turn.failed_parents, settings)
    if turn.shared:
        _in_background(lambda store, jobs: store.shared.notify_parents(jobs), turn.shared, settings)
    if turn.limited_flows:
        _in_background(_pause_limited, turn.limited_flows, settings)


def _pause_limited(store: Store, flows: list[tuple[str, str]]) -> None:
    """Pause flows of queues whose service has limited every call for long: a used-up quota does not come back soon."""
    for base, flow in dict.fromkeys(flows):
        cause = f"every call of queue {keys.short(base, store.prefix)!r} was limited for 10 minutes"
        store.flows.pause(base, flow, f"{cause}; see whether the service's quota is used up, then resume()")


def _in_background(act: Callable[[Store, Any], Any], jobs: Sequence[Any], settings: WorkerSettings) -> None:
    """Run follow-up work on a side thread, as it may be much; if interrupted, the next worker or reader finishes it."""

    def work() -> None:
        try:
            act(Store(settings.connection.client(), settings.connection.prefix), jobs)
        except Exception as error:  # also the end of a closed connection
            log.debug("what follows from the ends of jobs is left to others: %s", error)

    threading.Thread(target=work, name=f"flownb-{settings.name}-background", daemon=True).start()
