"""What a doctor sees between a job and its parents: what each parent holds of the job. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.wire import keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store.children import Children
from flownb.wire.store.job_facts import ENDS, JobFacts, JobFactsReader, ListsOf
from flownb.wire.store.limits import JOBS_A_READ, in_pieces
from flownb.wire.store.server import Server
from flownb.wire.store.shared_jobs import SharedJobs

_MOST_BYTES = 2_000_000  # of values a read
_LOOKS = 4  # at a job until it was the same twice in a row


@dataclass(frozen=True, kw_only=True, slots=True)
class ParentLink:
    """A job and one of its parents, as the parent's keys have it."""

    parent: str
    exists: bool  #: the parent is stored
    ended: bool  #: the parent has ended
    waiting: bool  #: the parent waits for children
    awaited: bool  #: it waits for this job
    value_bytes: int  #: of what it holds as the job's value
    failed: bool  #: it holds that the job failed


@dataclass(frozen=True, kw_only=True, slots=True)
class AwaitedChildren:
    """What a parent waits for."""

    ended: Mapping[str, JobFacts | None]  #: children that have ended; None: that are gone
    astray: Sequence[str]  #: children that their queue lists nowhere
    sealed: bool  #: nothing but a seal is left


class ParentLinks:
    """Reads links by the keys of jobs and parents."""

    def __init__(self, server: Server, facts: JobFactsReader, shared: SharedJobs, children: Children) -> None:
        self._server = server
        self._facts = facts
        self._shared = shared
        self._children = children

    def read_parents(self, jobs: Sequence[JobFacts]) -> list[list[str]]:
        """Return the parents of each job, the first one first."""
        further = self._shared.read_further_parents([job.key for job in jobs if job.shared])
        return [[*([job.parent] if job.parent else []), *further.get(job.key, ())] for job in jobs]

    def read(self, pairs: Sequence[tuple[str, str]]) -> Iterator[ParentLink]:
        """Read what parents hold of jobs; a pair is a job and a parent of it."""
        for some in in_pieces(pairs):
            with self._server.pipeline() as pipe:
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
                yield _link(parent, found[6 * i : 6 * i + 6])

    def read_stable(self, job: str) -> tuple[JobFacts, list[ParentLink]] | None:
        """Read one job, its lists and its parents until they are the same twice in a row; None while it moves."""
        before = None
        for _ in range(_LOOKS):
            (facts,) = self._facts.read([job])
            (parents,) = self.read_parents([facts])
            now = facts, list(self.read([(job, parent) for parent in parents]))
            if now == before:
                return now
            before = now
        return None

    def read_awaited(self, parent: str, lists_of: ListsOf) -> AwaitedChildren:
        """Look at the children that a parent waits for; `lists_of` knows the lists of one that has not ended.

        A child is read before its parent is asked whether it still waits: whoever ends a child notifies its parent.
        """
        ended: dict[str, JobFacts | None] = {}
        astray: list[str] = []
        children = sorted(self._children.read_pending(parent))
        for some in in_pieces(children):
            found = [child for child in self._facts.read(some, lists_of) if child.readable]
            astray += [child.key for child in found if child.whole and not child.lists]
            over = {child.key: child if child.whole else None for child in found if _is_over(child)}
            still = self._children.are_awaited(parent, list(over))
            ended |= {key: over[key] for key, is_awaited in zip(over, still, strict=True) if is_awaited}
        with server_errors():
            sealed = not children and bool(self._server.client.exists(keys.part(parent, "dependencies")))
        return AwaitedChildren(ended=ended, astray=astray, sealed=sealed)

    def read_differing(
        self, pairs: Sequence[tuple[JobFacts, ParentLink]]
    ) -> Iterator[tuple[JobFacts, ParentLink]]:
        """Yield those completed jobs of which a parent holds another value than theirs; reads some bytes at a time."""
        for some in _by_bytes(pairs):
            with self._server.pipeline() as pipe:
                for job, link in some:
                    pipe.hget(job.key, "returnvalue")
                    pipe.hget(keys.part(link.parent, "processed"), job.key)
                found = pipe.execute(raise_on_error=False)
            for i, (job, link) in enumerate(some):
                value, held = found[2 * i : 2 * i + 2]
                if isinstance(value, Exception) or isinstance(held, Exception):
                    continue  # the facts of the job, or of its parent, say so
                note = f'{{"flownb:large":{len(value or b"")}}}'.encode()
                if value is not None and held is not None and held not in (value, note):
                    yield job, link


def _is_over(child: JobFacts) -> bool:
    """Say whether a job is gone, even in part, or has ended and is listed so."""
    return not child.whole or (child.ended and child.only_list in ENDS)


def _link(parent: str, answers: Sequence[Any]) -> ParentLink:
    if any(isinstance(answer, Exception) for answer in answers):  # the parent's own facts say of it
        answers = [(None, None), None, False, 0, False, None]
    (name, finished), waiting, awaited, value, ignored, failed = answers
    return ParentLink(
        parent=parent,
        exists=name is not None,
        ended=finished is not None,
        waiting=waiting is not None,
        awaited=bool(awaited),
        value_bytes=value,
        failed=bool(ignored) or failed is not None,
    )


def _by_bytes(
    pairs: Sequence[tuple[JobFacts, ParentLink]],
) -> Iterator[list[tuple[JobFacts, ParentLink]]]:
    some: list[tuple[JobFacts, ParentLink]] = []
    size = 0
    for job, link in pairs:
        if some and (size + job.value_bytes + link.value_bytes > _MOST_BYTES or len(some) == JOBS_A_READ):
            yield some
            some, size = [], 0
        some.append((job, link))
        size += job.value_bytes + link.value_bytes
    if some:
        yield some
