"""Queues as older and newer versions of BullMQ leave them."""

from __future__ import annotations

import pytest

import flownb as fn


def store(redis, *ids, queue="old"):
    for id in ids:
        redis.hset(
            f"bull:{queue}:{id}", mapping={"name": f"job {id}", "data": "{}", "opts": "{}", "timestamp": 1}
        )


def paused_by_5(redis):
    """BullMQ 5 pauses by renaming `wait`, and adds to `paused` until it resumes."""
    store(redis, "a", "b", "c")
    redis.lpush("bull:old:paused", "a", "b")
    redis.lpush("bull:old:wait", "c")
    redis.hset("bull:old:meta", mapping={"paused": 1, "version": "bullmq:5.81.5", "opts.maxLenEvents": 10000})


def test_a_line_that_was_put_aside_waits(connection, redis):
    paused_by_5(redis)
    queue = fn.Queue("old")

    assert queue.get_job_counts()["waiting"] == 3
    assert [job.id for job in queue.get_jobs("waiting")] == ["c", "a", "b"]
    assert [job.id for job in queue.get_jobs("waiting", 1, 1)] == ["a"]
    assert [job.id for job in queue.get_jobs("waiting", 0, 0)] == ["c"]
    assert queue.is_paused()
    assert queue.get_job("a").get_state() == "waiting"
    assert fn.attach("old:a").explain().loc[0, "why"] == "queue 'old' is paused"


def test_it_runs_once_the_queue_is_resumed(connection, redis, until):
    paused_by_5(redis)
    fn.Queue("old").resume()

    with fn.Worker("old", lambda job: job.name):
        until(lambda: fn.Queue("old").get_job_counts()["completed"] == 3)
    assert not redis.exists("bull:old:paused")


@pytest.mark.parametrize("end", ["left", "right"])
def test_markers_of_bullmq_4_are_no_jobs(connection, redis, until, end):
    store(redis, "a", "b")
    redis.lpush("bull:old:wait", "a", "b")
    (redis.lpush if end == "left" else redis.rpush)("bull:old:wait", "0:1700000000000")
    redis.lpush("bull:old:active", "0:0")
    queue = fn.Queue("old")

    assert queue.get_job_counts() == {**dict.fromkeys(queue.get_job_counts(), 0), "waiting": 2}
    assert [job.id for job in queue.get_jobs(["waiting", "active"])] == ["a", "b"]
    with fn.Worker("old", lambda job: job.name):
        until(lambda: queue.get_job_counts()["completed"] == 2)
    assert queue.get_job_counts()["failed"] == 0
    assert not redis.exists("bull:old:0:1700000000000")


WRITES = {
    "add": lambda: fn.add(
        {"name": "top", "queueName": "mine", "children": [{"name": "a", "queueName": "new"}]}
    ),
    "queue": lambda: fn.Queue("new").add("a"),
    "pause": lambda: fn.Queue("new").pause(),
    "bullmq": lambda: fn.FlowProducer().add({"name": "a", "queueName": "new"}, semantics="bullmq"),
    "retry": lambda: fn.attach("new:a").retry(),
    "remove": lambda: fn.attach("new:a").remove(),
    "worker": lambda: fn.Worker("new", print).start(),
    "batch": lambda: fn.fan_out([{"x": 1}], "new"),
}


@pytest.mark.parametrize("write", WRITES)
def test_what_a_newer_bullmq_wrote_is_not_written(connection, redis, write):
    store(redis, "a", queue="new")
    redis.hset("bull:new:a", mapping={"failedReason": "no", "finishedOn": 2})
    redis.zadd("bull:new:failed", {"a": 2})
    redis.hset("bull:new:meta", "version", "bullmq:7.0.1")
    before = {key: redis.dump(key) for key in redis.scan_iter()}

    with pytest.raises(
        fn.ServerRefused, match=r"queue 'new' belongs to BullMQ 7.0.1, .* up to BullMQ 6: upgrade flownb"
    ):
        WRITES[write]()

    assert {key: redis.dump(key) for key in redis.scan_iter()} == before
    assert fn.attach("new:a").state == "failed"


@pytest.mark.parametrize(
    "version", ["bullmq:6.99.0", "bullmq:5.1.2", "bullmq-pro:7.3.0", "flownb:9.0", "odd"]
)
def test_other_versions_are_written(connection, redis, version):
    redis.hset("bull:new:meta", "version", version)

    fn.Queue("new").add("a")
