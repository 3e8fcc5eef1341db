"""The reading scripts as plain commands: for users that may not run scripts, and servers without read-only ones.

Each answers what its script in ``lua/`` does, job by job and not at one moment: a job that moves meanwhile
may be seen between two places, and is waiting then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from flownb.wire import codec, keys

if TYPE_CHECKING:
    from redis import Redis

_PARENT_KEYS = ("dependencies", "processed", "failed", "unsuccessful")
MOST_LOOKED_AT, UUID = 100, 32  # as in read_flow_state.lua
_RANKED = ("waiting-children", "delayed", "prioritized")


def read_jobs(client: Redis, queues: Sequence[str], *, jobs: Sequence[str], fields: Sequence[str]) -> Any:
    """As ``read_jobs.lua``."""
    with client.pipeline(transaction=False) as pipe:
        for key in jobs:
            base, id = keys.base_and_id(key)
            pipe.hmget(key, ["finishedOn", "returnvalue", "name", *fields])
            pipe.exists(keys.part(key, "lock"))
            for state in _RANKED:
                pipe.zscore(keys.part(base, state), id)
        found = pipe.execute()
    stored: list[Any] = []
    for i in range(len(jobs)):
        (finished, value, name, *values), lock, *scores = found[5 * i : 5 * i + 5]
        ranked = [state for state, score in zip(_RANKED, scores, strict=True) if score is not None]
        ended = ("failed" if value is None else "completed") if finished is not None else ""
        state = ended or ("active" if lock else "") or "".join(ranked[:1])
        stored.append(name is not None and [state, [*map(_text, values)]])
    unknown = [i for i, job in enumerate(stored) if job and not job[0]]
    for i, place in zip(unknown, _places(client, [jobs[i] for i in unknown]), strict=True):
        stored[i][0] = "waiting" if place is None else "active"
    return {"jobs": stored}


def _places(client: Redis, jobs: Sequence[str]) -> list[Any]:
    """Where in `active` jobs stand that no other place and no lock tells of."""
    with client.pipeline(transaction=False) as pipe:
        for key in jobs:
            base, id = keys.base_and_id(key)
            pipe.lpos(keys.part(base, "active"), id)
        return list(pipe.execute())


def read_children_counts(client: Redis, queues: Sequence[str], *, jobs: Sequence[str]) -> Any:
    """As ``read_children_counts.lua``."""
    with client.pipeline(transaction=False) as pipe:
        for key in jobs:
            pipe.scard(keys.part(key, "dependencies"))
            pipe.hlen(keys.part(key, "processed"))
            pipe.hlen(keys.part(key, "failed"))
            pipe.zcard(keys.part(key, "unsuccessful"))
        found = pipe.execute()
    return {"counts": [found[i : i + 4] for i in range(0, len(found), 4)]}


def read_names(client: Redis, queues: Sequence[str], *, jobs: Sequence[str]) -> Any:
    """As ``read_names.lua``."""
    with client.pipeline(transaction=False) as pipe:
        for key in jobs:
            pipe.hget(key, "name")
            pipe.exists(*(keys.part(key, kept) for kept in _PARENT_KEYS))
        found = pipe.execute()
    pairs = zip(found[::2], found[1::2], strict=True)
    return {"names": [name is not None and [_text(name), n] for name, n in pairs]}


def read_flow_state(
    client: Redis,
    queues: Sequence[str],
    *,
    now: None,
    flow: str,
    root: str,
    parents: Sequence[str],
    shared: Sequence[tuple[str, int]],
    seal: str,
    bases: Sequence[str],
) -> Any:
    """As ``read_flow_state.lua``."""
    prefix = keys.prefix_of_base(queues[0])
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.own(prefix, "counts", flow))
        pipe.hexists(root, "finishedOn")
        for parent in parents:
            pipe.scard(keys.part(parent, "dependencies"))
            pipe.sismember(keys.part(parent, "dependencies"), seal)
        for job, _ in shared:
            pipe.hexists(job, "finishedOn")
            pipe.hget(keys.own(keys.prefix_of(job), "shared"), job)
        counts, ended, *found = pipe.execute()
    waits, sealed = found[: 2 * len(parents) : 2], found[1 : 2 * len(parents) : 2]
    has_ended, listed = found[2 * len(parents) :: 2], found[2 * len(parents) + 1 :: 2]
    unended = [n for (_, n), has in zip(shared, has_ended, strict=True) if not has]
    flat = [_text(part) for pair in counts.items() for part in pair]
    pending = sum(waits) - sum(map(int, sealed)) - sum(unended)
    told = [(line or b"").startswith(b"told ") for line in listed]
    ended_elsewhere = any(
        has and line and not is_told for has, line, is_told in zip(has_ended, listed, told, strict=True)
    )
    others = ended_elsewhere or any(_in_other_hands(client, base, flow, counts) for base in bases)
    return {
        "counts": flat,
        "pending": pending,
        "ended": bool(ended),
        "others": others,
        "telling": any(told),
    }


def _in_other_hands(client: Redis, base: str, flow: str, counts: Mapping[bytes, bytes]) -> bool:
    """Does another program's worker run a job of this flow, has it put one off, or let it wait for children?"""
    states = ("active", "delayed", "waiting-children")
    with client.pipeline(transaction=False) as pipe:
        for state, size in zip(states, (pipe.llen, pipe.zcard, pipe.zcard), strict=True):
            size(keys.part(base, state))
        pipe.lrange(keys.part(base, "active"), 0, MOST_LOOKED_AT - 1)
        pipe.zrange(keys.part(base, "delayed"), 0, MOST_LOOKED_AT - 1)
        pipe.zrange(keys.part(base, "waiting-children"), 0, MOST_LOOKED_AT - 1, desc=True)
        found = pipe.execute()
    active, delayed, parked = (
        [keys.job_in(base, codec.text(id)) for id in ids]
        if n > int(counts.get(f"{state}@{base}".encode(), 0))
        else []
        for state, n, ids in zip(states, found[:3], found[3:], strict=True)
    )
    with client.pipeline(transaction=False) as pipe:
        for job in active:
            pipe.hget(job, "fl")
            pipe.get(keys.part(job, "lock"))
        runs = pipe.execute()
        for jobs, begun in ((delayed, "atm"), (parked, "ats")):
            for job in jobs:
                pipe.hmget(job, "fl", begun, "ft")
        rests = pipe.execute()
    ours = zip(runs[::2], runs[1::2], strict=True)
    return any(_text(fl) == flow and lock and len(lock) >= UUID for fl, lock in ours) or any(
        _text(fl) == flow and begun and not told for fl, begun, told in rests
    )


def read_cancelled(client: Redis, queues: Sequence[str], *, now: None, jobs: Sequence[str]) -> Any:
    """As ``read_cancelled.lua``, but for jobs that only some parents need no more."""
    with client.pipeline(transaction=False) as pipe:
        for job in jobs:
            pipe.hmget(job, "name", "fl", "why")
        found = pipe.execute()
        for job, (_, flow, _) in zip(jobs, found, strict=True):
            home, id = keys.home_and_flow(_text(flow) or "")
            pipe.hget(keys.own(home or keys.prefix_of(job), "flow", id or "none"), "ended")
        ended = pipe.execute()
    return {
        "cancelled": [
            name is None or _text(why) == "cancelled" or _text(end) == "cancelled"
            for (name, _, why), end in zip(found, ended, strict=True)
        ]
    }


def _text(value: Any) -> str | Literal[False]:
    """As the scripts answer: nothing is false."""
    return False if value is None else codec.text(value)


READS: Mapping[str, Callable[..., Any]] = {
    "read_jobs": read_jobs,
    "read_children_counts": read_children_counts,
    "read_names": read_names,
    "read_flow_state": read_flow_state,
    "read_cancelled": read_cancelled,
}
"""Script -> what asks the same in plain commands."""
