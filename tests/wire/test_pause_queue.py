"""pause_queue and resume_queue: whether workers start jobs of a queue."""

from __future__ import annotations

from flownb.wire.lease_records import Lease
from tests.support.script_bench import START, Bench, key


def test_a_pause_is_a_field_and_takes_the_marker_away(bench: Bench):
    bench.add_plain("a")
    bench.add_plain("d", delay=100)

    bench.store.queues.pause("bull:q")

    assert bench.hash(key("meta"))["paused"] == "1"
    assert not bench.redis.exists(key("marker"))
    assert bench.list(key("wait")) == ["a"]
    assert bench.events(last=1) == [("paused",)]
    assert bench.store.queues.is_paused("bull:q")
    assert bench.take() == []


def test_a_pause_leaves_running_jobs_alone(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()

    bench.store.queues.pause("bull:q")

    assert bench.list(key("active")) == ["a"]
    assert bench.store.leases.extend(["bull:q"], [Lease("bull:q", "a", taken.token)], lock_ms=900) == []


def test_a_resume_wakes_the_workers_of_waiting_jobs(bench: Bench):
    bench.add_plain("a")
    bench.store.queues.pause("bull:q")

    bench.store.queues.resume("bull:q")

    assert "paused" not in bench.hash(key("meta"))
    assert bench.zset(key("marker")) == {"0": 0}
    assert bench.events(last=1) == [("resumed",)]
    assert bench.take_one().record.id == "a"


def test_a_resume_sets_the_clock_when_all_is_delayed(bench: Bench):
    bench.add_plain("d", delay=100)
    bench.store.queues.pause("bull:q")

    bench.store.queues.resume("bull:q")

    ((member, due),) = bench.redis.zrange(key("marker"), 0, -1, withscores=True)
    assert (member, int(due)) == (b"1", START + 100)


def test_an_empty_queue_resumes_without_a_marker(bench: Bench):
    bench.store.queues.pause("bull:q")

    bench.store.queues.resume("bull:q")

    assert not bench.redis.exists(key("marker"))


def test_a_resume_takes_in_what_bullmq_5_paused_and_says_so_once(bench: Bench):
    bench.add_plain("a")
    bench.store.queues.pause("bull:q")
    bench.redis.rpush(key("paused"), *(f"old{i}" for i in range(9000)))

    bench.store.queues.resume("bull:q")

    assert bench.list(key("wait")) == ["a", *(f"old{i}" for i in range(9000))]
    assert not bench.redis.exists(key("paused"))
    assert bench.events().count(("resumed",)) == 1


def test_pausing_and_resuming_twice_changes_nothing(bench: Bench):
    bench.add_plain("a")
    bench.store.queues.pause("bull:q")
    before = bench.contents()
    bench.store.queues.pause("bull:q")
    assert bench.contents() == before

    bench.store.queues.resume("bull:q")
    before = bench.contents()
    bench.redis.script_flush()
    bench.store.queues.resume("bull:q")

    assert bench.contents() == before
