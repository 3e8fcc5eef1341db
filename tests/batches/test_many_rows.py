"""Shows that rows which share a job are rows all the same: each fails, is retried, counted and kept by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def mood():
    """Give the rows that fail, and what they raise."""
    return {}


@pytest.fixture
def square(runs, mood):
    @fn.task(attempts=2)
    def square(n):
        runs.note(n)
        if n in mood:
            raise mood[n]
        return n * n

    return square


FRAME = pd.DataFrame({"n": range(100)}, index=[f"row {i}" for i in range(100)])


def row_jobs(batch):
    return batch.jobs()[lambda jobs: jobs["queue"] == "square"]


def test_a_job_holds_rows_and_returns_values_and_errors(square, mood, redis):
    mood[12] = KeyError("twelve")
    batch = fn.fan_out(FRAME, square, rows_per_job=10).wait(timeout=30)
    assert len(row_jobs(batch)) == 10
    stored = [job for job in fn.Queue("square").get_jobs("completed") if {"n": 12} in job.data["rows"]]
    [job] = stored
    assert job.data == {"rows": [{"n": n} for n in range(10, 20)]}
    assert job.returnvalue["values"] == [100, 121, None, *(n * n for n in range(13, 20))]
    assert job.returnvalue["errors"].keys() == {"2"}
    assert job.returnvalue["errors"]["2"]["error"] == "KeyError: 'twelve'"
    assert b"part" not in redis.hgetall(f"bull:square:{job.id}")


def test_a_bad_row_fails_alone_and_only_it_is_tried_again(square, mood, runs):
    mood[12] = KeyError("twelve")
    mood[13] = fn.UnrecoverableError("never")
    batch = fn.fan_out(FRAME, square, rows_per_job=50)
    assert len(batch.results(timeout=30, failed="drop")) == 98
    ran = runs.fresh()
    assert ran.pop(12) == 2
    assert set(ran.values()) == {1}
    assert batch.failures["error"].to_dict() == {"row 12": "KeyError", "row 13": "UnrecoverableError"}
    assert batch.failures["attempts"].tolist() == [2, 1]
    assert "raise mood[n]" in batch.failures.loc["row 12", "traceback"]


def test_a_row_that_comes_good_says_how_many_attempts_it_took(runs):
    @fn.task(attempts=3)
    def flaky(n):
        runs.note(n)
        if n == 7 and runs[7] < 3:
            raise TimeoutError("not yet")
        return n

    batch = fn.fan_out(FRAME, flaky, rows_per_job=100)
    assert batch.results(timeout=30)["flaky"].tolist() == list(range(100))
    attempts = batch.table()["_attempts"]
    assert attempts["row 7"] == 3
    assert attempts.drop("row 7").eq(1).all()


def test_progress_counts_rows(square, mood):
    mood[12] = KeyError("twelve")
    batch = fn.fan_out(FRAME, square, rows_per_job=30).wait(timeout=30)
    progress = batch.progress()
    assert (progress.completed, progress.failed, progress.total) == (100, 1, 101)  # and the root
    mood.clear()
    batch.retry().wait(timeout=30)
    progress = batch.progress()
    assert (progress.completed, progress.failed, progress.fraction) == (101, 0, 1.0)


def test_retry_runs_the_rows_that_were_asked_for_and_keeps_the_others(square, mood, runs):
    mood.update({n: KeyError(str(n)) for n in (3, 4, 60)})
    batch = fn.fan_out(FRAME, square, rows_per_job=50).wait(timeout=30)
    mood.clear()
    runs.fresh()
    batch.retry(rows="row 4").wait(timeout=30)
    assert runs.fresh() == {4: 1}
    assert batch.failures.index.tolist() == ["row 3", "row 60"]
    assert batch.retry(error="KeyError").results(timeout=30)["square"].tolist() == [n * n for n in range(100)]
    assert runs.fresh() == {3: 1, 60: 1}


def test_rows_are_known_again_whatever_the_grouping(square, runs, mood):
    mood[42] = KeyError("no")
    fn.fan_out(FRAME, square, name="b", rows_per_job=10).wait(timeout=30)
    mood.clear()
    runs.fresh()
    changed = FRAME.copy()
    changed.loc["row 5", "n"] = 500
    for frame, size, expected in (
        (FRAME, 10, {42: 1}),  # the failed one
        (changed, 7, {500: 1}),
        (changed[::-1], 1, {}),
        (changed, "auto", {}),
        (FRAME, 100, {}),
        (FRAME.head(15), 3, {}),
        (pd.concat([FRAME, FRAME.head(2)]), 25, {0: 1, 1: 1}),  # equal rows are rows of their own
    ):
        results = fn.fan_out(frame, square, name="b", rows_per_job=size).results(timeout=30)
        assert results["square"].tolist() == [n * n for n in frame["n"]]
        assert results.index.equals(frame.index)
        assert runs.fresh() == expected


def test_rows_that_were_jobs_of_their_own_are_known_in_groups(square, runs):
    fn.fan_out(FRAME.head(50), square, name="b", rows_per_job=1).wait(timeout=30)
    runs.fresh()
    batch = fn.fan_out(FRAME, square, name="b", rows_per_job=20)
    assert batch.results(timeout=30)["square"].tolist() == [n * n for n in range(100)]
    assert sorted(runs.fresh()) == list(range(50, 100))
    assert batch.progress().completed == 101


def test_aggregates_receive_rows(square):
    @fn.task
    def summary(rows):
        return {"rows": len(rows), "sum": int(rows["square"].sum()), "labels": list(rows.index)[:2]}

    frame = FRAME.assign(odd=FRAME["n"] % 2)
    found = fn.fan_out(frame, square, by="odd", into=summary, rows_per_job=20).result(timeout=30)
    assert found["rows"].tolist() == [50, 50]
    assert found["sum"].tolist() == [sum(n * n for n in range(odd, 100, 2)) for odd in (0, 1)]
    assert found["labels"].tolist() == [["row 0", "row 2"], ["row 1", "row 3"]]


def test_a_row_may_fail_the_batch_where_an_option_says_so(square, mood):
    mood[12] = fn.UnrecoverableError("twelve")
    batch = fn.fan_out(FRAME, square, rows_per_job=50, fail_parent_on_failure=True)
    assert batch.wait(timeout=30).state == "failed"
    mood.clear()
    assert len(batch.retry().results(timeout=30)) == 100
    assert batch.state == "completed"


def test_values_that_cannot_be_stored_fail_their_row():
    @fn.task
    def odd(n):
        return 1j if n == 5 else n

    batch = fn.fan_out(FRAME, odd, rows_per_job=100).wait(timeout=30)
    assert batch.failures.index.tolist() == ["row 5"]
    assert "a complex is not JSON" in batch.failures.loc["row 5", "message"]


def test_a_held_queue_forgets_no_row_and_charges_no_attempt(runs):
    @fn.task
    def polite(n):
        runs.note(n)
        if n == 30 and runs[30] == 1:
            raise fn.RateLimitError("50ms")
        return n

    batch = fn.fan_out(FRAME, polite, rows_per_job=100)
    assert len(batch.results(timeout=30)) == 100
    ran = runs.fresh()
    assert ran.pop(30) == 2
    assert set(ran.values()) == {1}
    assert batch.table()["_attempts"].eq(1).all()


def test_a_worker_with_a_plain_function_gets_row_by_row():
    batch = fn.fan_out(FRAME, "elsewhere", rows_per_job=40)
    with fn.Worker("elsewhere", lambda job: -job.data["n"]):
        assert batch.results(timeout=30)["elsewhere"].tolist() == [-n for n in range(100)]


def test_partial_results_show_rows_of_a_job_that_is_not_done(until):
    may_end = threading.Event()

    @fn.task(attempts=5, backoff="fixed 50ms")
    def half(n):
        if n >= 50 and not may_end.is_set():
            raise TimeoutError("later")
        return n

    batch = fn.fan_out(FRAME, half, rows_per_job=100, attempts=1000)
    until(lambda: batch.table()["_state"].eq("completed").sum() == 50)
    assert batch.table()["half"].tolist()[:50] == list(range(50))
    until(lambda: batch.progress().completed == 50)
    may_end.set()
    assert len(batch.results(timeout=30)) == 100


# ---- auto ------------------------------------------------------------------------------------------------


def test_short_tasks_are_grouped_and_long_ones_hand_on_what_does_not_fit(runs):
    @fn.task
    def quick(n):
        return n

    @fn.task
    def slow(n):
        runs.note(n)
        time.sleep(0.12)
        return n

    assert len(fn.fan_out(FRAME, quick, name="q").wait(timeout=30).jobs()) <= 33
    batch = fn.fan_out(FRAME, slow, name="s")
    assert batch.results(timeout=60)["slow"].tolist() == list(range(100))
    assert set(runs.fresh().values()) == {1}
    sizes = [len(job.data["rows"]) for job in fn.Queue("slow").get_jobs("completed", 0, 200)]
    assert sum(sizes) == 100
    assert max(sizes) <= 2
    assert batch.progress().completed == 101

    more = pd.DataFrame({"n": range(1000, 1100)})
    batch = fn.fan_out(more, slow, name="t")  # by now it is known how long a row takes
    assert all("rows" not in job.data for job in fn.Queue("slow").get_jobs("waiting", 0, 50))
    assert len(batch.results(timeout=60)) == 100


def test_a_second_handle_finds_rows_that_were_handed_on():
    @fn.task
    def slow(n):
        time.sleep(0.03)
        return {"n": n, "half": n / 2}

    fn.fan_out(FRAME.head(70), slow, name="s").wait(timeout=60)
    again = fn.attach("s")
    assert again.results()["n"].tolist() == list(range(70))
    assert again.table().index.tolist() == FRAME.index[:70].tolist()
    assert again.table()["_seconds"].ge(0.03).all()
    again.remove()
    assert fn.Queue("slow").get_job_counts()["completed"] == 0


def test_what_needs_a_job_of_its_own_gets_one():
    @fn.task
    def asks(n, job):
        return job.id

    @fn.task
    async def waits(n):
        return n

    @fn.task(timeout="10s")
    def limited(n):
        return n

    for task in (asks, waits, limited):
        batch = fn.fan_out(FRAME, task)
        assert len(batch.wait(timeout=60).jobs()) == 101


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "from 1 to 500, not 0"),
        (501, "not 501"),
        (True, "not True"),
        ("many", "not 'many'"),
        (2.5, "not 2.5"),
    ],
)
def test_a_size_that_is_none_is_refused(square, size, told):
    with pytest.raises(fn.OptionError, match="rows_per_job") as refused:
        fn.fan_out(FRAME, square, rows_per_job=size)
    assert told in str(refused.value)


def test_a_timeout_is_for_a_whole_job(square, redis):
    with pytest.raises(fn.OptionError, match="a timeout is for a whole job"):
        fn.fan_out(FRAME, square, rows_per_job=10, timeout="1s")
    assert redis.keys("*square*") == []


@pytest.mark.parametrize("ask", ["update_data", "add_children"])
def test_a_row_does_not_change_a_job_that_it_shares(ask):
    @fn.task
    def greedy(n, job):
        getattr(job, ask)([])

    batch = fn.fan_out(FRAME, greedy, rows_per_job=50).wait(timeout=30)
    assert set(batch.failures["message"]) == {
        f"{ask}: this row shares its job with others; give rows_per_job=1"
    }


@pytest.mark.parametrize("length", [200_000, 400_000])  # the latter is a reference in a row's data
def test_large_rows_and_large_values_stand_in_smaller_jobs(redis, length):
    @fn.task
    def echo(text):
        return text

    frame = pd.DataFrame({"text": [chr(97 + i % 26) * length for i in range(30)]})
    batch = fn.fan_out(frame, echo, rows_per_job=30)
    results = batch.results(timeout=60)
    assert (results["echo"] == frame["text"]).all()
    keys = [f"bull:echo:{job.id}" for job in fn.Queue("echo").get_jobs("completed", 0, 200)]
    assert max(redis.hstrlen(key, "data") for key in keys) < 1_100_000
    assert max(redis.hstrlen(key, "returnvalue") for key in keys) < 4_500_000


KILLED = """
import sys, time
import flownb as fn
from flownb.worker import run_rows

run_rows.SLICE_SECONDS = 60  # on a busy machine a row takes long, and the rest would go to other jobs
connection = fn.connect(path=sys.argv[1])

@fn.task
def step(n, job):
    time.sleep(0.02)
    job._store.server.client.hincrby("ran", n, 1)
    return n

fn.fan_out(range(300), step, name="b", rows_per_job=300)
print("stored", flush=True)
sys.stdin.read()
"""


def rows_kept(redis):
    """Return how many of the 300 rows the running job has written down; 0 before its first write."""
    running = fn.Queue("step").get_jobs(["active", "waiting"])
    part = redis.hget(running[0]._record.key, "part") if running else None
    return 300 - len(json.loads(part)["open"]) if part else 0


def test_a_killed_worker_costs_a_job_the_rows_of_its_last_second(server_folder, redis, until):
    env = {**os.environ, "PYTHONPATH": str(Path(fn.__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, str(server_folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=env) as process:

        def is_stopped_between_two_writes():
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)  # until it stands still
            if redis.hlen("ran") > rows_kept(redis):
                return True
            process.send_signal(signal.SIGCONT)  # all that ran is written: a kill would cost nothing now
            return False

        until(lambda: rows_kept(redis) > 30, seconds=60)
        until(is_stopped_between_two_writes, seconds=60)
        process.kill()
    kept = rows_kept(redis)

    @fn.task
    def step(n, job):
        job._store.server.client.hincrby("ran", n, 1)
        return n

    assert fn.attach("b").results(timeout=60)["step"].tolist() == list(range(300))
    ran = [int(redis.hget("ran", n)) for n in range(300)]
    assert kept > 30
    assert ran[:kept] == [1] * kept
    assert max(ran) == 2
