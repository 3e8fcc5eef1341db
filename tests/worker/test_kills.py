"""Shows that a killed worker loses nothing: its keeper gives the jobs back at once, and they run once more."""

from __future__ import annotations

import collections
import os
import signal
import time

import pytest

import flownb as fn


def runs(redis):
    return collections.Counter(id.decode() for id in redis.lrange("ran", 0, -1))


LEASE_SECONDS = 15.0  # after which the jobs of a dead worker would come back without its keeper


@pytest.mark.serial
def test_the_jobs_of_a_killed_worker_wait_again_long_before_their_leases_end_and_run_once_more(
    redis, start_worker, until
):
    queue = fn.Queue("q")
    jobs = queue.add_bulk([{"name": f"j{i}", "data": i} for i in range(5)])
    worker = start_worker("q", "gated", concurrency=3)
    until(lambda: redis.llen("ran") == 3)
    before = runs(redis)

    killed = time.monotonic()
    worker.kill()
    until(lambda: queue.get_job_counts()["waiting"] == 5)
    assert time.monotonic() - killed < LEASE_SECONDS / 3  # a second, where the machine has time for it

    assert [job.name for job in queue.get_jobs("waiting")] == [f"j{i}" for i in range(5)]
    redis.set("gate", 1)
    start_worker("q", "gated", concurrency=3)
    until(lambda: queue.get_job_counts()["completed"] == 5)
    assert runs(redis) == before + collections.Counter(job.id for job in jobs)
    assert [queue.get_job(job.id).returnvalue for job in jobs] == list(range(5))
    assert {queue.get_job(job.id).attempts_made for job in jobs} == {1}


def test_five_kills_in_the_middle_of_a_flow_lose_nothing_and_double_nothing(redis, start_worker, until):
    children = [{"name": f"c{i}", "queueName": "rows", "data": i} for i in range(400)]
    flow = fn.add({"name": "total", "queueName": "totals", "children": children})
    in_flight = 0
    for kill in range(5):
        worker = start_worker("rows", "short", concurrency=4)
        until(lambda kill=kill: flow.progress().completed > 60 * kill + 30)
        worker.kill()
        assert fn.doctor().empty, "what a kill leaves is no damage"
        until(lambda: redis.llen("bull:rows:active") == 0)
        in_flight += 2 * 4  # running, or ended and not written yet
    total = lambda job: [len(job.get_children_values()), sum(job.get_children_values().values())]  # noqa: E731
    with fn.Worker("totals", total):
        start_worker("rows", "short", concurrency=8)
        assert flow.result(timeout=30) == [400, sum(range(400))]
    assert (flow.progress().completed, flow.progress().failed) == (401, 0)
    counts = runs(redis)
    assert len(counts) == 400
    assert sum(counts.values()) - 400 <= in_flight
    assert {job.attempts_made for job in fn.Queue("rows").get_jobs("completed", 0, 999)} == {1}
    assert fn.doctor().empty


def test_a_job_that_kills_its_worker_again_and_again_fails_and_its_attempts_are_not_charged(
    redis, start_worker, until
):
    queue = fn.Queue("q")
    job = queue.add("poison")
    for death in range(1, 4):
        worker = start_worker("q", "gated", max_stalled_count=2)
        until(lambda death=death: redis.llen("ran") == death)
        worker.kill()
        until(lambda: job.get_state() == "waiting")
    with fn.Worker("q", lambda job: "never"):
        until(lambda: job.get_state() == "failed")
    assert queue.get_job(job.id).failed_reason == "crashed its worker 3 times"
    assert redis.llen("ran") == 3


def test_the_death_of_a_worker_whose_jobs_run_in_processes_is_charged_to_none_of_them(
    redis, start_worker, until
):
    job = fn.Queue("q").add("j")
    options = {"executor": "processes", "max_stalled_count": 0}  # one death too many would fail it
    for n in (1, 2):
        worker = start_worker("q", "gated", **options)
        until(lambda n=n: redis.llen("ran") == n, seconds=60)
        worker.kill()
        until(lambda: job.get_state() == "waiting")
    redis.set("gate", 1)
    start_worker("q", "gated", **options)
    until(lambda: job.get_state() == "completed", seconds=60)
    assert redis.hmget(f"bull:q:{job.id}", "stc", "unbegun", "atm") == [None, b"2", b"1"]


def test_a_worker_and_its_keeper_killed_together_lose_nothing_but_the_time_of_the_lease(
    redis, start_worker, until
):
    queue = fn.Queue("q")
    job = queue.add("j", 7)
    worker = start_worker("q", "first_run_is_gated", lock_duration=1, stalled_interval=0.2)
    until(lambda: redis.llen("ran") == 1)
    os.kill(worker.keeper, signal.SIGKILL)
    worker.kill()
    with fn.Worker("q", lambda job: "rescued", stalled_interval=0.2):
        until(lambda: job.get_state() == "completed", seconds=10)
    assert queue.get_job(job.id).returnvalue == "rescued"
    assert redis.hget(f"bull:q:{job.id}", "stc") == b"1"


@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
def test_a_keeper_killed_or_stopped_alone_is_started_again_and_the_leases_go_on(redis, until, harm):
    import threading

    from flownb.worker.lease_keeper import keeper

    started, may_end = threading.Event(), threading.Event()

    def work(job):
        started.set()
        assert may_end.wait(30)
        return "kept"

    queue = fn.Queue("q")
    job = queue.add("long")
    with fn.Worker("q", work, lock_duration=2, stalled_interval=0.2):
        assert started.wait(20)
        before = keeper.pid
        os.kill(before, harm)
        until(lambda: keeper.pid != before)
        for _ in range(3):  # the lease is seen to run down and to be renewed, three times
            until(lambda: 0 < redis.pttl(f"bull:q:{job.id}:lock") < 1700)
            until(lambda: redis.pttl(f"bull:q:{job.id}:lock") > 1800)
        may_end.set()
        until(lambda: job.get_state() == "completed")
    assert redis.hmget(f"bull:q:{job.id}", "ats", "stc") == [b"1", None]


def test_a_worker_told_to_end_finishes_its_jobs(redis, start_worker, until):
    queue = fn.Queue("q")
    jobs = queue.add_bulk([{"name": "j"} for _ in range(4)])
    worker = start_worker("q", "gated", concurrency=2)
    until(lambda: redis.llen("ran") == 2)
    worker.process.stdin.close()
    redis.set("gate", 1)
    assert worker.process.wait(20) == 0
    states = sorted(job.get_state() for job in jobs)
    assert states == ["completed"] * 2 + ["waiting"] * 2
    assert redis.llen("bull:q:active") == 0
