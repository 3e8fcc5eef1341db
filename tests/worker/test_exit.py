"""Shows that a program or a kernel with running workers ends quickly, without a word, and loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flownb as fn

ROOT = str(Path(fn.__file__).parents[1])

JOB_SECONDS = 60  # of the job that runs when its program leaves: nothing waits for it

BEGIN = """
import sys, time
import flownb as fn
fn.connect(path=sys.argv[1])

@fn.task
def nap(seconds):
    time.sleep(seconds)
    return seconds
"""
PROGRAMS = {
    "idle workers of the kernel": "fn.add(nap.node(0)).wait(20)",
    "a job that runs for a minute": f"""
flow = fn.add(nap.node({JOB_SECONDS}))
while not flow.progress().active:
    time.sleep(0.005)
""",
    "a job of workers that were replaced": f"""
flow = fn.add(nap.node({JOB_SECONDS}))
while not flow.progress().active:
    time.sleep(0.005)
fn.workers(2)
""",
    "a batch under way": """
import pandas as pd
fn.fan_out(pd.DataFrame({"seconds": [0.01] * 3000}), nap)
""",
    "a worker that was not closed": "worker = fn.Worker(['a', 'b'], print, concurrency=8).start()",
    "a worker that has just begun": "fn.workers()",
    "an exception": "fn.add(nap.node(0)).wait(20)\nraise SystemExit(3)",
}


@pytest.mark.serial
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_interpreter_ends_quickly_and_without_a_word(server_folder, redis, name):
    program = BEGIN + PROGRAMS[name].replace("raise ", "print('leaving', flush=True)\nraise ")
    program += "\nprint('leaving', flush=True)\n"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(server_folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    ) as process:
        while process.stdout.readline() != "leaving\n":
            assert process.poll() is None, process.stderr.read()
        left = time.monotonic()
        assert process.wait(20) == (3 if name == "an exception" else 0)
        assert time.monotonic() - left < JOB_SECONDS / 4  # about a second, where the machine has time for it
        assert process.stderr.read() == ""
    assert redis.llen("bull:nap:active") == 0
    if name in ("a job that runs for a minute", "a job of workers that were replaced"):
        [job] = fn.Queue("nap").get_jobs("waiting")
        assert job.attempts_made == 0
        assert not redis.hget(f"bull:nap:{job.id}", "stc")
