"""Damages one key of a store: of another type, gone, or with damaged text; and what must be as if it were whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support import invariants
from tests.support.script_bench import Bench, text

#: what a field or a string may hold instead of what was stored: cut, foreign, deep, no number, no key, no UTF-8
TEXTS: tuple[str | bytes, ...] = (
    *("", "x", "[[[[", "5", "null", "-1", "1.5", "nan", "inf", "1e400", "true", '{"id":5}', '{"fpof":null}'),
    *("bull:q", "a:b:c:d", "bull:nowhere:ghost", b"\xff\xfe", "[" * 2000, '{"a":' * 2000),
)


@dataclass(frozen=True)
class Scene:
    """Two flows side by side, `f` and `g`, and one call about both; ids of jobs begin with the flow's name.

    A `single` call is about one thing: it may refuse, and then it has written nothing.
    """

    name: str
    prepare: Callable[[Bench], Callable[[], Any]]
    single: bool = False
    one_queue: bool = False  #: both flows have their jobs in the same queues


class Stored:
    """A store as it was prepared, to be put there again and again."""

    def __init__(self, bench: Bench, scene: Scene) -> None:
        bench.redis.flushdb()
        self.bench, self.scene = bench, scene
        self.call = scene.prepare(bench)
        self.now, self.calls = bench.now, bench.calls
        self.before = bench.dump()
        self.touched = touched_by(bench, self.call)
        self.after = contents(bench)

    def put_back(self) -> None:
        self.bench.now, self.bench.calls = self.now, self.calls
        with self.bench.redis.pipeline(transaction=False) as pipe:
            pipe.flushdb()
            for key, value in self.before.items():
                pipe.restore(key, 0, value)
            pipe.execute()


def touched_by(bench: Bench, call: Callable[[], Any]) -> list[str]:
    """Return the keys that one call reads or writes, as the server saw it."""
    found: dict[str, None] = {}
    with bench.redis.monitor() as monitor:
        call()
        bench.redis.echo("that was all")
        for command in monitor.listen():
            words = command["command"].split()
            if "that was all" in command["command"]:
                break
            found |= {word: None for word in words[1:] if re.fullmatch(r"bull:[\w:.-]+", word)}
    return [key for key in found if key.count(":") >= 2 and ":seal:" not in key]


def contents(bench: Bench) -> dict[str, Any]:
    return bench.contents(but=(":events", ":marker"))


# ---- whose a key is -------------------------------------------------------------------------------------------


def flow_of(key: str) -> str | None:
    """Return the flow a key belongs to alone; None for keys of both."""
    names = set(re.findall(r":([fg])-", key)) or set(re.findall(r"^bull:flownb:\w+:([fg])$", key))
    names |= {"f" if queue in ("q", "up") else "g" for queue in re.findall(r"^bull:(q|up|r|high):", key)}
    return names.pop() if len(names) == 1 else None


def _belongs_to_a_job_or_flow(key: str) -> bool:
    return re.search(r":[fg](-|$)", key) is not None


def job_of(key: str) -> str:
    """Return the job that a key belongs to, the key itself for any other."""
    found = re.search(r"bull:\w+:[fg]-\w+", key)
    return found[0] if found else key


def is_job(key: str) -> bool:
    return re.fullmatch(r"bull:\w+:[fg]-\w+", key) is not None


# ---- damaging -------------------------------------------------------------------------------------------------


def of_another_type(bench: Bench, key: str) -> None:
    """Put something of another type into a key's place."""
    was = text(bench.redis.type(key))
    bench.redis.delete(key)
    if was == "string" or (
        was == "none" and key.endswith((":id", ":pc", ":lock", ":limiter", ":stalled-check"))
    ):
        bench.redis.rpush(key, "damaged")
    else:
        bench.redis.set(key, "damaged")


def gone(bench: Bench, key: str) -> None:
    bench.redis.delete(key)


def with_text(bench: Bench, key: str, at: int, word: str | bytes) -> None:
    """Write a text in the place of the `at`-th of what a key holds, or add it to a list or a set."""
    match text(bench.redis.type(key)):
        case "hash":
            # In `fl` any text names a flow: the job is another one's then, which is no damage that shows.
            fields = sorted(field for field in bench.redis.hkeys(key) if field != b"fl")
            bench.redis.hset(key, fields[at % len(fields)], word)
        case "string":
            bench.redis.set(key, word)
        case "list":
            bench.redis.lset(key, at % bench.redis.llen(key), word)
        case "set":
            bench.redis.sadd(key, word)
        case "zset":
            bench.redis.zadd(key, {word: at})


# ---- what must hold ---------------------------------------------------------------------------------------------


def others_unlike(stored: Stored, damaged: str) -> Iterator[str]:
    """Yield the keys of the flow that was not damaged that are not as they are after an undamaged call."""
    mine = flow_of(damaged)
    if mine is None or (stored.scene.one_queue and not _belongs_to_a_job_or_flow(damaged)):
        return
    now = contents(stored.bench)
    for key in stored.after.keys() | now.keys():
        if flow_of(key) not in (mine, None) and now.get(key) != stored.after.get(key):
            yield f"{key}: {now.get(key)}, not {stored.after.get(key)}"


def misplaced(bench: Bench) -> Mapping[str, list[str]]:
    """Return the jobs that are in no list, or in several, with those lists."""
    books = invariants.read(bench.redis)
    where = books.where()
    whole = {job for job, fields in books.jobs.items() if {"name", "data"} <= fields.keys()}
    return {job: where.get(job, []) for job in whole if len(where.get(job, [])) != 1}


def broken_rules(bench: Bench) -> set[tuple[str, str, str]]:
    """Return what the independent checker finds, as rule, key and evidence."""
    return {(found.rule, found.key, found.evidence) for found in invariants.violations(bench.redis)}
