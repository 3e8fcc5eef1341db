"""Flows as a list shows them: read a hundred at a time, from flownb's own records and counts and the root jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from flownb.state.flow_state import state_of
from flownb.wire import keys
from flownb.wire.many_rows import count_in, counts_of, jobs_counted
from flownb.wire.records import CANCELLED, COMPLETED, FAILED, FlowCounts, JobRecord
from flownb.wire.store import Store
from flownb.wire.store.flows import FlowFacts
from flownb.wire.store.limits import JOBS_A_READ

_FIELDS = (
    "root",
    "created",
    "ended",
    "finished",
    "cause",
    "kind",
    "stored",
    "total",
    "pieces",
    "cut",
    "layout",
    "account",
    "former",
)
_ROOT_FIELDS = ("name", "finishedOn", "failedReason")


Unended = Mapping[str, Mapping[str, int]]  #: queue key -> state -> jobs that have not ended


class ListedFlow(NamedTuple):
    """One flow of flownb's, as far as its own keys and its root tell."""

    flow: str
    record: dict[str, str]
    stored_counts: dict[str, str]
    unended: Unended
    root: JobRecord | None
    blamed: JobRecord | None  #: of a failed flow the job that failed it
    is_older: bool  #: another flow has its name by now

    @property
    def counts(self) -> FlowCounts:
        return counts_of(self.stored_counts)

    @property
    def jobs(self) -> int:
        """How many jobs it has, by its counts."""
        return sum(jobs_counted(self.stored_counts).values())

    @property
    def state(self) -> str:
        """How its record says that it ended; where its root denies that, the root's state."""
        denied = "ended" in self.record and not self._root_agrees()
        return self.root.state or "" if denied and self.root else state_of(self.record, self.root)

    @property
    def has_settled(self) -> bool:
        """Has it ended, by what all its keys say, with every job of it?"""
        return "ended" in self.record and not self.unended and self._root_agrees()

    def _root_agrees(self) -> bool:
        if self.record.get("ended") == CANCELLED:
            return True
        return self.root is not None and str(self.root.finished_on) == self.record.get("finished")


def pages_of_listed(store: Store) -> Iterator[list[tuple[str, int, ListedFlow | None]]]:
    """Yield all flows of flownb's, the newest first, with when each was stored (ms) and what `read_listed` reads."""
    index, older = store.flows.pages(JOBS_A_READ), _Older(store)
    while some := list(islice(index, JOBS_A_READ)):
        listed = read_listed(store, [flow for flow, _ in some], older)
        yield [(flow, created, found) for (flow, created), found in zip(some, listed, strict=True)]


def read_listed(store: Store, flows: Sequence[str], older: _Older | None = None) -> list[ListedFlow | None]:
    """Read flows of flownb's, at most a hundred; None for one of which the record, or the counts, cannot be read."""
    facts = store.flows.read_many(flows, _FIELDS)
    unended = [_read_unended(found.counts) for found in facts]
    readable = [i for i, found in enumerate(facts) if unended[i] is not None and _is_record(found.record)]
    roots = _read_jobs(store, {i: facts[i].record["root"] for i in readable})
    causes = {i: facts[i].record.get("cause", "") for i in readable if _failed_below(facts[i])}
    blamed = roots | _read_jobs(store, causes)
    older = older or _Older(store)
    older.listen({flows[i]: facts[i].record for i in readable}, {facts[i].newest or "" for i in readable})
    listed: list[ListedFlow | None] = [None] * len(flows)
    for i in readable:
        record, counts, newest = facts[i]
        is_older = older.is_older(flows[i], record, newest)
        listed[i] = ListedFlow(
            flows[i], record, counts, unended[i] or {}, roots.get(i), blamed.get(i), is_older
        )
    return listed


def _is_record(record: Mapping[str, str]) -> bool:
    return "name" in record and "root" in record and "created" in record


def _read_unended(counts: Mapping[str, str]) -> Unended | None:
    """Return where the jobs of a flow are that have not ended; None where its counts are missing or damaged."""
    found: dict[str, dict[str, int]] = {}
    for name, text in counts.items():
        state, _, base = name.partition("@")
        if not base or state.startswith("rows"):
            continue
        n = count_in(text)
        if n < 0:
            return None
        if n and state not in (COMPLETED, FAILED):
            found.setdefault(base, {})[state] = n
    return found if counts else None


def _failed_below(facts: FlowFacts) -> bool:
    """Did a job below its root fail the flow?"""
    record = facts.record
    return record.get("ended") == FAILED and record.get("cause", record["root"]) != record["root"]


def _read_jobs(store: Store, wanted: Mapping[int, str]) -> dict[int, JobRecord | None]:
    sound = {i: key for i, key in wanted.items() if keys.is_text(key) and key.count(":") > 1}
    return dict(zip(sound, store.jobs.read(list(sound.values()), _ROOT_FIELDS), strict=True))


class _Older:
    """Knows which flows had a name before the one that has it now, as they are gone through from the newest on.

    Each tells which one was before it, so that mostly nothing has to be read for it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told: set[str] = set()  # by flows that were gone through
        self._formers: dict[str, set[str]] = {}  # of the newest flow of a name, where those had not told

    def listen(self, records: Mapping[str, Mapping[str, str]], newest: Iterable[str]) -> None:
        """Note which flows those of a page tell of, in whatever order flows of one millisecond stand there."""
        for flow in (*newest, *(self._told & records.keys())):
            while flow in records and "former" in records[flow]:
                flow = records[flow]["former"]
                if flow in self._told:
                    break
                self._told.add(flow)

    def is_older(self, flow: str, record: Mapping[str, str], newest: str | None) -> bool:
        """Batches all have their names from `fan_out`; another flow may be called like its root alone."""
        if newest is None or newest == flow:
            return False
        if flow in self._told or record.get("kind") == "batch":
            return True
        if newest not in self._formers:
            self._formers[newest] = set(self._store.flows.formers(newest))
        return flow in self._formers[newest]
