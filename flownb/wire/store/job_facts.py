"""What a doctor sees of a job: where its queue lists it, what it holds, who ran it. Nothing is written.

Plain reads in pieces, while jobs move. Who suspects something reads again: see `ParentLinks.read_stable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from flownb.wire import codec, keys
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, POLICIES, WAITING
from flownb.wire.server_errors import server_errors
from flownb.wire.store.job_records import number
from flownb.wire.store.limits import IDS_A_READ, JOBS_A_READ, in_pieces
from flownb.wire.store.server import Server
from flownb.wire.store.without_scripts import UUID_CHARACTERS

LISTS = ("wait", "paused", "active")
SORTED = ("delayed", "prioritized", "waiting-children")
OPEN = (*LISTS, *SORTED)  #: where jobs are that have not ended
ENDS = (COMPLETED, FAILED)
_OTHER_STATES = ("waiting-children", "delayed", "prioritized", "active")  # each called as its list is
_COUNTERS = ("ats", "atm", "stc", "priority")
_FIELDS = (
    *("name", "finishedOn", "fl", "parentKey", "parent", "sh", "defa", "why", "processedOn"),
    *_COUNTERS,
)
_NO_LOCK, _ENDLESS = -2, -1  # what PTTL answers

ListsOf = Callable[[str], Sequence[str]]
"""Knows in which of `OPEN` a job is listed."""


class JobFacts(NamedTuple):
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
    begun: bool  #: its function was called, by `processedOn`
    started: int
    deferred: bool
    no_numbers: tuple[str, ...]  #: its counters that hold no whole number, as ``field=text``
    locked: bool  #: a worker holds it
    lock_endless: bool  #: its lock does not run out
    value_bytes: int  #: of what it returned
    part_bytes: int  #: of what some of its rows have returned so far
    pending: int  #: what it waits for, seals too
    ignored: int  #: failed children that it goes on without

    @property
    def ended(self) -> bool:
        """By its own fields."""
        return self.finished is not None

    @property
    def has_values(self) -> bool:
        """Has it returned something, all of it or for some of its rows?"""
        return self.value_bytes + self.part_bytes > 0

    @property
    def state(self) -> str:
        """Where it is by what ``read_jobs.lua`` goes by: its own fields, its lock, and only then its lists."""
        if self.finished is not None:
            return COMPLETED if self.value_bytes else FAILED
        if self.locked:
            return ACTIVE if self.begun else WAITING
        return next((state for state in _OTHER_STATES if state in self.lists), WAITING)

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
        """Read jobs in pieces. `lists_of` knows the lists of those that have not ended; without it queues are asked.

        A queue is asked by going through its lists, so a call asks for one job then.
        """
        for some in in_pieces(jobs, 1 if lists_of is None else JOBS_A_READ):
            reply = self._server.call(
                "read_job_facts",
                [keys.base_of(some[0])],
                jobs=some,
                fields=_FIELDS,
                listed=lists_of is None or None,
            )
            for job, answers in zip(some, reply["jobs"], strict=True):
                yield _facts(job, answers, () if lists_of is None else lists_of(job))

    def read_lists(self, base: str) -> dict[str, tuple[str, ...]]:
        """Return the lists and sorted sets of each job of a queue that has not ended, by its key.

        They are read against the way that jobs go, so that one which goes on meanwhile is not seen twice.
        """
        found: dict[str, tuple[str, ...]] = {}
        for name in (*SORTED, *reversed(LISTS)):
            alone = (name,)  # one for all jobs that are nowhere else: there may be millions
            for page in self._pages(base, name):
                for key in page:
                    found[key] = (*found[key], name) if key in found else alone
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


def _facts(job: str, answers: Sequence[Any], lists: Sequence[str]) -> JobFacts:
    """What the script answers of a job; `lists`: where else it is listed, as far as its queue was not asked."""
    readable, fields, stored, data, value, part, lease, pending, ignored, places = answers
    texts: list[Any] = fields or [False] * len(_FIELDS)
    name, finished, flow, parent, link, shared, deferred, why, begun, *counters = texts
    policy, linked = _link(job, parent, link) if parent else ("", True)
    return JobFacts(
        key=job,
        readable=readable,
        stored=stored,
        whole=name is not False and data,
        lists=(*places, *lists) if places else tuple(lists),
        finished=finished or None,
        why=why or None,
        flow=flow or None,
        parent=parent or None,
        policy=policy,
        shared=shared is not False,
        linked=linked,
        begun=begun is not False,
        started=number(counters[0] or 0),
        deferred=deferred is not False,
        no_numbers=tuple(_no_numbers(counters)),
        locked=lease != _NO_LOCK,
        lock_endless=lease == _ENDLESS,
        value_bytes=value,
        part_bytes=part,
        pending=pending,
        ignored=ignored,
    )


def _no_numbers(counters: Sequence[str | Literal[False]]) -> Iterator[str]:
    for name, text in zip(_COUNTERS, counters, strict=True):
        if text is not False and not text.removeprefix("-").isdecimal():
            yield f"{name}={text[:20]!r}"


def _link(job: str, parent: str, link: str | None) -> tuple[str, bool]:
    """The policy in a job's link to its parent, and whether the link says the same as its other field."""
    found = codec.decode_object(link or "{}")
    policy = next((word for word in POLICIES if found.get(word)), "")
    return policy, parent != job and f"{found.get('queueKey')}:{found.get('id')}" == parent


def _usable(answers: Sequence[Any]) -> list[Any]:
    """What was answered, None where a key has a type that it should not have."""
    from redis.exceptions import ResponseError

    return [None if isinstance(answer, ResponseError) else answer for answer in answers]


def _last_run(fields: Sequence[Any] | None, lock: bytes | None, further: Sequence[bytes] | None) -> LastRun:
    """Tell from the length of a lock, or from what flownb's scripts note, whose worker it was."""
    started, finished, signed, why, again = fields or (None,) * 5
    if lock:
        is_ours = len(lock) < UUID_CHARACTERS
    else:
        is_ours = bool(signed) or (not started and (not finished or bool(why)))
    flows = {codec.text(words).partition(" ")[2] for words in further or ()}
    return LastRun(is_ours and not again, flows)
