"""Shows that a job past its timeout fails, that its thread is replaced and that what it returns later is dropped."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

import pytest

import flownb as fn
from flownb.worker import fetching
from flownb.worker.held_jobs import HeldJobs


def test_a_job_past_its_timeout_fails_and_the_others_go_on(until):
    hangs, may_end = threading.Event(), threading.Event()

    def work(job):
        if job.name == "hangs":
            hangs.set()
            may_end.wait(30)
            return "late"
        return "quick"

    queue = fn.Queue("q")
    job = queue.add("hangs", opts={"timeout": 200})
    with fn.Worker("q", work):
        assert hangs.wait(20)
        others = queue.add_bulk([{"name": "other"} for _ in range(20)])
        until(lambda: job.get_state() == "failed")
        until(lambda: all(other.get_state() == "completed" for other in others))
        may_end.set()
        late = queue.add("other")
        until(lambda: late.get_state() == "completed")
    job = queue.get_job(job.id)
    assert job.failed_reason == "JobTimeout: ran longer than its timeout of 0.2 s"
    assert (job.returnvalue, job.attempts_made) == (None, 1)
    assert 0.19 < (job.finished_on - job.processed_on).total_seconds() < 3


def test_a_timeout_is_an_attempt_like_any_other(until):
    may_end, runs = threading.Event(), []

    def work(job):
        runs.append(job.attempts_made)
        if len(runs) < 3:
            may_end.wait(30)
        return "third time"

    job = fn.Queue("q").add("slow", opts={"timeout": "1s", "attempts": 3})  # the third run is in time
    with fn.Worker("q", work):
        until(lambda: job.get_state() == "completed")
        may_end.set()
    assert runs == [0, 1, 2]
    assert fn.Queue("q").get_job(job.id).returnvalue == "third time"


def test_a_timeout_counts_from_the_start_not_from_the_fetch(until):
    """Jobs wait behind each other in one thread; none of them runs longer than its own timeout."""
    queue = fn.Queue("q")
    queue.pause()
    jobs = queue.add_bulk([{"name": "j", "opts": {"timeout": "2s"}} for _ in range(30)])
    queue.resume()
    gate = threading.Event()
    with fn.Worker("q", lambda job: gate.wait(0.02)):
        until(lambda: queue.get_job_counts()["completed"] == len(jobs))


def test_every_thread_of_a_worker_can_be_lost_and_is_replaced(until):
    may_end = threading.Event()
    queue = fn.Queue("q")
    queue.add_bulk([{"name": "hangs", "opts": {"timeout": 100}} for _ in range(9)])
    good = queue.add("good")
    with fn.Worker("q", lambda job: may_end.wait(30) if job.name == "hangs" else 1, concurrency=3):
        until(lambda: good.get_state() == "completed")
        until(lambda: queue.get_job_counts()["failed"] == 9)
        may_end.set()


def test_a_coroutine_past_its_timeout_fails_too(until):
    async def work(job):
        await asyncio.sleep(30 if job.name == "hangs" else 0)

    queue = fn.Queue("q")
    job, good = queue.add("hangs", opts={"timeout": 100}), queue.add("good")
    with fn.Worker("q", work):
        until(lambda: job.get_state() == "failed" and good.get_state() == "completed")
    assert fn.Queue("q").get_job(job.id).failed_reason.startswith("JobTimeout")


def test_the_parent_of_a_job_past_its_timeout_fails_with_that_reason():
    may_end = threading.Event()
    child = {"name": "slow", "queueName": "slow", "opts": {"timeout": 100}}
    flow = fn.add({"name": "top", "queueName": "top", "children": [child]})
    with fn.Worker("slow", lambda job: may_end.wait(30)):
        with pytest.raises(
            fn.FlowFailed, match=r"top > slow: JobTimeout: ran longer than its timeout of 0.1 s"
        ):
            flow.result(timeout=20)
        may_end.set()


def _work(job):
    """Note the job; the overdue one ends as it is about to be given up, the next one once the test has looked."""
    client = job._store.server.client
    client.rpush("ran", job.name)
    until = {"overdue": "given up", "next": "looked"}.get(job.name)
    while until and not client.exists(until):
        time.sleep(0.001)
    return job.name


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_job_that_ends_as_it_is_given_up_takes_no_other_along(until, redis, monkeypatch, executor):
    """Its slot runs the next job by then, as after a stop of the worker; that one was killed, and all behind it failed."""
    monkeypatch.setattr(fetching, "PREFETCH_SECONDS", 10)  # the next ones are taken ahead for certain
    monkeypatch.setattr(fetching, "BEGIN_SECONDS", 20)
    slots, give_up = [], HeldJobs.end_overdue

    def end_overdue(held_jobs):
        if not slots and any(time.monotonic() >= due for due in held_jobs.deadlines()):
            redis.set("given up", 1)
            with suppress(AssertionError):  # on a busy machine the next one went back before it began
                until(lambda: redis.lindex("ran", -1) == b"next", seconds=5)
            give_up(held_jobs)
            slots.extend(one for one in threading.enumerate() if one.name == "flownb-w-slot")
            redis.set("looked", 1)
        give_up(held_jobs)

    monkeypatch.setattr(HeldJobs, "end_overdue", end_overdue)
    queue = fn.Queue("q")
    with fn.Worker("q", _work, concurrency=1, name="w", executor=executor):
        warm = queue.add("warm")
        until(lambda: warm.get_state() == "completed")
        queue.pause()
        jobs = queue.add_bulk(
            [{"name": "overdue", "opts": {"timeout": 20}}, {"name": "next"}, {"name": "last"}]
        )
        queue.resume()
        until(lambda: all(job.get_state() in ("completed", "failed") for job in jobs))
    assert [job.get_state() for job in jobs] == ["completed"] * 3
    assert len(slots) == 1
