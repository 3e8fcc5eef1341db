"""What a flow's own scripts could not write, as another program's worker ran its jobs: a part of `Store`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flownb.wire import codec, keys
from flownb.wire.many_rows import jobs_counted
from flownb.wire.server_errors import server_errors
from flownb.wire.store.children import PIECE

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True, kw_only=True, slots=True)
class BooksRead:
    """A flow's counts beside what BullMQ's own keys say of the same jobs."""

    fields: Mapping[str, str]  #: the counts as they are stored; see `manyrows.counts_of`
    pending: int  #: jobs that parents wait for
    root_ended: bool
    others: bool  #: a job of it is in the hands of another program's worker
    telling: bool  #: a shared job has ended, and not all of its parents are told yet

    @property
    def jobs(self) -> dict[str, int]:
        """The counts of jobs alone: ``state@queue key`` -> jobs."""
        return jobs_counted(self.fields)


class Settling:
    """Reads that notice other programs' workers, and transitions that make up for them."""

    client: Redis
    prefix: str

    def write_flow_end(self, root: str) -> None:
        """Write down how a flow ended whose root another program's worker ran."""
        self._call("write_flow_end", [keys.base_of(root)], root=root)

    def fail_deferred_parents(self, parents: Sequence[str]) -> int:
        """Fail parents in line that a failed child dooms, up to their roots; return how many."""
        failed = 0
        for start in range(0, len(parents), PIECE):
            some = parents[start : start + PIECE]
            failed += self._call("fail_deferred_parents", [keys.base_of(some[0])], parents=some)["failed"]
        return failed

    def notify_shared_parents(self, cursor: int = 0) -> tuple[int, int]:
        """Look at some shared jobs and tell their further parents how they ended; return where to go on, and how many
        parents were told.
        """
        with server_errors():
            answer: Any = self.client.hscan(keys.own(self.prefix, "shared"), cursor, count=PIECE)
        cursor, page = answer
        return cursor, self.notify_parents([codec.text(job) for job in page])

    def notify_parents(self, jobs: Sequence[str]) -> int:
        """Tell the further parents of shared jobs that have ended; return how many were told."""
        left, told = [(job, "0") for job in jobs], 0
        while left:
            some, left = left[:PIECE], left[PIECE:]
            reply = self._call("notify_parents", [keys.base_of(some[0][0])], jobs=some)
            told += reply["told"] + self.fail_deferred_parents(reply["marked"])
            left = reply["rest"] + left
        return told

    def has_ended(self, job: str) -> bool:
        with server_errors():
            return bool(self.client.hexists(job, "finishedOn"))

    def read_flow_state(
        self,
        flow: str,
        root: str,
        parents: Sequence[str],
        shared: Sequence[tuple[str, int]],
        bases: Sequence[str],
    ) -> BooksRead:
        """Read a flow's counts beside BullMQ's own keys; look in the queues `bases` for others' hands.

        `parents` and `shared` are at most `PIECE` each.
        """
        seal = keys.seal(self.prefix, flow)
        found = self._call(
            "read_flow_state",
            [keys.base_of(root)],
            flow=flow,
            root=root,
            parents=parents,
            shared=shared,
            seal=seal,
            bases=bases,
        )
        flat = found["counts"]
        return BooksRead(
            fields=dict(zip(flat[::2], flat[1::2], strict=True)),
            pending=found["pending"],
            root_ended=found["ended"],
            others=found["others"],
            telling=found["telling"],
        )

    def _call(self, script: str, queues: Sequence[str], **args: Any) -> Mapping[str, Any]:
        raise NotImplementedError
