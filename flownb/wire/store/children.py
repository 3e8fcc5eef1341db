"""What a parent's own keys say of its children: BullMQ's structures, whoever wrote them, read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from flownb.wire import codec, keys
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.server_errors import server_errors
from flownb.wire.store.large_values import LargeValues, stands_for_large
from flownb.wire.store.limits import IDS_A_READ, JOBS_A_READ, VALUES_A_READ, in_pieces
from flownb.wire.store.server import Server

_SEAL = ":flownb:seal:"


class ChildrenCounts(NamedTuple):
    """How many children of a parent are where."""

    pending: int
    completed: int
    ignored: int  #: failed, and their parent goes on
    failed: int  #: failed, and their parent with them


class JobOutline(NamedTuple):
    """What a tree needs to know of a job."""

    name: str
    has_children: bool


class Children:
    """Children by their parent's key."""

    def __init__(self, server: Server, values: LargeValues) -> None:
        self._server = server
        self._values = values

    def counts(self, parents: Sequence[str]) -> list[ChildrenCounts]:
        """Count each parent's children."""
        counts: list[ChildrenCounts] = []
        for some in in_pieces(parents):
            reply = self._server.call("read_children_counts", [keys.base_of(some[0])], jobs=some)
            counts += [ChildrenCounts(*numbers) for numbers in reply["counts"]]
        return counts

    def read_names(self, jobs: Sequence[str]) -> list[JobOutline | None]:
        """Read what jobs are called and whether they have children; None for one that is not there."""
        outlines: list[JobOutline | None] = []
        for some in in_pieces(jobs):
            reply = self._server.call("read_names", [keys.base_of(some[0])], jobs=some)
            outlines += [JobOutline(found[0], bool(found[1])) if found else None for found in reply["names"]]
        return outlines

    # ---- which children there are ---------------------------------------------------------------------

    def pages(self, parent: str, size: int = JOBS_A_READ) -> Iterator[list[str]]:
        """Yield the keys of the children that a parent knows by any of its keys, pending or ended, about `size` a page.

        A child that ends meanwhile may come twice.
        """
        with server_errors():
            for page in self._pages_of_set(keys.part(parent, "dependencies"), size):
                yield [key for key in map(codec.text, page) if not is_seal(key)]
            for kept in ("processed", "failed"):
                for names in self._pages_of_names(keys.part(parent, kept), size):
                    yield [codec.text(key) for key in names]
            for ranked in self._pages_of_ranks(keys.part(parent, "unsuccessful"), size):
                yield [codec.text(key) for key in ranked]

    def first_of_each(self, parent: str, most: int) -> list[str]:
        """Return up to so many children of each kind: completed, pending, failed with their parent, ignored."""
        kinds = (
            self._pages_of_names(keys.part(parent, "processed")),
            self._pages_of_set(keys.part(parent, "dependencies")),
            self._pages_of_ranks(keys.part(parent, "unsuccessful")),
            self._pages_of_names(keys.part(parent, "failed")),
        )
        found: list[str] = []
        with server_errors():
            for pages in kinds:
                children = (key for page in pages for key in map(codec.text, page) if not is_seal(key))
                found += islice(children, most)
        return list(dict.fromkeys(found))

    def read_all(self, parent: str) -> list[str]:
        """Return the children that a parent knows by any of its keys, pending or ended, each once."""
        return list(dict.fromkeys(key for page in self.pages(parent) for key in page))

    def read_few(self, parents: Sequence[str]) -> list[set[str]]:
        """As `read_all`, of parents that have few children: all at once."""
        found: list[set[str]] = []
        for some in in_pieces(parents):
            with self._server.pipeline() as pipe:
                for parent in some:
                    pipe.smembers(keys.part(parent, "dependencies"))
                    pipe.hkeys(keys.part(parent, "processed"))
                    pipe.hkeys(keys.part(parent, "failed"))
                    pipe.zrange(keys.part(parent, "unsuccessful"), 0, -1)
                answers = pipe.execute()
            for i in range(0, len(answers), 4):
                children = map(codec.text, chain.from_iterable(answers[i : i + 4]))
                found.append({key for key in children if not is_seal(key)})
        return found

    def read_pending(self, parent: str) -> list[str]:
        """Return the keys of the children a parent still waits for, in no order."""
        with server_errors():
            pages = self._pages_of_set(keys.part(parent, "dependencies"))
            found = {codec.text(key) for page in pages for key in page}
        return [key for key in found if not is_seal(key)]

    def are_awaited(self, parent: str, children: Sequence[str]) -> list[bool]:
        """Say of each child whether its parent still waits for it."""
        awaited: list[bool] = []
        for some in in_pieces(children):
            with server_errors():
                found: Any = self._server.client.smismember(keys.part(parent, "dependencies"), list(some))
            awaited += map(bool, found)
        return awaited

    def is_any_awaited(self, parent: str, children: Sequence[str]) -> bool:
        """Say whether a parent still waits for one of these children."""
        pending = keys.part(parent, "dependencies")
        with server_errors():
            if not self._server.client.exists(pending):
                return False
            for some in in_pieces(children, IDS_A_READ):
                awaited: Any = self._server.client.smismember(pending, list(some))
                if any(awaited):
                    return True
        return False

    def read_sealed(self, parents: Sequence[str], seal: str) -> list[str]:
        """Return those parents that a seal keeps waiting."""
        with self._server.pipeline() as pipe:
            for key in parents:
                pipe.sismember(keys.part(key, "dependencies"), seal)
            return [key for key, sealed in zip(parents, pipe.execute(), strict=True) if sealed]

    # ---- how children ended ---------------------------------------------------------------------------

    def read_ends(self, parent: str, children: Sequence[str]) -> list[str | None]:
        """Return how children ended as their parent keeps it, also of those that are gone; None: not kept."""
        ends: list[str | None] = []
        for some in in_pieces(children):
            with self._server.pipeline() as pipe:
                for key in some:
                    pipe.hexists(keys.part(parent, "processed"), key)
                    pipe.hexists(keys.part(parent, "failed"), key)
                    pipe.zscore(keys.part(parent, "unsuccessful"), key)
                found = pipe.execute()
            for i in range(0, len(found), 3):
                failed = found[i + 1] or found[i + 2] is not None
                ends.append(COMPLETED if found[i] else FAILED if failed else None)
        return ends

    def read_values(self, parent: str, children: Sequence[str] | None = None) -> dict[str, str]:
        """Return the JSON texts of completed children by child key; of those named, or of all.

        Raises `JobMissing` where a batch's large value is gone with its job.
        """
        with server_errors():
            if children is None:
                return self._values.in_full(self._read_hash(keys.part(parent, "processed")))
            return self._values.in_full(self._read_processed(parent, children))

    def read_kept_values(self, parent: str, children: Sequence[str]) -> dict[str, str]:
        """As `read_values`, of children that may be gone; a large value that is gone with its job is left out."""
        with server_errors():
            values = self._read_processed(parent, children)
        return {key: text for key, text in values.items() if not stands_for_large(text)}

    def _read_processed(self, parent: str, children: Sequence[str]) -> dict[str, str]:
        values: dict[str, str] = {}
        for some in in_pieces(children):
            texts: Any = self._server.client.hmget(keys.part(parent, "processed"), list(some))
            found = zip(some, texts, strict=True)
            values |= {key: codec.text(text) for key, text in found if text is not None}
        return values

    def read_ignored(self, parent: str) -> dict[str, str]:
        """Return why optional children failed, by child key."""
        with server_errors():
            return self._read_hash(keys.part(parent, "failed"))

    def read_failed(self, parent: str) -> list[str]:
        """Return the keys of the children that failed their parent, oldest first."""
        with server_errors():
            pages = self._pages_of_ranks(keys.part(parent, "unsuccessful"))
            return [codec.text(key) for page in pages for key in page]

    def read_first_failure(self, job: str) -> str:
        """Return the deepest job that failed this one: down by who failed whom first; itself if no child did."""
        seen = {job}
        with server_errors():
            while found := self._server.client.zrange(keys.part(job, "unsuccessful"), 0, 0):
                below = codec.text(found[0])
                if below in seen:
                    break
                job = below
                seen.add(job)
        return job

    # ---- large keys, a page at a time -----------------------------------------------------------------

    def _read_hash(self, key: str) -> dict[str, str]:
        found: dict[str, str] = {}
        cursor = 0
        while True:
            answer: Any = self._server.client.hscan(key, cursor, count=VALUES_A_READ)
            cursor, page = answer
            found |= {codec.text(name): codec.text(value) for name, value in page.items()}
            if not cursor:
                return found

    def _pages_of_names(self, key: str, size: int = JOBS_A_READ) -> Iterator[list[Any]]:
        """A hash's field names. Servers before Redis 7.4 know no NOVALUES and send the values too."""
        from redis.exceptions import ResponseError

        cursor, bare = 0, True
        while True:
            try:  # redis-py sends NOVALUES for False too
                answer: Any = self._server.client.hscan(
                    key,
                    cursor,
                    count=size if bare else min(size, JOBS_A_READ),
                    no_values=True if bare else None,
                )
            except ResponseError as error:
                if not bare or "syntax" not in str(error):
                    raise
                bare = False
                continue
            cursor, page = answer
            yield list(page)
            if not cursor:
                return

    def _pages_of_set(self, key: str, size: int = JOBS_A_READ) -> Iterator[list[Any]]:
        cursor = 0
        while True:
            answer: Any = self._server.client.sscan(key, cursor, count=size)
            cursor, page = answer
            yield list(page)
            if not cursor:
                return

    def _pages_of_ranks(self, key: str, size: int = JOBS_A_READ) -> Iterator[list[Any]]:
        start = 0
        while True:
            page: Any = self._server.client.zrange(key, start, start + size - 1)
            yield list(page)
            start += size
            if len(page) < size:
                return


def is_seal(member: str) -> bool:
    """Say whether this member of a parent's `dependencies` is no child but a seal."""
    return _SEAL in member
