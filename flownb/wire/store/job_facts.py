"""What a doctor sees of a job: where its queue lists it, what it holds, who ran it. Nothing is written.

Plain reads in pieces, while jobs move. Who suspects something reads again: see `ParentLinks.read_stable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.wire import codec, keys
from flownb.wire.records import COMPLETED, FAILED, POLICIES
from flownb.wire.server_errors import server_errors
from flownb.wire.store.job_records import number
from flownb.wire.store.limits import IDS_A_READ, in_pieces
from flownb.wire.store.server import Server
from flownb.wire.store.without_scripts import UUID_CHARACTERS

LISTS = ("wait", "paused", "active")
SORTED = ("delayed", "prioritized", "waiting-children")
OPEN = (*LISTS, *SORTED)  #: where jobs are that have not ended
ENDS = (COMPLETED, FAILED)
_COUNTERS = ("ats", "atm", "stc", "priority")
_FIELDS = ("name", "finishedOn", "fl", "parentKey", "parent", "sh", "defa", "why", *_COUNTERS)

ListsOf = Callable[[str], Sequence[str]]
"""Knows in which of `OPEN` a job is listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFacts:
    """One job."""

    key: str
    readable: bool  #: its keys have the types that they should have
    stored: bool
    whole: bool  #: it has a name and data
    lists: tuple[str, ...]  #: lists and sorted sets that its id is in; what is twice in a list is here twice
    finished: str | None  #: when it ended (ms), by its own fields
    why: str | None
    flow: str | None
    parent: str | None
    policy: str  #: what its failure means for `parent`; empty: nothing
    shared: bool
    linked: bool  #: the fields that name its parent agree, and it is not its own
    started: int
    deferred: bool
    no_numbers: tuple[str, ...]  #: its counters that hold no whole number, as ``field=text``
    lock_endless: bool  #: its lock does not run out
    value_bytes: int  #: of what it returned
    pending: int  #: what it waits for, seals too
    ignored: int  #: failed children that it goes on without

    @property
    def ended(self) -> bool:
        """By its own fields."""
        return self.finished is not None

    @property
    def only_list(self) -> str | None:
        """The one list or sorted set that it is in, None when it is not in exactly one."""
        return self.lists[0] if len(self.lists) == 1 else None


@dataclass(frozen=True, slots=True)
class LastRun:
    """Who had a job last, and which other flows count it."""

    by_flownb: bool  #: only a worker of flownb's, as far as can be told
    flows: set[str]


class JobFactsReader:
    """Reads facts of jobs by their keys, and which jobs a queue lists."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, jobs: Sequence[str], lists_of: ListsOf | None = None) -> Iterator[JobFacts]:
        """Read jobs in pieces. `lists_of` knows the lists of those that have not ended; without it queues are asked."""
        for some in in_pieces(jobs):
            with self._server.pipeline() as pipe:
                for job in some:
                    _ask(pipe, job, lists_of is None)
                found = pipe.execute(raise_on_error=False)
            size = len(found) // len(some)
            for i, job in enumerate(some):
                answers = found[size * i : size * (i + 1)]
                yield _facts(job, answers, None if lists_of is None else lists_of(job))

    def read_lists(self, base: str) -> dict[str, list[str]]:
        """Return the lists and sorted sets of each job of a queue that has not ended, by its key.

        They are read against the way that jobs go, so that one which goes on meanwhile is not seen twice.
        """
        found: dict[str, list[str]] = {}
        for name in (*SORTED, *reversed(LISTS)):
            for page in self._pages(base, name):
                for key in page:
                    found.setdefault(key, []).append(name)
        return found

    def read_ended(self, base: str) -> Iterator[list[str]]:
        """Yield the keys of the jobs that a queue lists as ended, a page at a time."""
        for state in ENDS:
            yield from self._pages(base, state)

    def _pages(self, base: str, name: str) -> Iterator[list[str]]:
        """The jobs of one list or sorted set. Ids with a colon are BullMQ's own: schedulers, version 4's markers."""
        start, client, key = 0, self._server.client, keys.part(base, name)
        while True:
            with server_errors():
                if name in LISTS:  # from its right end, where jobs leave: new ones join at the other
                    page: Any = client.lrange(key, -start - IDS_A_READ, -start - 1)
                else:
                    page = client.zrange(key, start, start + IDS_A_READ - 1)
            yield [
                keys.job_in(base, id) for id in map(codec.text, page) if ":" not in id and keys.is_text(id)
            ]
            start += IDS_A_READ
            if len(page) < IDS_A_READ:
                return

    def read_last_runs(self, jobs: Sequence[str]) -> list[LastRun]:
        """Read who runs jobs, or ran them last."""
        runs = []
        for some in in_pieces(jobs):
            with self._server.pipeline() as pipe:
                for job in some:
                    pipe.hmget(job, "ats", "finishedOn", "ft", "why", "rt")
                    pipe.get(keys.part(job, "lock"))
                    pipe.hvals(keys.own(keys.prefix_of(job), "parents", job))
                found = pipe.execute(raise_on_error=False)
            runs += [_last_run(*_usable(found[i : i + 3])) for i in range(0, len(found), 3)]
        return runs


def _ask(pipe: Any, job: str, queue_too: bool) -> None:
    base, id = keys.base_and_id(job)
    pipe.hmget(job, *_FIELDS)
    pipe.exists(job)
    pipe.hexists(job, "data")
    pipe.hstrlen(job, "returnvalue")
    pipe.pttl(keys.part(job, "lock"))
    pipe.scard(keys.part(job, "dependencies"))
    pipe.hlen(keys.part(job, "failed"))
    pipe.hlen(keys.part(job, "processed"))  # these two only for their types
    pipe.zcard(keys.part(job, "unsuccessful"))
    for name in (*ENDS, *SORTED) if queue_too else ENDS:
        pipe.zscore(keys.part(base, name), id)
    for name in LISTS if queue_too else ():
        pipe.lpos(keys.part(base, name), id, count=0)


def _facts(job: str, answers: Sequence[Any], lists: Sequence[str] | None) -> JobFacts:
    """What the answers to `_ask` say; `lists`: where the job is listed, unless its queue was asked."""
    usable = _usable(answers)
    fields, stored, data, value, lease, pending, ignored, _, _, *listed = usable
    texts = [codec.text_or_none(field) for field in fields or [None] * len(_FIELDS)]
    name, finished, flow, parent, link, shared, deferred, why = texts[: -len(_COUNTERS)]
    counters = dict(zip(_COUNTERS, texts[-len(_COUNTERS) :], strict=True))
    policy, linked = _link(job, parent, link)
    return JobFacts(
        key=job,
        readable=usable == answers,
        stored=bool(stored),
        whole=name is not None and bool(data),
        lists=(*_listed(listed), *(lists or ())),
        finished=finished,
        why=why,
        flow=flow,
        parent=parent,
        policy=policy,
        shared=shared is not None,
        linked=linked,
        started=number(counters["ats"] or 0),
        deferred=deferred is not None,
        no_numbers=tuple(_no_numbers(counters)),
        lock_endless=lease == -1,
        value_bytes=value or 0,
        pending=pending or 0,
        ignored=ignored or 0,
    )


def _no_numbers(counters: Mapping[str, str | None]) -> Iterator[str]:
    for name, text in counters.items():
        if text is not None and not text.removeprefix("-").isdecimal():
            yield f"{name}={text[:20]!r}"


def _usable(answers: Sequence[Any]) -> list[Any]:
    """What was answered, None where a key has a type that it should not have."""
    from redis.exceptions import ResponseError

    return [None if isinstance(answer, ResponseError) else answer for answer in answers]


def _listed(answers: Sequence[Any]) -> list[str]:
    """Where a job is listed: scores in sorted sets, then, where its queue was asked, its positions in the lists."""
    ranked, lists = answers[:5], answers[5:]
    found = [name for name, score in zip((*ENDS, *SORTED), ranked, strict=False) if score is not None]
    return found + [name for name, positions in zip(LISTS, lists, strict=False) for _ in positions or ()]


def _link(job: str, parent: str | None, link: str | None) -> tuple[str, bool]:
    """The policy in a job's link to its parent, and whether the link says the same as its other field."""
    if parent is None:
        return "", True
    found = codec.decode_object(link or "{}")
    policy = next((word for word in POLICIES if found.get(word)), "")
    linked = keys.job_in(str(found.get("queueKey")), str(found.get("id")))
    return policy, parent != job and linked == parent


def _last_run(fields: Sequence[Any] | None, lock: bytes | None, further: Sequence[bytes] | None) -> LastRun:
    """Tell from the length of a lock, or from what flownb's scripts note, whose worker it was."""
    started, finished, signed, why, again = fields or (None,) * 5
    if lock:
        is_ours = len(lock) < UUID_CHARACTERS
    else:
        is_ours = bool(signed) or (not started and (not finished or bool(why)))
    flows = {codec.text(words).partition(" ")[2] for words in further or ()}
    return LastRun(is_ours and not again, flows)
