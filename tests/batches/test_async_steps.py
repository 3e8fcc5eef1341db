"""Shows that rows whose steps are `async` need no thread each, and that nothing else about them differs."""

from __future__ import annotations

import asyncio
import threading
import time

import pandas as pd
import pytest

import flownb as fn
from flownb.wire.store.jobs import Jobs
from flownb.worker.saved_rows import STEP_SECONDS
from tests.support.stages import stages

pytestmark = pytest.mark.usefixtures("connection")

WIDTH = 200
FEW_THREADS = 30  # of a worker: its pump, its loop, those that wait for the server


class Meeting:
    """Lets calls go on once so many are there at a time."""

    def __init__(self, many):
        self.many, self.now, self.most = many, 0, 0
        self.threads, self.alive = set(), 0

    async def attend(self):
        self.threads.add(threading.current_thread().name)
        self.now += 1
        self.most = max(self.most, self.now)
        self.alive = max(self.alive, threading.active_count())
        while self.most < self.many:
            await asyncio.sleep(0.001)
        self.now -= 1


def three_steps(meetings, **options):
    one, two, three = meetings

    @fn.task(**options)
    async def fetch(n):
        await one.attend()
        return {"page": n * 10}

    @fn.task(**options)
    async def parse(page):
        await two.attend()
        return page + 1

    @fn.task(**options)
    async def score(parse, n):
        await three.attend()
        return {"score": parse + n}

    return [fetch, parse, score]


@pytest.mark.parametrize("way", ["steps of one job", "jobs of their own", "many rows a job"])
def test_two_hundred_rows_are_at_one_step_in_one_thread(way):
    before, meetings = threading.active_count(), [Meeting(WIDTH) for _ in range(3)]
    steps = three_steps(meetings, **({"concurrency": WIDTH} if way == "jobs of their own" else {}))
    rows = pd.DataFrame({"n": range(WIDTH * (2 if way == "many rows a job" else 1))})
    with fn.workers(None if way == "jobs of their own" else WIDTH):
        batch = fn.fan_out(rows, steps, rows_per_job=2 if way == "many rows a job" else "auto")
        results = batch.results(timeout=90)
    assert results["score"].tolist() == [n * 11 + 1 for n in rows["n"]]
    assert [meeting.most for meeting in meetings] == [WIDTH] * 3
    assert len(set.union(*(meeting.threads for meeting in meetings))) == 1
    assert max(meeting.alive for meeting in meetings) - before < FEW_THREADS
    assert fn.doctor().empty


def test_rows_of_one_async_task_that_share_a_job_need_no_thread_each():
    before, meeting = threading.active_count(), Meeting(100)

    @fn.task
    async def call(n):
        await meeting.attend()
        return n + 1

    batch = fn.fan_out(list(range(200)), call, rows_per_job=2)
    assert batch.results(timeout=60)["call"].tolist() == [n + 1 for n in range(200)]
    assert meeting.most == 100
    assert len(meeting.threads) == 1
    assert meeting.alive - before < FEW_THREADS


def test_a_step_between_that_is_not_async_waits_in_a_thread_and_holds_up_no_other_row():
    barrier, own, loop = threading.Barrier(20), set(), set()

    @fn.task
    async def fetch(n):
        await asyncio.sleep(0)
        return {"page": n}

    @fn.task
    def parse(page):
        barrier.wait(30)  # broken unless all rows wait at a time
        fn.spend(calls=1)
        print("page", page)
        own.add(threading.get_ident())
        return page * 2

    @fn.task
    async def score(parse):
        loop.add(threading.get_ident())
        return {"score": parse}

    batch = fn.fan_out(pd.DataFrame({"n": range(20)}), [fetch, parse, score])
    assert batch.results(timeout=60)["score"].tolist() == [2 * n for n in range(20)]
    assert batch.progress().spent == {"calls": 20}
    assert batch.table()["_calls"].tolist() == [1] * 20
    assert sorted(batch.logs()["line"]) == sorted(f"page {n}" for n in range(20))
    assert len(loop) == 1
    assert not loop & own


def test_errors_of_steps_are_what_the_functions_raised_attempts_and_all(runs):
    @fn.task(attempts=2, backoff="fixed 1ms")
    async def fetch(n):
        if n == 1 and runs.note("fetch") == 1:
            raise OSError("once")
        if n == 2:
            raise asyncio.CancelledError("by itself")
        return {"page": n}

    @fn.task
    def parse(page):
        if page == 3:
            next(iter(()))  # a StopIteration
        return page

    @fn.task
    async def score(parse):
        if parse == 4:
            raise fn.UnrecoverableError("never")
        if parse == 5 and runs.note("score") == 1:
            raise fn.Delayed("10ms")
        return {"score": parse}

    batch = fn.fan_out(pd.DataFrame({"n": range(6)}), [fetch, parse, score]).wait(timeout=60)
    failures = batch.failures
    assert failures["error"].to_dict() == {2: "CancelledError", 3: "StopIteration", 4: "UnrecoverableError"}
    assert failures["step"].to_dict() == {2: "fetch", 3: "parse", 4: "score"}
    assert failures["attempts"].to_dict() == {2: 2, 3: 1, 4: 1}
    assert batch.results()["score"].dropna().to_dict() == {0: 0, 1: 1, 5: 5}
    assert "next(iter(()))" in failures.loc[3, "traceback"]
    assert fn.doctor().empty


def test_a_step_that_outstays_its_timeout_is_cancelled_and_fails_its_row_alone():
    cancelled = []

    @fn.task
    async def fetch(n):
        return {"page": n}

    @fn.task(timeout="100ms")
    async def parse(page):
        try:
            await asyncio.sleep(60 if page == 1 else 0)
        except asyncio.CancelledError:
            cancelled.append(page)
            raise
        return page

    batch = fn.fan_out(pd.DataFrame({"n": range(3)}), [fetch, parse]).wait(timeout=60)
    assert batch.failures["error"].to_dict() == {1: "JobTimeout"}
    assert batch.failures["step"].to_dict() == {1: "parse"}
    assert cancelled == [1]
    assert batch.results()["parse"].dropna().to_dict() == {0: 0, 2: 2}


def test_a_worker_that_closes_gives_rows_back_that_have_not_ended(until):
    may_end, begun = asyncio.Event(), []

    @fn.task
    async def fetch(n):
        begun.append(n)
        await asyncio.sleep(0.06)  # so long that it is written down at once
        return {"page": n}

    @fn.task
    async def parse(page):
        begun.append("parse")
        await asyncio.wait_for(may_end.wait(), 60) if not may_end.is_set() else None
        return page

    serving = fn.workers(4)
    batch = fn.fan_out(pd.DataFrame({"n": range(4)}), [fetch, parse])
    until(lambda: begun.count("parse") == 4)
    until(lambda: stages(batch)["fetch"].get("completed") == 4)
    serving.close(grace=0)
    may_end.set()
    with fn.workers(4):
        assert batch.results(timeout=60)["parse"].tolist() == [0, 1, 2, 3]
    assert sorted(one for one in begun if one != "parse") == [0, 1, 2, 3]  # no step again that was done


@pytest.mark.parametrize("rows_per_job", [1, 5])
def test_a_step_that_is_done_is_written_down_before_the_next_one_begins(redis, rows_per_job):
    unwritten = []

    @fn.task
    async def fetch(n):
        await asyncio.sleep(0.06)
        return f"page {n}"

    @fn.task
    async def parse(fetch, job):
        if fetch not in (redis.hget(f"bull:{job.queue_name}:{job.id}", "part") or b"").decode():
            unwritten.append(fetch)
        return fetch

    rows = pd.DataFrame({"n": range(5)})
    batch = fn.fan_out(rows, [fetch, parse], rows_per_job=rows_per_job).wait(timeout=60)
    assert batch.progress().failed == 0, batch.failures
    assert unwritten == []


def test_a_step_before_one_of_many_rows_is_written_down_before_the_next_row_begins(redis):
    done, unwritten = [], []

    @fn.task
    def fetch(n):
        [job] = fn.Queue("fetch").get_jobs("active")
        written = (redis.hget(f"bull:fetch:{job.id}", "part") or b"").decode()
        unwritten.extend(page for page in done if page not in written)
        time.sleep(0.06)
        done.append(f"page {n}")
        return done[-1]

    @fn.task(batch_size=10)
    def parse(fetch):
        return fetch

    with fn.workers(1):
        batch = fn.fan_out(pd.DataFrame({"n": range(10)}), [fetch, parse]).wait(timeout=60)
    assert batch.progress().failed == 0, batch.failures
    assert len(done) == 10
    assert unwritten == []


def test_a_row_that_goes_on_in_another_job_is_saved_once_a_step(monkeypatch):
    rows, saves, save_rows = 40, [], Jobs.save_rows

    def saved(self, *given, **options):
        saves.append(given[1])
        return save_rows(self, *given, **options)

    @fn.task(concurrency=rows)
    async def first(n):
        await asyncio.sleep(2 * STEP_SECONDS)
        return n

    @fn.task(concurrency=rows)
    async def second(first):
        return first + 1

    monkeypatch.setattr(Jobs, "save_rows", saved)
    with fn.workers():
        batch = fn.fan_out(pd.DataFrame({"n": range(rows)}), [first, second], rows_per_job=1)
        assert batch.results(timeout=60)["second"].tolist() == list(range(1, rows + 1))
    assert rows <= len(saves) < 1.2 * rows  # the watch may look between the end of a step and that of its run
