"""Which flows there are: from flownb's own index, and from a queue's own sets those that other programs made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from flownb import hooks
from flownb.api.job import store_of
from flownb.connection import Connection
from flownb.diagnosis.explain import explain
from flownb.errors import FlowError, OptionError
from flownb.state.flow_state import FlowState, FoundFlowState, OwnFlowState, state_of
from flownb.wire import keys
from flownb.wire.records import COMPLETED, FAILED, STATES, FlowCounts
from flownb.wire.store import Store

if TYPE_CHECKING:
    import pandas as pd

FLOW_STATES = (*STATES, "failing", "cancelled")
_PAGE = 100  # flows read from the index at a time
_LOOK = 250  # ids of each state of a queue among which other programs' flows are sought
_PATIENCE = 0.3  # seconds for counting one flow of another program
_MOST_EXPLAINED = 50  # unfinished jobs of a flow that are looked at for its `why`
_MOST_STEPS = 100


class Line(NamedTuple):
    """One flow of the list."""

    flow: str  #: ``queue:id`` of its root, as `attach` takes it
    name: str
    state: str
    completed: int
    failed: int
    total: int
    age_s: float
    why: str


def flows(
    queue: str | None = None,
    state: str | None = None,
    limit: int = 100,
    *,
    connection: Connection | None = None,
) -> pd.DataFrame:
    """List the flows on the server, the newest first: a DataFrame flow name state completed failed total age_s why.

    `flow` is what `attach` takes. `why` says of a failed flow what failed it, of one that has not ended what keeps
    it. `queue` keeps the flows with a job in that queue, and adds those that other programs put there, as far as
    the newest 250 jobs of each of its states belong to them; jobs without parent and children are no flows.
    `state` is one of BullMQ's states, of the root, or ``failing`` or ``cancelled``. Nothing is searched for but in
    the index of flownb's flows and in the queue's own lists.

    >>> flow = add({"name": "total", "queueName": "doc-listed"})
    >>> flows(queue="doc-listed")[["name", "state", "total", "why"]]
        name    state  total                                  why
    0  total  waiting      1  no worker serves queue 'doc-listed'
    """
    if state is not None and state not in FLOW_STATES:
        raise OptionError(f"state {state!r}: there are {', '.join(FLOW_STATES)}")
    if type(limit) is not int or limit < 1:
        raise OptionError(f"limit: a whole number from 1 on, not {limit!r}")
    if queue is not None and (problem := keys.problem_with_queue(queue)):
        raise FlowError(f"queue {queue!r}: the name {problem}")
    _, store = store_of(connection)
    now, lines = store.server.read_time(), list[Line]()
    for flow_state in _newest_first(store, queue):
        line = _line(store, flow_state, now, queue, state)
        if line is not None:
            lines.append(line)
            if len(lines) == limit:
                break
    return hooks.tables.flows_frame(lines)


def _newest_first(store: Store, queue: str | None) -> Iterator[FlowState]:
    others = [] if queue is None else _others(store, queue)
    for flow, created in store.flows.pages(_PAGE):
        while others and others[0][0] > created:
            yield FoundFlowState(store, others.pop(0)[1])
        yield OwnFlowState(store, flow)
    yield from (FoundFlowState(store, root) for _, root in others)


def _line(
    store: Store, flow_state: FlowState, now: int, queue: str | None, wanted: str | None
) -> Line | None:
    """Return what the list says of a flow; None if it is not asked for, or gone."""
    if (
        queue is not None
        and flow_state.flow is not None
        and queue not in store.flows.read_counts(flow_state.flow).by_stage
    ):
        return None
    record = flow_state.record()
    if not record:
        return None
    state = state_of(record, store.jobs.read([flow_state.root], ("name",))[0])
    if wanted not in (None, state):
        return None
    counts = flow_state.counts(_PATIENCE)
    return Line(
        flow=keys.short(flow_state.root, store.prefix),
        name=record["name"],
        state=state,
        completed=counts.count(COMPLETED),
        failed=counts.count(FAILED),
        total=counts.total,
        age_s=max(now - int(record["created"]), 0) / 1000,
        why=_why(store, flow_state, record, counts),
    )


def _why(store: Store, flow_state: FlowState, record: dict[str, str], counts: FlowCounts) -> str:
    reasons = explain(store, flow_state, record, most=_MOST_EXPLAINED)
    told = [reasons[0].why] if reasons else []
    return "; ".join([*told, "not all of it was counted yet"] if counts.counting else told)


def _others(store: Store, queue: str) -> list[tuple[int, str]]:
    """Return the roots of other programs' flows with a job in this queue, and when they were made; the newest first."""
    base = keys.base(store.prefix, queue)
    found = [
        keys.job_in(base, id) for state in STATES for id in store.queues.read_ids(base, state, 0, _LOOK - 1)
    ]
    level, seen = list(dict.fromkeys(found)), set[str]()
    tops: dict[str, int] = {}
    for _ in range(_MOST_STEPS):
        seen.update(level)
        above: dict[str, None] = {}
        for job in store.jobs.read(level, ("fl", "parentKey", "timestamp")):
            if job is None or job.flow is not None:
                continue
            if job.parent_key is None:
                tops[job.key] = job.timestamp
            elif job.parent_key not in seen:
                above[job.parent_key] = None
        level = list(above)
        if not level:
            break
    roots = list(tops)
    kin = store.children.read_names(roots)
    found_roots = [(tops[root], root) for root, k in zip(roots, kin, strict=True) if k and k.has_children]
    return sorted(found_roots, reverse=True)
