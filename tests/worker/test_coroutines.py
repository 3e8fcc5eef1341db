"""Shows `async` functions on a worker's one loop: how many run, how they end, who holds them up, what they see."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time

import pytest

import flownb as fn
from tests.support.gauge import Gauge


def threads_of_slots():
    return [one for one in threading.enumerate() if one.name.endswith("-slot")]


def test_a_coroutine_takes_no_thread(until):
    gauge, before = Gauge(), len(threads_of_slots())

    async def work(job):
        await gauge.until(300)
        return len(threads_of_slots())

    queue = fn.Queue("q")
    jobs = queue.add_bulk([{"name": "j"} for _ in range(300)])
    with fn.Worker("q", work, concurrency=300):
        until(lambda: queue.get_job_counts()["completed"] == 300)
    assert queue.get_job(jobs[0].id).returnvalue == before
    assert gauge.most == 300


def test_no_more_run_than_the_worker_has_slots(until):
    gauge = Gauge()

    async def work(job):
        with gauge:
            await asyncio.sleep(0.002)

    queue = fn.Queue("q")
    queue.add_bulk([{"name": "j"} for _ in range(200)])
    with fn.Worker("q", work, concurrency=7):
        until(lambda: queue.get_job_counts()["completed"] == 200)
    assert gauge.most == 7


def test_functions_and_coroutines_of_one_queue_share_its_worker(until):
    @fn.task(queue="q")
    async def later(n):
        await asyncio.sleep(0)
        return threading.current_thread().name

    @fn.task(queue="q")
    def now(n):
        return threading.current_thread().name

    with fn.workers(2):
        names = fn.add(fn.Node("both", "flownb-batch", children=[later.node(1), now.node(2)]))
        names.wait(timeout=20)
        values = names.job.get_children_values().values()
    assert sorted(name.rpartition("-")[2] for name in values) == ["asyncio", "slot"]


def test_what_turns_out_to_be_no_coroutine_runs_in_a_thread():
    worker = fn.Worker("q", lambda job: threading.current_thread().name)
    worker._calls_coroutine = True  # as a task was when its job came; it was defined anew since
    job = fn.Queue("q").add("j")
    with worker:
        assert job.wait_until_finished(timeout=30).endswith("-slot")


def test_a_timeout_cancels_the_coroutine_and_frees_its_place(until):
    ended = []

    async def work(job):
        if job.name == "quick":
            return "done"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            await asyncio.sleep(60)  # it takes no notice: others run all the same

    queue = fn.Queue("q")
    slow = queue.add("slow", opts={"timeout": 100})
    quick = queue.add("quick")
    with fn.Worker("q", work, concurrency=1):
        until(lambda: queue.get_job(quick.id).get_state() == "completed")
        assert queue.get_job(slow.id).failed_reason == "JobTimeout: ran longer than its timeout of 0.1 s"
    assert ended == ["cancelled"]


def test_what_a_job_sets_in_its_context_no_other_sees(until):
    setting = contextvars.ContextVar("setting", default="nothing")

    async def work(job):
        before = setting.get()
        setting.set(job.name)
        await asyncio.sleep(0)
        return [before, setting.get()]

    queue = fn.Queue("q")
    jobs = queue.add_bulk([{"name": f"j{i}"} for i in range(20)])
    with fn.Worker("q", work, concurrency=3):
        until(lambda: queue.get_job_counts()["completed"] == 20)
    assert [queue.get_job(job.id).returnvalue for job in jobs] == [["nothing", f"j{i}"] for i in range(20)]


def test_what_each_row_prints_stays_with_it(connection):
    @fn.task
    async def talk(n):
        print("begin", n)
        await asyncio.sleep(0.001)
        logging.getLogger("talk").warning("end %d", n)

    batch = fn.fan_out(list(range(30)), talk)
    batch.wait(timeout=30)
    lines = batch.logs()
    for n in range(30):
        assert lines[lines["label"] == n]["line"].tolist() == [f"begin {n}", f"talk: end {n}"]


def test_a_job_is_told_that_it_is_cancelled(until):
    begun = threading.Event()

    async def work(job):
        begun.set()
        while not job.is_cancelled():
            await asyncio.sleep(0.005)
        return "told"

    flow = fn.add({"name": "told", "queueName": "q"})
    with fn.Worker("q", work):
        assert begun.wait(20)
        flow.cancel()
        until(lambda: fn.Queue("q").get_job(flow.job.id).returnvalue == "told")


@pytest.mark.parametrize(
    "error", ["SystemExit", "KeyboardInterrupt", "asyncio.CancelledError", "GeneratorExit"]
)
def test_whatever_a_coroutine_raises_the_others_go_on(error, until):
    async def work(job):
        await asyncio.sleep(0)
        if job.name == "bad":
            raise eval(error)

    queue = fn.Queue("q")
    bad = queue.add("bad")
    queue.add_bulk([{"name": "good"} for _ in range(10)])
    with fn.Worker("q", work, concurrency=4):
        until(lambda: queue.get_job_counts()["completed"] == 10)
        until(lambda: queue.get_job(bad.id).get_state() == "failed")
    assert error.rpartition(".")[2] in queue.get_job(bad.id).failed_reason


def test_a_paused_worker_lets_coroutines_end_and_begins_no_other(until):
    begun, may_end = [], threading.Event()

    async def work(job):
        begun.append(job.name)
        while not may_end.is_set():
            await asyncio.sleep(0.001)

    queue = fn.Queue("q")
    queue.add_bulk([{"name": f"j{i}"} for i in range(10)])
    with fn.Worker("q", work, concurrency=3) as worker:
        until(lambda: len(begun) == 3)
        worker.pause(wait=False)
        may_end.set()
        worker.pause()
        assert len(begun) == 3
        worker.resume()
        until(lambda: queue.get_job_counts()["completed"] == 10)


def test_a_close_lets_coroutines_end_and_past_its_grace_cancels_them(until):
    begun, cancelled = threading.Event(), threading.Event()

    async def work(job):
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    job = fn.Queue("q").add("j")
    worker = fn.Worker("q", work).start()
    assert begun.wait(20)
    worker.close(grace=0.1)
    assert cancelled.wait(20)
    assert job.get_state() == "waiting"
    with fn.Worker("q", lambda job: "later"):
        until(lambda: job.get_state() == "completed")
    assert fn.Queue("q").get_job(job.id).attempts_made == 1


def test_the_loop_is_closed_with_its_worker(until):
    loops = []

    async def work(job):
        loops.append(asyncio.get_running_loop())

    with fn.Worker("q", work):
        fn.Queue("q").add("j").wait_until_finished(timeout=60)
    until(loops[0].is_closed)


def renewed(redis, lock, times):
    """Return what says whether a lease was seen to be renewed so many times."""
    seen = {"left": 0, "times": 0}

    def ask():
        left = redis.pttl(lock)
        assert left > 0, "the lease has ended"
        seen["times"] += left > seen["left"]
        seen["left"] = left
        return seen["times"] >= times

    return ask


def test_a_coroutine_that_holds_the_loop_is_named_and_what_waits_goes_to_others(redis, until, caplog):
    held, may_end = threading.Event(), threading.Event()

    async def holds_the_loop(job):
        if job.name == "holds":
            held.set()
            may_end.wait(30)
        return "here"

    queue = fn.Queue("q")
    job = queue.add("holds")
    with caplog.at_level(logging.WARNING), fn.Worker("q", holds_the_loop, concurrency=10, lock_duration=1):
        assert held.wait(20)
        others = queue.add_bulk([{"name": "other"} for _ in range(10)])
        with fn.Worker("q", lambda job: "there", concurrency=2):
            until(lambda: queue.get_job_counts()["completed"] == 10)
        until(lambda: "task holds has held up the event loop for" in caplog.text)
        until(
            renewed(redis, f"bull:q:{job.id}:lock", times=8)
        )  # two leases: by a process that waits for nobody here
        assert queue.get_job_counts()["active"] == 1
        may_end.set()
        until(lambda: queue.get_job_counts()["completed"] == 11)
    assert {queue.get_job(job.id).returnvalue for job in others} == {"there"}
    assert caplog.text.count("has held up the event loop") == 1


def test_a_loop_that_many_short_coroutines_keep_busy_is_held_up_by_none_of_them(until, caplog):
    """The loop answers late: a hundred and more have their turns before. None of them is to blame."""

    async def takes_its_turn(job):
        time.sleep(0.01)

    queue = fn.Queue("q")
    queue.pause()
    queue.add_bulk([{"name": f"j{i}"} for i in range(150)])
    with caplog.at_level(logging.WARNING), fn.Worker("q", takes_its_turn, concurrency=150):
        queue.resume()
        until(lambda: queue.get_job_counts()["completed"] == 150)
    assert "has held up the event loop" not in caplog.text


def test_a_backoff_of_an_async_task_may_be_async(until):
    async def wait(made, type, error, job):
        await asyncio.sleep(0)
        return 0

    async def work(job):
        raise ValueError("again")

    job = fn.Queue("q").add("j", opts={"attempts": 3, "backoff": {"type": "custom"}})
    with fn.Worker("q", work, backoff_strategy=wait):
        until(lambda: job.get_state() == "failed")
    assert fn.Queue("q").get_job(job.id).attempts_made == 3
