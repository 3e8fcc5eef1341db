"""What a doctor looks at: where jobs stand, what they hold, what their parents hold of them. Nothing is written.

Plain reads in pieces, while jobs move. Who suspects something asks again: see `read_still`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flownb.wire import codec, keys
from flownb.wire.many_rows import jobs_counted
from flownb.wire.records import POLICIES
from flownb.wire.server_errors import server_errors
from flownb.wire.store.children import PIECE
from flownb.wire.store.without_scripts import UUID

if TYPE_CHECKING:
    from flownb.wire.store import Store

LISTS = ("wait", "paused", "active")
OPEN = (*LISTS, "delayed", "prioritized", "waiting-children")  #: places of jobs that have not ended
ENDS = ("completed", "failed")
_TYPES = dict.fromkeys(LISTS, "list") | dict.fromkeys((*OPEN[3:], *ENDS), "zset") | {"meta": "hash"}
_FIELDS = ("name", "finishedOn", "fl", "parentKey", "parent", "ats", "sh", "defa", "why")
_PAGE = 1000  # ids a read
_MOST_BYTES = 2_000_000  # of values a read
_LOOKS = 4  # at a job until it was the same twice in a row


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One job."""

    key: str
    readable: bool  #: its keys have the types that they should have
    stored: bool
    whole: bool  #: it has a name and data
    places: tuple[str, ...]  #: where its id stands; what stands twice in a list is here twice
    ended: bool  #: by its own fields
    why: str | None
    flow: str | None
    parent: str | None
    policy: str  #: what its failure means for `parent`; empty: nothing
    shared: bool
    linked: bool  #: the fields that name its parent agree, and it is not its own
    started: int
    deferred: bool
    endless: bool  #: its lock does not run out
    value: int  #: bytes
    pending: int  #: what it waits for, seals too
    forgiven: int  #: failed children that it goes on without

    @property
    def place(self) -> str | None:
        """The one place where it is, None when it is not in exactly one."""
        return self.places[0] if len(self.places) == 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tie:
    """A job and one of its parents, as the parent's keys have it."""

    parent: str
    there: bool  #: the parent is
    over: bool  #: the parent has ended
    waiting: bool  #: the parent waits for children
    awaited: bool  #: it waits for this job
    value: int  #: bytes of what it holds as the job's value
    failed: bool  #: it holds that the job failed


def read_lines(store: Store, base: str) -> dict[str, list[str]]:
    """Return the places of each job of a queue that has not ended, by its key.

    They are read against the way that jobs go, so that one which goes on meanwhile is not seen twice.
    """
    found: dict[str, list[str]] = {}
    for place in (*OPEN[3:], *reversed(LISTS)):
        for page in _pages(store, base, place):
            for key in page:
                found.setdefault(key, []).append(place)
    return found


def read_ended(store: Store, base: str) -> Iterator[list[str]]:
    """Yield the keys of the jobs that stand among the ended ones of a queue, a page at a time."""
    for place in ENDS:
        yield from _pages(store, base, place)


def _pages(store: Store, base: str, place: str) -> Iterator[list[str]]:
    """The jobs of one place. Ids with a colon are BullMQ's own: its schedulers', the markers of version 4."""
    start = 0
    while True:
        with server_errors():
            if place in LISTS:  # from its right end, where jobs leave: new ones join at the other
                page: Any = store.client.lrange(keys.part(base, place), -start - _PAGE, -start - 1)
            else:
                page = store.client.zrange(keys.part(base, place), start, start + _PAGE - 1)
        yield [keys.job_in(base, id) for id in map(codec.text, page) if ":" not in id]
        start += _PAGE
        if len(page) < _PAGE:
            return


def read_mistyped(store: Store, base: str) -> dict[str, str]:
    """Return those of a queue's keys that are of another type than they should be, and of which."""
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        for name in _TYPES:
            pipe.type(keys.part(base, name))
        kinds = map(codec.text, pipe.execute())
    pairs = zip(_TYPES.items(), kinds, strict=True)
    return {name: kind for (name, right), kind in pairs if kind not in (right, "none")}


def has_endless_check(store: Store, base: str) -> bool:
    """Say whether no sweep will ever come: what says that one was just made does not run out."""
    with server_errors():
        return bool(store.client.pttl(keys.part(base, "stalled-check")) == -1)


def read_charts(
    store: Store, jobs: Sequence[str], places_of: Callable[[str], Sequence[str]] | None = None
) -> Iterator[Chart]:
    """Read jobs in pieces. `places_of` knows where a job stands that has not ended; without it its queue is asked."""
    for start in range(0, len(jobs), PIECE):
        some = jobs[start : start + PIECE]
        with server_errors(), store.client.pipeline(transaction=False) as pipe:
            for job in some:
                _ask(pipe, job, places_of is None)
            found = pipe.execute(raise_on_error=False)
        size = len(found) // len(some)
        for i, job in enumerate(some):
            answers = found[size * i : size * (i + 1)]
            yield _chart(job, answers, None if places_of is None else places_of(job))


def _ask(pipe: Any, job: str, queue_too: bool) -> None:
    base, id = keys.base_and_id(job)
    pipe.hmget(job, *_FIELDS)
    pipe.exists(job)
    pipe.hexists(job, "data")
    pipe.hstrlen(job, "returnvalue")
    pipe.pttl(keys.part(job, "lock"))
    pipe.scard(keys.part(job, "dependencies"))
    pipe.hlen(keys.part(job, "failed"))
    for place in (*ENDS, *OPEN[3:]) if queue_too else ENDS:
        pipe.zscore(keys.part(base, place), id)
    for place in LISTS if queue_too else ():
        pipe.lpos(keys.part(base, place), id, count=0)


def _chart(job: str, answers: Sequence[Any], lines: Sequence[str] | None) -> Chart:
    from redis.exceptions import ResponseError

    readable = not any(isinstance(answer, ResponseError) for answer in answers)
    if not readable:
        answers = [None if isinstance(answer, ResponseError) else answer for answer in answers]
    fields, stored, data, value, lease, pending, forgiven, *places = answers
    name, finished, flow, parent, link, started, shared, deferred, why = map(
        codec.text_or_none, fields or [None] * 9
    )
    stands = [place for place, score in zip(ENDS, places, strict=False) if score is not None]
    if lines is not None:
        stands += lines
    else:
        ranked, lists = places[2:5], places[5:]
        stands += [place for place, score in zip(OPEN[3:], ranked, strict=True) if score is not None]
        stands += [place for place, at in zip(LISTS, lists, strict=True) for _ in at or ()]
    policy, linked = _linked(job, parent, link)
    return Chart(
        key=job,
        readable=readable,
        stored=bool(stored),
        whole=name is not None and bool(data),
        places=tuple(stands),
        ended=finished is not None,
        why=why,
        flow=flow,
        parent=parent,
        policy=policy,
        shared=shared is not None,
        linked=linked,
        started=int(started or 0),
        deferred=deferred is not None,
        endless=lease == -1,
        value=value or 0,
        pending=pending or 0,
        forgiven=forgiven or 0,
    )


def _linked(job: str, parent: str | None, link: str | None) -> tuple[str, bool]:
    """The policy in a job's link to its parent, and whether the link says the same as its other field."""
    if parent is None:
        return "", True
    found = codec.decode_object(link or "{}")
    policy = next((word for word in POLICIES if found.get(word)), "")
    return policy, parent != job and f"{found.get('queueKey')}:{found.get('id')}" == parent


def read_edges(store: Store, charts: Sequence[Chart]) -> list[list[str]]:
    """Return the parents of each job, the first one first."""
    further = store.read_parents([chart.key for chart in charts if chart.shared])
    return [[*([c.parent] if c.parent else []), *further.get(c.key, ())] for c in charts]


def read_ties(store: Store, pairs: Sequence[tuple[str, str]]) -> Iterator[Tie]:
    """Read what parents hold of jobs; a pair is a job and a parent of it."""
    for start in range(0, len(pairs), PIECE):
        some = pairs[start : start + PIECE]
        with server_errors(), store.client.pipeline(transaction=False) as pipe:
            for job, parent in some:
                base, id = keys.base_and_id(parent)
                pipe.hmget(parent, "name", "finishedOn")
                pipe.zscore(keys.part(base, "waiting-children"), id)
                pipe.sismember(keys.part(parent, "dependencies"), job)
                pipe.hstrlen(keys.part(parent, "processed"), job)
                pipe.hexists(keys.part(parent, "failed"), job)
                pipe.zscore(keys.part(parent, "unsuccessful"), job)
            found = pipe.execute(raise_on_error=False)
        for i, (_, parent) in enumerate(some):
            answers = found[6 * i : 6 * i + 6]
            if any(isinstance(answer, Exception) for answer in answers):  # the parent's own chart tells of it
                answers = [(None, None), None, False, 0, False, None]
            (name, finished), waiting, awaited, value, forgiven, failed = answers
            yield Tie(
                parent=parent,
                there=name is not None,
                over=finished is not None,
                waiting=waiting is not None,
                awaited=bool(awaited),
                value=value,
                failed=bool(forgiven) or failed is not None,
            )


def read_still(store: Store, job: str) -> tuple[Chart, list[Tie]] | None:
    """Read one job, its line and its parents until they are the same twice in a row; None while it moves."""
    seen: list[tuple[Chart, list[Tie]]] = []
    for _ in range(_LOOKS):
        (chart,) = read_charts(store, [job])
        (parents,) = read_edges(store, [chart])
        seen.append((chart, list(read_ties(store, [(job, parent) for parent in parents]))))
        if seen[-1:] == seen[-2:-1]:
            return seen[-1]
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Awaited:
    """What a parent waits for."""

    settled: Mapping[str, Chart | None]  #: children that have ended; None: that are gone
    astray: Sequence[str]  #: children that stand nowhere in their queue
    sealed: bool  #: nothing but a seal is left


def read_awaited(store: Store, parent: str, places_of: Callable[[str], Sequence[str]]) -> Awaited:
    """Look at the children that a parent waits for; `places_of` knows where one stands that has not ended.

    A child is read before its parent is asked whether it still waits: whoever ends a child tells its parent.
    """
    settled: dict[str, Chart | None] = {}
    astray: list[str] = []
    children = sorted(store.read_pending(parent))
    for start in range(0, len(children), PIECE):
        over: dict[str, Chart | None] = {}
        for chart in read_charts(store, children[start : start + PIECE], places_of):
            if not chart.readable:
                continue
            if not chart.whole:
                over[chart.key] = None
            elif not chart.places:
                astray.append(chart.key)
            elif chart.ended and chart.place in ENDS:
                over[chart.key] = chart
        still = store.read_awaited(parent, list(over))
        settled |= {key: over[key] for key, is_awaited in zip(over, still, strict=True) if is_awaited}
    with server_errors():
        sealed = not children and bool(store.client.exists(keys.part(parent, "dependencies")))
    return Awaited(settled=settled, astray=astray, sealed=sealed)


def read_shared(store: Store, jobs: Sequence[str]) -> tuple[set[str], bool]:
    """Return which of these are shared jobs whose end flownb's scripts have not written, and whether a worker of
    flownb's is there, which tells their further parents of an end that another program wrote.
    """
    found: set[str] = set()
    with server_errors():
        now: Any = store.client.time()
        served: Any = store.client.zcount(keys.own(store.prefix, "served"), now[0] * 1000, "+inf")
        for start in range(0, len(jobs), PIECE):
            some = jobs[start : start + PIECE]
            listed: Any = store.client.hmget(keys.own(store.prefix, "shared"), list(some))
            found |= {job for job, first in zip(some, listed, strict=True) if first is not None}
    return found, bool(served)


def read_end_of_flow(store: Store, flow: str) -> str | None:
    """Return how a flow has ended, None if it has not, or is gone; `flow` as a job's hash names it."""
    home, id = keys.home_and_flow(flow)
    with server_errors():
        found: Any = store.client.hget(keys.own(home or store.prefix, "flow", id), "ended")
    return codec.text_or_none(found)


def read_counts(store: Store, flow: str) -> dict[str, int]:
    """Return how many jobs of a flow are where, by its own counts: ``state@queue key`` -> jobs."""
    with server_errors():
        found: Any = store.client.hgetall(keys.own(store.prefix, "counts", flow))
    return jobs_counted({codec.text(field): n for field, n in found.items()})


@dataclass(frozen=True, slots=True)
class Hand:
    """Who had a job last, and which other flows count it."""

    is_flownb: bool  #: only a worker of flownb's, as far as can be told
    flows: set[str]


def read_hands(store: Store, jobs: Sequence[str]) -> list[Hand]:
    """Read in whose hands jobs are, or were."""
    hands = []
    for start in range(0, len(jobs), PIECE):
        some = jobs[start : start + PIECE]
        with server_errors(), store.client.pipeline(transaction=False) as pipe:
            for job in some:
                pipe.hmget(job, "ats", "finishedOn", "ft", "why", "rt")
                pipe.get(keys.part(job, "lock"))
                pipe.hvals(keys.own(keys.prefix_of(job), "parents", job))
            found = pipe.execute()
        for i in range(0, len(found), 3):
            (started, finished, signed, why, again), lock, further = found[i : i + 3]
            mine = len(lock) < UUID if lock else bool(signed) or (not started and (not finished or why))
            flows = {codec.text(words).partition(" ")[2] for words in further}
            hands.append(Hand(bool(mine and not again), flows))
    return hands


def read_unlike(store: Store, pairs: Sequence[tuple[Chart, Tie]]) -> Iterator[tuple[Chart, Tie]]:
    """Yield those completed jobs of which a parent holds another value than theirs. Reads as many bytes at a time."""
    for some in _by_bytes(pairs):
        with server_errors(), store.client.pipeline(transaction=False) as pipe:
            for chart, tie in some:
                pipe.hget(chart.key, "returnvalue")
                pipe.hget(keys.part(tie.parent, "processed"), chart.key)
            found = pipe.execute()
        for i, (chart, tie) in enumerate(some):
            value, held = found[2 * i : 2 * i + 2]
            told = f'{{"flownb:large":{len(value or b"")}}}'.encode()
            if value is not None and held is not None and held not in (value, told):
                yield chart, tie


def _by_bytes(pairs: Sequence[tuple[Chart, Tie]]) -> Iterator[list[tuple[Chart, Tie]]]:
    some: list[tuple[Chart, Tie]] = []
    size = 0
    for chart, tie in pairs:
        if some and (size + chart.value + tie.value > _MOST_BYTES or len(some) == PIECE):
            yield some
            some, size = [], 0
        some.append((chart, tie))
        size += chart.value + tie.value
    if some:
        yield some
