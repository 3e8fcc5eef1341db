"""Shows that a run which has lost its right changes nothing: it is told so, and its job stays as the next run has it."""

from __future__ import annotations

import asyncio
import threading

import pytest

import flownb as fn

WRITES = {
    "update_data": lambda job: job.update_data("old"),
    "update_progress": lambda job: job.update_progress(99),
    "log": lambda job: job.log("old"),
    "add_children": lambda job: job.add_children([{"name": "page", "queueName": "pages"}]),
}


class Late:
    """A function whose first run waits until it is over; then it tries to write, and notes what it was told."""

    def __init__(self):
        self.began, self.may_go, self.told = threading.Event(), threading.Event(), threading.Event()
        self.raised, self.cancelled, self.data = {}, [], []

    def __call__(self, job):
        self.data.append(job.data)
        if self.began.is_set():
            return "second"
        self.cancelled.append(job.is_cancelled())
        self.began.set()
        self.may_go.wait(60)
        self.cancelled.append(job.is_cancelled())
        for name, write in WRITES.items():
            try:
                write(job)
            except Exception as error:
                self.raised[name] = type(error)
        self.told.set()
        return "first"

    def assert_told(self, job):
        """Let the first run go on; it was refused everywhere, and the stored job is as it was."""
        self.may_go.set()
        assert self.told.wait(30)
        assert self.raised == dict.fromkeys(WRITES, fn.JobElsewhere)
        assert issubclass(fn.JobElsewhere, fn.FlownbError)
        assert self.cancelled == [False, True]
        job = fn.Queue("q").get_job(job.id)
        assert (job.data, job.progress, job.get_logs()) == ("new", 0, [])
        assert sum(fn.Queue("pages").get_job_counts().values()) == 0


def test_a_run_past_its_timeout_changes_nothing_for_the_next_attempt(until):
    late = Late()
    job = fn.Queue("q").add("j", "new", opts={"timeout": 300, "attempts": 2})
    with fn.Worker("q", late):
        assert late.began.wait(20)
        until(lambda: job.get_state() == "completed")
        late.assert_told(job)
    assert late.data == ["new", "new"]
    assert fn.Queue("q").get_job(job.id).returnvalue == "second"


def test_between_two_attempts_it_changes_nothing_either(until):
    late = Late()
    opts = {"timeout": 300, "attempts": 2, "backoff": 600_000}
    job = fn.Queue("q").add("j", "new", opts=opts)
    with fn.Worker("q", late):
        until(lambda: job.get_state() == "delayed")
        late.assert_told(job)


def test_a_run_that_its_closed_worker_gave_back_changes_nothing(until):
    late = Late()
    job = fn.Queue("q").add("j", "new")
    worker = fn.Worker("q", late).start()
    assert late.began.wait(20)
    worker.close(grace=0)
    assert job.get_state() == "waiting"
    late.assert_told(job)


def test_a_run_whose_lease_was_lost_to_another_worker_changes_nothing(redis, until):
    late = Late()
    job = fn.Queue("q").add("j", "new")
    with fn.Worker("q", late):
        assert late.began.wait(20)
        redis.set(f"bull:q:{job.id}:lock", "another worker's")
        late.assert_told(job)
        redis.delete(f"bull:q:{job.id}:lock")


def test_a_row_that_shares_its_job_changes_nothing_once_its_run_is_over(redis, until):
    began, may_go, told = threading.Event(), threading.Event(), []

    @fn.task(queue="rows")
    def row(x, job):
        if began.is_set():
            return x
        began.set()
        may_go.wait(60)
        for write in (lambda: job.log("old"), lambda: job.update_progress(7)):
            try:
                write()
            except fn.JobElsewhere:
                told.append(job.is_cancelled())
        return -1

    worker = fn.workers(1).start()
    batch = fn.fan_out([{"x": 1}, {"x": 2}, {"x": 3}], row, name="late-rows", rows_per_job=3)
    assert began.wait(20)
    worker.close(grace=0)
    with fn.workers(1):
        values = batch.results(timeout=60)
        may_go.set()
        until(lambda: len(told) == 2)
        [job] = fn.Queue("rows").get_jobs("completed")
    assert told == [True, True]
    assert values["row"].tolist() == [1, 2, 3]
    assert (job.get_logs(), job.progress) == ([], 0)


def test_a_run_in_a_process_changes_nothing_once_its_lease_is_lost(redis, until):
    job = fn.Queue("q").add("j", "new")

    def work(job):
        import time

        import flownb

        job.log("began")
        while not job.is_cancelled():
            time.sleep(0.01)
        refused = 0
        for write in (job.update_data, job.update_progress, job.log):
            try:
                write("old")
            except flownb.JobElsewhere:
                refused += 1
        job._store.server.client.set("refused", refused)

    with fn.Worker("q", work, executor="processes"):
        until(job.get_logs, seconds=60)
        redis.set(f"bull:q:{job.id}:lock", "another worker's")
        until(lambda: redis.get("refused") == b"3", seconds=60)
        job = fn.Queue("q").get_job(job.id)
        assert (job.data, job.progress, job.get_logs()) == ("new", 0, ["began"])
        redis.delete(f"bull:q:{job.id}:lock")


def test_a_refusal_that_passes_through_the_function_charges_no_attempt(redis, until):
    began, may_go, over = threading.Event(), threading.Event(), threading.Event()
    job = fn.Queue("q").add("j", "new")

    def work(job):
        if began.is_set():
            return "second"
        began.set()
        may_go.wait(60)
        try:
            job.update_progress(1)
        finally:
            over.set()

    with fn.Worker("q", work):
        assert began.wait(20)
        redis.set(f"bull:q:{job.id}:lock", "another worker's")
        may_go.set()
        assert over.wait(20)
        redis.delete(f"bull:q:{job.id}:lock")
        until(lambda: job.get_state() == "completed", seconds=60)
    assert fn.Queue("q").get_job(job.id).returnvalue == "second"


# ---- coroutines -------------------------------------------------------------------------------------------


class Effects:
    """An `async` function: each run notes that it began, how it ended, and does its side effect once it may."""

    def __init__(self):
        self.began, self.cancelled, self.done, self.may_go = [], [], [], threading.Event()

    async def __call__(self, job):
        number = len(self.began)
        self.began.append(job.attempts_made)
        try:
            while not self.may_go.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        self.done.append(number)


def test_a_coroutine_past_its_timeout_is_cancelled_and_does_nothing_more(until):
    effects = Effects()
    job = fn.Queue("q").add("j", opts={"timeout": 200, "attempts": 3})
    with fn.Worker("q", effects):
        until(lambda: job.get_state() == "failed")
        until(lambda: effects.cancelled == [0, 1, 2])
        effects.may_go.set()
        good = fn.Queue("q").add("good")
        until(lambda: good.get_state() == "completed")
    assert fn.Queue("q").get_job(job.id).failed_reason.startswith("JobTimeout")
    assert effects.done == [3]


def test_a_coroutine_is_cancelled_when_its_worker_closes(until):
    effects = Effects()
    job = fn.Queue("q").add("j")
    worker = fn.Worker("q", effects).start()
    until(lambda: effects.began)
    worker.close(grace=0)
    until(lambda: effects.cancelled == [0])
    assert job.get_state() == "waiting"
    assert fn.Queue("q").get_job(job.id).attempts_made == 0


def test_in_an_executor_of_threads_a_coroutine_is_cancelled_too(until):
    from concurrent.futures import ThreadPoolExecutor

    effects = Effects()
    job = fn.Queue("q").add("j", opts={"timeout": 200})
    with ThreadPoolExecutor(2) as executor, fn.Worker("q", effects, executor=executor):
        until(lambda: job.get_state() == "failed")
        until(lambda: effects.cancelled == [0])


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_no_row_that_shares_its_job_goes_on_after_the_run_is_given_up(redis, until, executor):
    @fn.task(queue="rows")
    async def row(x, job):
        import asyncio

        client = job._store.server.client
        client.rpush("began", x)
        while x == 1 and not client.exists("gate"):
            await asyncio.sleep(0.01)
        client.rpush("done", x)
        return x

    worker = fn.workers(1, executor=executor).start()
    batch = fn.fan_out([{"x": x} for x in range(4)], row, name="late", rows_per_job=4)
    until(lambda: redis.llen("began") == 2, seconds=60)
    worker.close(grace=0)
    redis.set("gate", 1)
    with fn.workers(1):
        assert batch.results(timeout=60)["row"].tolist() == [0, 1, 2, 3]
    assert redis.lrange("done", -4, -1) == [b"0", b"1", b"2", b"3"]
    assert redis.llen("done") == 5  # of the first run the row before
