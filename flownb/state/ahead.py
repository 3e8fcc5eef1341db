"""What stands before a flow in its queues: other flows, whose jobs run or come first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from flownb.state.span_words import span
from flownb.wire import keys
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, WAITING, FlowCounts
from flownb.wire.store import Store

MOST_LOOKED_AT = 20  # jobs of a queue, of those that run and of those that come first
MOST_NAMED = 3  # flows
AHEAD_SECONDS = 2.0  # for which an answer stands


class FlowAhead(NamedTuple):
    """A flow whose jobs run, or come first, where another one waits."""

    flow: str
    name: str
    handle: str  #: what `attach` finds it by
    is_batch: bool
    left: int  #: jobs, or rows of a batch, that have not ended
    age_ms: int
    is_older: bool = False  #: of the same name as the one that waits, whose rows it may hold
    paused: str | None = None  #: why; None while it is not paused

    @property
    def words(self) -> str:
        """Name it: ``batch 'model-proc' (1,734 rows, 3 min old)``; also whether it is older, or paused."""
        what, noun = ("batch", "row") if self.is_batch else ("flow", "job")
        left = f"{self.left:,} {noun}{'' if self.left == 1 else 's'}, {span(self.age_ms)} old"
        older = "an older run, " if self.is_older else ""
        paused = "" if self.paused is None else f"paused{self.paused and ': '}{self.paused}; "
        return f"{what} {self.name!r} ({older}{paused}{left})"

    def cure(self, what: str) -> str:
        """Return the call that lets one go first; `what` stands for this flow."""
        verb = "resume" if self.is_older and self.paused is not None else "cancel"
        return f"{verb} {what}: fn.attach({self.handle!r}).{verb}()"


def read_ahead(store: Store, flow: str | None, base: str, now: int) -> list[FlowAhead]:
    """Return the flows whose jobs run, or come first, in a queue where none of this flow runs."""
    running = _flows_of(store, base, ACTIVE)
    if flow in running:
        return []
    waiting = _flows_of(store, base, WAITING)
    before = waiting[: waiting.index(flow)] if flow in waiting else waiting
    others = [other for other in dict.fromkeys([*running, *before]) if other]
    name = store.flows.read(flow, "name").get("name") if others and flow else None
    found = (_flow_ahead(store, other, now, name) for other in others[:MOST_NAMED])
    return [one for one in found if one and (one.flow in running or one.is_older or one.paused is None)]


def _flows_of(store: Store, base: str, state: str) -> list[str | None]:
    ids = store.queues.read_ids(base, state, 0, MOST_LOOKED_AT - 1)
    jobs = store.jobs.read([keys.job_in(base, id) for id in ids], ("fl",))
    return [job.flow for job in jobs if job is not None]


def behind(found: Sequence[FlowAhead]) -> tuple[str, str]:
    """Say what one waits behind, and what lets one go first; empty where that is nothing."""
    if not found:
        return "", ""
    what = "it" if len(found) == 1 else repr(found[0].name)
    return f"behind {', '.join(one.words for one in found)}", found[0].cure(what)


class LookAhead:
    """What one flow waits behind, for views: they ask often, the server is asked once in `AHEAD_SECONDS`."""

    def __init__(self) -> None:
        self._words, self._at = "", float("-inf")

    def words(self, store: Store, flow: str | None, counts: FlowCounts) -> str:
        """Return what a flow of which nothing runs waits behind, and what lets it go first."""
        queue = next((queue for queue, states in counts.by_stage.items() if states.get(WAITING)), None)
        if queue is None:
            return ""
        if time.monotonic() > self._at + AHEAD_SECONDS:
            self._at = time.monotonic()
            base = keys.base(store.prefix, queue)
            found = read_ahead(store, flow, base, store.server.read_time())
            self._words = "; ".join(filter(None, behind(found)))
        return self._words


def _flow_ahead(store: Store, flow: str, now: int, name_of_waiting: str | None) -> FlowAhead | None:
    record = store.flows.read(flow, "name", "root", "created", "kind")
    if "name" not in record:
        return None
    is_batch = record.get("kind") == "batch"
    counts = store.flows.read_counts(flow)
    root = int(is_batch and keys.queue_of(record["root"]) == keys.BATCH_QUEUE)
    left = counts.total - counts.count(COMPLETED) - counts.count(FAILED) - root
    name = record["name"]
    is_current = store.flows.find(name) == flow
    return FlowAhead(
        flow,
        name,
        name if is_current else keys.short(record["root"], store.prefix),
        is_batch,
        max(left, 0),
        max(now - int(record["created"]), 0),
        is_older=name == name_of_waiting and not is_current,
        paused=counts.paused_why.partition("; ")[0] if counts.paused else None,
    )
