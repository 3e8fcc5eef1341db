"""Batches that never ran: rows, groups and a root in a few slots, on a clock of their own."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field

from flownb.wire.records import FlowCounts
from flownb.wire.store.throughput import MOST_RUNS, Throughput, ranks_of

KINDS = ("constant", "even", "wide", "slower", "faster", "a step", "few long", "retries", "groups", "mixed")
ROWS, GROUPS, ROOT = "rows", "groups", "root"


@dataclass
class Moment:
    """What the server would tell at this moment, right after a job has ended."""

    at: float
    left: dict[str, int]
    active: dict[str, int]
    due: float  #: seconds until the last delayed row may run


@dataclass
class Simulated:
    """A batch of one of `KINDS`, with rows, slots, run times and groups drawn at random."""

    seed: int
    ends: list[tuple[float, str, float]] = field(default_factory=list)  #: when, which queue, how long it ran
    moments: list[Moment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.kind = KINDS[self.seed % len(KINDS)]
        self.rows = round(math.exp(self.dice.uniform(math.log(60), math.log(3000))))
        self.slots = self.dice.choice([1, 2, 4, 8, 16])
        self.usual = math.exp(self.dice.uniform(math.log(0.02), math.log(20)))
        self.spread = {"constant": 0, "even": 0.5, "wide": 1.1, "groups": 0.5, "mixed": 0.8}.get(
            self.kind, 0.2
        )
        self.change = self.dice.uniform(1.3, 2.2)
        self.groups = self.dice.choice([3, 10, 40]) if self.kind in ("groups", "mixed") else 0
        self.aggregate = self.usual * math.exp(self.dice.uniform(math.log(0.2), math.log(8)))
        self.retried = {"retries": 0.1, "mixed": 0.03}.get(self.kind, 0)
        self._run()

    @property
    def took(self) -> float:
        return self.moments[-1].at

    def after(self, share: float) -> Moment:
        """Return the moment at which this share of all jobs has ended."""
        return self.moments[max(round(share * len(self.moments)), 1) - 1]

    def told(self, moment: Moment) -> tuple[FlowCounts, dict[str, Throughput]]:
        """Return what the estimate is made from."""
        stages, paces = {}, {}
        for queue, left in moment.left.items():
            ended = [(at, run) for at, which, run in self.ends if which == queue and at <= moment.at]
            active = moment.active[queue]
            due = moment.due if queue == ROWS else 0
            stages[queue] = {"completed": len(ended), "active": active, "waiting": left - active}
            if due:
                stages[queue] |= {"delayed": 1, "waiting": left - active - 1}
            ends = [moment.at - ended[-1 - place][0] for place in ranks_of(len(ended))]
            runs = [run for _, run in ended[-MOST_RUNS:]]
            paces[queue] = Throughput(ended=len(ended), ends=ends, runs=runs, due=due)
        return FlowCounts(by_stage=stages), paces

    def _seconds(self, queue: str, row: int) -> float:
        if queue == ROOT:
            return self.usual / 100
        if queue == GROUPS:
            return self.aggregate * math.exp(self.dice.gauss(0, 0.3))
        seconds = self.usual * math.exp(self.dice.gauss(0, self.spread))
        share = row / self.rows
        return seconds * {
            "slower": 1 + (self.change - 1) * share,
            "faster": 1 - (1 - 1 / self.change) * share,
            "a step": self.change if share > 0.5 else 1,
            "few long": 5 if row % 17 == 0 else 0.6,
            "mixed": 1 + (self.change - 1.7) * share,
        }.get(self.kind, 1)

    def _run(self) -> None:
        waiting = [(ROWS, row) for row in range(self.rows)][::-1]
        left = {ROWS: self.rows, **({GROUPS: self.groups} if self.groups else {}), ROOT: 1}
        members = [len(range(group, self.rows, self.groups)) for group in range(self.groups)]
        active: list[tuple[float, str, int, float]] = []
        delayed: list[tuple[float, int]] = []
        now = 0.0
        while waiting or active or delayed:
            while waiting and len(active) < self.slots:
                queue, row = waiting.pop()
                seconds = self._seconds(queue, row)
                heapq.heappush(active, (now + seconds, queue, row, seconds))
            if delayed and (not active or delayed[0][0] <= active[0][0]):
                now, row = heapq.heappop(delayed)
                waiting.insert(0, (ROWS, row))
                continue
            now, queue, row, seconds = heapq.heappop(active)
            if queue == ROWS and self.dice.random() < self.retried:
                heapq.heappush(delayed, (now + 3 * self.usual, row))
                continue
            left[queue] -= 1
            self.ends.append((now, queue, seconds))
            running = {which: sum(which == other for _, other, _, _ in active) for which in left}
            due = max((at for at, _ in delayed), default=now) - now
            self.moments.append(Moment(now, dict(left), running, due))
            if queue == ROWS and self.groups:
                members[row % self.groups] -= 1
                if not members[row % self.groups]:
                    waiting.append((GROUPS, row % self.groups))
            elif left[ROOT] and not any(left[which] for which in left if which != ROOT):
                waiting.append((ROOT, 0))
            if queue == GROUPS and not left[GROUPS] and not left[ROWS] and left[ROOT]:
                waiting = [(ROOT, 0)]
