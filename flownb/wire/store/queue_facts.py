"""What stands in a job's way, for `explain` and the doctor: its queue, its lease, its lists. Nothing is written."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.wire import codec, keys
from flownb.wire.lease_records import FrozenWorker, StoppedTask
from flownb.wire.server_errors import server_errors
from flownb.wire.store.children import Children, is_seal
from flownb.wire.store.declared import DeclaredChildren
from flownb.wire.store.job_facts import ENDS, LISTS, SORTED
from flownb.wire.store.limits import in_pieces
from flownb.wire.store.queues import Queues
from flownb.wire.store.server import Server
from flownb.wire.store.used_limits import FullLimit, full_limits

PUT_OFF_MS = 5_000  #: until a job that no task of a worker takes is looked at again
HELD_BY_HAND = 9007199254740991  #: what a queue's limiter holds after a `RateLimitError`
_OLDEST = 20  # jobs at the old end of a queue's running ones among which the flow's are looked for
_TYPES = dict.fromkeys(LISTS, "list") | dict.fromkeys((*SORTED, *ENDS), "zset") | {"meta": "hash"}


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueFacts:
    """What holds for every job of a queue."""

    served: bool | None  #: None when we may not know
    paused: bool
    waiting: int
    active: int
    most_active: int | None  #: BullMQ's global concurrency
    most_started: int | None  #: BullMQ's global rate limit
    started: int  #: jobs charged to the present window of a rate limit
    limited_ms: int  #: until that window ends; 0: there is none
    frozen: tuple[FrozenWorker, ...]  #: workers of the queue that are stopped
    stopped: tuple[StoppedTask, ...]  #: tasks of the queue that stand still on a worker
    sweep_ms: int  #: until the next look for jobs without a lease; 0: any moment
    full: tuple[FullLimit, ...] = ()  #: limits by weight in whose windows there is no room for the next job

    @property
    def is_rate_limited(self) -> bool:
        """Does the limit of calls hold back its jobs just now?

        A worker's own limit is not stored. That some jobs were charged to a window tells of one, if none runs.
        """
        most = HELD_BY_HAND if self.active else 1
        return self.limited_ms > 0 and self.started >= (self.most_started or most)

    @property
    def is_limited(self) -> bool:
        """Does any limit hold back its jobs just now?"""
        return self.is_rate_limited or bool(self.full)


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitFacts:
    """What one job waits for, beside what its hash tells."""

    stored: bool  #: a hash is there
    whole: bool  #: with a name and data
    queued: bool  #: its queue lists it as waiting; only asked for a job that is not whole
    due: int | None  #: ms; it is delayed until then
    lease_ms: int | None  #: None: nobody holds it; -1: without an end
    suspected: bool  #: a sweep found it without a lease; the next one puts it back
    deferred: str | None  #: `defa`: to be failed with this text by the worker that takes it
    suspect: bool  #: it is to run alone: its workers have died too often
    worker: str | None  #: who runs it, where workers tell


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingChildren:
    """The children a parent still waits for."""

    keys: list[str]  #: at most as many as were asked for
    count: int
    sealed: bool  #: more children were to be stored


class QueueFactsReader:
    """Reads what queues and jobs wait for."""

    def __init__(
        self, server: Server, queues: Queues, children: Children, declared: DeclaredChildren
    ) -> None:
        self._server = server
        self._queues = queues
        self._children = children
        self._declared = declared

    # ---- queues ---------------------------------------------------------------------------------------

    def read(self, bases: Iterable[str], *, signs_tell_all: bool = False) -> dict[str, QueueFacts]:
        """Read the facts of each queue; do the signs of workers tell all about who serves it (`read_served`)?"""
        bases = list(dict.fromkeys(bases))
        served = self._queues.read_served(signs_tell_all=signs_tell_all)
        with self._server.pipeline() as pipe:
            for base in bases:
                pipe.hmget(keys.part(base, "meta"), "paused", "concurrency", "max", "limits")
                pipe.llen(keys.part(base, "wait"))
                pipe.llen(keys.part(base, "paused"))
                pipe.zcard(keys.part(base, "prioritized"))
                pipe.llen(keys.part(base, "active"))
                pipe.get(keys.part(base, "limiter"))
                pipe.pttl(keys.part(base, "limiter"))
                pipe.pttl(keys.part(base, "stalled-check"))
                pipe.hgetall(self._server.key("frozen", base))
                pipe.hgetall(self._server.key("stopped", base))
            found = pipe.execute()
        facts = {
            base: _queue_facts(found[10 * i : 10 * i + 10], self._is_served(base, served))
            for i, base in enumerate(bases)
        }
        for i, base in enumerate(bases):
            if limits := found[10 * i][3]:
                facts[base] = dataclasses.replace(facts[base], full=self._read_full(base, codec.text(limits)))
        return facts

    def _read_full(self, base: str, limits: str) -> tuple[FullLimit, ...]:
        """Read which limits by weight hold back the next job of a queue."""
        with self._server.pipeline() as pipe:
            pipe.time()
            pipe.hgetall(self._server.key("used", base))
            pipe.lindex(keys.part(base, "wait"), -1)
            (seconds, microseconds), used, next_id = pipe.execute()
        if next_id is None:
            return ()
        with server_errors():
            weights: Any = self._server.client.hget(keys.job_in(base, codec.text(next_id)), "wt")
        now = int(seconds) * 1000 + int(microseconds) // 1000
        account = {codec.text(field): codec.text(value) for field, value in used.items()}
        return full_limits(limits, account, codec.text_or_none(weights), now)

    def _is_served(self, base: str, served: set[str] | None) -> bool | None:
        """Which queues flownb's own workers serve is noted under one prefix: of others we may not know."""
        if served is not None and base in served:
            return True
        known = served is not None and keys.prefix_of_base(base) == self._server.prefix
        return False if known else None

    def read_frozen(self, base: str) -> list[FrozenWorker]:
        """Return the workers of a queue that are stopped."""
        with server_errors():
            found: Any = self._server.client.hgetall(self._server.key("frozen", base))
        return [FrozenWorker(**json.loads(one)) for one in found.values()]

    def read_mistyped(self, base: str) -> dict[str, str]:
        """Return those of a queue's keys that are of another type than they should be, and of which."""
        with self._server.pipeline() as pipe:
            for name in _TYPES:
                pipe.type(keys.part(base, name))
            types = map(codec.text, pipe.execute())
        pairs = zip(_TYPES.items(), types, strict=True)
        return {name: type for (name, right), type in pairs if type not in (right, "none")}

    def has_endless_check(self, base: str) -> bool:
        """Say whether no sweep will ever come: what says that one was just made does not run out."""
        with server_errors():
            return bool(self._server.client.pttl(keys.part(base, "stalled-check")) == -1)

    def read_oldest_start(self, bases: Sequence[str], is_ours: Callable[[str, str], bool]) -> int | None:
        """Return when the flow's job that runs longest in these queues was started (ms); None if none is found running.

        `is_ours` knows the flow's jobs, by a job's key and its parent's. Of a queue that many flows share only the
        oldest running jobs are read.
        """
        with self._server.pipeline() as pipe:
            for base in bases:
                pipe.lrange(keys.part(base, "active"), -_OLDEST, -1)
            pairs = zip(bases, pipe.execute(), strict=True)
            jobs = [keys.job_in(base, codec.text(id)) for base, ids in pairs for id in ids]
            for job in jobs:
                pipe.hmget(job, "processedOn", "parentKey")
            found = pipe.execute()
        starts = [
            _whole(start)
            for job, (start, parent) in zip(jobs, found, strict=True)
            if is_ours(job, codec.text_or_none(parent) or "")
        ]
        return min((start for start in starts if start is not None), default=None)

    # ---- jobs -----------------------------------------------------------------------------------------

    def read_waits(self, jobs: Sequence[str]) -> list[WaitFacts]:
        """Read what each job waits for."""
        facts = []
        for some in in_pieces(jobs):
            with self._server.pipeline() as pipe:
                for key in some:
                    base, id = keys.base_and_id(key)
                    pipe.exists(key)
                    pipe.hexists(key, "data")
                    pipe.hmget(key, "name", "defa", "pb", "suspect")
                    pipe.zscore(keys.part(base, "delayed"), id)
                    pipe.pttl(keys.part(key, "lock"))
                    pipe.sismember(keys.part(base, "stalled"), id)
                found = pipe.execute()
            facts += [self._wait_facts(key, found[6 * i : 6 * i + 6]) for i, key in enumerate(some)]
        return facts

    def _wait_facts(self, job: str, answers: Sequence[Any]) -> WaitFacts:
        stored, data, (name, deferred, worker, suspect), due, lease, suspected = answers
        whole = bool(data) and name is not None
        return WaitFacts(
            stored=bool(stored),
            whole=whole,
            queued=not whole and self._is_queued(job),
            due=None if due is None else int(due) // 4096,
            lease_ms=None if lease == -2 else lease,
            suspected=bool(suspected),
            deferred=codec.text_or_none(deferred),
            suspect=suspect is not None,
            worker=codec.text_or_none(worker),
        )

    def _is_queued(self, job: str) -> bool:
        base, id = keys.base_and_id(job)
        with self._server.pipeline() as pipe:
            pipe.lpos(keys.part(base, "wait"), id)
            pipe.zscore(keys.part(base, "prioritized"), id)
            pipe.zscore(keys.part(base, "delayed"), id)
            return any(position is not None for position in pipe.execute())

    def read_unlisted(self, jobs: Sequence[str]) -> list[str]:
        """Return those jobs whose queue lists them neither as waiting nor as taken ahead."""
        with self._server.pipeline() as pipe:
            for key in jobs:
                base, id = keys.base_and_id(key)
                pipe.lpos(keys.part(base, "wait"), id)
                pipe.lpos(keys.part(base, "paused"), id)
                pipe.lpos(keys.part(base, "active"), id)
            found = pipe.execute()
        return [key for i, key in enumerate(jobs) if found[3 * i : 3 * i + 3] == [None] * 3]

    def read_still_active(self, starts: Mapping[str, int]) -> set[str]:
        """Return those jobs, given as active with so many starts, that still are: they have not moved meanwhile."""
        with self._server.pipeline() as pipe:
            for key in starts:
                base, id = keys.base_and_id(key)
                pipe.lpos(keys.part(base, "active"), id)
                pipe.hget(key, "ats")
            found = pipe.execute()
        answers = zip(starts.items(), found[::2], found[1::2], strict=True)
        return {
            key
            for (key, start), position, now in answers
            if position is not None and _whole(now or 0) == start
        }

    # ---- children -------------------------------------------------------------------------------------

    def read_pending(self, parents: Sequence[tuple[str, str | None]], most: int) -> list[PendingChildren]:
        """Read up to `most` pending children of each parent, given as its key and its flow; the first declared ones."""
        with self._server.pipeline() as pipe:
            for key, flow in parents:
                pipe.scard(keys.part(key, "dependencies"))
                pipe.sismember(keys.part(key, "dependencies"), self._seal(flow))
            found = pipe.execute()
        pending = []
        for i, (key, _) in enumerate(parents):
            count, sealed = found[2 * i] - found[2 * i + 1], bool(found[2 * i + 1])
            some = (
                sorted(self._children.read_pending(key)) if count <= most else self._first_declared(key, most)
            )
            pending.append(
                PendingChildren(keys=some or self._any_pending(key, most), count=count, sealed=sealed)
            )
        return pending

    def is_pending(self, parent: str, child: str) -> bool:
        """Does the parent still wait for this child?"""
        with server_errors():
            return bool(self._server.client.sismember(keys.part(parent, "dependencies"), child))

    def _seal(self, flow: str | None) -> str:
        home, id = keys.home_and_flow(flow or "")
        return keys.seal(home or self._server.prefix, id or "none")

    def _first_declared(self, parent: str, most: int) -> list[str]:
        """Go through the declared children, a piece at a time, until enough are found that have not ended."""
        found: list[str] = []
        for number in itertools.count():
            declared = self._declared.read_piece(parent, number)
            if declared is None or len(found) >= most:
                return found[:most]
            with server_errors():
                awaited: Any = self._server.client.smismember(keys.part(parent, "dependencies"), declared)
            found += [key for key, is_awaited in zip(declared, awaited, strict=True) if is_awaited]
        return found

    def _any_pending(self, parent: str, most: int) -> list[str]:
        """Children that nobody declared (another program's): some of them."""
        with server_errors():
            page: Any = self._server.client.sscan(keys.part(parent, "dependencies"), 0, count=most)
        return sorted(key for key in map(codec.text, page[1]) if key and not is_seal(key))[:most]


def _queue_facts(answers: Sequence[Any], served: bool | None) -> QueueFacts:
    (paused, most_active, most_started, _), *rest, frozen, stopped = answers
    wait, aside, prioritized, active, used, limited, sweep = rest
    return QueueFacts(
        served=served,
        paused=paused is not None,
        waiting=wait + aside + prioritized,
        active=active,
        most_active=_whole(most_active),
        most_started=_whole(most_started),
        started=_whole(used) or 0 if limited > 0 else 0,
        limited_ms=max(limited, 0),
        sweep_ms=max(sweep, 0),
        frozen=tuple(FrozenWorker(**json.loads(one)) for one in frozen.values()),
        stopped=tuple(StoppedTask(**json.loads(one)) for one in stopped.values()),
    )


def _whole(text: Any) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
