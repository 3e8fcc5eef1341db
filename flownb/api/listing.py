"""`flows`: which flows are on the server, from flownb's index and, for one queue, from that queue's own lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from flownb import hooks
from flownb.api.foreign_roots import find_foreign_roots
from flownb.api.job import store_of
from flownb.arguments import one_of, whole
from flownb.connection import Connection
from flownb.diagnosis.explain import explain
from flownb.diagnosis.short_reasons import ShortReasons, failure
from flownb.errors import ServerRefused
from flownb.state.flow_state import FlowState, FoundFlowState, OwnFlowState, state_of
from flownb.state.listed_flow import ListedFlow, Unended, pages_of_listed
from flownb.wire import keys
from flownb.wire.pauses import amounts_in_words
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, STATES, FlowCounts
from flownb.wire.store import Store
from flownb.wire.store.job_records import number

if TYPE_CHECKING:
    import pandas as pd

DAMAGED = "damaged"  #: the state of a flow of which something stored cannot be read; `why` says what
OLDER = "older"  #: what is asked for in place of a state: flows whose name another one has by now
FLOW_STATES = (*STATES, "failing", CANCELLED, OLDER)
MOST_LISTED = 10**9  # flows in one list
MOST_COMPARED = 100  # flows that have not ended, of which it is read what other programs' workers did
COUNT_PATIENCE_SECONDS = 0.3  # for counting one flow of another program
MAX_EXPLAINED = 50  # jobs of an ended flow that are read for its `why`


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
    spent: str = ""  #: what its jobs have spent, in words

    @classmethod
    def of(
        cls, flow: str, record: Mapping[str, str], state: str, counts: FlowCounts, now: int, why: str
    ) -> Line:
        """Return the line of a flow with this record and these counts."""
        return cls(
            flow=flow,
            name=record["name"],
            state=state,
            completed=counts.count(COMPLETED),
            failed=counts.count(FAILED),
            total=counts.total,
            age_s=max(now - number(record["created"]), 0) / 1000,
            why=why,
        )


def flows(
    queue: str | None = None,
    state: str | None = None,
    limit: int = 100,
    *,
    connection: Connection | None = None,
) -> pd.DataFrame:
    """List the flows on the server, the newest first: flow name state completed failed total age_s why spent.

    A DataFrame, one row a flow, `limit` at most. `flow` is what `attach` takes. `why` says of a failed flow what failed
    it, of one that has not ended what keeps it, as far as its counts and queues tell; `explain` looks at each job.
    `spent` is in words what `spend` was told, `age_s` in seconds.

    Of a name the newest flow is listed, which `attach` finds; ``state="older"`` lists those that had the name before,
    which are removed with it. `queue` keeps the flows with a job in that queue, and adds those that other programs put
    there, as far as the newest 250 jobs of each of its states belong to them; jobs without parent and children are no
    flows. `state` is one of BullMQ's states, of the root, or ``failing``, ``cancelled`` or ``older``. Nothing is
    searched for but in the index of flownb's flows and in the queue's own lists. What other programs' workers did is
    known of the first 100 that have not ended. A flow of which something cannot be read is `damaged`; `why` and
    `doctor` say what.

    >>> flow = add({"name": "total", "queueName": "doc-listed"})
    >>> flows(queue="doc-listed")[["name", "state", "total", "why"]]
        name    state  total                                  why
    0  total  waiting      1  no worker serves queue 'doc-listed'
    """
    queue, state, limit = _checked(queue, state, limit)
    _, store = store_of(connection)
    lines = list[Line]()
    listing = _Listing(store, queue, state)
    try:
        lines += islice(listing.lines(), limit)
        lines = listing.with_spent(lines)
    except ServerRefused as error:  # the index itself
        lines.append(_damaged("", error))
    return hooks.tables.flows_frame(lines)


def _checked(queue: Any, state: Any, limit: Any) -> tuple[str | None, str | None, int]:
    return (
        None if queue is None else keys.checked_queue(queue),
        None if state is None else one_of("state", state, FLOW_STATES),
        whole("limit", limit, 1, MOST_LISTED),
    )


class _Listing:
    """One call: what is asked for, and what is read once for all flows."""

    def __init__(self, store: Store, queue: str | None, state: str | None) -> None:
        self._store = store
        self._queue = queue
        self._wanted = None if state == OLDER else state
        self._wants_older = state == OLDER
        self._now = store.server.read_time()
        self._reasons = ShortReasons(store)
        self._compared = 0  # flows so far that were looked at one by one
        self._accounts: dict[str, str] = {}  # of flows by what the lines call them

    def lines(self) -> Iterator[Line]:
        """Yield a line for each flow that is asked for, the newest first."""
        wants_others = self._queue is not None and not self._wants_older
        others = find_foreign_roots(self._store, self._queue or "") if wants_others else []
        for page in pages_of_listed(self._store):
            for flow, created, found in page:
                while others and others[0][0] > created:
                    yield from self._line_or_damage(others.pop(0)[1], None, is_own=False)
                yield from self._line_or_damage(flow, found, is_own=True)
        for _, root in others:
            yield from self._line_or_damage(root, None, is_own=False)

    def with_spent(self, lines: list[Line]) -> list[Line]:
        """Return the lines with what their flows have spent, which is read in one go."""
        accounts = [self._accounts.get(line.flow) for line in lines]
        spent = self._store.accounts.read_many(list(filter(None, accounts)))
        return [
            line._replace(spent=amounts_in_words(spent[account])) if account and spent[account] else line
            for line, account in zip(lines, accounts, strict=True)
        ]

    def _line_or_damage(self, flow: str, found: ListedFlow | None, *, is_own: bool) -> Iterator[Line]:
        """Yield what the list says of a flow; of one that cannot be read, why; nothing of one that is not asked for."""
        try:
            line = self._line(flow, found, is_own=is_own)
        except ServerRefused as error:
            line = None if self._wanted or self._wants_older else _damaged(flow, error)
        if line is not None and self._wanted in (None, line.state):
            yield line

    def _line(self, flow: str, found: ListedFlow | None, *, is_own: bool) -> Line | None:
        if found is not None:
            if found.is_older != self._wants_older or not self._is_in_queue(found):
                return None
            if self._tells_all(found) or self._compared >= MOST_COMPARED:
                return self._line_as_stored(found)
            self._compared += 1
        elif self._wants_older:
            return None
        opened = OwnFlowState(self._store, flow) if is_own else FoundFlowState(self._store, flow)
        return self._line_as_read(opened, found)

    def _is_in_queue(self, found: ListedFlow) -> bool:
        return self._queue is None or self._queue in found.counts.queues

    def _tells_all(self, found: ListedFlow) -> bool:
        """Is there nothing about the flow that its own keys do not say?"""
        return found.has_settled and (found.blamed is not None or found.state != FAILED)

    def _line_as_stored(self, found: ListedFlow) -> Line | None:
        """Return what a flow's own keys say; None if it is not asked for."""
        state, why = found.state, ""
        if self._wanted not in (None, state):
            return None
        if found.record.get("ended") == CANCELLED:
            why = "it was cancelled"
        elif state == FAILED:
            why = failure(found.blamed)
        elif state != COMPLETED:
            why = self._reasons.why(found.record, found.counts, found.unended, found.flow)
        return self._made(found.record, found.record["root"], state, found.counts, why, found.flow)

    def _line_as_read(self, flow_state: FlowState, found: ListedFlow | None) -> Line | None:
        """Return what is found by looking at the flow itself; None if it is gone, or not asked for."""
        record = flow_state.record()
        if not record or (found is None and flow_state.flow and not self._has_jobs_in_queue(flow_state.flow)):
            return None
        if not record.keys() >= {"name", "created"}:
            record = {"name": flow_state.flow or "", "created": "0"} | record
        state = state_of(record, self._store.jobs.read([flow_state.root], ("name",))[0])
        if self._wanted not in (None, state):
            return None
        counts = flow_state.counts(COUNT_PATIENCE_SECONDS)
        why = self._why(flow_state, record, counts, found)
        return self._made(record, flow_state.root, state, counts, why, flow_state.flow)

    def _has_jobs_in_queue(self, flow: str) -> bool:
        return self._queue is None or self._queue in self._store.flows.read_counts(flow).queues

    def _why(
        self, flow_state: FlowState, record: dict[str, str], counts: FlowCounts, found: ListedFlow | None
    ) -> str:
        if "ended" in record:
            reasons = explain(self._store, flow_state, record, most=MAX_EXPLAINED)
            texts = [reasons[0].why] if reasons else []
        else:
            unended = found.unended if found else _unended(counts, keys.prefix_of(flow_state.root))
            texts = [self._reasons.why(record, counts, unended, flow_state.flow)]
        return "; ".join(filter(None, [*texts, "not all of it was counted yet" if counts.counting else ""]))

    def _made(
        self,
        record: dict[str, str],
        root: str,
        state: str,
        counts: FlowCounts,
        why: str,
        flow: str | None,
    ) -> Line:
        line = Line.of(keys.short(root, self._store.prefix), record, state, counts, self._now, why)
        if flow is not None:
            self._accounts[line.flow] = record.get("account", flow)
        return line


def _damaged(flow: str, error: ServerRefused) -> Line:
    return Line(flow, flow, DAMAGED, 0, 0, 0, 0.0, str(error))


def _unended(counts: FlowCounts, prefix: str) -> Unended:
    """Return where the jobs of a flow are that have not ended, by what was counted."""
    return {
        keys.base(prefix, queue): waiting
        for queue, states in counts.by_stage.items()
        if (waiting := {state: n for state, n in states.items() if state not in (COMPLETED, FAILED)})
    }
