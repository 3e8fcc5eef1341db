"""Jobs with more than one parent: their further parents, which are notified when the job has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors
from flownb.wire.store.limits import JOBS_A_CHANGE, JOBS_A_READ, in_pieces
from flownb.wire.store.missed_writes import MissedWrites
from flownb.wire.store.server import Server


class SharedJob(NamedTuple):
    """A shared job that has ended, on its way through its further parents."""

    key: str
    cursor: str = "0"  #: where to go on among the further parents


class SharedJobs:
    """Shared jobs by their keys."""

    def __init__(self, server: Server, missed_writes: MissedWrites) -> None:
        self._server = server
        self._missed_writes = missed_writes

    def read_further_parents(self, jobs: Sequence[str]) -> dict[str, list[str]]:
        """Return the further parents of each shared job, nothing for other jobs."""
        found: dict[str, list[str]] = {}
        for some in in_pieces(jobs, JOBS_A_CHANGE):
            with self._server.pipeline() as pipe:
                for key in some:
                    pipe.hkeys(keys.own(keys.prefix_of(key), "parents", key))
                for key, parents in zip(some, pipe.execute(raise_on_error=False), strict=True):
                    found[key] = (
                        [] if isinstance(parents, Exception) else [codec.text(one) for one in parents]
                    )
        return found

    def notify_some(self, cursor: int = 0) -> tuple[int, int]:
        """Notify the further parents of some shared jobs that have ended; return the next cursor, and how many parents
        were notified.
        """
        with server_errors():
            answer: Any = self._server.client.hscan(self._server.key("shared"), cursor, count=JOBS_A_READ)
        cursor, page = answer
        return cursor, self.notify_parents([codec.text(job) for job in page])

    def notify_parents(self, jobs: Sequence[str]) -> int:
        """Notify the further parents of those shared jobs that have ended; return how many were notified."""
        left, notified = [SharedJob(job) for job in jobs], 0
        while left:
            some, left = left[:JOBS_A_READ], left[JOBS_A_READ:]
            reply = self._server.call("notify_parents", [keys.base_of(some[0].key)], jobs=some)
            notified += reply["notified"] + self._missed_writes.fail_deferred_parents(reply["deferred"])
            left = [SharedJob(*job) for job in reply["rest"]] + left
        return notified

    def read_unnotified(self, jobs: Sequence[str]) -> tuple[set[str], bool]:
        """Return which of these are shared jobs whose end flownb's scripts have not written, and whether a worker of
        flownb's is there, which notifies their further parents of an end that another program wrote.
        """
        found: set[str] = set()
        with server_errors():
            now: Any = self._server.client.time()
            served: Any = self._server.client.zcount(self._server.key("served"), now[0] * 1000, "+inf")
            for some in in_pieces(jobs):
                listed: Any = self._server.client.hmget(self._server.key("shared"), list(some))
                found |= {job for job, first in zip(some, listed, strict=True) if first is not None}
        return found, bool(served)
