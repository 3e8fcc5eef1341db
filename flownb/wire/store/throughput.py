"""How fast a queue's jobs end: a few plain reads of when they did, whatever their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flownb.wire import codec, keys
from flownb.wire.server_errors import server_errors

if TYPE_CHECKING:
    from flownb.wire.store import Store

MOST_ENDS = 21  #: moments that are read of all at which a job ended
MOST_RUNS = 32  #: jobs of which the run time is read


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How the jobs of one queue have ended since a moment."""

    ended: int  #: jobs, of whatever flow
    ends: Sequence[float]  #: seconds ago: the first, the last and some evenly between them; the oldest first
    runs: Sequence[float]  #: seconds that those ran which ended last, whenever that was
    due: float  #: seconds until the last delayed job may run; 0: none is delayed

    def of_rows(self, rows: float) -> Pace:
        """Return the pace of rows, where each job holds so many of them."""
        runs = [run / rows for run in self.runs]
        return Pace(ended=round(self.ended * rows), ends=self.ends, runs=runs, due=self.due)


def read_paces(store: Store, bases: Sequence[str], since: int) -> list[Pace]:
    """Read each queue's pace since a moment (ms). Costs a queue some 60 small reads, in three round trips."""
    with server_errors(), store.client.pipeline(transaction=False) as pipe:
        pipe.time()
        for base in bases:
            for state in ("completed", "failed"):
                pipe.zcount(keys.part(base, state), since, "+inf")
                pipe.zrevrange(keys.part(base, state), 0, MOST_RUNS - 1)
            pipe.zrevrange(keys.part(base, "delayed"), 0, 0, withscores=True)
        (seconds, micros), *found = pipe.execute()
        now = seconds + micros / 1e6
        queues = [found[5 * i : 5 * i + 5] for i in range(len(bases))]
        # Of two lists that grow together the longer one tells the pace of both.
        longer = ["failed" if failed > completed else "completed" for completed, _, failed, _, _ in queues]
        places = [_places(max(completed, failed)) for completed, _, failed, _, _ in queues]
        last = [failed if failed_n > done_n else done for done_n, done, failed_n, failed, _ in queues]
        for base, state, some, ids in zip(bases, longer, places, last, strict=True):
            for place in some:
                pipe.zrevrange(keys.part(base, state), place, place, withscores=True)
            for id in ids:
                pipe.hmget(keys.job_in(base, codec.text(id)), "processedOn", "finishedOn")
        answers = iter(pipe.execute())
    return [
        Pace(
            ended=completed + failed,
            ends=[now - end[0][1] / 1000 for end in (next(answers) for _ in some) if end],
            runs=[run for run in (_run(next(answers)) for _ in ids) if run is not None],
            due=max(delayed[0][1] // 4096 / 1000 - now, 0) if delayed else 0,
        )
        for (completed, _, failed, _, delayed), some, ids in zip(queues, places, last, strict=True)
    ]


def _places(ended: int) -> list[int]:
    """Places from the newest, evenly spread over all that have ended; the oldest first."""
    steps = min(ended, MOST_ENDS) - 1
    return [round(i * (ended - 1) / steps) for i in range(steps, -1, -1)] if steps > 0 else [0] * ended


def _run(times: Sequence[Any]) -> float | None:
    started, ended = times
    return None if started is None or ended is None else max(int(ended) - int(started), 0) / 1000
