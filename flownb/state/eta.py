"""How long a flow still takes, a range, and how fast it goes: from what has ended and when. Pure.

Every figure of a time left or of a rate that a person sees is made of this one, so that no two contradict each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from flownb.wire.records import ACTIVE, COMPLETED, DELAYED, FAILED, PRIORITIZED, WAITING, FlowCounts
from flownb.wire.store.throughput import Throughput

_LEAST_RUN_SECONDS = 0.0005  # times are stored in ms
_UNKNOWN_RUN = 3  # a stage of which no job has ever ended may take up to so many times what is usual
# How far the pace may change until the end, as a part of it: measured over simulated batches whose run
# times drift by up to the double (tests/flows/test_eta.py).
_SLOWER, _FASTER, _ALWAYS = 0.35, 0.3, 0.05
_STILL_SECONDS = 5.0  # in which nothing has ended, at least, before it is said that nothing ends
# So many of the longest run and of the pace together are much longer than anything takes.
_LONG_RUNS, _LONG_PACES = 3, 5
# Of the time for which nothing has ended: what runs so long runs so much longer at least.
_LEAST_LONGER = 0.25


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a flow still takes, and how fast its stages go."""

    #: the least and the most seconds until all jobs have ended, if that is known
    left: tuple[float, float] | None
    rates: Mapping[str, float]  #: of each stage, ends a second; 0 where nothing ends, or too little has
    #: when the last job ended (ms, by the server's clock), where another one should have ended long since
    stopped: int | None = None
    plausible: float = math.inf  #: seconds without an end that are none too long

    def rate(self, stage: str | None) -> float:
        """How many jobs, or rows, of a stage end in a second; of all stages together without one."""
        return sum(self.rates.values()) if stage is None else self.rates.get(stage, 0.0)


def estimate(counts: FlowCounts, throughputs: Mapping[str, Throughput]) -> Estimate:
    """Return how long a flow with these counts still takes, where its queues go so fast.

    That is not known before two jobs of it have ended, nor when nothing runs that could go on. Of a paused flow it is
    what it takes from the moment at which it goes on. Who shows it says in its place since when nothing has ended, if
    that is known.

    >>> counts = FlowCounts(by_stage={"rows": {"completed": 500, "active": 4, "waiting": 496}})
    >>> rows = Throughput(ended=500, ends=[100 - 5 * i for i in range(21)], runs=[0.8] * 32, due=0)
    >>> found = estimate(counts, {"rows": rows})
    >>> round(found.left[0]), round(found.left[1]), round(found.rate("rows"))
    (81, 126, 5)
    """
    stages = {
        queue: _Stage.of(states, throughputs[queue], is_paused=counts.paused)
        for queue, states in counts.by_stage.items()
    }
    rates = {queue: stage.rate for queue, stage in stages.items()}
    plausible = _plausible_silence([*stages.values()])
    silence = min((stage.silence for stage in stages.values()), default=0.0)
    stopped = round(1000 * (_now(throughputs.values()) - silence)) if silence > plausible else None
    return Estimate(_time_left([*stages.values()]), rates, stopped, plausible)


def _plausible_silence(stages: Sequence[_Stage]) -> float:
    """Seconds without an end that are none too long; any number where no pace is known, or nothing could run."""
    moving = _moving(stages)
    if not moving or not any(stage.ready for stage in stages):
        return math.inf
    return max(_STILL_SECONDS, *(stage.plausible for stage in moving))


def _now(throughputs: Iterable[Throughput]) -> float:
    return max(throughput.now for throughput in throughputs)


def _time_left(stages: Sequence[_Stage]) -> tuple[float, float] | None:
    ahead = [stage for stage in stages if stage.left]
    if not ahead:
        return 0.0, 0.0
    moving = _moving(stages)
    if not moving or _stands_still(ahead, moving):
        return None
    slots = sum(stage.run / stage.pace for stage in moving)
    usual = fmean(run for stage in stages for run in stage.runs)
    main = max(moving, key=lambda stage: stage.left * stage.run)
    faster, slower = _changes_of_rate(main)
    least, most = _least_work(ahead, slots), _most_work(ahead, slots, usual)
    longer = _LEAST_LONGER * min(stage.overdue for stage in moving)
    return least / faster + longer, most * slower + _time_of_the_last(ahead, moving, usual)


def _least_work(ahead: Iterable[_Stage], slots: float) -> float:
    """Seconds for what is ahead if what runs now is about to end, and stages of unknown length take no time."""
    return sum(max(stage.left - stage.active, 0) * stage.run for stage in ahead) / slots


def _most_work(ahead: Iterable[_Stage], slots: float, usual: float) -> float:
    """Seconds for what is ahead, one stage after the other."""
    return sum(max(stage.left / slots, 1) * (stage.run or _UNKNOWN_RUN * usual) for stage in ahead)


def _changes_of_rate(main: _Stage) -> tuple[float, float]:
    """Return by which factors the pace may rise and fall until the end, going by the stage with most work left."""
    doubt = _ALWAYS + 2 * main.noise + 0.5 / math.sqrt(main.ended)
    share = main.left / (main.left + main.ended)
    return 1 + _FASTER * share + doubt, 1 + _SLOWER * share + doubt


def _time_of_the_last(ahead: Sequence[_Stage], moving: Iterable[_Stage], usual: float) -> float:
    """Seconds for the last jobs, which end alone: one may just have begun, a silent one may stay so as long again."""
    longest = max(max(stage.runs, default=usual) for stage in ahead)
    silence = min(stage.silence for stage in moving)
    return max(longest, silence) + max(stage.due for stage in ahead)


def _moving(stages: Iterable[_Stage]) -> list[_Stage]:
    """Return the stages that tell how many jobs run side by side: those ahead, or if none of these has ended any, the
    others.
    """
    measured = [stage for stage in stages if stage.pace]
    return [stage for stage in measured if stage.left] or measured


def _stands_still(ahead: Iterable[_Stage], moving: Iterable[_Stage]) -> bool:
    """Has nothing run for much longer than anything takes?"""
    if any(stage.active or stage.due for stage in ahead):
        return False
    return all(stage.overdue for stage in moving)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stage:
    """The flow's jobs of one queue. Times are seconds."""

    left: int
    active: int
    ready: int  #: run, or could run at once
    ended: int
    runs: list[float]  #: of some that ended lately
    run: float  #: their mean
    pace: float  #: between two ends, lately; 0: not known
    noise: float  #: by which the pace may be off, as a part of it
    silence: float  #: since the last end
    due: float
    at_once: float  #: so many end together

    @property
    def plausible(self) -> float:
        """The seconds without an end that are not much longer than anything takes, where the pace is known."""
        return self.at_once * (_LONG_RUNS * max(self.runs) + _LONG_PACES * self.pace)

    @property
    def overdue(self) -> float:
        """The seconds since the last end, where that is much longer than anything takes; else 0."""
        return self.silence if self.silence > self.plausible else 0.0

    @property
    def rate(self) -> float:
        """Ends a second; 0 where it is not known, or nothing ends any more."""
        if not self.pace or not self.left or self.overdue > _STILL_SECONDS:
            return 0.0
        return 1 / self.pace

    @classmethod
    def of(cls, states: Mapping[str, int], throughput: Throughput, *, is_paused: bool) -> _Stage:
        mine = states.get(COMPLETED, 0) + states.get(FAILED, 0)
        ended = min(mine, throughput.ended)  # the others ended before the flow was there, or are not its own
        runs = [max(run, _LEAST_RUN_SECONDS) for run in throughput.runs]
        between, noise = _seconds_between_ends(throughput.ends, ended, max(runs, default=0))
        if between and (span := throughput.ends[0] - throughput.ends[-1]) < max(runs) * throughput.rows:
            # What began together ends together: before the first end nobody can have been faster than a run is long.
            between = max(between, (span + min(runs) * throughput.rows) / ended)
        return cls(
            left=sum(states.values()) - mine,
            active=states.get(ACTIVE, 0),
            ready=sum(states.get(state, 0) for state in (ACTIVE, WAITING, PRIORITIZED)),
            ended=ended,
            runs=runs,
            run=fmean(runs) if runs else 0.0,
            pace=between,
            noise=noise,
            silence=0.0 if is_paused else throughput.ends[-1] if throughput.ends else math.inf,
            due=throughput.due if states.get(DELAYED) else 0.0,
            at_once=throughput.rows,
        )


def _seconds_between_ends(ends: Sequence[float], ended: int, longest: float) -> tuple[float, float]:
    """Return the seconds between two ends, the latest weighing most, and by which part of it that may be off."""
    if min(ended, len(ends)) < 2 or ends[0] <= ends[-1] or not longest:
        return 0.0, 0.0
    jobs = (ended - 1) / (len(ends) - 1)
    took = [before - after for before, after in itertools.pairwise(ends)]
    took = _without_breaks(took, 3 * (jobs + 1) * longest)
    if not any(took):
        return 0.0, 0.0  # but for breaks, all ended within one millisecond
    weights = [10 ** (i / len(took)) for i in range(len(took))]
    mean = sum(w * t for w, t in zip(weights, took, strict=True)) / sum(weights)
    variance = sum(w * (t - mean) ** 2 for w, t in zip(weights, took, strict=True)) / sum(weights)
    return mean / jobs, math.sqrt(variance / len(took)) / mean


def _without_breaks(took: list[float], alone: float) -> list[float]:
    """Leave out times in which nobody worked: longer than the jobs one by one, and than most others."""
    most = max(alone, 10 * sorted(took)[len(took) // 2])
    return [time for time in took if time <= most]
