"""Shows how often a job runs: attempts, backoff, what is never retried, and what charges no attempt."""

from __future__ import annotations

import itertools
import time

import pytest

import flownb as fn
from flownb.options import Backoff


def failing(job):
    raise ValueError(f"attempt {job.attempts_made + 1}")


@pytest.mark.parametrize(("opts", "runs"), [({}, 1), ({"attempts": 1}, 1), ({"attempts": 3}, 3)])
def test_a_job_runs_as_often_as_its_attempts(until, opts, runs):
    job = fn.Queue("q").add("bad", opts=opts)
    with fn.Worker("q", failing):
        until(lambda: job.get_state() == "failed")
    job = fn.Queue("q").get_job(job.id)
    assert job.attempts_made == runs
    assert job.failed_reason == f"ValueError: attempt {runs}"
    assert [trace.splitlines()[-1] for trace in job.stacktrace] == [
        f"ValueError: attempt {n + 1}" for n in range(runs)
    ]


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [(60_000, [60_000] * 3), ("exponential 60s", [60_000, 120_000, 240_000])],
    ids=["fixed", "exponential"],
)
def test_the_wait_before_another_attempt_stands_in_the_score(redis, until, backoff, waits):
    queue = fn.Queue("q")
    job = queue.add("bad", opts={"attempts": 4, "backoff": backoff})
    found = []
    with fn.Worker("q", failing):
        for made in range(1, 4):
            until(lambda made=made: queue.get_job(job.id).attempts_made == made)
            [(_, score)] = redis.zrange("bull:q:delayed", 0, -1, withscores=True)
            found.append(score / 4096 - queue.get_job(job.id).processed_on.timestamp() * 1000)
            assert job.get_state() == "delayed"
            redis.zadd("bull:q:delayed", {job.id: 4096})  # due now
            redis.zadd("bull:q:marker", {"0": 0})
        until(lambda: job.get_state() == "failed")
    assert all(wait - 1 <= got < wait + 2000 for got, wait in zip(found, waits, strict=True)), found


def test_jitter_leaves_a_part_of_the_wait_to_chance():
    waits = {Backoff(type="exponential", delay=1000, jitter=0.5).wait_ms(2) for _ in range(200)}
    assert len(waits) > 50
    assert all(1000 <= wait <= 2000 for wait in waits)


def test_a_short_backoff_really_passes(until):
    job = fn.Queue("q").add("bad", opts={"attempts": 3, "backoff": 50})
    starts = []

    def note(job):
        starts.append(time.monotonic())
        raise ValueError

    with fn.Worker("q", note):
        until(lambda: job.get_state() == "failed")
    assert all(0.045 < later - earlier < 5 for earlier, later in itertools.pairwise(starts))


def test_an_unrecoverable_error_is_not_tried_again(until):
    class Stolen(fn.UnrecoverableError):
        pass

    def charge(job):
        raise Stolen("the card") if job.data else fn.UnrecoverableError("the card")

    queue = fn.Queue("q")
    jobs = [queue.add("bad", data, {"attempts": 5}) for data in (0, 1)]
    with fn.Worker("q", charge):
        until(lambda: queue.get_job_counts()["failed"] == 2)
    jobs = [queue.get_job(job.id) for job in jobs]
    assert [job.attempts_made for job in jobs] == [1, 1]
    assert [job.failed_reason for job in jobs] == ["UnrecoverableError: the card", "Stolen: the card"]


def test_a_rate_limit_holds_the_queue_and_charges_no_attempt(until):
    runs = []

    def limited(job):
        runs.append((job.name, time.monotonic()))
        if len(runs) == 1:
            raise fn.RateLimitError("300ms")
        return job.attempts_made

    queue = fn.Queue("q")
    first, second = queue.add("first", opts={"attempts": 1}), queue.add("second")
    with fn.Worker("q", limited):
        until(lambda: queue.get_job_counts()["completed"] == 2)
    first, second = (queue.get_job(job.id) for job in (first, second))
    assert (first.returnvalue, first.attempts_made, first.failed_reason) == (0, 1, None)
    assert [name for name, _ in runs] == ["first", "first", "second"]
    assert runs[1][1] - runs[0][1] > 0.29


def test_a_retried_job_with_lifo_goes_to_the_head_of_the_line(until):
    ran = []

    def flaky(job):
        ran.append(job.name)
        if job.name == "bad" and ran.count("bad") < 3:
            raise ValueError

    queue = fn.Queue("q")
    queue.pause()
    for name in ("a", "b"):
        queue.add(name)
    queue.add("bad", opts={"attempts": 3, "lifo": True})
    queue.resume()
    with fn.Worker("q", flaky):
        until(lambda: queue.get_job_counts()["completed"] == 3)
    assert ran[0] == "bad"


@pytest.mark.parametrize("limit", [0, 2])
def test_tracebacks_are_kept_up_to_their_limit(until, limit):
    job = fn.Queue("q").add("bad", opts={"attempts": 4, "stackTraceLimit": limit})
    with fn.Worker("q", failing):
        until(lambda: job.get_state() == "failed")
    kept = fn.Queue("q").get_job(job.id).stacktrace
    assert [trace.splitlines()[-1] for trace in kept] == [
        f"ValueError: attempt {n}" for n in range(5 - limit, 5)
    ]


def test_a_traceback_begins_in_the_callers_code(until):
    job = fn.Queue("q").add("bad")
    with fn.Worker("q", failing):
        until(lambda: job.get_state() == "failed")
    [trace] = fn.Queue("q").get_job(job.id).stacktrace
    assert trace.startswith("Traceback (most recent call last):\n")
    assert "in failing" in trace
    assert "flownb/worker" not in trace
