"""What a doctor sees between a job and its parents: what each parent holds of the job. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store.children import Children, is_seal
from flownb.wire.store.job_facts import ENDS, JobFacts, JobFactsReader, ListsOf
from flownb.wire.store.limits import JOBS_A_READ, in_pieces
from flownb.wire.store.server import Server
from flownb.wire.store.shared_jobs import SharedJobs

_MOST_BYTES = 2_000_000  # of values that one call looks at
_LOOKS = 4  # at a job until it was the same twice in a row


class ParentLink(NamedTuple):
    """A job and one of its parents, as the parent's keys have it."""

    parent: str
    exists: bool  #: the parent is stored
    ended: bool  #: the parent has ended
    waiting: bool  #: the parent waits for children
    awaited: bool  #: it waits for this job
    value_bytes: int  #: of what it holds as the job's value
    failed: bool  #: it holds that the job failed


class ComparedValues(NamedTuple):
    """What was seen of a job's value."""

    differs: bool  #: its parent holds another one
    marked: bool  #: what was looked for is in it


# Of a parent whose keys have other types: its own facts say so.
_NOTHING = (False, False, False, False, 0, False)


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
            reply = self._server.call("read_parent_links", [keys.base_of(some[0][0])], pairs=some)
            for (_, parent), link in zip(some, reply["links"], strict=True):
                yield ParentLink(parent, *(link or _NOTHING))

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

    def read_pending(self, parents: Sequence[JobFacts]) -> Iterator[tuple[JobFacts, list[str], bool]]:
        """Yield each parent with the children that it waits for, and whether a seal is all that is left.

        Those of parents that wait for few are read together.
        """
        few = [parent for parent in parents if parent.pending <= JOBS_A_READ]
        for some in in_pieces(few):
            with self._server.pipeline() as pipe:
                for parent in some:
                    pipe.smembers(keys.part(parent.key, "dependencies"))
                found = pipe.execute(raise_on_error=False)
            for parent, members in zip(some, found, strict=True):
                known = [] if isinstance(members, Exception) else [codec.text(one) for one in members]
                children = [child for child in known if not is_seal(child)]
                yield parent, children, bool(known) and not children
        for parent in parents:
            if parent.pending > JOBS_A_READ:
                yield parent, self._children.read_pending(parent.key), False

    def read_awaited(
        self, parent: str, lists_of: ListsOf, children: Sequence[str] | None = None
    ) -> AwaitedChildren:
        """Look at the children that a parent waits for, or some of them; `lists_of` knows the lists of those not ended.

        A child is read before its parent is asked whether it still waits: whoever ends a child notifies its parent.
        """
        ended: dict[str, JobFacts | None] = {}
        astray: list[str] = []
        asked = sorted(self._children.read_pending(parent) if children is None else children)
        for some in in_pieces(asked):
            found = [child for child in self._facts.read(some, lists_of) if child.readable]
            astray += [child.key for child in found if child.whole and not child.lists]
            over = {child.key: child if child.whole else None for child in found if _is_over(child)}
            still = self._children.are_awaited(parent, list(over))
            ended |= {key: over[key] for key, is_awaited in zip(over, still, strict=True) if is_awaited}
        with server_errors():
            sealed = not asked and bool(self._server.client.exists(keys.part(parent, "dependencies")))
        return AwaitedChildren(ended=ended, astray=astray, sealed=sealed)

    def compare_values(
        self, pairs: Sequence[tuple[JobFacts, ParentLink | None]], mark: str
    ) -> Iterator[tuple[JobFacts, ParentLink | None, ComparedValues]]:
        """Look at the values of jobs, on the server and some bytes at a time; with a link, also at what the parent has.

        `mark` is looked for in what each job has returned.
        """
        for some in _by_bytes(pairs):
            named = [(job.key, link.parent if link else "") for job, link in some]
            reply = self._server.call(
                "compare_values", [keys.base_of(some[0][0].key)], pairs=named, mark=mark
            )
            for (job, link), found in zip(some, reply["values"], strict=True):
                yield job, link, ComparedValues(*found)


def _is_over(child: JobFacts) -> bool:
    """Say whether a job is gone, even in part, or has ended and is listed so."""
    return not child.whole or (child.ended and child.only_list in ENDS)


def _by_bytes(
    pairs: Sequence[tuple[JobFacts, ParentLink | None]],
) -> Iterator[list[tuple[JobFacts, ParentLink | None]]]:
    some: list[tuple[JobFacts, ParentLink | None]] = []
    size = 0
    for job, link in pairs:
        more = job.value_bytes + job.part_bytes + (link.value_bytes if link else 0)
        if some and (size + more > _MOST_BYTES or len(some) == JOBS_A_READ):
            yield some
            some, size = [], 0
        some.append((job, link))
        size += more
    if some:
        yield some
