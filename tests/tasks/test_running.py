"""Shows what a task receives when its job runs, what is tried again, and whose jobs a process takes."""

from __future__ import annotations

import asyncio

import pytest

import flownb as fn


def test_a_parameter_named_job_receives_the_job():
    @fn.task
    def work(x, job):
        job.log("here")
        return [x, job.name, job.id, job.attempts_made]

    flow = fn.add(work.node(5))
    assert flow.result(timeout=20) == [5, "work", flow.job.id, 0]
    assert flow.job.get_logs() == ["here"]
    assert flow.job.data == {"x": 5}


def test_defaults_are_filled_where_the_data_have_nothing():
    @fn.task
    def work(a, b=2, *, c=3):
        return [a, b, c]

    with fn.workers():
        assert fn.add(work.node(1)).result(timeout=20) == [1, 2, 3]
        assert fn.add(work.node(1, c=30)).result(timeout=20) == [1, 2, 30]
        assert fn.add({"name": "work", "queueName": "work", "data": {"a": 1, "b": 20}}).result(
            timeout=20
        ) == [1, 20, 3]


def test_an_argument_that_is_missing_at_run_time_fails_the_job_once(until):
    @fn.task(attempts=5)
    def work(a, b): ...

    job = fn.Queue("work").add("work", {"a": 1}, {"attempts": 5})
    with fn.workers():
        until(lambda: job.get_state() == "failed")
    job = fn.Queue("work").get_job(job.id)
    assert job.attempts_made == 1
    assert (
        job.failed_reason
        == "UnrecoverableError: task work: its argument 'b' is missing; the job's data has 'a'"
    )


def test_further_data_are_left_out_or_taken_by_name():
    @fn.task
    def strict(a):
        return a

    @fn.task
    def loose(a, **more):
        return more

    data = {"a": 1, "b": 2}
    with fn.workers():
        assert fn.add({"name": "strict", "queueName": "strict", "data": data}).result(timeout=20) == 1
        assert fn.add({"name": "loose", "queueName": "loose", "data": data}).result(timeout=20) == {"b": 2}
        assert fn.add(loose.node(1, b=3)).result(timeout=20) == {"b": 3}


@pytest.mark.parametrize("data", [[1, 2], "text", 7, None])
def test_a_job_of_plain_data_as_another_program_writes_it_fills_the_one_parameter(data):
    @fn.task
    def work(value):
        return {"got": value}

    with fn.workers():
        flow = fn.add({"name": "any-name", "queueName": "work", "data": data})
        assert flow.result(timeout=20) == {"got": data}


def test_a_coroutine_is_awaited():
    @fn.task
    async def work(x):
        await asyncio.sleep(0)
        return x + 1

    @fn.task(retry_on=(KeyError,), attempts=3)
    async def bad():
        await asyncio.sleep(0)
        raise ValueError("async")

    assert fn.add(work.node(1)).result(timeout=20) == 2
    flow = fn.add(bad.node())
    with pytest.raises(fn.FlowFailed, match="bad: ValueError: async"):
        flow.result(timeout=20)
    assert flow.job.attempts_made == 1


@pytest.mark.parametrize(("error", "runs"), [(TimeoutError, 3), (ConnectionResetError, 3), (ValueError, 1)])
def test_only_what_retry_on_names_is_tried_again(error, runs):
    @fn.task(attempts=3, retry_on=(TimeoutError, ConnectionError))
    def work():
        raise error("now")

    flow = fn.add(work.node())
    with pytest.raises(fn.FlowFailed, match=f"work: {error.__name__}: now"):
        flow.result(timeout=20)
    assert flow.job.attempts_made == runs
    assert len(flow.job.stacktrace) == runs


@pytest.mark.parametrize("executor", ["threads", "processes"])
@pytest.mark.parametrize(("status", "runs"), [(429, 3), (503, 3), (404, 1)])
def test_a_function_of_the_error_says_whether_it_is_tried_again(status, runs, executor):
    class ServiceError(Exception):
        def __init__(self, status):
            super().__init__(f"status {status}")
            self.status = status

    @fn.task(attempts=3, retry_on=lambda error: getattr(error, "status", 500) >= 429)
    def ask(status):
        raise ServiceError(status)

    with fn.workers(2, executor=executor):
        flow = fn.add(ask.node(status))
        with pytest.raises(fn.FlowFailed, match=f"ask: ServiceError: status {status}"):
            flow.result(timeout=60)
    assert flow.job.attempts_made == runs


def test_a_retry_on_that_raises_fails_the_job_with_both_reasons():
    @fn.task(attempts=3, retry_on=lambda error: error.status >= 429)
    def ask():
        raise ValueError("mine")

    with pytest.raises(
        fn.FlowFailed, match=r"ValueError: mine \(and its retry policy: AttributeError: .*status"
    ):
        fn.add(ask.node()).result(timeout=20)


def test_a_jobs_own_time_limit_is_tried_again_although_retry_on_does_not_name_it():
    import threading

    may_end, runs = threading.Event(), []

    @fn.task(attempts=2, timeout=0.1, retry_on=(ConnectionError,))
    def work():
        runs.append(1)
        may_end.wait(20)

    with pytest.raises(fn.FlowFailed, match="JobTimeout"):
        fn.add(work.node()).result(timeout=20)
    may_end.set()
    assert len(runs) == 2


def test_defining_a_task_again_replaces_it(until):
    def define(answer):
        @fn.task
        def work():
            return answer

        return work

    assert fn.add(define("old").node()).result(timeout=20) == "old"
    assert fn.add(define("new").node()).result(timeout=20) == "new"


def test_a_task_moved_to_another_queue_leaves_the_old_one(until):
    @fn.task(queue="old")
    def work():
        return 1

    @fn.task(queue="new")
    def work():  # noqa: F811 - moving it is what is tested
        return 2

    with fn.workers():
        assert fn.add(work.node()).result(timeout=20) == 2
        waiting = fn.Queue("old").add("work")
        assert fn.add(work.node()).result(timeout=20) == 2
        assert waiting.get_state() == "waiting"


def test_several_tasks_of_one_queue_take_their_own_names():
    @fn.task(queue="shared")
    def one():
        return 1

    @fn.task(queue="shared")
    def two():
        return 2

    with fn.workers():
        assert [fn.add(task.node()).result(timeout=20) for task in (one, two, one)] == [1, 2, 1]


def test_a_name_nobody_knows_is_put_off_not_failed(redis, until):
    @fn.task(queue="shared")
    def one(): ...

    @fn.task(queue="shared")
    def two(): ...

    job = fn.Queue("shared").add("three", opts={"attempts": 1})
    with fn.workers():
        until(lambda: job.get_state() == "delayed")
        assert fn.Queue("shared").get_job(job.id).attempts_made == 0

        @fn.task(queue="shared")
        def three():
            return 3

        redis.zadd("bull:shared:delayed", {job.id: 4096})  # due now
        redis.zadd("bull:shared:marker", {"0": 0})
        until(lambda: job.get_state() == "completed")
    assert fn.Queue("shared").get_job(job.id).returnvalue == 3


def test_a_task_that_raises_a_rate_limit_charges_no_attempt():
    runs = []

    @fn.task(retry_on=(KeyError,))
    def work():
        runs.append(1)
        if len(runs) == 1:
            raise fn.RateLimitError(0.05)
        return "ok"

    flow = fn.add(work.node())
    assert flow.result(timeout=20) == "ok"
    assert flow.job.attempts_made == 1


def test_results_with_missing_numbers_have_null():
    import numpy as np

    @fn.task
    def work():
        return {"a": float("nan"), "b": [np.float64(1.5), np.int64(2)], "c": np.array([1.0, np.nan])}

    assert fn.add(work.node()).result(timeout=20) == {"a": None, "b": [1.5, 2], "c": [1.0, None]}
