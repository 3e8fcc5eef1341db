"""Shows that a kernel killed while it stores or runs a batch loses no row and doubles none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import flownb as fn
from flownb.tasks import registry

ROOT = str(Path(fn.__file__).parents[1])

TASK = """
import sys
import pandas as pd
import flownb as fn
connection = fn.connect(path=sys.argv[1])

@fn.task
def square(n, job):
    job._store.client.hincrby("ran", n, 1)
    return n * n

frame = pd.DataFrame({"n": range(2600)}, index=[f"row {i}" for i in range(2600)])
"""
KILLED_WHILE_STORING = """
from flownb.wire.store import Store
stored, left = Store.add_jobs, 3
def add_jobs(self, *args, **kwargs):
    global left
    if left == 0:
        print("stored some", flush=True)
        sys.stdin.read()
    left -= 1
    return stored(self, *args, **kwargs)
Store.add_jobs = add_jobs
fn.fan_out(frame, square, name="b")
"""
KILLED_WHILE_RUNNING = """
batch = fn.fan_out(frame, square, name="b")
while batch.progress().completed < 300:
    pass
print("ran some", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _only_this_test(connection, monkeypatch):
    monkeypatch.setattr(registry, "_by_queue", {})


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
        job._store.client.hincrby("ran", n, 1)
        return n * n

    return square


FRAME = pd.DataFrame({"n": range(2600)}, index=[f"row {i}" for i in range(2600)])


def runs(redis):
    return [int(redis.hget("ran", n) or 0) for n in range(2600)]


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


def test_a_killed_kernels_batch_goes_on_in_the_next_one_with_its_index(server_folder, redis):
    assert run_and_kill(KILLED_WHILE_RUNNING, server_folder) == "ran some\n"
    serve()
    batch = fn.attach("b")
    results = batch.results(timeout=50)
    assert results["square"].tolist() == [n * n for n in range(2600)]
    assert list(results.index) == list(FRAME.index)
    assert list(batch.table().columns[:2]) == ["n", "square"]
    ran = runs(redis)
    assert min(ran) == 1
    assert sum(ran) - 2600 <= 2 * 4 + 100  # what was running, or had ended and was not written yet
    assert batch.progress().failed == 0


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
        started = time.monotonic()
        assert process.wait(20) == 0
        assert time.monotonic() - started < 5
