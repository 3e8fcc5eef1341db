"""What stands in a job's way: a few plain reads of its queue, its lease and its line. Nothing is written."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store import Store

PUT_OFF_MS = 5_000  #: until a job that no task of a worker takes is looked at again
HELD_BY_HAND = 9007199254740991  #: what a queue's limiter holds after a `RateLimitError`
_JOBS_A_READ = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueCondition:
    """What holds for every job of a queue."""

    served: bool | None  #: None when we may not know
    paused: bool
    waiting: int
    active: int
    most_active: int | None  #: BullMQ's global concurrency
    most_started: int | None  #: BullMQ's global rate limit
    started: int  #: jobs charged to the present window of a rate limit
    limited_ms: int  #: until that window ends; 0: there is none
    sweep_ms: int  #: until the next look for jobs without a lease; 0: any moment


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCondition:
    """What holds for one job beside what its hash tells."""

    stored: bool  #: a hash is there
    whole: bool  #: with a name and data
    queued: bool  #: its id waits in a line; only asked for a job that is not whole
    due: int | None  #: ms; it is delayed until then
    lease_ms: int | None  #: None: nobody holds it; -1: without an end
    suspected: bool  #: a sweep found it without a lease; the next one puts it back
    deferred: str | None  #: `defa`: to be failed with this text by the worker that takes it
    worker: str | None  #: who runs it, where workers tell


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """The children a parent still waits for."""

    keys: list[str]  #: at most as many as were asked for
    count: int
    sealed: bool  #: more children were to be stored


def read_now(store: Store) -> int:
    """Return the server's time in ms."""
    with server_errors():
        now: Any = store.client.time()
    return int(now[0]) * 1000 + int(now[1]) // 1000


_LONGEST = 20  # jobs at the old end of a queue's running ones among which the flow's are looked for


def read_oldest(store: Store, bases: Sequence[str], is_ours: Callable[[str, str], bool]) -> int | None:
    """Return when the flow's job that runs longest in these queues was started (ms); None if none is found running.

    `is_ours` knows the flow's jobs, by a job's key and its parent's. A queue that many flows share is looked at
    where its oldest running jobs are.
    """
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        for base in bases:
            pipe.lrange(keys.part(base, "active"), -_LONGEST, -1)
        lines = pipe.execute()
        jobs = [
            keys.job_in(base, codec.text(id)) for base, line in zip(bases, lines, strict=True) for id in line
        ]
        for job in jobs:
            pipe.hmget(job, "processedOn", "parentKey")
        found = pipe.execute()
    starts = [
        _whole(start)
        for job, (start, parent) in zip(jobs, found, strict=True)
        if is_ours(job, codec.text_or_none(parent) or "")
    ]
    return min((start for start in starts if start is not None), default=None)


def read_queues(store: Store, bases: Iterable[str]) -> dict[str, QueueCondition]:
    """Read the condition of each queue."""
    bases = list(dict.fromkeys(bases))
    served = store.read_served()
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        for base in bases:
            pipe.hmget(keys.part(base, "meta"), "paused", "concurrency", "max")
            pipe.llen(keys.part(base, "wait"))
            pipe.llen(keys.part(base, "paused"))
            pipe.zcard(keys.part(base, "prioritized"))
            pipe.llen(keys.part(base, "active"))
            pipe.get(keys.part(base, "limiter"))
            pipe.pttl(keys.part(base, "limiter"))
            pipe.pttl(keys.part(base, "stalled-check"))
        found = pipe.execute()
    conditions = {}
    for i, base in enumerate(bases):
        meta, wait, aside, prioritized, active, used, limited, sweep = found[8 * i : 8 * i + 8]
        # Which queues flownb's own workers serve is noted under one prefix: of others we may not know.
        known = served is not None and keys.prefix_of_base(base) == store.prefix
        conditions[base] = QueueCondition(
            served=base in (served or ()) or (False if known else None),
            paused=meta[0] is not None,
            waiting=wait + aside + prioritized,
            active=active,
            most_active=_whole(meta[1]),
            most_started=_whole(meta[2]),
            started=_whole(used) or 0 if limited > 0 else 0,
            limited_ms=max(limited, 0),
            sweep_ms=max(sweep, 0),
        )
    return conditions


def read_conditions(store: Store, job_keys: Sequence[str]) -> list[JobCondition]:
    """Read the condition of each job."""
    conditions = []
    for start in range(0, len(job_keys), _JOBS_A_READ):
        some = job_keys[start : start + _JOBS_A_READ]
        with server_errors(), store.client.pipeline(transaction=False) as pipe:
            for key in some:
                base, id = keys.base_and_id(key)
                pipe.exists(key)
                pipe.hexists(key, "data")
                pipe.hmget(key, "name", "defa", "pb")
                pipe.zscore(keys.part(base, "delayed"), id)
                pipe.pttl(keys.part(key, "lock"))
                pipe.sismember(keys.part(base, "stalled"), id)
            found = pipe.execute()
        for i, key in enumerate(some):
            there, data, (name, deferred, worker), due, lease, suspected = found[6 * i : 6 * i + 6]
            whole = bool(data) and name is not None
            conditions.append(
                JobCondition(
                    stored=bool(there),
                    whole=whole,
                    queued=not whole and _is_queued(store, key),
                    due=None if due is None else int(due) // 4096,
                    lease_ms=None if lease == -2 else lease,
                    suspected=bool(suspected),
                    deferred=codec.text_or_none(deferred),
                    worker=codec.text_or_none(worker),
                )
            )
    return conditions


def _is_queued(store: Store, key: str) -> bool:
    base, id = keys.base_and_id(key)
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        pipe.lpos(keys.part(base, "wait"), id)
        pipe.zscore(keys.part(base, "prioritized"), id)
        pipe.zscore(keys.part(base, "delayed"), id)
        return any(place is not None for place in pipe.execute())


def out_of_line(store: Store, job_keys: Sequence[str]) -> list[str]:
    """Return those jobs whose queue does not list them as waiting."""
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        for key in job_keys:
            base, id = keys.base_and_id(key)
            pipe.lpos(keys.part(base, "wait"), id)
            pipe.lpos(keys.part(base, "paused"), id)
        found = pipe.execute()
    return [key for i, key in enumerate(job_keys) if found[2 * i] is None and found[2 * i + 1] is None]


def read_pending_of(store: Store, parents: Sequence[tuple[str, str | None]], most: int) -> list[Pending]:
    """Read up to `most` pending children of each parent, given as its key and its flow; of many, the first declared."""
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        for key, flow in parents:
            pipe.scard(keys.part(key, "dependencies"))
            pipe.sismember(keys.part(key, "dependencies"), _seal(store.prefix, flow))
        found = pipe.execute()
    pending = []
    for i, (key, _) in enumerate(parents):
        count, sealed = found[2 * i] - found[2 * i + 1], bool(found[2 * i + 1])
        some = sorted(store.read_pending(key)) if count <= most else _first_declared(store, key, most)
        pending.append(Pending(keys=some or _any_pending(store, key, most), count=count, sealed=sealed))
    return pending


def _first_declared(store: Store, parent: str, most: int) -> list[str]:
    """Go through the declared children, a piece at a time, until enough are found that have not ended."""
    found: list[str] = []
    for number in itertools.count():
        with server_errors():
            piece: Any = store.client.hget(keys.own(store.prefix, "children", parent), str(number))
            if piece is None or len(found) >= most:
                return found[:most]
            declared = list(codec.unpack_children(piece).keys)
            awaited: Any = store.client.smismember(keys.part(parent, "dependencies"), declared)
        found += [key for key, is_awaited in zip(declared, awaited, strict=True) if is_awaited]
    return found


def _any_pending(store: Store, parent: str, most: int) -> list[str]:
    """Children that nobody declared (another program's): some of them."""
    with server_errors():
        page: Any = store.client.sscan(keys.part(parent, "dependencies"), 0, count=most)
    return sorted(key for key in map(codec.text, page[1]) if key and ":flownb:seal:" not in key)[:most]


def _seal(prefix: str, flow: str | None) -> str:
    home, id = keys.home_and_flow(flow or "")
    return keys.own(home or prefix, "seal", id or "none")


def read_server(store: Store) -> tuple[str, str] | None:
    """Say why the server takes no writes and what mends it; None if it does, or if we may not know."""
    import redis.exceptions

    try:
        memory: Any = store.client.info("memory")
        replication: Any = store.client.info("replication")
        disk: Any = store.client.info("persistence")
    except redis.exceptions.ResponseError:
        return None
    if replication.get("role") == "slave":
        return "the server is a read-only replica now", "connect to the primary"
    limit = int(memory.get("maxmemory", 0))
    if (
        limit
        and int(memory.get("used_memory", 0)) >= limit
        and memory.get("maxmemory_policy") == "noeviction"
    ):
        return (
            f"the server is out of memory: it holds all of its {limit:,} bytes (maxmemory)",
            "raise maxmemory, or remove what is not needed",
        )
    if "err" in (disk.get("aof_last_write_status"), disk.get("rdb_last_bgsave_status")):
        return "the server could not write to its disk and may refuse writes", "see whether the disk is full"
    return None


def _whole(text: Any) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
