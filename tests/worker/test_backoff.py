"""Shows how long a failed job waits: never less than its backoff says, or what a function of the user's decides."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

import flownb as fn


def gaps(redis, queue):
    """Return the waits in ms between the end of one attempt and the start of the next, by the server's clock."""
    ends, found = None, []
    for id, event in redis.xrange(f"bull:{queue}:events"):
        at = int(id.split(b"-")[0])
        if event[b"event"] == b"delayed":
            ends = at
        elif event[b"event"] == b"active" and ends is not None:
            found.append(at - ends)
    return found


@pytest.mark.parametrize(
    ("backoff", "least"),
    [
        ({"type": "exponential", "delay": 100}, [100, 200, 400]),
        ("exponential 100ms", [100, 200, 400]),
        ({"type": "exponential", "delay": 100, "jitter": 0.5}, [50, 100, 200]),
        ({"type": "fixed", "delay": 100}, [100, 100, 100]),
        ({"type": "fixed", "delay": 100, "jitter": 0.9}, [10, 10, 10]),
        (100, [100, 100, 100]),
    ],
)
def test_no_attempt_starts_before_its_backoff_is_over(redis, until, backoff, least):
    def bad(job):
        raise ValueError("no")

    job = fn.Queue("q").add("bad", opts={"attempts": 4, "backoff": backoff})
    with fn.Worker("q", bad):
        until(lambda: job.get_state() == "failed")
    found = gaps(redis, "q")
    assert len(found) == 3
    # The end is noted a moment after the time it is written with: 2 ms are for two clock readings.
    assert all(gap >= wait - 2 for gap, wait in zip(found, least, strict=True))


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_workers_own_strategy_is_asked_as_bullmqs_is(until, executor):
    def strategy(attempts_made, type, error, job):
        job.log(f"{attempts_made} {type} {error}")
        return timedelta(milliseconds=10 * attempts_made)

    def bad(job):
        raise ValueError(f"run {job.attempts_made}")

    queue = fn.Queue("q")
    job = queue.add("bad", opts={"attempts": 3, "backoff": {"type": "custom", "delay": 5}})
    with fn.Worker("q", bad, backoff_strategy=strategy, executor=executor):
        until(lambda: job.get_state() == "failed", seconds=60)
    job = queue.get_job(job.id)
    assert job.get_logs() == ["1 custom run 0", "2 custom run 1"]
    assert job.opts["backoff"] == {"type": "custom", "delay": 5}


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_strategy_may_be_async(until, executor):
    async def strategy(attempts_made, type, error, job):
        import asyncio

        await asyncio.sleep(0)
        job.log(f"{attempts_made} {type} {error}")
        return 0.01 if attempts_made < 2 else None

    def bad(job):
        raise ValueError(f"run {job.attempts_made}")

    queue = fn.Queue("q")
    job = queue.add("bad", opts={"attempts": 5, "backoff": {"type": "custom", "delay": 5}})
    with fn.Worker("q", bad, backoff_strategy=strategy, executor=executor):
        until(lambda: job.get_state() == "failed", seconds=60)
    job = queue.get_job(job.id)
    assert job.get_logs() == ["1 custom run 0", "2 custom run 1"]
    assert job.failed_reason == "ValueError: run 1"


def test_an_async_strategy_is_asked_for_an_async_function_past_its_timeout(until):
    async def strategy(attempts_made, type, error, job):
        return 0

    async def slow(job):
        import asyncio

        await asyncio.sleep(0 if job.attempts_made else 600)
        return "second"

    opts = {"attempts": 2, "timeout": 200, "backoff": {"type": "custom"}}
    job = fn.Queue("q").add("slow", opts=opts)
    with fn.Worker("q", slow, backoff_strategy=strategy):
        until(lambda: job.get_state() == "completed")
    assert fn.Queue("q").get_job(job.id).returnvalue == "second"


def test_a_strategy_is_asked_for_a_type_that_only_another_program_knows(redis, until):
    asked = []
    job = fn.Queue("q").add("bad", opts={"attempts": 2})
    redis.hset(f"bull:q:{job.id}", "opts", '{"attempts":2,"backoff":{"type":"wednesdays","delay":7}}')
    with fn.Worker("q", lambda job: 1 / 0, backoff_strategy=lambda *about: asked.append(about[1]) or 0):
        until(lambda: job.get_state() == "failed")
    assert asked == ["wednesdays"]


def test_without_a_function_such_a_job_waits_its_delay_and_the_log_says_so(redis, until, caplog):
    job = fn.Queue("q").add("bad", opts={"attempts": 2, "backoff": {"type": "custom", "delay": 60}})
    with fn.Worker("q", lambda job: 1 / 0):
        until(lambda: job.get_state() == "failed")
    assert gaps(redis, "q")[0] >= 58
    assert (
        "asks for a backoff of its own, for which this worker has no function: it waits 60 ms" in caplog.text
    )


def test_a_task_brings_its_own_backoff(until):
    seen = []

    def wait(attempts_made, error):
        seen.append((attempts_made, str(error)))
        return "1ms" if attempts_made < 3 else None

    @fn.task(attempts=9, backoff=wait)
    def work():
        raise ValueError(f"run {len(seen)}")

    flow = fn.add(work.node())
    with pytest.raises(fn.FlowFailed, match="run 2"):
        flow.result(timeout=30)
    assert seen == [(1, "run 0"), (2, "run 1"), (3, "run 2")]
    assert flow.job.attempts_made == 3


@pytest.mark.parametrize(
    ("answer", "says"), [("soon", "no duration"), (-1, "not between 0 and ten years"), (1 / 3, None)]
)
def test_a_backoff_that_is_no_duration_ends_the_job_and_says_so(until, answer, says):
    @fn.task(attempts=2, backoff=lambda attempts_made, error: answer)
    def work():
        raise ValueError("mine")

    flow = fn.add(work.node())
    with pytest.raises(fn.FlowFailed) as caught:
        flow.result(timeout=30)
    assert flow.job.attempts_made == (1 if says else 2)
    assert ("(and its retry policy: OptionError: backoff: " in str(caught.value)) == bool(says)
    assert "ValueError: mine" in str(caught.value)


# ---- which errors are worth another attempt -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "runs"),
    [
        ("raise KeyError(1)", 2),
        ("raise ValueError(1)", 1),
        ("raise SystemExit(1)", 1),
        ("raise fn.UnrecoverableError('no')", 1),
        ("return 1j", 1),
        ("import time; time.sleep(60)", 2),
        ("import os; os._exit(1)", 2),
    ],
)
def test_retry_on_judges_every_kind_of_error(how, runs):
    code = f"import flownb as fn\ndef work():\n    {how}\n"
    names = {}
    exec(code, names)
    task = fn.task(attempts=2, retry_on=(KeyError,), timeout=3 if "sleep" in how else None)(names["work"])
    with fn.workers(concurrency=1, executor="processes"):
        flow = fn.add(task.node())
        assert flow.wait(timeout=60).state == "failed"
    assert flow.job.attempts_made == runs


# ---- limiters of tasks --------------------------------------------------------------------------------------


def test_a_limiter_of_a_task_binds_every_worker_that_knows_it_and_attempts_too(redis, until):
    starts, lock = [], threading.Lock()

    @fn.task(limiter={"max": 3, "duration": 60_000}, attempts=2)
    def limited(x):
        with lock:
            starts.append(x)
        raise ValueError("again")

    @fn.task
    def free(x):
        return x

    with fn.workers():
        free_flows = [fn.add(free.node(i)) for i in range(6)]
        for i in range(6):
            fn.add(limited.node(i))
        assert [flow.result(timeout=30) for flow in free_flows] == list(range(6))
        until(lambda: len(starts) == 3)
        until(lambda: redis.get("bull:limited:limiter") == b"3")
        until(lambda: fn.Queue("limited").get_job_counts()["active"] == 0)
        redis.delete("bull:limited:limiter")  # the window is over
        redis.zadd("bull:limited:marker", {"0": 0})
        until(lambda: len(starts) == 6)
    assert redis.get("bull:limited:limiter") == b"3"


def test_a_task_defined_again_has_the_limiter_of_its_last_definition():
    from flownb.tasks import registry

    def define(limiter):
        @fn.task(queue="shared", limiter=limiter)
        def work(): ...

    define("5/s")
    assert registry.limiter("shared") == {"max": 5, "duration": 1000}
    define(None)
    assert registry.limiter("shared") is None

    @fn.task(queue="shared", limiter="100/min")
    def other(): ...

    define("1/s")
    assert registry.limiter("shared") == {"max": 1, "duration": 1000}


def test_a_limiter_that_is_none_is_refused_when_the_task_is_defined():
    with pytest.raises(fn.OptionError, match="limiter: 'fast' is no rate; write '5/s', '100/min' or"):
        fn.task(limiter="fast")(gaps)
