"""An idle worker starts a job at once, whoever added it, whatever else is delayed or ranked in its queue."""

from __future__ import annotations

from itertools import count
from statistics import median

import pytest

MOST_MS = 50
ROUNDS = 3  # of each kind
MIX = [
    {},
    {"priority": 3},
    {"delay": 30},
    {"priority": 2_000_000},
    {"delay": 45, "priority": 1},
    {"lifo": True},
]
PAIRS = [
    ("flownb", "node6"),
    ("flownb", "node5"),
    ("node6", "flownb"),
    ("node5", "flownb"),
    ("flownb", "flownb"),
]


@pytest.mark.serial
@pytest.mark.parametrize(("producer", "worker"), PAIRS)
def test_an_idle_worker_wakes_within_50_ms(producer, worker, peers, stored, until):
    queue = f"{worker}-line"

    def late(number, opts):
        """Add a job to the idle worker; return how many ms after it was due it started."""
        until(lambda: stored.redis.zscore(f"bull:{queue}:marker", "0") is None)  # an idle worker has eaten it
        job = {"name": f"job-{number}", "data": {"do": "value", "value": 0}, "opts": opts}
        peers[producer].ask("add_jobs", queue=queue, jobs=[job])
        until(lambda: stored.ended(queue) == number + 1)
        found = stored.jobs()[job["name"]].hash
        ms = int(found["processedOn"]) - int(found["timestamp"]) - opts.get("delay", 0)
        assert ms >= -1 or "delay" not in opts, "none starts before it is due"
        return max(ms, 0)  # less: a look that was under way already, with BullMQ's own clock

    def measure():
        stored.redis.flushall()
        tomorrow = {"name": "tomorrow", "data": {"do": "value", "value": 0}, "opts": {"delay": 86_400_000}}
        peers[producer].ask("add_jobs", queue=queue, jobs=[tomorrow])
        numbers = count()
        rounds = [[late(next(numbers), opts) for opts in MIX] for _ in range(ROUNDS)]
        return dict(zip(map(str, MIX), map(median, zip(*rounds, strict=True)), strict=True))

    tries = []
    while len(tries) < 5 and not any(
        max(kinds.values()) <= MOST_MS for kinds in tries
    ):  # others load the machine
        tries.append(measure())
    assert max(tries[-1].values()) <= MOST_MS, tries
