"""Cancelling: the flow ends at once, then what waits in it is taken out of its lines, in calls of 100.

Cut short, nothing is lost: a worker that meets one of these jobs ends it instead of running it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flownb.flows import tree
from flownb.flows.journal import tell
from flownb.wire.records import COMPLETED
from flownb.wire.steering import MOST_STEERED
from flownb.wire.store import Store


def cancel_flow(store: Store, flow: str, record: Mapping[str, str]) -> None:
    """Cancel what has not run yet; nothing to do when the flow has completed."""
    root = record["root"]
    if store.cancel_flow(root.rsplit(":", 1)[0], flow) != COMPLETED:
        tell("is cancelled", flow=flow)
        cancel_below(store, [root])


def cancel_below(store: Store, tops: Sequence[str]) -> None:
    """End the jobs below these that nobody needs any more. Each level from its newest job on: that is where a
    line is read from.
    """
    for level in tree.levels_below(store, tops):
        for end in range(len(level), 0, -MOST_STEERED):
            store.cancel_jobs(level[max(end - MOST_STEERED, 0) : end])
