"""sweep_stalled: active -> waiting, for jobs that lost their lease; suspected at one sweep, moved at the next."""

from __future__ import annotations

from tests.support import invariants
from tests.support.script_bench import START, Bench, completed, failed, key, node


def test_a_job_that_lost_its_lease_is_suspected_then_moved(bench: Bench):
    bench.add(node("x"), node("a"))
    _, taken = bench.take(want=2)
    bench.lose_lease(taken)

    assert bench.sweep() == []
    assert bench.set(key("stalled")) == {"a"}
    assert bench.list(key("active")) == ["a", "x"]
    bench.add(node("other"))
    bench.redis.delete(key("marker"))
    assert bench.sweep() == ["a"]

    assert bench.list(key("wait")) == ["other", "a"]
    assert bench.list(key("active")) == ["x"]
    assert bench.hash(key("a"))["stc"] == "1"
    assert "defa" not in bench.hash(key("a"))
    assert not bench.redis.exists(key("stalled"))
    assert bench.event_fields()[-2:] == [
        {"event": "waiting", "jobId": "a", "prev": "active"},
        {"event": "stalled", "jobId": "a"},
    ]
    assert bench.zset(key("marker")) == {"0": 0}
    assert bench.counts() == {"q waiting": 2, "q active": 1}
    assert invariants.violations(bench.redis) == []


def test_a_leased_job_is_no_suspect(bench: Bench):
    bench.add_plain("a")
    bench.take_one()

    assert [bench.sweep(), bench.sweep(), bench.sweep()] == [[], [], []]

    assert not bench.redis.exists(key("stalled"))


def test_a_suspect_that_renewed_its_lease_is_cleared(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.lose_lease(taken)
    bench.sweep()
    bench.redis.set(key("a:lock"), taken.token, px=9000)

    assert bench.sweep() == []

    assert not bench.redis.exists(key("stalled"))
    assert "stc" not in bench.hash(key("a"))


def test_a_suspect_that_ended_meanwhile_is_forgotten(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.lose_lease(taken)
    bench.sweep()
    bench.redis.sadd(key("stalled"), "gone")
    bench.finish(completed(taken))

    assert bench.sweep() == []

    assert not bench.redis.exists(key("stalled"))
    assert bench.state_of(key("a")) == "completed"


def test_a_job_over_the_limit_runs_alone_and_is_failed_when_its_workers_die_then_too(bench: Bench):
    bench.add(node("a"))
    for alone in (False, False, True, True):
        bench.lose_lease(bench.take_one(alone=alone))
        bench.sweep()
        assert bench.sweep(most=1) == ["a"]

    stored = bench.hash(key("a"))
    assert (stored["stc"], stored["alone"], stored["defa"]) == ("4", "2", "crashed its worker 4 times")
    assert bench.list(key("wait")) == ["a"]
    taken = bench.take_one(alone=True)
    assert taken.deferred == "crashed its worker 4 times"
    bench.finish(failed(taken, taken.deferred, why="crashed"))
    assert bench.store.flows.read_end("f") == ("failed", key("a"))
    assert invariants.violations(bench.redis) == []


def test_what_was_taken_ahead_is_charged_with_no_death(bench: Bench):
    bench.add(node("a"), node("b"))
    for _ in range(9):
        for taken in bench.take(want=2, free=1):
            bench.lose_lease(taken)
        bench.sweep()
        assert sorted(bench.sweep(most=20)) == ["a", "b"]
        bench.redis.rpush(key("wait"), bench.redis.lpop(key("wait")))
    stored = {id: bench.hash(key(id)) for id in "ab"}
    assert {id: int(stored[id]["stc"]) + int(stored[id]["unbegun"]) for id in "ab"} == {"a": 9, "b": 9}
    assert invariants.violations(bench.redis) == []


def test_what_dead_workers_took_ten_times_without_beginning_it_runs_alone(bench: Bench):
    bench.add(node("a"))
    for _ in range(10):
        bench.lose_lease(*bench.take(free=0))
        bench.sweep()
        bench.sweep()
    stored = bench.hash(key("a"))
    assert ("stc" in stored, stored["unbegun"], stored["suspect"]) == (False, "10", "1")


def test_a_stalled_prioritized_job_goes_to_the_head_of_the_line(bench: Bench):
    bench.add(node("a", priority=5), node("b"))
    bench.take(want=1)
    bench.lose_lease(bench.take_one())
    bench.sweep()
    bench.sweep()

    assert bench.list(key("wait")) == ["a"]
    assert bench.counts() == {"q active": 1, "q waiting": 1}
    assert invariants.violations(bench.redis) == []


def test_the_second_sweep_of_an_interval_looks_at_nothing(bench: Bench):
    bench.add_plain("a")
    bench.lose_lease(bench.take_one())
    bench.store.leases.sweep_stalled(["bull:q"], interval=30_000, most=1)
    assert bench.get(key("stalled-check")) == str(START)
    assert 0 < bench.redis.pttl(key("stalled-check")) <= 30_000
    before = bench.dump()
    bench.redis.script_flush()

    assert bench.store.leases.sweep_stalled(["bull:q"], interval=30_000, most=1).stalled == []

    assert bench.dump() == before


def test_a_sweep_tells_that_somebody_serves_the_queue(bench: Bench):
    bench.sweep("q", "other", interval=1000)

    assert bench.zset("bull:flownb:served") == {"bull:q": START + 3000, "bull:other": START + 3000}


def test_several_queues_are_swept_in_one_call(bench: Bench):
    for queue in ("q1", "q2"):
        bench.add_plain("a", queue=queue)
        bench.lose_lease(bench.take_one(queue))
    bench.sweep("q1", "q2")

    assert bench.sweep("q1", "q2") == ["a", "a"]

    assert bench.list(key("wait", "q1")) == bench.list(key("wait", "q2")) == ["a"]


def test_thousands_of_running_jobs_are_swept_in_bounded_calls(bench: Bench):
    with bench.redis.pipeline() as pipe:
        for i in range(8000):
            pipe.hset(key(f"a{i}"), "name", "n").rpush(key("active"), f"a{i}")
        pipe.execute()

    assert bench.sweep() == []
    assert bench.redis.scard(key("stalled")) == 7000
    assert len(bench.sweep()) == 7000
    assert len(bench.sweep()) == 1000
    assert bench.redis.llen(key("wait")) == 8000
