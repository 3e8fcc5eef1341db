"""What a parent's own keys say of its children: BullMQ's structures, whoever wrote them, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from flownb.wire import codec, keys
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.server_errors import server_errors
from flownb.wire.store.large_values import in_full

if TYPE_CHECKING:
    from redis import Redis

PIECE = 100  #: jobs a read: no command holds the server up for long (1 ms), however many there are
_PAGE = 1000  # ids a read of a sorted set
_SEAL = ":flownb:seal:"


class ChildrenCounts(NamedTuple):
    """How many children of a parent are where."""

    pending: int
    completed: int
    ignored: int  #: failed, and their parent goes on
    failed: int  #: failed, and their parent with them


class JobName(NamedTuple):
    """What a tree needs to know of a job."""

    name: str
    has_children: bool


class Families:
    """Reads of parents and their children: the part of `Store` for trees."""

    client: Redis
    prefix: str

    def read_children_counts(self, parent_keys: Sequence[str]) -> list[ChildrenCounts]:
        """Count each parent's children."""
        families: list[ChildrenCounts] = []
        for some in in_pieces(parent_keys):
            reply = self._call("read_children_counts", _queues_of(some), jobs=some)
            families += [ChildrenCounts(*family) for family in reply["counts"]]
        return families

    def read_names(self, job_keys: Sequence[str]) -> list[JobName | None]:
        """Read what jobs are called and whether they have children; None for one that is not there."""
        kin: list[JobName | None] = []
        for some in in_pieces(job_keys):
            reply = self._call("read_names", _queues_of(some), jobs=some)
            kin += [JobName(found[0], bool(found[1])) if found else None for found in reply["names"]]
        return kin

    def children_in_pieces(self, parent: str) -> Iterator[list[str]]:
        """Yield the keys of the children that a parent knows by any of its keys, pending or ended.

        A child that ends meanwhile may come twice.
        """
        with server_errors():
            for page in self._pages_of_set(keys.part(parent, "dependencies")):
                yield [key for key in map(codec.text, page) if _SEAL not in key]
            for kept in ("processed", "failed"):
                for names in self._pages_of_names(keys.part(parent, kept)):
                    yield [codec.text(key) for key in names]
            for keys_ in self._pages_of_ranks(keys.part(parent, "unsuccessful")):
                yield [codec.text(key) for key in keys_]

    def read_every_child(self, parent: str) -> list[str]:
        """Return the children that a parent knows by any of its keys, pending or ended, each once."""
        return list(dict.fromkeys(key for piece in self.children_in_pieces(parent) for key in piece))

    def pages_of_parents(self, base: str) -> Iterator[list[str]]:
        """Yield the keys of a queue's jobs that wait for children, the newest first."""
        start = 0
        with server_errors():
            while True:
                page: Any = self.client.zrange(
                    keys.part(base, "waiting-children"), start, start + _PAGE - 1, desc=True
                )
                yield [keys.job_in(base, codec.text(id)) for id in page]
                start += _PAGE
                if len(page) < _PAGE:
                    return

    def read_kept_states(self, parent: str, child_keys: Sequence[str]) -> list[str | None]:
        """Return how children ended as their parent keeps it, also of those that are gone; None: not kept."""
        states: list[str | None] = []
        for some in in_pieces(child_keys):
            with server_errors(), self.client.pipeline(transaction=False) as pipe:
                for key in some:
                    pipe.hexists(keys.part(parent, "processed"), key)
                    pipe.hexists(keys.part(parent, "failed"), key)
                    pipe.zscore(keys.part(parent, "unsuccessful"), key)
                found = pipe.execute()
            for i in range(0, len(found), 3):
                failed = found[i + 1] or found[i + 2] is not None
                states.append(COMPLETED if found[i] else FAILED if failed else None)
        return states

    def read_awaited(self, parent: str, child_keys: Sequence[str]) -> list[bool]:
        """Say of each child whether its parent still waits for it."""
        awaited: list[bool] = []
        for some in in_pieces(child_keys):
            with server_errors():
                found: Any = self.client.smismember(keys.part(parent, "dependencies"), list(some))
            awaited += map(bool, found)
        return awaited

    def read_values(self, parent_key: str, child_keys: Sequence[str] | None = None) -> dict[str, str]:
        """Return the JSON texts of completed children by child key; of those named, or of all.

        Raises `JobMissing` where a batch's large value is gone with its job.
        """
        place = keys.part(parent_key, "processed")
        values: dict[str, str] = {}
        with server_errors():
            if child_keys is None:
                return in_full(self.client, self._read_hash(place))
            for some in in_pieces(child_keys):
                texts: Any = self.client.hmget(place, list(some))
                values |= {
                    k: codec.text(text) for k, text in zip(some, texts, strict=True) if text is not None
                }
            return in_full(self.client, values)

    def read_ignored(self, parent_key: str) -> dict[str, str]:
        """Return why optional children failed, by child key."""
        with server_errors():
            return self._read_hash(keys.part(parent_key, "failed"))

    def read_failed(self, parent_key: str) -> list[str]:
        """Return the keys of the children that failed their parent, oldest first."""
        with server_errors():
            return [
                codec.text(key)
                for page in self._pages_of_ranks(keys.part(parent_key, "unsuccessful"))
                for key in page
            ]

    def read_first_failure(self, job: str) -> str:
        """Return the deepest job that failed this one: down by who failed whom first; itself if no child did."""
        seen = {job}
        with server_errors():
            while found := self.client.zrange(keys.part(job, "unsuccessful"), 0, 0):
                below = codec.text(found[0])
                if below in seen:
                    break
                job = below
                seen.add(job)
        return job

    def read_pending(self, parent_key: str) -> list[str]:
        """Return the keys of the children a parent still waits for, in no order."""
        with server_errors():
            found = {
                codec.text(key)
                for page in self._pages_of_set(keys.part(parent_key, "dependencies"))
                for key in page
            }
        return [key for key in found if _SEAL not in key]

    # ---- pages --------------------------------------------------------------------------------------

    def _read_hash(self, key: str) -> dict[str, str]:
        found: dict[str, str] = {}
        cursor = 0
        while True:
            answer: Any = self.client.hscan(key, cursor, count=PIECE)
            cursor, page = answer
            found |= {codec.text(name): codec.text(value) for name, value in page.items()}
            if not cursor:
                return found

    def _pages_of_names(self, key: str) -> Iterator[list[Any]]:
        """A hash's field names. Older servers send the values too."""
        from redis.exceptions import ResponseError

        cursor, bare = 0, True
        while True:
            try:
                answer: Any = self.client.hscan(key, cursor, count=PIECE, no_values=bare)
            except ResponseError:
                if not bare:
                    raise
                bare = False
                continue
            cursor, page = answer
            yield list(page)
            if not cursor:
                return

    def _pages_of_set(self, key: str) -> Iterator[list[Any]]:
        cursor = 0
        while True:
            answer: Any = self.client.sscan(key, cursor, count=PIECE)
            cursor, page = answer
            yield list(page)
            if not cursor:
                return

    def _pages_of_ranks(self, key: str) -> Iterator[list[Any]]:
        start = 0
        while True:
            page: Any = self.client.zrange(key, start, start + PIECE - 1)
            yield list(page)
            start += PIECE
            if len(page) < PIECE:
                return

    def _call(self, script: str, queues: Sequence[str], **args: Any) -> Mapping[str, Any]:
        raise NotImplementedError


def in_pieces(items: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the items, as many at a time as one read takes."""
    for start in range(0, len(items), PIECE):
        yield items[start : start + PIECE]


def _queues_of(job_keys: Sequence[str]) -> list[str]:
    return [keys.base_of(key) for key in job_keys[:1]]
