"""`flows`: which flows are on the server, from flownb's index and, for one queue, from that queue's own lists."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from flownb import hooks
from flownb.api.job import store_of
from flownb.arguments import one_of, whole
from flownb.connection import Connection
from flownb.diagnosis.explain import explain
from flownb.errors import ServerRefused
from flownb.state.flow_state import FlowState, FoundFlowState, OwnFlowState, state_of
from flownb.wire import keys
from flownb.wire.records import COMPLETED, FAILED, STATES, FlowCounts
from flownb.wire.store import Store
from flownb.wire.store.job_records import number

if TYPE_CHECKING:
    import pandas as pd

DAMAGED = "damaged"  #: the state of a flow of which something stored cannot be read; `why` says what
FLOW_STATES = (*STATES, "failing", "cancelled")
MOST_LISTED = 10**9  # flows in one list
FLOWS_A_PAGE = 100  # read from the index at a time
MAX_SEARCHED = 250  # ids of each state of a queue among which other programs' flows are sought
MAX_STEPS_UP = 100  # from such a job to its root
COUNT_PATIENCE_SECONDS = 0.3  # for counting one flow of another program
MAX_EXPLAINED = 50  # unfinished jobs of a flow that are read for its `why`


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
    it. Of batches of one name the newest is listed, which `attach` finds. `queue` keeps the flows with a job in that
    queue, and adds those that other programs put there, as far as the newest 250 jobs of each of its states belong to
    them; jobs without parent and children are no flows. `state` is one of BullMQ's states, of the root, or ``failing``
    or ``cancelled``. Nothing is searched for but in the index of flownb's flows and in the queue's own lists. A flow of
    which something cannot be read is `damaged`; `why` and `doctor` say what.

    >>> flow = add({"name": "total", "queueName": "doc-listed"})
    >>> flows(queue="doc-listed")[["name", "state", "total", "why"]]
        name    state  total                                  why
    0  total  waiting      1  no worker serves queue 'doc-listed'
    """
    queue, state, limit = _checked(queue, state, limit)
    _, store = store_of(connection)
    now = store.server.read_time()
    lines = list[Line]()
    try:
        found = (_line_or_damage(store, listed, now, queue, state) for listed in _newest_first(store, queue))
        lines += islice((line for line in found if line), limit)
    except ServerRefused as error:  # the index itself
        lines.append(_damaged("", error))
    return hooks.tables.flows_frame(lines)


def _checked(queue: Any, state: Any, limit: Any) -> tuple[str | None, str | None, int]:
    return (
        None if queue is None else keys.checked_queue(queue),
        None if state is None else one_of("state", state, FLOW_STATES),
        whole("limit", limit, 1, MOST_LISTED),
    )


class _Listed(NamedTuple):
    """A flow that is there: its own one's id, or the key of the root of another program's."""

    flow: str
    is_own: bool

    def open(self, store: Store) -> FlowState:
        return OwnFlowState(store, self.flow) if self.is_own else FoundFlowState(store, self.flow)


def _newest_first(store: Store, queue: str | None) -> Iterator[_Listed]:
    others = [] if queue is None else _foreign_roots(store, queue)
    for flow, created in store.flows.pages(FLOWS_A_PAGE):
        while others and others[0][0] > created:
            yield _Listed(others.pop(0)[1], is_own=False)
        yield _Listed(flow, is_own=True)
    yield from (_Listed(root, is_own=False) for _, root in others)


def _line_or_damage(
    store: Store, listed: _Listed, now: int, queue: str | None, wanted: str | None
) -> Line | None:
    """Return what the list says of a flow; of one that cannot be read, why."""
    try:
        return _line(store, listed.open(store), now, queue, wanted)
    except ServerRefused as error:
        if wanted is not None:
            return None
        return _damaged(listed.flow, error)


def _damaged(flow: str, error: ServerRefused) -> Line:
    return Line(flow, flow, DAMAGED, 0, 0, 0, 0.0, str(error))


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
    if not record or _is_former(store, flow_state, record):
        return None
    if not record.keys() >= {"name", "created"}:
        record = {"name": flow_state.flow or "", "created": "0"} | record
    state = state_of(record, store.jobs.read([flow_state.root], ("name",))[0])
    if wanted not in (None, state):
        return None
    counts = flow_state.counts(COUNT_PATIENCE_SECONDS)
    return Line(
        flow=keys.short(flow_state.root, store.prefix),
        name=record["name"],
        state=state,
        completed=counts.count(COMPLETED),
        failed=counts.count(FAILED),
        total=counts.total,
        age_s=max(now - number(record["created"]), 0) / 1000,
        why=_why(store, flow_state, record, counts),
    )


def _is_former(store: Store, flow_state: FlowState, record: dict[str, str]) -> bool:
    """Say whether a newer batch has the name by now: it has the rows of this one, or stands in its place."""
    if record.get("kind") != "batch":
        return False
    newest = store.flows.find(record.get("name", ""))
    return newest is not None and newest != flow_state.flow


def _why(store: Store, flow_state: FlowState, record: dict[str, str], counts: FlowCounts) -> str:
    reasons = explain(store, flow_state, record, most=MAX_EXPLAINED)
    texts = [reasons[0].why] if reasons else []
    return "; ".join([*texts, "not all of it was counted yet"] if counts.counting else texts)


def _foreign_roots(store: Store, queue: str) -> list[tuple[int, str]]:
    """Return the roots of other programs' flows with a job in this queue, each with when it was added (ms).

    The newest come first. Jobs without parent and children are no flows.
    """
    base, newest = keys.base(store.prefix, queue), MAX_SEARCHED - 1
    found = [
        keys.job_in(base, id) for state in STATES for id in store.queues.read_ids(base, state, 0, newest)
    ]
    tops = _topmost(store, found)
    outlines = store.children.read_names(list(tops))
    pairs = zip(tops.items(), outlines, strict=True)
    roots = [(added, root) for (root, added), outline in pairs if outline and outline.has_children]
    return sorted(roots, reverse=True)


def _topmost(store: Store, jobs: list[str]) -> dict[str, int]:
    """Follow other programs' jobs up to where no parent is; return these with when they were added (ms)."""
    tops: dict[str, int] = {}
    level, seen = list(dict.fromkeys(jobs)), set[str]()
    for _ in range(MAX_STEPS_UP):
        if not level:
            break
        seen.update(level)
        read = store.jobs.read(level, ("fl", "parentKey", "timestamp"))
        foreign = [job for job in read if job and job.flow is None]
        tops |= {job.key: job.timestamp for job in foreign if job.parent_key is None}
        level = list(dict.fromkeys(job.parent_key for job in foreign if job.parent_key))
        level = [parent for parent in level if parent not in seen]
    return tops
