"""Shows how many rows run at a time: a queue's concurrency, a flow's, and what a kernel opens for them."""

from __future__ import annotations

import asyncio
import threading

import pytest

import flownb as fn
from tests.support.gauge import Gauge

pytestmark = pytest.mark.usefixtures("connection")


def test_without_a_word_async_rows_run_a_hundred_at_a_time_in_one_thread():
    gauge, threads = Gauge(), set()

    @fn.task
    async def call(n):
        threads.add(threading.current_thread().name)
        await gauge.until(100)

    fn.fan_out(list(range(250)), call).result(timeout=60)
    assert gauge.most == 100
    assert len(threads) == 1


@pytest.mark.parametrize("kind", ["async", "def"])
def test_a_kernel_opens_as_many_slots_as_a_task_asks_for(redis, kind):
    gauge = Gauge()

    @fn.task(concurrency=150)
    async def later(n):
        await gauge.until(150)

    barrier = threading.Barrier(12)

    @fn.task(concurrency=12)
    def now(n):
        with gauge:
            barrier.wait(30)  # broken unless twelve are here at once

    task, most = (later, 150) if kind == "async" else (now, 12)
    fn.fan_out(list(range(2 * most)), task).result(timeout=60)
    assert gauge.most == most
    assert (
        redis.hget(f"bull:{task.queue}:meta", "concurrency") == str(most).encode()
    )  # Node's workers obey it


def test_an_explicit_number_of_slots_bounds_a_task_that_asks_for_more():
    gauge = Gauge()

    @fn.task(concurrency=50)
    async def call(n):
        with gauge:
            await asyncio.sleep(0.001)

    with fn.workers(3):
        fn.fan_out(list(range(60)), call).result(timeout=60)
    assert gauge.most == 3


def test_a_task_that_says_nothing_any_more_takes_its_bound_along_and_leaves_what_a_person_set(redis):
    def define(**options):
        @fn.task(queue="q", **options)
        def call(n):
            return n

        return call

    fn.fan_out([1], define(concurrency=5)).result(timeout=30)
    assert fn.Queue("q").get_global_concurrency() == 5
    fn.fan_out([2], define()).result(timeout=30)
    assert fn.Queue("q").get_global_concurrency() is None
    fn.Queue("q").set_global_concurrency(7)
    fn.fan_out([3], define()).result(timeout=30)
    assert fn.Queue("q").get_global_concurrency() == 7


def test_tasks_of_one_queue_that_contradict_each_other_are_refused():
    @fn.task(queue="provider", concurrency=5)
    def one(n):
        return n

    @fn.task(queue="provider")
    def other(n):
        return n

    with pytest.raises(
        fn.OptionError, match=r"task third.concurrency: 6, but task one of queue 'provider' says 5"
    ):

        @fn.task(queue="provider", concurrency=6)
        def third(n):
            return n

    assert fn.fan_out([1, 2], other).result(timeout=30)["other"].tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["async", "def"])
def test_a_flows_bound_holds_that_flow_alone(kind, until):
    gauges = {"bound": Gauge(), "free": Gauge()}
    may_end = threading.Event()

    @fn.task(queue="q")
    async def later(n, which):
        with gauges[which]:
            while which == "bound" and not may_end.is_set():
                await asyncio.sleep(0.001)

    @fn.task(queue="p")
    def now(n, which):
        with gauges[which]:
            assert which == "free" or may_end.wait(30)

    task = later if kind == "async" else now
    rows = [{"n": n, "which": "bound"} for n in range(40)]
    bound = fn.fan_out(rows, task, concurrency=2)
    free = fn.fan_out([{**row, "which": "free"} for row in rows], task)
    free.result(timeout=60)  # although all rows of the other batch came first
    assert bound.progress().completed == 0
    until(lambda: gauges["bound"].now == 2)
    may_end.set()
    bound.result(timeout=60)
    assert gauges["bound"].most == 2
    assert fn.doctor().empty


def test_a_flow_of_nodes_is_bound_over_all_of_its_queues():
    gauge = Gauge()

    @fn.task
    async def load(n):
        with gauge:
            await asyncio.sleep(0.002)

    @fn.task
    def parse(n):
        with gauge:
            threading.Event().wait(0.002)

    @fn.task
    def total(loads, parses):
        return gauge.most

    tree = total.node([load.node(n) for n in range(30)], [parse.node(n) for n in range(30)])
    assert fn.add(tree, concurrency=3).result(timeout=60) <= 3


def test_a_kernel_opens_slots_for_a_flow_that_asks_for_them():
    gauge = Gauge()

    @fn.task
    async def call(n):
        await gauge.until(180)

    fn.fan_out(list(range(360)), call, concurrency=180).result(timeout=60)
    assert gauge.most == 180


def test_rows_that_wait_for_their_flows_bound_are_cancelled_removed_and_held_as_all_others(until, redis):
    may_end = threading.Event()

    @fn.task
    async def call(n):
        while not may_end.is_set():
            await asyncio.sleep(0.001)
        return n

    batch = fn.fan_out(list(range(20)), call, concurrency=1)
    until(lambda: batch.progress().active == 1)
    until(lambda: redis.llen("bull:call:paused") == 19)
    batch.pause()
    batch.resume()
    assert "the flow is at its concurrency: 1 of 1 run" in " ".join(batch.explain()["why"])
    other = fn.fan_out(list(range(5)), call, concurrency=1, name="other")
    until(lambda: other.progress().active == 1)
    batch.cancel()
    may_end.set()
    other.result(timeout=60)
    assert batch.wait(timeout=60).state == "cancelled"
    batch.remove()
    other.remove()
    assert list(redis.scan_iter("bull:flownb:aside:*")) == []
    assert fn.doctor().empty


@pytest.mark.parametrize("raised", [4, None])
def test_a_bound_may_be_changed_by_the_same_call_again(raised, until):
    gauge, may_end = Gauge(), threading.Event()

    @fn.task
    async def call(n):
        with gauge:
            while not may_end.is_set():
                await asyncio.sleep(0.001)

    fn.fan_out(list(range(20)), call, name="n", concurrency=1)
    until(lambda: gauge.now == 1)
    batch = fn.fan_out(list(range(20)), call, name="n", concurrency=raised)
    until(lambda: gauge.now == (raised or 20))
    may_end.set()
    batch.result(timeout=60)
    assert gauge.most == (raised or 20)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"concurrency": 0}, "fan_out.concurrency: a whole number from 1"),
        ({"concurrency": "many"}, "fan_out.concurrency: a whole number from 1"),
        ({"concurrency": 5, "rows_per_job": 10}, "rows_per_job=10: concurrency counts jobs"),
    ],
    ids=str,
)
def test_bounds_that_do_not_fit(options, says):
    @fn.task
    def call(n):
        return n

    with pytest.raises(fn.OptionError, match=says):
        fn.fan_out([1], call, **options)
    with pytest.raises(fn.OptionError, match="concurrency: BullMQ's flows have none"):
        fn.add({"name": "a", "queueName": "q"}, semantics="bullmq", concurrency=2)
