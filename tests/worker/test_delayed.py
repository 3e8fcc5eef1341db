"""Shows that a function may put its job off: without a slot, without charge, and in a shared job the row alone."""

from __future__ import annotations

import datetime
import os
import threading
from pathlib import Path

import pytest

import flownb as fn


@pytest.fixture(params=["def", "async"])
def kind(request):
    return request.param


def made(kind, function):
    """Return a processor of this kind that calls a function."""

    async def later(job):
        return function(job)

    return later if kind == "async" else function


def test_a_job_is_put_off_and_others_have_its_slot(kind, until):
    asked = threading.Event()

    def poll(job):
        if job.name == "poll" and not asked.is_set():
            asked.set()
            raise fn.Delayed("10m")
        return job.name

    queue = fn.Queue("q")
    job = queue.add("poll", opts={"attempts": 1})
    with fn.Worker("q", made(kind, poll), concurrency=1):
        until(lambda: job.get_state() == "delayed")
        other = queue.add("other")
        until(lambda: other.get_state() == "completed")
        queue.get_job(job.id).promote()
        until(lambda: job.get_state() == "completed")
    ended = queue.get_job(job.id)
    assert (ended.returnvalue, ended.attempts_made, ended.failed_reason) == ("poll", 1, None)


def test_explain_says_until_when_and_that_its_function_asked(until):
    def poll(job):
        raise fn.Delayed(datetime.timedelta(hours=1))

    flow = fn.add({"name": "poll", "queueName": "q"})
    with fn.Worker("q", poll):
        until(lambda: flow.state == "delayed")
        (why,) = flow.explain()["why"]
    assert "delayed until" in why
    assert why.endswith("as its function asked")


@pytest.mark.parametrize("wait", ["5s", 5, "soon", -1, None, float("nan"), "99999d"])
def test_whatever_it_is_given_the_job_goes_on_or_fails_with_a_word(wait, until):
    def poll(job):
        raise fn.Delayed(wait)

    flow = fn.add({"name": "poll", "queueName": "q"})
    with fn.Worker("q", poll):
        until(lambda: flow.state in ("delayed", "failed"))
        assert (flow.state == "delayed") == (wait in ("5s", 5))
        if flow.state == "delayed":
            assert "as its function asked" in flow.explain().loc[0, "why"]  # and not: nobody knows the task
        else:
            assert flow.job.failed_reason.startswith("Delayed: ")


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_in_a_shared_job_the_row_alone_is_put_off(tmp_path, executor, until):
    ready = str(tmp_path / "ready")

    @fn.task(attempts=1)
    def poll(n):
        if n == 2 and not os.path.exists(ready):
            raise fn.Delayed("30ms")
        return 10 * n

    with fn.workers(1, executor=executor):
        batch = fn.fan_out(list(range(4)), poll, rows_per_job=4)
        until(lambda: batch.progress().completed == 3)
        assert batch.table()["poll"].dropna().tolist() == [0, 10, 30]
        assert batch.progress().failed == 0
        Path(ready).touch()
        assert batch.result(timeout=60)["poll"].tolist() == [0, 10, 20, 30]
    assert batch.table()["_attempts"].tolist() == [1, 1, 1, 1]
    assert fn.doctor().empty


def test_rows_of_one_job_are_put_off_each_for_as_long_as_it_asked(until):
    calls, may_end = [], threading.Event()

    @fn.task
    def poll(n):
        calls.append(n)
        if n == 0 and calls.count(0) == 1:
            raise fn.Delayed("1h")
        if n == 1 and not may_end.is_set():
            raise fn.Delayed("5ms")
        return n

    with fn.workers(1):
        batch = fn.fan_out(list(range(3)), poll, rows_per_job=3)
        until(lambda: calls.count(1) > 3)
        may_end.set()
        until(lambda: batch.progress().completed == 2)
        until(lambda: batch.progress().active == 0)
    assert (calls.count(0), calls.count(2)) == (1, 1)
    assert batch.table()["_state"].tolist()[1:] == ["completed", "completed"]


def test_a_row_that_is_put_off_and_one_that_is_tried_again_do_not_spoil_each_other():
    calls = []

    @fn.task(attempts=3)
    def work(n):
        calls.append(n)
        if n == 0 and calls.count(0) < 3:
            raise fn.Delayed("5ms")
        if n == 1 and calls.count(1) < 3:
            raise ValueError("again")
        return n

    with fn.workers(1):
        batch = fn.fan_out(list(range(3)), work, rows_per_job=3)
        assert batch.result(timeout=60)["work"].tolist() == [0, 1, 2]
    assert (calls.count(0), calls.count(1), calls.count(2)) == (3, 3, 1)


def test_a_call_of_many_rows_is_put_off_as_a_whole():
    calls = []

    @fn.task(batch_size=2)
    def ask(n):
        calls.append(n.tolist())
        if len(calls) == 1:
            raise fn.Delayed("5ms")
        return n * 10

    with fn.workers(1):
        batch = fn.fan_out(list(range(4)), ask, rows_per_job=4)
        assert batch.result(timeout=60)["ask"].tolist() == [0, 10, 20, 30]
    assert calls == [[0, 1], [2, 3], [0, 1]]


def test_a_step_is_put_off_and_those_before_it_are_not_repeated():
    submitted, polls = [], []

    @fn.task
    def submit(n):
        submitted.append(n)
        return {"ticket": 100 + n}

    @fn.task
    def poll(ticket):
        polls.append(ticket)
        if polls.count(ticket) == 1:
            raise fn.Delayed("10ms")
        return ticket * 2

    with fn.workers(1):
        results = fn.fan_out([1, 2], [submit, poll]).result(timeout=60)
    assert results["poll"].tolist() == [202, 204]
    assert (sorted(submitted), sorted(polls)) == ([1, 2], [101, 101, 102, 102])
