"""`prune`: removes flows that have ended, by their age and state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from flownb import hooks
from flownb.api.job import store_of
from flownb.api.listing import OLDER, Line
from flownb.arguments import flag, one_of, seconds
from flownb.connection import Connection
from flownb.errors import OptionError, ServerRefused
from flownb.state.flow_state import OwnFlowState
from flownb.state.listed_flow import ListedFlow, pages_of_listed, read_listed
from flownb.steering import remove
from flownb.wire import keys
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, FlowCounts
from flownb.wire.store import Store
from flownb.wire.store.job_records import number

if TYPE_CHECKING:
    import pandas as pd

PRUNED_STATES = (COMPLETED, FAILED, CANCELLED, OLDER)


def prune(
    older_than: Any = None,
    state: str | None = None,
    *,
    dry_run: bool = False,
    connection: Connection | None = None,
) -> pd.DataFrame:
    """Remove flows that have ended; return those that went, as `flows` lists them.

    `older_than` is how long ago a flow ended at least: seconds, a timedelta or "7d". `state` is completed, failed,
    cancelled, or older: flows whose name another one has by now. Of the two at least one is given. With a flow go
    those that had its name before. A flow stays that is paused, or of which a job runs or waits; so do flows of other
    programs, which are not in flownb's index. ``dry_run=True`` removes nothing and returns what would go.

    >>> flow = add({"name": "total", "queueName": "doc-pruned"}, name="doc-pruned").cancel()
    >>> prune(state="cancelled", dry_run=True)["name"].tolist()
    ['doc-pruned']
    >>> prune("7d").empty
    True
    >>> prune(state="cancelled")[["name", "state", "total"]]
             name      state  total
    0  doc-pruned  cancelled      1
    """
    if older_than is None and state is None:
        raise OptionError("prune: say which flows: older_than='7d', state='completed', or both")
    grace_ms = 0 if older_than is None else round(seconds(older_than, "older_than") * 1000)
    wanted = None if state is None else one_of("state", state, PRUNED_STATES)
    dry_run = flag("dry_run", dry_run)
    resolved, store = store_of(connection)
    if not dry_run:
        resolved.ensure_writable()
    now = store.server.read_time()
    lines = []
    for resting in _chosen(_resting_flows(store), wanted, now - grace_ms):
        if not dry_run and not _remove(store, resting.flow):
            continue
        lines.append(resting.line(store, now))
    return hooks.tables.flows_frame(lines)


class _Resting(NamedTuple):
    """A flow that has ended with all its jobs, and is not paused."""

    flow: str
    record: dict[str, str]
    state: str
    counts: FlowCounts
    is_older: bool

    def is_wanted(self, state: str | None, ended_before: int) -> bool:
        is_state = state in (None, self.state, OLDER if self.is_older else None)
        return is_state and number(self.record.get("finished", 0)) <= ended_before

    def line(self, store: Store, now: int) -> Line:
        flow = keys.short(self.record["root"], store.prefix)
        why = "a newer flow has its name" if self.is_older else ""
        return Line.of(flow, self.record, self.state, self.counts, now, why)


def _chosen(resting: Sequence[_Resting], state: str | None, ended_before: int) -> Iterator[_Resting]:
    """Yield the flows that are asked for, and those that had the name of one of them before."""
    going = {one.flow for one in resting if one.is_wanted(state, ended_before)}
    names = {one.record["name"] for one in resting if one.flow in going and not one.is_older}
    for one in resting:
        if one.flow in going or (one.is_older and one.record["name"] in names):
            yield one


def _resting_flows(store: Store) -> list[_Resting]:
    listed = (one for page in pages_of_listed(store) for _, _, one in page if one)
    return [resting for one in listed if (resting := _at_rest(store, one))]


def _at_rest(store: Store, listed: ListedFlow) -> _Resting | None:
    """Return a flow that has ended; None for one that has not, that is paused or cannot be read."""
    record, counts = listed.record, listed.counts
    if not listed.has_settled:  # another program's workers may have ended what the counts have as waiting
        if listed.root is None or listed.root.finished_on is None:
            return None
        try:
            flow_state = OwnFlowState(store, listed.flow)
            record, counts = flow_state.record(), flow_state.counts()
        except ServerRefused:
            return None
    ended = counts.count(COMPLETED) + counts.count(FAILED)
    if "ended" not in record or counts.paused or counts.counting or ended < counts.total:
        return None
    return _Resting(listed.flow, record, record["ended"], counts, listed.is_older)


def _remove(store: Store, flow: str) -> bool:
    """Remove a flow, unless it runs again by now."""
    (listed,) = read_listed(store, [flow])
    if listed is None or _at_rest(store, listed) is None:
        return False
    remove.remove_flow(store, flow)
    return True
