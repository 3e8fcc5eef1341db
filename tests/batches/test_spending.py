"""Shows what `spend` counts: every call of every attempt, once, wherever below a job it is made, and nothing elsewhere."""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import threading
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from flownb.wire.store.accounts import Accounts


@pytest.fixture(autouse=True)
def _on_an_empty_server(connection):
    """Every test here has the default connection."""


def test_calls_add_up_and_failed_attempts_count():
    @fn.task(attempts=3, backoff="fixed 1ms")
    def ask(n):
        fn.spend(usd=0.1, tokens=n)
        fn.spend(usd=0.2)
        if n == 2:
            raise ValueError(n)
        return n

    batch = fn.fan_out(pd.DataFrame({"n": [1, 2]}, index=["a", "b"]), ask).wait(timeout=30)

    assert batch.progress().spent == {"tokens": 7.0, "usd": 1.2}, "exact: no sum of floats gives 1.2"
    table = batch.table()
    assert table["_usd"].to_dict() == {"a": 0.3, "b": 0.9}
    assert table["_tokens"].to_dict() == {"a": 1.0, "b": 6.0}
    assert str(table["_usd"].dtype) == "Float64"
    assert batch.row("b").spent == {"tokens": 6.0, "usd": 0.9}
    assert "0.9 usd" in repr(batch.row("b"))


def test_a_row_that_told_nothing_has_no_amount():
    @fn.task
    def ask(n):
        if n:
            fn.spend(usd=n)

    batch = fn.fan_out([0, 1], ask).wait(timeout=30)

    assert batch.table()["_usd"].isna().tolist() == [True, False]
    assert batch.row(0).spent == {}


def test_a_batch_that_spends_nothing_has_no_such_column(square):
    batch = fn.fan_out([1], square).wait(timeout=30)

    assert batch.table().columns.tolist()[-1] == "_version"
    assert batch.progress().spent == {}


@pytest.mark.parametrize("rows_per_job", [1, 4])
@pytest.mark.parametrize("attempts", [1, 2])
def test_a_row_that_kills_its_process_has_spent_what_it_said(attempts, rows_per_job):
    @fn.task(attempts=attempts)
    def ask(n):
        fn.spend(usd=1)
        if n == 2:
            os._exit(3)
        return n

    with fn.workers(1, executor="processes"):
        batch = fn.fan_out(list(range(6)), ask, rows_per_job=rows_per_job).wait(timeout=60)
    assert batch.table()["_usd"].tolist() == [1, 1, attempts, 1, 1, 1]
    assert batch.progress().spent == {"usd": 5 + attempts}


@pytest.mark.parametrize("executor", ["threads", "processes"])
@pytest.mark.parametrize("rows_per_job", [1, 5])
def test_rows_that_share_a_job_have_their_own_amounts_also_in_processes(executor, rows_per_job):
    @fn.task(attempts=2, backoff="fixed 1ms")
    def ask(n):
        fn.spend(usd=n / 10)
        if n % 3 == 0:
            raise ValueError(n)
        return n

    with fn.workers(2, executor=executor):
        batch = fn.fan_out(range(10), ask, rows_per_job=rows_per_job, name="asked").wait(timeout=60)

    expected = [n / 10 * (2 if n % 3 == 0 else 1) for n in range(10)]
    assert batch.table()["_usd"].fillna(0).tolist() == pytest.approx(expected)
    assert batch.progress().spent == {"usd": 6.3}


@pytest.mark.parametrize("executor", ["threads", "processes"])
@pytest.mark.parametrize("rows_per_job", [1, 5])
def test_rows_of_async_tasks_spend_and_print_for_themselves_and_a_budget_holds(executor, rows_per_job):
    @fn.task
    async def ask(n):
        await asyncio.sleep(0)
        fn.spend(usd=1)
        print("row", n)
        return n

    with fn.workers(1, executor=executor):
        first = fn.fan_out(range(10), ask, rows_per_job=rows_per_job, name="first").wait(timeout=60)
        second = fn.fan_out(range(10, 40), ask, rows_per_job=1, name="second", budget={"usd": 5})
        second.wait(timeout=60)

    assert first.table()["_usd"].tolist() == [1] * 10
    assert first.progress().spent == {"usd": 10}
    assert first.logs()["line"].tolist() == [f"row {n}" for n in range(10)]
    assert second.progress().paused
    assert second.progress().spent["usd"] < 20


@pytest.mark.parametrize("rows_per_job", [1, 3])
def test_a_retry_by_hand_adds_to_what_the_row_has_spent_before(rows_per_job):
    failing = [True]

    @fn.task
    def ask(n):
        fn.spend(usd=1)
        if n == 1 and failing:
            raise ValueError
        return n

    batch = fn.fan_out(range(3), ask, rows_per_job=rows_per_job).wait(timeout=30)
    failing.clear()
    batch.retry().wait(timeout=30)

    assert batch.table()["_usd"].tolist() == [1, 2, 1]
    assert batch.progress().spent == {"usd": 4}


def test_it_is_the_same_in_coroutines_and_in_threads_that_have_the_context():
    @fn.task
    async def ask(n):
        fn.spend(usd=1)
        await asyncio.to_thread(fn.spend, usd=1)
        await asyncio.gather(later(), later())
        thread = threading.Thread(target=contextvars.copy_context().run, args=(fn.spend,), kwargs={"usd": 1})
        thread.start()
        thread.join()

    async def later():
        await asyncio.sleep(0)
        fn.spend(usd=1)

    batch = fn.fan_out(range(20), ask).wait(timeout=30)

    assert batch.progress().spent == {"usd": 100}
    assert set(batch.table()["_usd"]) == {5}


def test_what_a_run_past_its_timeout_has_spent_counts(until):
    release = threading.Event()

    @fn.task(timeout="0.2s")
    def ask(n):
        fn.spend(usd=1)
        release.wait(30)

    batch = fn.fan_out([1], ask).wait(timeout=30)
    release.set()

    assert batch.failures["error"].tolist() == ["JobTimeout"]
    assert batch.progress().spent == {"usd": 1}


def test_it_is_told_at_once_while_the_row_still_runs(until):
    release = threading.Event()

    @fn.task
    def ask(n):
        fn.spend(usd=2)
        release.wait(30)

    batch = fn.fan_out([1], ask)
    until(lambda: batch.progress().spent == {"usd": 2})
    assert batch.progress().completed == 0
    release.set()
    assert batch.wait(timeout=30).progress().spent == {"usd": 2}


def test_what_coroutines_say_while_the_server_is_told_goes_to_it_in_one_call(monkeypatch, until):
    """So a kill takes along what was said during one call, however many coroutines there are."""
    said, calls, all_said, release = [], [], threading.Event(), threading.Event()

    @fn.task
    async def ask(n):
        fn.spend(usd=1)
        said.append(n)
        if len(said) == 60:
            all_said.set()
        while not release.is_set():
            await asyncio.sleep(0.01)

    def tell(self, runs):
        assert all_said.wait(30)
        calls.append(len(runs))
        tell_in_truth(self, runs)

    tell_in_truth = Accounts.tell
    monkeypatch.setattr(Accounts, "tell", tell)
    batch = fn.fan_out(range(60), ask)
    until(lambda: batch.progress().spent == {"usd": 60})
    release.set()

    assert len(calls) <= 2, "the first call had what was said before it"
    assert sum(calls) == 60
    assert batch.wait(timeout=30).progress().spent == {"usd": 60}


def test_flows_and_aggregates_spend_too():
    def work(job):
        fn.spend(usd=0.5)

    flow = fn.add(
        {"name": "total", "queueName": "spends", "children": [{"name": "one", "queueName": "spends"}]}
    )
    with fn.Worker("spends", work):
        assert flow.wait(timeout=30).progress().spent == {"usd": 1.0}


def test_an_aggregate_sees_what_its_rows_have_spent():
    @fn.task
    def ask(n):
        fn.spend(usd=n)

    @fn.task
    def cost(rows):
        return float(rows["_usd"].sum())

    assert fn.fan_out([1, 2, 3], ask, into=cost).result(timeout=30) == 6


def test_outside_a_job_and_in_debug_it_does_nothing():
    @fn.task
    def ask(n):
        fn.spend(usd=1)
        return n

    fn.spend(usd=1)
    assert ask(7) == 7
    batch = fn.fan_out([1], ask).wait(timeout=30)
    assert batch.debug(0) == 1
    assert batch.progress().spent == {"usd": 1}


@pytest.mark.parametrize(
    "unit", ["state", "error", "attempts", "seconds", "version", "would", "a b", "x" * 65]
)
def test_units_that_cannot_be_columns_are_refused(unit):
    with pytest.raises(fn.OptionError, match="unit"):
        fn.spend(**{unit: 1})


def test_an_amount_without_a_unit_is_refused():
    with pytest.raises(fn.OptionError, match=r"say of which unit 5 is, as in spend\(usd="):
        fn.spend(5)


@pytest.mark.parametrize("amount", [-1, -0.1, math.nan, math.inf, "1", None, True, [1], Decimal("NaN"), 1e10])
def test_amounts_that_are_none_are_refused(amount):
    with pytest.raises(fn.OptionError, match="spend: usd: a number from 0 to"):
        fn.spend(usd=amount)


def test_a_refused_amount_fails_the_row_and_counts_nothing():
    @fn.task
    def ask(n):
        fn.spend(tokens=1, usd=-1)

    batch = fn.fan_out([1], ask).wait(timeout=30)

    assert batch.failures["error"].tolist() == ["OptionError"]
    assert batch.progress().spent == {}


@pytest.mark.parametrize("amount", [np.float64(0.25), np.float32(0.25), Decimal("0.25"), 0.25])
def test_all_kinds_of_numbers_are_amounts(amount):
    @fn.task
    def ask(n):
        fn.spend(usd=amount, tokens=np.int64(3))

    assert fn.fan_out([1], ask).wait(timeout=30).progress().spent == {"usd": 0.25, "tokens": 3}


def test_a_thousand_small_amounts_are_exact():
    @fn.task
    def ask(n):
        for _ in range(10):
            fn.spend(usd=0.1)

    assert fn.fan_out(range(100), ask).wait(timeout=60).progress().spent == {"usd": 100.0}


# ---- over the runs of a name ----------------------------------------------------------------------------


def test_later_runs_of_a_name_add_to_the_same_sum_and_a_rerun_starts_at_zero():
    @fn.task
    def ask(n):
        fn.spend(usd=1)
        return n

    assert fn.fan_out([1, 2], ask, name="asked").wait(timeout=30).progress().spent == {"usd": 2}
    later = fn.fan_out([1, 2, 3], ask, name="asked").wait(timeout=30)
    assert later.progress().spent == {"usd": 3}
    assert later.table()["_usd"].tolist() == [1, 1, 1]
    assert fn.attach("asked").progress().spent == {"usd": 3}
    again = fn.fan_out([1, 2, 3], ask, name="asked", if_exists="rerun").wait(timeout=30)
    assert again.progress().spent == {"usd": 3}


def test_the_sum_goes_with_the_last_flow_that_has_it(redis):
    @fn.task
    def ask(n):
        fn.spend(usd=1)

    first = fn.fan_out([1], ask, name="asked").wait(timeout=30)
    again = fn.fan_out([1, 2], ask, name="asked").wait(timeout=30)
    fn.fan_out([1, 2], ask, name="asked", if_exists="rerun").wait(timeout=30)
    assert len(list(redis.scan_iter("bull:flownb:spent:*"))) == 2

    first.remove()
    assert again.progress().spent == {"usd": 2}, "an older run is gone, the sum is not"
    fn.attach("asked").remove()

    assert list(redis.scan_iter("bull:flownb:spent:*")) == []


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_rows_of_one_call_share_what_it_has_spent(executor):
    @fn.task(batch_size=4)
    def ask(n):
        fn.spend(usd=0.4, tokens=int(n.sum()))
        return n

    with fn.workers(2, executor=executor):
        batch = fn.fan_out(range(8), ask, rows_per_job=8).wait(timeout=60)

    assert batch.progress().spent == {"tokens": 28, "usd": 0.8}
    assert batch.table()["_usd"].tolist() == [0.1] * 8
    assert batch.table()["_tokens"].tolist() == [1.5] * 4 + [5.5] * 4


@pytest.mark.parametrize("own_job", [True, False])
def test_a_row_keeps_what_its_steps_have_spent_when_the_worker_dies(own_job, start_kernel, redis, until):
    """A step that is done is not made again, and one that was running has told already."""
    tasks = STEPS_THAT_SPEND.replace("STEP", "queue='asking'" if own_job else "")
    kernel = start_kernel()
    assert kernel.run(tasks)[1] is None
    assert kernel.run("fn.fan_out([{'n': n} for n in range(3)], [ask, judge], name='b')")[1] is None
    until(lambda: redis.get("judged") == b"3" and fn.attach("b").progress().spent == {"usd": 33})
    kernel.kill()
    redis.set("door", "open")
    kernel = start_kernel()
    kernel.run(tasks)
    assert kernel.run("batch = fn.attach('b').wait(60)")[1] is None
    printed, _ = kernel.run("print(batch.table()['_usd'].tolist(), batch.progress().spent)")
    assert printed == "[21.0, 21.0, 21.0] {'usd': 63.0}"


STEPS_THAT_SPEND = """
import time

@fn.task(STEP)
def ask(n):
    fn.spend(usd=1)
    time.sleep(0.1)
    return n

@fn.task
def judge(ask, job):
    fn.spend(usd=10)
    redis = job._store.server.client
    redis.incr("judged")
    while redis.get("door") is None:
        time.sleep(0.02)
    return ask
"""
