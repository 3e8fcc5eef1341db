"""How fast a queue's jobs end: a few plain reads of when they did, whatever their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from flownb.wire import codec, keys
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.store.server import Server

MOST_ENDS = 21  #: moments that are read of all at which a job ended
MOST_RUNS = 32  #: jobs of which the run time is read


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """How the jobs of one queue have ended since a moment."""

    ended: int  #: jobs, of whatever flow
    #: seconds ago: the first, the last of all and some evenly between them; the oldest first. Jobs that failed are
    #: left out between where more have completed, and the other way round
    ends: Sequence[float]
    runs: Sequence[float]  #: seconds that those ran which ended last, whenever that was
    due: float  #: seconds until the last delayed job may run; 0: none is delayed
    now: float = 0.0  #: the moment of all this, in seconds by the server's clock
    rows: float = 1.0  #: that end at once

    def of_rows(self, rows: float) -> Throughput:
        """Return the throughput of rows, where each job holds so many of them."""
        runs = [run / rows for run in self.runs]
        return replace(self, ended=round(self.ended * rows), runs=runs, rows=rows)


class _Ended(NamedTuple):
    """What a queue's sorted sets say of its ended and delayed jobs."""

    completed: int
    last_completed: Sequence[tuple[bytes, float]]
    failed: int
    last_failed: Sequence[tuple[bytes, float]]
    last_delayed: Sequence[tuple[bytes, float]]

    @property
    def larger(self) -> str:
        """The larger sorted set: of two that grow together it tells the pace of both."""
        return FAILED if self.failed > self.completed else COMPLETED

    @property
    def last(self) -> list[bytes]:
        """The ids of the larger one's newest jobs."""
        return [id for id, _ in (self.last_failed if self.failed > self.completed else self.last_completed)]

    @property
    def newest(self) -> float:
        """When the newest job of both ended (ms); 0 where none has."""
        return max((end for _, end in (*self.last_completed[:1], *self.last_failed[:1])), default=0.0)

    @property
    def ranks(self) -> list[int]:
        """Which of the larger one's jobs to read; see `ranks_of`."""
        return ranks_of(max(self.completed, self.failed))


class ThroughputReader:
    """Reads the throughput of queues."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def read(self, bases: Sequence[str], since: int) -> list[Throughput]:
        """Read each queue's throughput since a moment (ms). Costs a queue some 60 small reads, in three round trips."""
        with self._server.pipeline() as pipe:
            pipe.time()
            for base in bases:
                _ask_ended(pipe, base, since)
            (seconds, micros), *found = pipe.execute()
            queues = [_Ended(*found[i : i + 5]) for i in range(0, len(found), 5)]
            for base, queue in zip(bases, queues, strict=True):
                _ask_ends_and_runs(pipe, base, queue)
            answers = iter(pipe.execute())
        return [_throughput(queue, seconds + micros / 1e6, answers) for queue in queues]


def _ask_ended(pipe: Any, base: str, since: int) -> None:
    for state in (COMPLETED, FAILED):
        pipe.zcount(keys.part(base, state), since, "+inf")
        pipe.zrevrange(keys.part(base, state), 0, MOST_RUNS - 1, withscores=True)
    pipe.zrevrange(keys.part(base, "delayed"), 0, 0, withscores=True)


def _ask_ends_and_runs(pipe: Any, base: str, queue: _Ended) -> None:
    for rank in queue.ranks:
        pipe.zrevrange(keys.part(base, queue.larger), rank, rank, withscores=True)
    for id in queue.last:
        pipe.hmget(keys.job_in(base, codec.text(id)), "processedOn", "finishedOn")


def _throughput(queue: _Ended, now: float, answers: Iterator[Any]) -> Throughput:
    """What the answers to `_ask_ends_and_runs` say, of which this queue's are taken."""
    found = [next(answers) for _ in queue.ranks]
    ends = [now - end[0][1] / 1000 for end in found if end]
    if ends:
        ends[-1] = min(ends[-1], now - queue.newest / 1000)
    runs = [_run_seconds(*next(answers)) for _ in queue.last]
    delayed = queue.last_delayed
    return Throughput(
        ended=queue.completed + queue.failed,
        ends=ends,
        runs=[run for run in runs if run is not None],
        due=max(delayed[0][1] // 4096 / 1000 - now, 0) if delayed else 0,
        now=now,
    )


def ranks_of(ended: int) -> list[int]:
    """Return ranks from the newest, evenly spread over all that have ended; the oldest first.

    >>> ranks_of(3), ranks_of(41)[:4], ranks_of(1)
    ([2, 1, 0], [40, 38, 36, 34], [0])
    """
    steps = min(ended, MOST_ENDS) - 1
    return [round(i * (ended - 1) / steps) for i in range(steps, -1, -1)] if steps > 0 else [0] * ended


def _run_seconds(started: bytes | None, ended: bytes | None) -> float | None:
    return None if started is None or ended is None else max(int(ended) - int(started), 0) / 1000
