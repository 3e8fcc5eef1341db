"""Shows that rows which share a job do each other no harm: one that hangs holds up no other, one that crashes fails alone."""

from __future__ import annotations

import collections
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")

ROOT = str(Path(fn.__file__).parents[1])
FRAME = pd.DataFrame({"x": range(2000)}, index=[f"row {i}" for i in range(2000)])


@pytest.fixture
def door():
    """Give what the slow row waits for; it opens at the end in any case."""
    door = threading.Event()
    yield door
    door.set()


@pytest.fixture
def square(door, runs):
    @fn.task
    def square(x):
        runs.note(x)
        if x == 700:
            door.wait(60)
        return x * x

    return square


def done(batch):
    return batch.progress().completed


# ---- a row that takes long --------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_job", ["auto", 400])
def test_a_row_that_hangs_holds_up_no_other(square, door, runs, until, rows_per_job):
    batch = fn.fan_out(FRAME, square, rows_per_job=rows_per_job)
    until(lambda: done(batch) == 1999)
    table = batch.table()
    assert table["_state"].ne("completed").sum() == 1
    assert table["square"].drop("row 700").tolist() == [x * x for x in range(2000) if x != 700]
    door.set()
    assert batch.results(timeout=30)["square"].tolist() == [x * x for x in range(2000)]
    assert set(runs.fresh().values()) == {1}
    table = batch.table()
    assert table.index.equals(FRAME.index)
    assert table["_attempts"].eq(1).all()
    progress = batch.progress()
    assert (progress.completed, progress.failed, progress.active, progress.total) == (2001, 0, 0, 2001)


@pytest.mark.parametrize("rows_per_job", ["auto", 400])
def test_nor_does_it_in_processes(tmp_path, until, rows_per_job):
    door = tmp_path / "open"

    @fn.task
    def square(x):
        import time

        while x == 700 and not door.exists():
            time.sleep(0.02)
        return x * x

    with fn.workers(4, executor="processes"):
        batch = fn.fan_out(FRAME, square, rows_per_job=rows_per_job)
        until(lambda: done(batch) == 1999, seconds=60)
        door.touch()
        assert batch.results(timeout=30)["square"].tolist() == [x * x for x in range(2000)]
    assert batch.table()["_attempts"].eq(1).all()
    assert done(batch) == 2001


def test_a_hanging_row_is_tried_again_as_if_it_were_alone(door, runs, until):
    @fn.task(attempts=3)
    def flaky(x):
        runs.note(x)
        if x == 700 and runs[x] < 3:
            door.wait(60)
            raise TimeoutError("not yet")
        if x == 701 and runs[x] < 2:
            raise KeyError("once")
        return x

    batch = fn.fan_out(FRAME, flaky)
    until(lambda: done(batch) >= 1998)
    door.set()
    assert batch.results(timeout=30)["flaky"].tolist() == list(range(2000))
    attempts = batch.table()["_attempts"]
    assert attempts[["row 700", "row 701"]].tolist() == [3, 2]
    assert attempts.drop(["row 700", "row 701"]).eq(1).all()
    assert (done(batch), batch.progress().failed) == (2001, 0)


def test_a_cancel_reaches_a_hanging_row_and_a_retry_runs_what_is_left(door, runs, until):
    @fn.task
    def square(x, job):
        runs.note(x)
        while x == 700 and not door.wait(0.02):
            job.update_progress(1)  # raises when it is cancelled
        return x * x

    batch = fn.fan_out(FRAME, square, rows_per_job=63)
    until(lambda: done(batch) == 1999)
    batch.cancel()
    until(lambda: batch.progress().active == 0)
    runs.fresh()
    assert batch.table()["_state"].value_counts().to_dict() == {"completed": 1999, "failed": 1}
    door.set()
    assert batch.retry().results(timeout=30)["square"].tolist() == [x * x for x in range(2000)]
    assert runs.fresh() == {700: 1}
    assert (done(batch), batch.progress().failed) == (2001, 0)


def test_a_half_run_job_that_was_cancelled_runs_its_failed_rows_again_too(runs, until):
    is_repaired, may_go_on = threading.Event(), threading.Event()

    @fn.task
    def half(x, job):
        runs.note(x)
        if x == 3 and not is_repaired.is_set():
            raise KeyError("three")
        if x == 60 and not is_repaired.is_set():
            may_go_on.wait(60)
            job.update_progress(1)
        return x

    batch = fn.fan_out(FRAME.head(100), half, rows_per_job=100)
    until(lambda: done(batch) == 98)
    assert batch.progress().failed == 1
    batch.cancel()
    may_go_on.set()
    until(lambda: batch.progress().active == 0)
    is_repaired.set()
    runs.fresh()
    assert batch.retry().results(timeout=30)["half"].tolist() == list(range(100))
    assert runs.fresh() == {3: 1, 60: 1}
    assert (done(batch), batch.progress().failed) == (101, 0)


WORKER = """
import os, sys, time
import pandas as pd
import flownb as fn

connection = fn.connect(path=sys.argv[1])

@fn.task
def step(x, job):
    job._store.server.client.hincrby("ran", x, 1)
    while x == 7 and not job._store.server.client.exists("open"):
        time.sleep(0.02)
    return x
"""
HANGS_ALONE = """
with fn.workers(1):
    fn.fan_out(pd.DataFrame({"x": range(100)}), step, name="b", rows_per_job=50)
    print("stored", flush=True)
    sys.stdin.read()
"""


def start(program, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER + program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert "stored\n" in process.stdout
    return process


def ran(redis):
    return [int(redis.hget("ran", x) or 0) for x in range(100)]


def test_other_processes_take_the_rows_behind_one_that_hangs_and_its_workers_death_costs_no_row(
    server_folder, redis, until
):
    process = start(HANGS_ALONE, server_folder)
    until(lambda: ran(redis)[7])

    @fn.task
    def step(x, job):
        job._store.server.client.hincrby("ran", x, 1)
        while x == 7 and not job._store.server.client.exists("open"):
            time.sleep(0.02)
        return x

    batch = fn.attach("b")
    with fn.workers(2):
        until(lambda: done(batch) == 99)
        process.kill()
        process.wait()
        until(lambda: ran(redis)[7] == 2)
        redis.set("open", 1)
        assert batch.results(timeout=30)["step"].tolist() == list(range(100))
    assert ran(redis) == [2 if x == 7 else 1 for x in range(100)]
    assert batch.table()["_attempts"].eq(1).all()
    assert done(batch) == 101
    process.stdin.close()
    process.stdout.close()


# ---- a row that crashes its process -----------------------------------------------------------------------


@pytest.fixture
def in_processes(connection):
    with fn.workers(2, executor="processes"):
        yield


@pytest.mark.usefixtures("in_processes")
def test_a_row_that_crashes_its_process_fails_alone_also_when_it_is_retried(redis):
    @fn.task(queue="crash")
    def square(x, job):
        import os

        job._store.server.client.hincrby("ran", x, 1)
        if x == 500:
            os._exit(9)
        return x * x

    batch = fn.fan_out(FRAME, square, rows_per_job=100).wait(timeout=60)
    assert batch.failures["error"].to_dict() == {"row 500": "JobCrashed"}
    assert batch.failures["message"].tolist() == ["the process that ran it ended with exit code 9"]
    assert batch.results()["square"].drop("row 500").tolist() == [x * x for x in range(2000) if x != 500]
    assert batch.table()["_attempts"].eq(1).all()
    assert (done(batch), batch.progress().failed) == (2000, 1)
    batch.retry().wait(timeout=60)
    assert batch.failures.index.tolist() == ["row 500"]
    assert (done(batch), batch.progress().failed) == (2000, 1)
    assert [int(redis.hget("ran", x)) for x in range(2000)] == [2 if x == 500 else 1 for x in range(2000)]


@pytest.mark.usefixtures("in_processes")
def test_crashed_rows_have_their_attempts_and_others_of_the_job_are_not_charged(tmp_path):
    @fn.task(attempts=3)
    def fragile(x):
        import os
        import signal

        tries = tmp_path / str(x)
        if x in (0, 40, 41, 99):  # the first, two in a row, the last
            before = len(tries.read_text()) if tries.exists() else 0
            tries.write_text("x" * (before + 1))
            if x == 40 or before < 2:
                os.kill(os.getpid(), signal.SIGKILL)
        if x == 50 and not tries.exists():
            tries.touch()
            raise KeyError("once")
        return x

    batch = fn.fan_out(FRAME.head(100), fragile, rows_per_job=100).wait(timeout=60)
    assert batch.failures["attempts"].to_dict() == {"row 40": 3}
    assert "died of SIGKILL" in batch.failures["message"].iloc[0]
    attempts = batch.table()["_attempts"]
    assert attempts[["row 0", "row 40", "row 41", "row 99", "row 50"]].tolist() == [3, 3, 3, 3, 2]
    assert attempts.value_counts().to_dict() == {1: 95, 3: 4, 2: 1}
    assert (done(batch), batch.progress().failed) == (100, 1)


@pytest.mark.usefixtures("in_processes")
def test_a_function_whose_making_ends_the_process_fails_its_rows_with_the_reason(tmp_path):
    (tmp_path / "deadly.py").write_text("import os, sys\nif 'deadly_here' not in sys.modules: os._exit(3)\n")
    sys.modules["deadly_here"] = sys
    sys.path.insert(0, str(tmp_path))
    try:
        import deadly
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["deadly_here"]

    @fn.task
    def doomed(x):
        import sys

        sys.path.insert(0, deadly)
        import deadly as _  # noqa: F401

    deadly = str(tmp_path)
    batch = fn.fan_out(FRAME.head(10), doomed, rows_per_job=5).wait(timeout=60)
    assert batch.failures["message"].unique().tolist() == ["the process that ran it ended with exit code 3"]


@pytest.mark.usefixtures("in_processes")
def test_rows_in_processes_return_what_rows_in_threads_do(tmp_path):
    values = ["\n", "é\u2028", "@1 x", "!x", None, float("nan"), [1, {"a": 2.5}], "x" * 300_000, True]

    @fn.task
    def echo(x):
        print("not an answer")
        if x == 9:
            raise SystemExit(5)
        if x == 10:
            return object()
        return [values[x % len(values)]]

    batch = fn.fan_out(FRAME.head(40), echo, rows_per_job=20).wait(timeout=60)
    assert batch.failures["error"].to_dict() == {"row 9": "SystemExit", "row 10": "UnrecoverableError"}
    expected = [[values[x % len(values)]] for x in range(40) if x not in (9, 10)]
    expected = [[None] if value == [values[5]] else value for value in expected]  # NaN
    assert batch.results(failed="drop")["echo"].tolist() == expected


@pytest.mark.usefixtures("in_processes")
def test_a_held_queue_forgets_no_row_in_processes(redis):
    @fn.task
    def polite(x, job):
        if x == 30 and job._store.server.client.hincrby("ran", x, 1) == 1:
            raise fn.RateLimitError("50ms")
        return x

    batch = fn.fan_out(FRAME.head(100), polite, rows_per_job=100)
    assert batch.results(timeout=30)["polite"].tolist() == list(range(100))
    assert batch.table()["_attempts"].eq(1).all()
    assert done(batch) == 101


def test_a_worker_that_closes_gives_rows_back_that_have_not_begun(square, door, runs, until):
    worker = fn.Worker("rest", lambda job: square.function(job.data["x"]))
    batch = fn.fan_out(FRAME.head(800), "rest", rows_per_job=400)
    with worker:
        until(lambda: done(batch) == 700)
        threading.Timer(0.1, door.set).start()
        worker.close()
    with fn.Worker("rest", lambda job: job.data["x"] ** 2):
        assert batch.results(timeout=30)["rest"].tolist() == [x * x for x in range(800)]
    assert set(runs.fresh().values()) == {1}


DEADLY = """
import os, sys
import flownb as fn
fn.connect(path={path!r})
@fn.task
def square(x):
    if x == 700:
        os._exit(139)
    return x * x
batch = fn.fan_out(range(1000), square, rows_per_job={rows_per_job}, name="deadly")
batch.wait(60)
print(batch.failures["message"].to_dict())
print(batch.results()["square"].count())
"""


@pytest.mark.parametrize("rows_per_job", ["auto", 500])
def test_a_row_that_kills_the_whole_process_each_time_fails_alone(server_folder, rows_per_job):
    script = DEADLY.format(path=str(server_folder), rows_per_job=repr(rows_per_job))
    for _ in range(12):
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
        if ran.returncode != 139:
            break
    assert ran.returncode == 0, ran.stderr
    failed, done = ran.stdout.splitlines()[-2:]
    assert re.fullmatch(
        r"\{700: 'crashed its worker [4-6] times'\}", failed
    )  # in four of which others ran too, perhaps
    assert done == "999"


@pytest.mark.parametrize("rows", [10, 150], ids=["one call", "several calls"])
@pytest.mark.parametrize("rows_per_job", ["auto", 1, 5])
def test_rows_that_fail_again_at_once_run_once_a_retry(rows, rows_per_job):
    calls, counting = collections.Counter(), threading.Lock()

    @fn.task(attempts=2)
    def fails(n):
        with counting:
            calls[n] += 1
        raise ValueError(n)

    @fn.task
    def total(results):
        with counting:
            calls["total"] += 1
        raise KeyError("total")

    with fn.workers(4):
        batch = fn.fan_out(range(rows), fails, into=total, rows_per_job=rows_per_job).wait(timeout=60)
        assert calls == {"total": 1, **dict.fromkeys(range(rows), 2)}
        batch.retry().wait(timeout=60)
        assert calls == {"total": 2, **dict.fromkeys(range(rows), 4)}
        batch.retry(rows=[3]).wait(timeout=60)
        assert calls == {"total": 3, **dict.fromkeys(range(rows), 4), 3: 6}
