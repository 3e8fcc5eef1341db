"""What flownb's scripts could not write, because another program's worker ran the jobs: notice it and write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flownb.wire import keys
from flownb.wire.many_rows import jobs_counted
from flownb.wire.store.limits import in_pieces
from flownb.wire.store.server import Server


@dataclass(frozen=True, kw_only=True, slots=True)
class CountComparison:
    """A flow's counts beside what BullMQ's own keys say of the same jobs."""

    fields: Mapping[str, str]  #: the counts as they are stored; see `many_rows.counts_of`
    pending: int  #: jobs that parents wait for
    root_ended: bool
    others: bool  #: another program's worker has a job of the flow, or ended a shared one
    notifying: bool  #: a shared job has ended, and not all of its parents are notified yet

    @property
    def jobs(self) -> dict[str, int]:
        """The counts of jobs alone: ``state@queue key`` -> jobs."""
        return jobs_counted(self.fields)


class MissedWrites:
    """Notices what other programs' workers did, and makes up for what they left out."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def write_flow_end(self, root: str) -> None:
        """Write down how a flow ended whose root another program's worker ran."""
        self._server.call("write_flow_end", [keys.base_of(root)], root=root)

    def fail_deferred_parents(self, parents: Sequence[str]) -> int:
        """Fail waiting parents that a failed child dooms, up to their roots; return how many."""
        failed = 0
        for some in in_pieces(parents):
            failed += self._server.call("fail_deferred_parents", [keys.base_of(some[0])], parents=some)[
                "failed"
            ]
        return failed

    def compare_counts(
        self,
        flow: str,
        root: str,
        parents: Sequence[str],
        shared: Sequence[tuple[str, int]],
        bases: Sequence[str],
    ) -> CountComparison:
        """Read a flow's counts beside BullMQ's own keys; look in the queues `bases` for other programs' workers.

        `parents` and `shared` are at most `JOBS_A_READ` each.
        """
        found = self._server.call(
            "read_flow_state",
            [keys.base_of(root)],
            flow=flow,
            root=root,
            parents=parents,
            shared=shared,
            seal=keys.seal(self._server.prefix, flow),
            bases=bases,
        )
        flat = found["counts"]
        return CountComparison(
            fields=dict(zip(flat[::2], flat[1::2], strict=True)),
            pending=found["pending"],
            root_ended=found["ended"],
            others=found["others"],
            notifying=found["telling"],
        )
