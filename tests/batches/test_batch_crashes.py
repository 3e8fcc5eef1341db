"""Shows that a kernel killed while it stores or runs a batch loses no row and doubles none."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

import flownb as fn

ROOT = str(Path(fn.__file__).parents[1])

TASK = """
import sys
import pandas as pd
import flownb as fn
connection = fn.connect(path=sys.argv[1])

@fn.task
def square(n, job):
    job._store.server.client.hincrby("ran", n, 1)
    return n * n

frame = pd.DataFrame({"n": range(2600)}, index=[f"row {i}" for i in range(2600)])
"""
KILLED_WHILE_STORING = """
from flownb.wire.store.jobs import Jobs
stored, left = Jobs.add, 3
def add_jobs(self, *args, **kwargs):
    global left
    if left == 0:
        print("stored some", flush=True)
        sys.stdin.read()
    left -= 1
    return stored(self, *args, **kwargs)
Jobs.add = add_jobs
fn.fan_out(frame, square, name="b")
"""
KILLED_WHILE_RUNNING = """
batch = fn.fan_out(frame, square, name="b")
while batch.progress().completed < 300:
    pass
print("ran some", flush=True)
sys.stdin.read()
"""


KILLED_WITH_AGGREGATES = """
import threading

@fn.task
def square(n, job):
    if n >= 50:  # so that no group is complete
        threading.Event().wait()
    job._store.server.client.hincrby("ran", n, 1)
    return n * n

@fn.task
def per_tens(rows): ...

@fn.task
def summary(tens): ...

batch = fn.fan_out(frame.assign(tens=frame["n"] // 100), square, name="b", by="tens", into=[per_tens, summary])
while batch.progress().completed < 50:
    pass
print("ran some", flush=True)
sys.stdin.read()
"""
KILLED_WITH_A_LARGE_INPUT = """
@fn.task
def square(n, lookup, job):
    job._store.server.client.hincrby("ran", n, 1)
    return n * n + len(lookup)

lookup = {str(n): "x" * 100 for n in range(9_000)}
batch = fn.fan_out(frame.head(300).assign(lookup=[lookup] * 300), square, name="b")
while batch.progress().completed < 50:
    pass
print("ran some", flush=True)
sys.stdin.read()
"""
LID = """
import json, sys, time
import flownb as fn
connection = fn.connect({url!r})
started = []

@fn.task
def slow(n, job):
    started.append(n)
    if len(started) == 4:
        print("running", flush=True)
    time.sleep(1)
    return n

worker = fn.Worker("slow", lambda job: slow(job.data["n"], job), concurrency=4, lock_duration=1, stalled_interval=1)
with worker:
    batch = fn.fan_out(list(range(8)), slow, name="lid")
    table = batch.wait(timeout=60).table()
jobs = batch.jobs()
keys = [key for key in connection.client().scan_iter("bull:slow:r*") if key.count(b":") == 2]
print(json.dumps(dict(
    values=table["slow"].tolist(),
    attempts=table["_attempts"].tolist(),
    ran=[started.count(n) for n in range(8)],
    stalled=[int(connection.client().hget(key, "stc") or 0) for key in keys],
)), flush=True)
sys.stdin.read()
"""


pytestmark = pytest.mark.usefixtures("connection")


def run_and_kill(program, folder):
    """Run the program until it says a word, and kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", TASK + program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as process:
        for line in process.stdout:
            if "some" in line:
                break
        process.kill()
    return line


def serve():
    """Define the task of the killed program again, here."""

    @fn.task
    def square(n, job):
        job._store.server.client.hincrby("ran", n, 1)
        return n * n

    return square


FRAME = pd.DataFrame({"n": range(2600)}, index=[f"row {i}" for i in range(2600)])


def runs(redis):
    return [int(redis.hget("ran", n) or 0) for n in range(2600)]


def finished(redis):
    """Return the rows that are done on the server."""
    ids = redis.zrange("bull:square:completed", 0, -1)
    return [json.loads(redis.hget(f"bull:square:{id.decode()}", "data"))["n"] for id in ids]


def test_rows_are_run_once_when_the_producer_was_killed_between_chunks_and_the_cell_runs_again(
    server_folder, redis
):
    assert run_and_kill(KILLED_WHILE_STORING, server_folder) == "stored some\n"
    assert fn.Queue("square").get_job_counts()["waiting"] == 1499
    batch = fn.fan_out(FRAME, serve(), name="b")
    results = batch.results(timeout=50)
    assert results["square"].tolist() == [n * n for n in range(2600)]
    assert list(results.index) == list(FRAME.index)
    assert runs(redis) == [1] * 2600
    assert (batch.progress().completed, batch.progress().total) == (2601, 2601)


@pytest.mark.parametrize("how", ["attach", "the same cell again"])
def test_a_killed_kernels_batch_is_completed_by_a_new_one_and_what_was_finished_runs_no_second_time(
    server_folder, redis, how
):
    assert run_and_kill(KILLED_WHILE_RUNNING, server_folder) == "ran some\n"
    before = finished(redis)
    assert 300 <= len(before) < 2600
    square = serve()
    batch = fn.attach("b") if how == "attach" else fn.fan_out(FRAME, square, name="b")
    results = batch.results(timeout=50)
    assert results["square"].tolist() == [n * n for n in range(2600)]
    assert list(results.index) == list(FRAME.index)
    assert list(batch.table().columns[:2]) == ["n", "square"]
    ran = runs(redis)
    assert [ran[n] for n in before] == [1] * len(before)
    assert min(ran) == 1
    assert sum(ran) - 2600 <= 2 * 4 + 100  # what was running, or had ended and was not written yet
    assert batch.progress().failed == 0


def test_a_killed_kernels_rows_find_the_large_input_that_they_share(server_folder, redis):
    assert run_and_kill(KILLED_WITH_A_LARGE_INPUT, server_folder) == "ran some\n"
    before = finished(redis)
    assert 50 <= len(before) < 300

    @fn.task
    def square(n, lookup, job):
        job._store.server.client.hincrby("ran", n, 1)
        return n * n + len(lookup)

    batch = fn.attach("b")
    assert batch.results(timeout=50)["square"].tolist() == [n * n + 9_000 for n in range(300)]
    ran = runs(redis)
    assert [ran[n] for n in before] == [1] * len(before)
    batch.remove()
    assert list(redis.scan_iter("bull:flownb:inputs:*")) == []


def test_a_killed_kernels_aggregates_are_made_once_by_the_new_one(server_folder, redis):
    assert run_and_kill(KILLED_WITH_AGGREGATES, server_folder) == "ran some\n"
    serve()

    @fn.task
    def per_tens(rows, job):
        job._store.server.client.hincrby("aggregated", "per_tens", 1)
        return {"rows": len(rows), "total": int(rows["square"].sum())}

    @fn.task
    def summary(tens, job):
        job._store.server.client.hincrby("aggregated", "summary", 1)
        return [len(tens), int(tens["total"].sum())]

    assert fn.attach("b").result(timeout=50) == [26, sum(n * n for n in range(2600))]
    assert redis.hgetall("aggregated") == {b"per_tens": b"26", b"summary": b"1"}
    assert runs(redis) == [1] * 2600  # those that were running had not come to an end


def suspend(processes):
    """Let them stand still; one that has ended by now, as what a program asks of its system does, needs none of it."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()


def resume(processes):
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def test_a_closed_lid_charges_nothing(own_server):
    """The worker, its keeper of leases and the server stand still for longer than any lease, and go on."""
    program = LID.format(url=own_server.url)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as process:
        assert process.stdout.readline() == "running\n"
        worker = psutil.Process(process.pid)
        asleep = [psutil.Process(own_server.process.pid), worker, *worker.children(recursive=True)]
        suspend(asleep)
        time.sleep(2.5)  # two and a half leases and sweeps
        resume(asleep)
        said = json.loads(process.stdout.readline())
        process.stdin.close()
    assert said == {"values": list(range(8)), "attempts": [1] * 8, "ran": [1] * 8, "stalled": [0] * 8}


def test_a_lid_closed_while_others_work_charges_nothing_either(own_server):
    """The worker and its keeper stand still until another worker has done everything, and go on."""
    server = fn.Connection(own_server.url)
    with subprocess.Popen(
        [sys.executable, "-c", LID.format(url=own_server.url)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as process:
        assert process.stdout.readline() == "running\n"
        worker = psutil.Process(process.pid)
        asleep = [worker, *worker.children(recursive=True)]
        suspend(asleep)
        with fn.Worker("slow", lambda job: job.data["n"], stalled_interval=0.2, connection=server):
            fn.attach("lid", connection=server).wait(timeout=60)
        resume(asleep)
        said = json.loads(process.stdout.readline())
        process.stdin.close()
    server.close()
    assert (said["values"], said["attempts"]) == (list(range(8)), [1] * 8)
    assert max(said["ran"]) == 1


def test_another_process_serves_a_batch_that_names_only_a_queue(server_folder, redis):
    batch = fn.fan_out(FRAME.head(50), "square", name="theirs")
    program = TASK + "fn.workers(2).start()\nprint('serving', flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(server_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as process:
        assert process.stdout.readline() == "serving\n"
        assert batch.results(timeout=30)["square"].tolist() == [n * n for n in range(50)]
        process.stdin.close()
        assert process.wait(20) == 0
