"""Workers of all kinds serve one queue while some of them are killed: nothing is lost, nothing is done twice in the books."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from flownb.api import doctor
from flownb.wire.store import Store

JOBS = 5000
KILLS = 8
FLEET = ("flownb", "node6", "python", "flownb", "node5")
SETTINGS = {"lockDuration": 1000, "stalledInterval": 300, "maxStalledCount": 1000, "concurrency": 10}


@pytest.mark.serial
@pytest.mark.timeout(300)
@pytest.mark.parametrize("producer", ["flownb", "node6"])
def test_each_of_5000_jobs_is_completed_once_while_workers_are_killed(producer, start_peer, stored, until):
    chance = random.Random(producer)
    stored.redis.flushall()
    rows = [
        {"name": f"row-{i}", "queueName": "fleet", "data": {"do": "nap", "value": i}, "opts": {}}
        for i in range(JOBS)
    ]
    root = {"name": "sum", "queueName": "fleet-top", "data": {"do": "gather"}, "opts": {}, "children": rows}

    def recruit(name):
        peer = start_peer(name)
        peer.ask("work", queue="fleet", **SETTINGS)
        return peer

    adder = start_peer(producer)
    adder.ask("pause", queue="fleet")
    stored.redis.hset("bull:fleet:meta", "opts.maxLenEvents", 10 * JOBS)  # so that every end can be counted
    adder.ask("add_flow", tree=root)
    fleet = [recruit(name) for name in FLEET]
    adder.ask("resume", queue="fleet")
    for kill in range(KILLS):
        if kill == KILLS // 2:
            assert doctor.lines(Store(stored.redis, "bull"), "fleet", fix=False) == []
        goal = (kill + 1) * JOBS // (KILLS + 2)
        until(lambda goal=goal: stored.ended("fleet") >= goal, 60)
        victim = chance.randrange(len(fleet))
        fleet[victim].kill()
        fleet[victim] = recruit(fleet[victim].name)
    start_peer(chance.choice(FLEET)).ask("work", queue="fleet-top")
    until(lambda: stored.ended("fleet-top") == 1, 60)

    jobs = stored.jobs()
    assert Counter(job.state for job in jobs.values()) == {"completed": JOBS + 1}
    assert sum(jobs["sum"].value["values"]) == sum(range(JOBS))
    events = (fields for _, fields in stored.redis.xrange("bull:fleet:events"))
    ends = Counter(fields[b"jobId"] for fields in events if fields[b"event"] in (b"completed", b"failed"))
    assert len(ends) == JOBS
    assert set(ends.values()) == {1}
    assert set(stored.runs_by_peer()) == set(FLEET), "all kinds took part"
    assert doctor.lines(Store(stored.redis, "bull"), "fleet", fix=False) == []
