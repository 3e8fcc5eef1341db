"""Shows how many jobs run at a time: concurrency, a limiter shared by all workers, a limit of the whole queue."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import flownb as fn
from tests.support.gauge import Gauge


def starts_of(redis, queue):
    """Return when jobs started, in ms by the server's clock: a function's own may be late on a loaded machine."""
    events = redis.xrange(f"bull:{queue}:events")
    return [int(id.split(b"-")[0]) for id, event in events if event[b"event"] == b"active"]


def test_as_many_as_the_concurrency_run_at_a_time_and_not_one_more(until):
    gauge, barrier = Gauge(), threading.Barrier(8)

    def work(job):
        with gauge:
            barrier.wait(20)  # broken unless eight are here at once

    queue = fn.Queue("q")
    queue.add_bulk([{"name": "j"} for _ in range(64)])
    with fn.Worker("q", work, concurrency=8):
        until(lambda: queue.get_job_counts()["completed"] == 64)
    assert gauge.most == 8


def test_coroutines_run_at_a_time_as_well(until):
    meeting = {"inside": 0}

    async def work(job):
        meeting["inside"] += 1
        while meeting["inside"] < 5:
            await asyncio.sleep(0.001)
        return job.name

    queue = fn.Queue("q")
    jobs = queue.add_bulk([{"name": f"j{i}"} for i in range(5)])
    with fn.Worker("q", work, concurrency=5):
        until(lambda: queue.get_job_counts()["completed"] == 5)
    assert [queue.get_job(job.id).returnvalue for job in jobs] == [f"j{i}" for i in range(5)]


def test_a_coroutine_that_raises_is_tried_again_and_fails(until):
    async def work(job):
        await asyncio.sleep(0)
        raise ValueError("async")

    job = fn.Queue("q").add("bad", opts={"attempts": 2})
    with fn.Worker("q", work):
        until(lambda: job.get_state() == "failed")
    job = fn.Queue("q").get_job(job.id)
    assert (job.failed_reason, job.attempts_made) == ("ValueError: async", 2)


@pytest.mark.parametrize("limiter", ["5/s", {"max": 5, "duration": 1000}], ids=str)
def test_a_limiter_binds_two_workers_together(redis, until, limiter):
    queue = fn.Queue("q")
    queue.add_bulk([{"name": "j"} for _ in range(12)])
    with (
        fn.Worker("q", lambda job: None, limiter=limiter, concurrency=4),
        fn.Worker("q", lambda job: None, limiter=limiter, concurrency=4),
    ):
        assert 0 < until(lambda: max(redis.pttl("bull:q:limiter"), 0)) <= 1000
        until(lambda: queue.get_job_counts()["completed"] == 12)
    starts = starts_of(redis, "q")
    assert len(starts) == 12
    assert starts[5] - starts[0] >= 998  # 2 ms are for two clock readings
    assert starts[10] - starts[5] >= 998


def test_attempts_count_against_the_limit_too(redis, until):
    job = fn.Queue("q").add("bad", opts={"attempts": 3})
    with fn.Worker("q", lambda job: 1 / 0, limiter={"max": 2, "duration": 500}):
        until(lambda: job.get_state() == "failed")
    starts = starts_of(redis, "q")
    assert len(starts) == 3
    assert starts[2] - starts[0] >= 498


def test_a_limit_of_the_whole_queue_binds_all_workers(redis, until):
    gauge = Gauge()
    redis.hset("bull:q:meta", "concurrency", "2")

    def work(job):
        with gauge:
            time.sleep(0.002)

    queue = fn.Queue("q")
    queue.add_bulk([{"name": "j"} for _ in range(60)])
    with fn.Worker("q", work, concurrency=4), fn.Worker("q", work, concurrency=4):
        until(lambda: queue.get_job_counts()["completed"] == 60)
    assert gauge.most <= 2


def test_a_paused_queue_starts_nothing_and_lets_running_jobs_end(until):
    started, may_end = threading.Event(), threading.Event()

    def work(job):
        started.set()
        assert may_end.wait(20)

    queue, other = fn.Queue("q"), fn.Queue("other")
    first = queue.add("first")
    with fn.Worker("q", work), fn.Worker("other", lambda job: None):
        assert started.wait(20)
        queue.pause()
        assert queue.is_paused()
        second = queue.add("second")
        may_end.set()
        until(lambda: first.get_state() == "completed")
        sign = other.add("sign")
        until(lambda: sign.get_state() == "completed")
        assert second.get_state() == "waiting"
        queue.resume()
        until(lambda: second.get_state() == "completed")
    assert not queue.is_paused()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"concurrency": 0}, "concurrency: a whole number from 1 to 5000, not 0"),
        ({"concurrency": -1}, "not -1"),
        ({"concurrency": 10**6}, "not 1000000"),
        ({"concurrency": 2.5}, "not 2.5"),
        ({"concurrency": True}, "not True"),
        ({"lock_duration": 0.5}, "lock_duration: at least one second"),
        ({"lock_duration": "soon"}, "'soon' is no duration"),
        ({"stalled_interval": 0}, "stalled_interval: at least 0.1 s"),
        ({"max_stalled_count": -1}, "max_stalled_count"),
        ({"limiter": "often"}, "'often' is no rate; write '5/s'"),
        ({"limiter": "5/fortnight"}, "limiter"),
        ({"limiter": "0/s"}, "limiter"),
        ({"limiter": {"max": 5}}, "write '5/s' or"),
        ({"limiter": 5}, "write '5/s' or"),
    ],
    ids=str,
)
def test_options_of_a_worker_that_do_not_fit(options, says):
    with pytest.raises(fn.OptionError) as refusal:
        fn.Worker("q", print, **options)
    assert says in str(refusal.value)


@pytest.mark.parametrize("queues", ["", "a:b", [], ["ok", "a*"], [None]], ids=repr)
def test_queues_of_a_worker_that_cannot_be(queues):
    with pytest.raises(fn.FlowError):
        fn.Worker(queues, print)
    with pytest.raises(fn.OptionError, match="a function that takes a job, not int"):
        fn.Worker("q", 5)
