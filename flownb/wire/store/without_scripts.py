"""The reading scripts as plain commands: for users that may not run scripts, and servers without read-only ones.

Each answers what its script in ``lua/`` does, job by job and not at one moment: a job that moves meanwhile
may be seen between two lists, and is waiting then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from flownb.wire import codec, keys

if TYPE_CHECKING:
    from redis import Redis

_PARENT_KEYS = ("dependencies", "processed", "failed", "unsuccessful")
_SORTED_STATES = ("waiting-children", "delayed", "prioritized")
_ENDS = ("completed", "failed")
_IDS_LOOKED_AT = 100  # of a queue's list, as in read_flow_state.lua
UUID_CHARACTERS = 32  #: other programs' workers sign a lock with a UUID; flownb's tokens are shorter


def read_jobs(client: Redis, queues: Sequence[str], *, jobs: Sequence[str], fields: Sequence[str]) -> Any:
    """As ``read_jobs.lua``."""
    with client.pipeline(transaction=False) as pipe:
        for key in jobs:
            base, id = keys.base_and_id(key)
            pipe.hmget(key, ["finishedOn", "returnvalue", "name", "processedOn", *fields])
            pipe.exists(keys.part(key, "lock"))
            pipe.exists(keys.part(base, "active"))
            for state in _SORTED_STATES:
                pipe.zscore(keys.part(base, state), id)
        found = pipe.execute()
    stored = [_stored_job(*found[i : i + 6]) for i in range(0, len(found), 6)]
    unknown = [i for i, job in enumerate(stored) if job and not job[0]]
    for i, is_listed in zip(unknown, _are_active(client, [jobs[i] for i in unknown]), strict=True):
        stored[i][0] = "active" if is_listed else "waiting"
    return {"jobs": stored}


def _stored_job(hash: Sequence[Any], lock: int, active: int, *scores: float | None) -> Any:
    """A job's state and fields; the state is empty where only the queue's lists know it. False: it is not stored."""
    finished, value, name, begun, *fields = hash
    if name is None:
        return False
    if finished is not None:
        state = "failed" if value is None else "completed"
    elif lock and active:  # a lock counts in a queue that has active jobs alone
        state = "active" if begun is not None else "waiting"
    else:
        ranked = zip(_SORTED_STATES, scores, strict=True)
        state = next((state for state, score in ranked if score is not None), "")
    return [state, [*map(_text, fields)]]


def _are_active(client: Redis, jobs: Sequence[str]) -> list[bool]:
    """Say of each job whether its queue lists it as active."""
    with client.pipeline(transaction=False) as pipe:
        for key in jobs:
            base, id = keys.base_and_id(key)
            pipe.lpos(keys.part(base, "active"), id)
        return [position is not None for position in pipe.execute()]


def read_returnvalues(client: Redis, queues: Sequence[str], *, jobs: Sequence[str], bytes: int) -> Any:
    """As ``read_returnvalues.lua``, of all these jobs: what one command answers holds nobody up."""
    with client.pipeline(transaction=False) as pipe:
        for key in jobs:
            pipe.hget(key, "returnvalue")
        return {"values": [False if text is None else codec.text(text) for text in pipe.execute()]}


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


def read_flows(
    client: Redis, queues: Sequence[str], *, prefix: str, flows: Sequence[str], fields: Sequence[str]
) -> Any:
    """As ``read_flows.lua``."""
    with client.pipeline(transaction=False) as pipe:
        for flow in flows:
            pipe.hmget(keys.own(prefix, "flow", flow), ["name", *fields])
            pipe.hgetall(keys.own(prefix, "counts", flow))
        found = pipe.execute(raise_on_error=False)
    records = [
        [False] * (len(fields) + 1) if isinstance(record, Exception) else [_text(value) for value in record]
        for record in found[::2]
    ]
    newest = client.hmget(keys.own(prefix, "names"), [record[0] or "" for record in records])
    return {
        "flows": [
            [record, _flat(counts), _text(flow)]
            for record, counts, flow in zip(records, found[1::2], newest, strict=True)
        ]
    }


def read_sizes(
    client: Redis, queues: Sequence[str], *, prefix: str, flows: Sequence[str], jobs: Sequence[str]
) -> Any:
    """As ``read_sizes.lua``."""
    of_flows = [
        [keys.own(prefix, kind, flow) for kind in ("flow", "counts", "inputs", "spent", "aside")]
        for flow in flows
    ]
    of_jobs = [
        [
            *(job, *(keys.part(job, part) for part in (*_PARENT_KEYS, "lock", "logs"))),
            *(keys.own(prefix, kind, job) for kind in ("children", "parents")),
        ]
        for job in jobs
    ]
    return {"flows": _sizes(client, of_flows), "jobs": _sizes(client, of_jobs)}


def _sizes(client: Redis, groups: Sequence[Sequence[str]]) -> list[int]:
    """Return how many bytes the keys of each group take together; the first is a record of few fields."""
    with client.pipeline(transaction=False) as pipe:
        for record, *others in groups:
            for key in (record, *others):
                pipe.memory_usage(key, samples=0 if key == record else None)
        found = iter(pipe.execute(raise_on_error=False))
    return [sum(size for size in islice(found, len(group)) if isinstance(size, int)) for group in groups]


def _flat(hash: Any) -> Any:
    """Return a hash as a script does, field after value; False for what is none."""
    is_hash = isinstance(hash, Mapping)
    return [_text(part) for pair in hash.items() for part in pair] if is_hash else False


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
    of_parents, of_shared = found[: 2 * len(parents)], found[2 * len(parents) :]
    pending = sum(of_parents[::2]) - sum(map(int, of_parents[1::2]))
    has_ended, entries = of_shared[::2], of_shared[1::2]
    pending -= sum(n for (_, n), has in zip(shared, has_ended, strict=True) if not has)
    told = [(entry or b"").startswith(b"told ") for entry in entries]
    ended_elsewhere = any(
        has and entry and not is_told for has, entry, is_told in zip(has_ended, entries, told, strict=True)
    )
    return {
        "counts": _flat(counts),
        "pending": pending,
        "ended": bool(ended),
        "others": ended_elsewhere or any(_is_elsewhere(client, base, flow, counts) for base in bases),
        "telling": any(told),
    }


def _is_elsewhere(client: Redis, base: str, flow: str, counts: Mapping[bytes, bytes]) -> bool:
    """Does another program's worker run a job of this flow, has it put one off, or let it wait for children?"""
    active, delayed, parents = _uncounted(client, base, counts)
    with client.pipeline(transaction=False) as pipe:
        for job in active:
            pipe.hget(job, "fl")
            pipe.get(keys.part(job, "lock"))
        running = pipe.execute()
        for jobs, begun in ((delayed, "atm"), (parents, "ats")):
            for job in jobs:
                pipe.hmget(job, "fl", begun, "ft")
        waiting = pipe.execute()
    signed = zip(running[::2], running[1::2], strict=True)
    return any(_text(fl) == flow and lock and len(lock) >= UUID_CHARACTERS for fl, lock in signed) or any(
        _text(fl) == flow and begun and not noted for fl, begun, noted in waiting
    )


def _uncounted(client: Redis, base: str, counts: Mapping[bytes, bytes]) -> Iterator[list[str]]:
    """Yield some active, delayed and parent jobs of a queue that holds more of them than the flow counts there."""
    with client.pipeline(transaction=False) as pipe:
        pipe.llen(keys.part(base, "active"))
        pipe.zcard(keys.part(base, "delayed"))
        pipe.zcard(keys.part(base, "waiting-children"))
        pipe.lrange(keys.part(base, "active"), 0, _IDS_LOOKED_AT - 1)
        pipe.zrange(keys.part(base, "delayed"), 0, _IDS_LOOKED_AT - 1)
        pipe.zrange(keys.part(base, "waiting-children"), 0, _IDS_LOOKED_AT - 1, desc=True)
        found = pipe.execute()
    for state, size, ids in zip(("active", "delayed", "waiting-children"), found[:3], found[3:], strict=True):
        counted = int(counts.get(f"{state}@{base}".encode(), 0))
        yield [keys.job_in(base, codec.text(id)) for id in ids] if size > counted else []


def read_cancelled(client: Redis, queues: Sequence[str], *, now: None, jobs: Sequence[str]) -> Any:
    """As ``read_cancelled.lua``, but for jobs that only some parents need no more."""
    with client.pipeline(transaction=False) as pipe:
        for job in jobs:
            pipe.hmget(job, "name", "fl", "why", "defa", "finishedOn")
        found = pipe.execute()
        for job, (_, flow, *_) in zip(jobs, found, strict=True):
            home, id = keys.home_and_flow(_text(flow) or "")
            pipe.hget(keys.own(home or keys.prefix_of(job), "flow", id or "none"), "ended")
        ended = pipe.execute()
    answers = []
    for (name, _, why, deferred, finished), end in zip(found, ended, strict=True):
        words = (why, end, None if finished else deferred)
        answers.append(name is None or b"cancelled" in words)
    return {"cancelled": answers}


def read_job_facts(
    client: Redis, queues: Sequence[str], *, jobs: Sequence[str], fields: Sequence[str], listed: bool | None
) -> Any:
    """As ``read_job_facts.lua``."""
    ranked = (*_ENDS, "delayed", "prioritized", "waiting-children") if listed else _ENDS
    in_line = ("wait", "paused", "active") if listed else ()
    with client.pipeline(transaction=False) as pipe:
        for job in jobs:
            base, id = keys.base_and_id(job)
            pipe.hmget(job, *fields)
            pipe.exists(job)
            pipe.hexists(job, "data")
            pipe.hstrlen(job, "returnvalue")
            pipe.hstrlen(job, "part")
            pipe.pttl(keys.part(job, "lock"))
            pipe.scard(keys.part(job, "dependencies"))
            pipe.hlen(keys.part(job, "failed"))
            pipe.hlen(keys.part(job, "processed"))
            pipe.zcard(keys.part(job, "unsuccessful"))
            for name in ranked:
                pipe.zscore(keys.part(base, name), id)
            for name in in_line:
                pipe.lpos(keys.part(base, name), id, count=0)
        found = pipe.execute(raise_on_error=False)
    size = len(found) // len(jobs)
    answers = [found[size * i : size * (i + 1)] for i in range(len(jobs))]
    return {"jobs": [_job_facts(each, (*ranked, *in_line)) for each in answers]}


def _job_facts(answers: Sequence[Any], places: Sequence[str]) -> list[Any]:
    usable = [None if isinstance(answer, Exception) else answer for answer in answers]
    fields, stored, data, value, part, lock, pending, ignored, _, _, *listed = usable
    # A score is in one place; a list says at how many.
    times = zip(places, (len(at) if isinstance(at, list) else at is not None for at in listed), strict=True)
    return [
        not any(isinstance(answer, Exception) for answer in answers),
        fields is not None and [_text(field) for field in fields],
        bool(stored),
        bool(data),
        value or 0,
        part or 0,
        -2 if lock is None else lock,
        pending or 0,
        ignored or 0,
        [name for name, n in times for _ in range(n)],
    ]


def read_parent_links(client: Redis, queues: Sequence[str], *, pairs: Sequence[tuple[str, str]]) -> Any:
    """As ``read_parent_links.lua``."""
    with client.pipeline(transaction=False) as pipe:
        for job, parent in pairs:
            base, id = keys.base_and_id(parent)
            pipe.hmget(parent, "name", "finishedOn")
            pipe.zscore(keys.part(base, "waiting-children"), id)
            pipe.sismember(keys.part(parent, "dependencies"), job)
            pipe.hstrlen(keys.part(parent, "processed"), job)
            pipe.hexists(keys.part(parent, "failed"), job)
            pipe.zscore(keys.part(parent, "unsuccessful"), job)
        found = pipe.execute(raise_on_error=False)
    return {"links": [_parent_link(found[i : i + 6]) for i in range(0, len(found), 6)]}


def _parent_link(answers: Sequence[Any]) -> Any:
    if any(isinstance(answer, Exception) for answer in answers):
        return False
    (name, finished), waiting, awaited, value, ignored, failed = answers
    has_failed = bool(ignored) or failed is not None
    return [name is not None, finished is not None, waiting is not None, bool(awaited), value, has_failed]


def compare_values(
    client: Redis, queues: Sequence[str], *, pairs: Sequence[tuple[str, str]], mark: str
) -> Any:
    """As ``compare_values.lua``."""
    with client.pipeline(transaction=False) as pipe:
        for job, parent in pairs:
            pipe.hmget(job, "returnvalue", "part")
            pipe.hget(keys.part(parent or job, "processed"), job)
        found = pipe.execute(raise_on_error=False)
    values = []
    for i, (_, parent) in enumerate(pairs):
        has, held = found[2 * i : 2 * i + 2]
        own, part = (None, None) if isinstance(has, Exception) else has
        note = f'{{"flownb:large":{len(own or b"")}}}'.encode()
        known = bool(parent) and own is not None and isinstance(held, bytes)
        differs = known and held not in (own, note)
        values.append([differs, any(mark.encode() in text for text in (own, part) if text)])
    return {"values": values}


def _text(value: Any) -> str | Literal[False]:
    """As the scripts answer: nothing is false."""
    return False if value is None else codec.text(value)


READS: Mapping[str, Callable[..., Any]] = {
    "read_jobs": read_jobs,
    "read_returnvalues": read_returnvalues,
    "read_children_counts": read_children_counts,
    "read_names": read_names,
    "read_flow_state": read_flow_state,
    "read_flows": read_flows,
    "read_sizes": read_sizes,
    "read_cancelled": read_cancelled,
    "read_job_facts": read_job_facts,
    "read_parent_links": read_parent_links,
    "compare_values": compare_values,
}
"""Script -> what asks the same in plain commands."""
