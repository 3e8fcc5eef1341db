"""Shows that whatever counts in the sum of a batch counts for one of its rows, at exactly those moments at which it did not."""

from __future__ import annotations

import asyncio
import json
import os
import threading

import pytest

import flownb as fn
from flownb.worker import telling

#: Before the tasks of a kernel that is to die: what it needs for that.
DEADLY = """
import asyncio, os, signal, threading
from flownb.worker import saved_rows, telling
from flownb.wire.store.accounts import Accounts
from flownb.wire.store.jobs import Jobs

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def is_teller():
    return threading.current_thread().name == "flownb-spent-teller"

tell, tell_accounts = telling._tell, Accounts.tell
"""
#: What coroutines say never goes to the server by the thread that is there for it.
TELLER_HANGS = """
def tell_unless_coroutine(*given):
    if is_teller():
        threading.Event().wait()
    tell(*given)
telling._tell = tell_unless_coroutine
"""
#: The amount of the coroutine and the one of the thread behind it are taken by the same call, which comes too late.
TELLER_IS_LATE = """
go, is_on_its_way = threading.Event(), threading.Event()

def tell_in_turn(*given):
    if is_teller():
        go.wait()
    else:
        go.set()
        is_on_its_way.wait()
    tell(*given)

def tell_or_hang(*given):
    if is_teller():
        is_on_its_way.set()
        threading.Event().wait()
    tell_accounts(*given)

telling._tell, Accounts.tell = tell_in_turn, tell_or_hang
"""
#: Steps are saved at once, and what follows on what is told before that is the end.
DIES_AT_SAVE = """
saved_rows.STEP_SECONDS = 0
Jobs.save_rows = lambda *given, **named: die()
"""
STEPS = """
@fn.task
async def ask(n):
    fn.spend(usd=1)
    return n

@fn.task
def judge(ask):
    fn.spend(usd=10)
    {then}
    return ask
"""
ROWS = """
import os, signal, threading

@fn.task
def ask(n, job):
    redis = job._store.server.client
    run = redis.incr(f"ran{n}")
    fn.spend(usd=1)
    if n == 2 and run == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if n == 0 and run == 2:
        while redis.get("door") is None:
            threading.Event().wait(0.01)
    return n
"""
LIMITED_ROWS = """
import asyncio

@fn.task
async def ask(n, job):
    run = job._store.server.client.incr(f"ran{n}")
    if n == 0 and run == 2:
        await asyncio.Event().wait()
    fn.spend(usd=1)
    if n == 0 and run == 1:
        raise fn.RateLimitError(0.01)
    return n
"""
ADD_STEPS = "fn.workers(1); fn.fan_out([{'n': n} for n in range(3)], [ask, judge], name='b', rows_per_job=3)"
ADD_ROWS = "fn.workers(1); fn.fan_out(range(6), ask, name='b', rows_per_job=6)"


def run_until_it_dies(kernel, cell):
    kernel.process.stdin.write(json.dumps(cell) + "\n")
    kernel.process.stdin.flush()
    assert kernel.process.wait(60) < 0


def amounts():
    """Return what the batch has spent by row, and in all."""
    batch = fn.attach("b")
    return batch.table()["_usd"].fillna(0).tolist(), batch.progress().spent["usd"]


def test_what_two_calls_tell_at_a_time_goes_to_the_rows_with_whichever_comes(start_kernel):
    kernel = start_kernel(DEADLY + TELLER_IS_LATE + STEPS.format(then="die()"))
    run_until_it_dies(kernel, ADD_STEPS)
    kernel = start_kernel(STEPS.format(then=""))
    assert kernel.run("fn.attach('b').wait(60)")[1] is None

    assert amounts() == ([22, 11, 11], 44)


def test_what_is_told_before_rows_are_saved_is_theirs_also_where_they_are_not_saved(start_kernel):
    kernel = start_kernel(DEADLY + TELLER_HANGS + DIES_AT_SAVE + STEPS.format(then=""))
    run_until_it_dies(kernel, ADD_STEPS)
    kernel = start_kernel(STEPS.format(then=""))
    assert kernel.run("fn.attach('b').wait(60)")[1] is None

    assert amounts() == ([12, 11, 11], 34)


def test_what_the_end_of_a_run_tells_that_broke_off_is_its_rows(start_kernel, redis, until):
    kernel = start_kernel(DEADLY + TELLER_HANGS + LIMITED_ROWS)
    assert kernel.run(ADD_ROWS)[1] is None
    until(lambda: redis.get("ran0") == b"2")
    kernel.kill()
    kernel = start_kernel(LIMITED_ROWS)
    assert kernel.run("fn.attach('b').wait(60)")[1] is None

    assert amounts() == ([2, 1, 1, 1, 1, 1], 7)


def test_rows_take_along_what_they_have_spent_to_the_jobs_that_a_slow_row_hands_them_to(
    start_kernel, redis, until
):
    run_until_it_dies(start_kernel(ROWS), ADD_ROWS)
    kernel = start_kernel(ROWS)
    assert kernel.run("fn.workers(2); batch = fn.attach('b')")[1] is None
    until(lambda: list(redis.scan_iter("bull:ask:m*-1")))
    assert amounts()[1] == sum(amounts()[0]), "also while they wait there"
    redis.set("door", "open")
    assert kernel.run("batch.wait(60)")[1] is None

    assert amounts() == ([2, 2, 2, 1, 1, 1], 9)


def test_rows_that_run_no_more_after_a_kill_have_spent_what_they_said(start_kernel):
    run_until_it_dies(start_kernel(ROWS), ADD_ROWS)
    assert amounts() == ([1, 1, 1, 0, 0, 0], 3), "before anybody goes on with them"
    fn.attach("b").cancel()
    fn.attach("b").wait(timeout=60)

    assert amounts() == ([1, 1, 1, 0, 0, 0], 3)


def test_rows_go_on_in_a_new_process_where_the_sum_of_the_one_that_died_is(connection, tmp_path):
    """One of them is done, so the others cannot be handed to another job, as rows behind a dead process mostly are."""
    done = str(tmp_path / "done")

    @fn.task(attempts=2, backoff="fixed 1ms")
    def ask(n):
        fn.spend(usd=1)
        if n == 5:
            open(done, "w").close()
        elif not os.path.exists(done):
            raise ValueError(n)
        elif n == 2:
            os._exit(3)
        return n

    with fn.workers(1, executor="processes"):
        fn.fan_out(range(6), ask, rows_per_job=6, name="b").wait(timeout=60)

    assert amounts() == ([2, 2, 2, 2, 2, 1], 11)


def test_what_a_coroutine_said_right_before_its_timeout_is_its_rows(connection, monkeypatch):
    too_late = threading.Event()
    monkeypatch.setattr(telling, "_tell", lambda *given: too_late.wait(60))

    @fn.task(timeout="0.2s")
    async def ask(n):
        fn.spend(usd=1)
        if n:
            await asyncio.Event().wait()
        return n

    @fn.task
    async def judge(ask):
        return ask

    fn.fan_out([{"n": n} for n in range(2)], [ask, judge], name="b").wait(timeout=60)
    found = amounts()
    too_late.set()

    assert found == ([1, 1], 2)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_what_a_step_said_before_its_timeout_is_its_rows(connection, executor, tmp_path):
    door = tmp_path / "door"

    @fn.task(timeout="1s")
    def ask(n):
        fn.spend(usd=1)
        while n and not door.exists():
            threading.Event().wait(0.01)
        return n

    @fn.task
    def judge(ask):
        return ask

    with fn.workers(2, executor=executor):
        fn.fan_out([{"n": n} for n in range(2)], [ask, judge], name="b").wait(timeout=60)
        door.touch()

    assert amounts() == ([1, 1], 2)
