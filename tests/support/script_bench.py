"""A bench for script tests: a store whose clock stands still, builders of jobs and outcomes, readers of what is stored.

Builders put the world in a state, the act is one call, the assertions are about stored facts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flownb.wire.job_rows import FlowRecord, JobDetails, JobRow, ParentRow
from flownb.wire.lease_records import FetchingWorker
from flownb.wire.outcomes import Kind, Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.wire.store.leases import Turn
from flownb.wire.versions import LAYOUT

if TYPE_CHECKING:
    from redis import Redis

START = 1_700_000_000_000  #: ms; when each test's clock stands
PREFIX = "bull"


class Bench:
    """One server, one prefix, one clock."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.store = Store(redis, PREFIX)
        self.now = START
        self.calls = 0

    # ---- time ---------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """What scripts take for the present; time passes by `wait` alone."""
        assert self.store.server.fixed_time is not None
        return self.store.server.fixed_time

    @now.setter
    def now(self, ms: int) -> None:
        self.store.server.fixed_time = ms

    def wait(self, ms: int) -> None:
        """Let time pass, for the scripts; nobody sleeps."""
        self.now += ms

    # ---- adding -------------------------------------------------------------------------------------

    def add(self, *nodes: Mapping[str, Any], flow: str | None = "f", **more: Any) -> tuple[int, list[str]]:
        """Store nodes made by `node`, parents before children, in one call; `flow=None`: outside any flow."""
        call = arguments(nodes, flow)
        return self.store.jobs.add(call.pop("queues"), **(call | more))

    def add_plain(self, *ids: str, queue: str = "q", **options: Any) -> None:
        """Store jobs outside any flow."""
        self.add(*(node(id, queue=queue, **options) for id in ids), flow=None)

    # ---- running ------------------------------------------------------------------------------------

    def fetch(
        self,
        *queues: str,
        want: int = 1,
        lock_ms: int = 30_000,
        name: str | None = None,
        limiter: Mapping[str, int] | None = None,
        outcomes: Sequence[Outcome] = (),
        token: str | None = None,
        free: int | None = None,
        alone: bool = False,
        layout: int = LAYOUT,
    ) -> Turn:
        self.calls += 1
        bases = [base(queue) for queue in queues or ("q",)]
        limiters = dict.fromkeys(bases, limiter) if limiter else None
        worker = FetchingWorker(
            token=token or f"w:{self.calls}",
            lock_ms=lock_ms,
            layout=layout,
            name=name,
            limiters=limiters,
            free=free,
            alone=alone,
        )
        return self.store.leases.finish_and_fetch(bases, outcomes=list(outcomes), want=want, worker=worker)

    def take(self, *queues: str, want: int = 1, **worker: Any) -> list[Taken]:
        return self.fetch(*queues, want=want, **worker).taken

    def take_one(self, queue: str = "q", **worker: Any) -> Taken:
        (taken,) = self.take(queue, **worker)
        return taken

    def finish(self, *outcomes: Outcome, queues: Sequence[str] = (), want: int = 0) -> list[str]:
        """Write outcomes and return the answers."""
        return self.fetch(*queues, want=want, outcomes=outcomes).answers

    def lose_lease(self, taken: Taken) -> None:
        self.redis.delete(f"{taken.record.key}:lock")

    def sweep(self, *queues: str, interval: int = 30_000, most: int = 1) -> list[str]:
        """Sweep as if the last one was an interval ago."""
        bases = [base(queue) for queue in queues or ("q",)]
        for one in bases:
            self.redis.delete(f"{one}:stalled-check")
        return self.store.leases.sweep_stalled(bases, interval=interval, most=most).stalled

    # ---- looking ------------------------------------------------------------------------------------

    def hash(self, key: str) -> dict[str, str]:
        return {text(name): text(value) for name, value in self.redis.hgetall(key).items()}

    def list(self, key: str) -> list[str]:
        return [text(item) for item in self.redis.lrange(key, 0, -1)]

    def zset(self, key: str) -> dict[str, int]:
        return {text(member): int(score) for member, score in self.redis.zrange(key, 0, -1, withscores=True)}

    def set(self, key: str) -> set[str]:
        return {text(member) for member in self.redis.smembers(key)}

    def get(self, key: str) -> str | None:
        found = self.redis.get(key)
        return None if found is None else text(found)

    def counts(self, flow: str = "f") -> dict[str, int]:
        """Return a flow's counts that are not 0, as ``queue state -> jobs``."""
        stages = self.store.flows.read_counts(flow).by_stage
        return {f"{queue} {state}": n for queue, states in stages.items() for state, n in states.items()}

    def events(self, queue: str = "q", last: int | None = None) -> list[tuple[str, ...]]:
        """Return a queue's events in order: ``(event, value of each further field)``."""
        found = [
            tuple(text(part) for part in event.values())
            for _, event in self.redis.xrange(f"{base(queue)}:events")
        ]
        return found if last is None else found[-last:]

    def event_fields(self, queue: str = "q") -> list[dict[str, str]]:
        found = self.redis.xrange(f"{base(queue)}:events")
        return [{text(name): text(value) for name, value in event.items()} for _, event in found]

    def state_of(self, key: str) -> str | None:
        record = self.store.jobs.read([key])[0]
        return record.state if record else None

    def dump(self) -> dict[str, bytes]:
        """Return every key's serialised value: equal before and after a call that wrote nothing."""
        return {text(key): self.redis.dump(key) for key in self.redis.keys("*")}

    def contents(self, *, but: Iterable[str] = (":events",)) -> dict[str, Any]:
        """Return what every key means, without keys that end like one of `but`."""
        return {
            key: self._value(key)
            for key in sorted(text(key) for key in self.redis.keys("*"))
            if not key.endswith(tuple(but))
        }

    def _value(self, key: str) -> Any:
        stored: Any = key.encode("utf-8", "surrogateescape")
        read: dict[str, Callable[[], Any]] = {
            "hash": lambda: self.hash(stored) if ":children:" not in key else self.redis.hgetall(stored),
            "list": lambda: self.list(stored),
            "set": lambda: self.set(stored),
            "zset": lambda: self.redis.zrange(stored, 0, -1, withscores=True),
            "string": lambda: self.get(stored),
            "stream": lambda: self.redis.xrange(stored),
        }
        return read[text(self.redis.type(stored))]()


# ---- builders ---------------------------------------------------------------------------------------------


def base(queue: str) -> str:
    return queue if ":" in queue else f"{PREFIX}:{queue}"


def key(id: str, queue: str = "q") -> str:
    return f"{base(queue)}:{id}"


def node(
    id: str,
    *under: tuple[str, str] | str,
    queue: str = "q",
    parents: Sequence[str] | None = None,
    delay: int = 0,
    priority: int = 0,
    lifo: bool = False,
    has_children: bool = False,
    data: str = "{}",
    bind: str | None = None,
    weights: str | None = None,
    opts: Mapping[str, Any] | None = None,
    outside: bool = False,
) -> dict[str, Any]:
    """A job to add. Each of `under` is a parent's key with a policy (``("bull:q:p", "fpof")``); alone it has none."""
    return {
        "id": id,
        "queue": queue,
        "under": [(edge, "") if isinstance(edge, str) else edge for edge in under],
        "delay": delay,
        "priority": priority,
        "lifo": lifo,
        "has_children": has_children,
        "data": data,
        "bind": bind,
        "weights": weights,
        "opts": {"attempts": 0} if opts is None else opts,
        "outside": outside,
    }


def parent(id: str, *under: tuple[str, str] | str, **more: Any) -> dict[str, Any]:
    return node(id, *under, has_children=True, **more)


def link(parent_key: str, policy: str = "") -> str:
    """The JSON of a child's `parent` field."""
    queue_key, id = parent_key.rsplit(":", 1)
    return json.dumps({"id": id, "queueKey": queue_key} | ({policy: True} if policy else {}))


def arguments(nodes: Sequence[Mapping[str, Any]], flow: str | None) -> dict[str, Any]:
    """The arguments of `Jobs.add` for these nodes; parents among them are complete with this call."""
    queues: list[str] = []
    parents: list[ParentRow] = []
    edges: dict[tuple[str, str], int] = {}
    jobs: list[JobRow] = []
    unseal = []
    for one in nodes:
        here = base(one["queue"])
        if here not in queues:
            queues.append(here)
        for edge in one["under"]:
            if edge not in edges:
                parents.append(ParentRow(edge[0], link(*edge), edge[1], one["outside"]))
                edges[edge] = len(parents)
        if one["has_children"]:
            unseal.append(f"{here}:{one['id']}")
        places = [edges[edge] for edge in one["under"]]
        details = {
            field: one[field] for field in ("delay", "priority", "lifo", "has_children", "bind", "weights")
        }
        jobs.append(
            JobRow(
                queue=queues.index(here) + 1,
                id=one["id"],
                name=f"name-{one['id']}",
                data=one["data"],
                opts=len(jobs) + 1,
                parents=(places if len(places) > 1 else places[0]) if places else False,
                details=JobDetails(**details),
            )
        )
    record = None
    if flow is not None:
        root = f"{base(nodes[0]['queue'])}:{nodes[0]['id']}"
        fields = {"name": "n", "root": root, "total": str(len(nodes))}
        record = FlowRecord(id=flow, fields=fields, is_stored=True)
    opts = [json.dumps(one["opts"], separators=(",", ":")) for one in nodes]
    return {
        "queues": queues,
        "jobs": jobs,
        "opts": opts,
        "parents": parents,
        "record": record,
        "unseal": unseal,
    }


def about(taken: Taken) -> dict[str, Any]:
    return {
        "base": taken.base,
        "id": taken.record.id,
        "token": taken.token,
        "ats": taken.record.attempts_started,
    }


def outcome(taken: Taken, kind: Kind, **more: Any) -> Outcome:
    return Outcome(*about(taken).values(), kind=kind, **more)


def completed(taken: Taken, value: str = "null") -> Outcome:
    return outcome(taken, "completed", value=value)


def failed(
    taken: Taken,
    reason: str = "it broke",
    *,
    attempts: int = 1,
    why: str | None = None,
    stacktrace: str = "[]",
) -> Outcome:
    return outcome(taken, "failed", reason=reason, stacktrace=stacktrace, attempts=attempts, why=why)


def retry(
    taken: Taken, reason: str = "not yet", *, delay: int = 0, lifo: bool = False, stacktrace: str = '["t"]'
) -> Outcome:
    return outcome(taken, "retry", reason=reason, stacktrace=stacktrace, delay=delay, lifo=lifo)


def returned(taken: Taken, *, hold: int | None = None) -> Outcome:
    return outcome(taken, "returned", hold=hold)


def unbegun(taken: Taken, *, age: int = 0, weights: str | None = None) -> Outcome:
    return outcome(taken, "unbegun", ran=age, value=weights)


def begun(taken: Taken, *, ran: int = 0) -> Outcome:
    return outcome(taken, "begun", ran=ran)


def parked(taken: Taken) -> Outcome:
    return outcome(taken, "parked")


def put_off(taken: Taken, delay: int = 5000) -> Outcome:
    return outcome(taken, "put_off", delay=delay)


def text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
