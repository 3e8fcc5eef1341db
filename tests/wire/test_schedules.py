"""Shows that a job scheduler is stored with its next job, replaced and removed in one step each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flownb.errors import ServerRefused
from flownb.wire.requests import ScheduledJob
from flownb.wire.store.schedules import CHANGED, STORED, TAKEN
from tests.support import invariants
from tests.support.script_bench import START, Bench, base, completed

RUN = ScheduledJob(name="tick", data='{"n":1}', opts="{}")
OWN = "bull:flownb:every:s"


def upsert(bench: Bench, before: int | None, due: int, queue: str = "q", **more: Any) -> str:
    fields = {"name": "tick", "every": "1000"}
    call = {"fields": fields, "job": RUN, "own": {"tree": "[]"}} | more
    return bench.store.schedules.upsert(base(queue), "s", before=before, due=due, **call)


def everything(bench: Bench) -> dict[bytes, Any]:
    return {key: bench.redis.dump(key) for key in bench.redis.keys("*")}


def test_a_new_one_is_stored_with_its_next_job(bench):
    assert upsert(bench, None, START + 500) == STORED

    assert bench.zset("bull:q:repeat") == {"s": START + 500}
    assert bench.hash("bull:q:repeat:s") == {"name": "tick", "every": "1000", "ic": "1"}
    assert bench.hash(f"bull:q:repeat:s:{START + 500}") == {
        "name": "tick", "data": '{"n":1}', "opts": "{}", "timestamp": str(START), "delay": "500", "priority": "0", "rjk": "s",
    }  # fmt: skip
    assert bench.hash(OWN) == {"tree": "[]"}
    bench.wait(500)
    assert bench.take_one().scheduler == "s"
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("priority", [0, 3])
def test_what_is_due_now_waits_for_no_time(bench, priority):
    upsert(bench, None, START, job=replace(RUN, priority=priority))

    assert not bench.redis.exists("bull:q:delayed")
    assert bench.take_one().record.priority == priority


@pytest.mark.parametrize("place", ["delayed", "wait", "prioritized", "paused"])
def test_the_job_that_waits_is_replaced_wherever_it_is(bench, place):
    upsert(bench, None, START + 500, job=replace(RUN, priority=3 if place == "prioritized" else 0))
    if place == "paused":
        bench.redis.zrem("bull:q:delayed", f"repeat:s:{START + 500}")
        bench.redis.lpush("bull:q:paused", f"repeat:s:{START + 500}")
    elif place != "delayed":
        bench.wait(600)
        bench.fetch(want=0)
        bench.fetch("q", want=0)
    due = bench.now + 2000

    assert upsert(bench, START + 500, due, fields={"name": "other", "pattern": "* * * * *"}) == STORED

    assert bench.zset("bull:q:repeat") == {"s": due}
    assert bench.hash("bull:q:repeat:s") == {"name": "other", "pattern": "* * * * *", "ic": "1"}
    assert not bench.redis.exists(f"bull:q:repeat:s:{START + 500}")
    bench.wait(3000)
    assert [taken.record.id for taken in bench.take(want=5)] == [f"repeat:s:{due}"]


def test_the_same_time_again_replaces_the_job_in_its_place(bench):
    upsert(bench, None, START + 500)

    assert upsert(bench, START + 500, START + 500, job=replace(RUN, data='{"n":2}')) == STORED

    assert list(bench.zset("bull:q:delayed")) == [f"repeat:s:{START + 500}"]
    assert bench.hash(f"bull:q:repeat:s:{START + 500}")["data"] == '{"n":2}'


def test_a_caller_who_has_seen_another_time_writes_nothing(bench):
    upsert(bench, None, START + 500)
    before = everything(bench)

    assert upsert(bench, None, START + 500) == CHANGED  # as the same call sent twice
    assert upsert(bench, START + 400, START + 900) == CHANGED
    assert everything(bench) == before


def test_the_id_of_a_job_that_runs_or_has_ended_is_not_used_again(bench):
    upsert(bench, None, START)
    taken = bench.take_one()
    assert upsert(bench, START, START) == TAKEN
    bench.finish(completed(taken))
    before = everything(bench)

    assert upsert(bench, START, START) == TAKEN
    assert everything(bench) == before
    assert upsert(bench, START, START + 1000) == STORED


def test_the_number_of_iterations_is_kept(bench):
    upsert(bench, None, START + 500)
    bench.redis.hset("bull:q:repeat:s", "ic", 7)

    upsert(bench, START + 500, START + 500)

    assert bench.hash("bull:q:repeat:s")["ic"] == "7"


@pytest.mark.parametrize("key", ["bull:q:repeat", "bull:q:repeat:s", OWN, "bull:q:wait"])
def test_a_damaged_key_refuses_it_and_nothing_is_written(bench, key):
    bench.redis.set(key, "damaged")
    before = everything(bench)

    with pytest.raises(ServerRefused, match=key.removesuffix(":wait")):
        upsert(bench, None, START)

    assert everything(bench) == before


def test_removed_it_is_gone_with_the_job_that_waits_for_its_time(bench):
    upsert(bench, None, START + 500, "flownb-batch")
    queue = base("flownb-batch")

    assert bench.store.schedules.remove(queue, "s") is True
    assert bench.store.schedules.remove(queue, "s") is False

    left = {key.decode() for key in bench.redis.keys("*")} - {"bull:flownb-batch:marker"}
    assert left == {"bull:flownb-batch:id", "bull:flownb-batch:events", "bull:flownb-batch:meta"}


def test_removed_it_lets_what_has_come_to_its_time_run(bench):
    upsert(bench, None, START)

    bench.store.schedules.remove(base("q"), "s")

    assert bench.take_one().record.id == f"repeat:s:{START}"


def test_what_flownb_keeps_beside_a_schedule_of_its_own_stays_when_another_queues_goes(bench):
    upsert(bench, None, START + 500, "flownb-batch")
    upsert(bench, None, START + 500, own={})

    bench.store.schedules.remove(base("q"), "s")

    assert bench.hash(OWN) == {"tree": "[]"}
