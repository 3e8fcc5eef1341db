"""Leases, a worker's right to run a job: fetch and finish jobs, renew leases, give jobs back, find stalled ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from flownb.wire import keys
from flownb.wire.lease_records import Death, FetchingWorker, FrozenWorker, Lease
from flownb.wire.outcomes import Outcome, packed
from flownb.wire.store.job_records import Taken, taken_of
from flownb.wire.store.limits import CHUNK_JOBS, MOST_JOBS_A_CALL, check_size, in_pieces
from flownb.wire.store.server import Server


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What one `finish_and_fetch` brought."""

    #: done, repeated, stale, missing, damaged (its queue), failed-children or pending-children, an outcome each
    answers: list[str]
    taken: list[Taken]
    again_ms: int | None  #: until a queue has a job that is due, or a limit ends
    failed_parents: list[str]  #: in this call: what they still wait for is to be cancelled
    suspect_in: str | None  #: a queue whose next job runs alone: to be asked for by a worker that holds none
    shared: list[str]  #: jobs that ended in this call: their further parents are still to be notified
    unknown_flows: list[str]  #: stored by a newer flownb: jobs of theirs were put off
    limited_flows: list[tuple[str, str]]  #: queue and flow: its services have limited every call for too long


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What one `sweep_stalled` has done and seen."""

    stalled: list[str]  #: ids of jobs that wait again
    is_idle: bool  #: no job waits or runs in these queues
    news: int  #: of the queues, how many nobody had noted as served before
    has_shared: bool  #: there are shared jobs that have not ended
    due_ms: float | None  #: until something of a flow is to be removed


class Leases:
    """Takes, renews and ends leases."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def finish_and_fetch(
        self,
        queues: Sequence[str],
        *,
        outcomes: Sequence[Outcome],
        want: int,
        worker: FetchingWorker,
    ) -> Turn:
        """End many jobs and start up to `want` others (at most `MOST_JOBS_A_CALL`), in one call."""
        check_size(outcomes, MOST_JOBS_A_CALL, "outcomes")
        want = min(want, MOST_JOBS_A_CALL)
        reply = self._server.call(
            "finish_and_fetch",
            queues,
            outcomes=packed(outcomes),
            want=want,
            worker=worker.packed(),
        )
        answers = ["done"] * len(outcomes)
        for position, answer in reply["refused"]:
            answers[position - 1] = answer
        return Turn(
            answers=answers,
            taken=[
                taken_of(base, queue, id, fields, worker.token)
                for base, ids, rows in reply["jobs"]
                for queue in [keys.queue_of_base(base)]
                for id, fields in zip(ids, rows, strict=True)
            ],
            again_ms=reply.get("again"),
            failed_parents=reply["failed_parents"],
            suspect_in=reply.get("suspect_in"),
            shared=reply["shared"],
            unknown_flows=reply["unknown_flows"],
            limited_flows=[(base, flow) for base, flow in reply["limited_flows"]],
        )

    def extend(self, queues: Sequence[str], leases: Sequence[Lease], *, lock_ms: int) -> list[str]:
        """Renew leases; return the ids of those that are lost."""
        lost: list[str] = []
        for some in in_pieces(leases, MOST_JOBS_A_CALL):
            lost += self._server.call("extend_leases", queues, leases=some, lock_ms=lock_ms)["lost"]
        return lost

    def give_back(
        self, base: str, locks: Mapping[str, str], *, death: Death | None = None, most: int = 0
    ) -> list[str]:
        """Put jobs that still have these locks, by id, back to the head of their queue's list; return their ids."""
        death = death or Death(None)
        given: list[str] = []
        for some in in_pieces([*locks], CHUNK_JOBS):
            rows = [death.rows.get(id, -1) for id in some]
            given += self._server.call(
                "give_back",
                [base],
                ids=some,
                locks=[locks[id] for id in some],
                death=death.of,
                alone=death.alone,
                rows=rows,
                most=most,
            )["given"]
        return given

    # ---- frozen workers -----------------------------------------------------------------------------

    def note_frozen(self, base: str, token: str, worker: FrozenWorker, *, last_ms: int) -> None:
        """Note that a worker of this queue is frozen; the note lasts for so long."""
        key = self._server.key("frozen", base)
        with self._server.pipeline() as pipe:
            pipe.hset(key, token, json.dumps(asdict(worker)))
            pipe.pexpire(key, last_ms)
            pipe.execute()

    def forget_frozen(self, base: str, token: str) -> None:
        """Take the note back: the worker goes on."""
        with self._server.pipeline() as pipe:
            pipe.hdel(self._server.key("frozen", base), token)
            pipe.execute()

    def sweep_stalled(
        self, queues: Sequence[str], *, interval: int, most: int, idle: int | None = None
    ) -> Sweep:
        """Put jobs whose lease ran out back to the head of their queue's list, and see what else there is to do.

        The caller comes again after `interval` ms, or after `idle` ms where no job waits or runs in these queues.
        """
        reply = self._server.call(
            "sweep_stalled", queues, interval=interval, idle=interval if idle is None else idle, most=most
        )
        return Sweep(
            stalled=list(reply["stalled"]),
            is_idle=reply["is_idle"],
            news=reply["news"],
            has_shared=reply["has_shared"],
            due_ms=reply.get("due"),
        )
