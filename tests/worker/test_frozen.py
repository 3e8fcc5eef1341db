"""Shows that the jobs of a stopped worker go to another one, that its late writes are refused, and who names it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import flownb as fn
from flownb.wire import keys
from tests.support.skips import NOT_ON_THIS_SYSTEM

LEASE = 4.0  # seconds


@pytest.fixture
def stopped(redis, start_worker, until):
    """Give a job and the worker whose process was stopped, not its keeper, while it runs the job."""

    def stop(**options):
        job = fn.Queue("q").add("j")
        worker = start_worker(
            ["q", "own"], "first_run_is_gated", lock_duration=LEASE, stalled_interval=60, **options
        )
        until(lambda: redis.llen("ran") == 1)
        os.kill(worker.process.pid, signal.SIGSTOP)
        return job, worker

    return stop


@pytest.mark.serial
def test_another_worker_has_the_job_of_a_stopped_one_within_three_leases(redis, stopped, until):
    job, worker = stopped()
    at = time.monotonic()
    with fn.Worker("q", lambda job: "taken over", stalled_interval=60):
        until(lambda: job.get_state() == "completed")
        assert time.monotonic() - at < 3 * LEASE
    redis.set("gate", 1)
    os.kill(worker.process.pid, signal.SIGCONT)
    sign = fn.Queue("own").add("sign", {})  # the worker alone serves this queue, after its late end
    until(lambda: sign.get_state() == "completed")
    assert fn.Queue("q").get_job(job.id).returnvalue == "taken over"
    assert redis.hmget(f"bull:q:{job.id}", "ats", "atm", "stc") == [b"2", b"1", None]
    until(lambda: not redis.exists(keys.own("bull", "frozen", "bull:q")))


def test_explain_and_doctor_name_the_stopped_process_until_it_goes_on(redis, stopped, until):
    flow = fn.add({"name": "t", "queueName": "t", "children": [{"name": "c", "queueName": "q"}]})
    _, worker = stopped()
    pid = worker.process.pid
    until(lambda: redis.exists(keys.own("bull", "frozen", "bull:q")))
    reasons = flow.explain()
    [reason] = [row for row in reasons.itertuples() if "is stopped" in row.why]
    assert f"a worker of queue 'q' is stopped: process {pid} on " in reason.why
    assert f"kill -CONT {pid}" in reason.fix
    [found] = [row for row in fn.doctor("q").itertuples() if "is stopped" in row.what]
    assert f"process {pid} on " in found.what
    redis.set("gate", 1)
    os.kill(pid, signal.SIGCONT)
    until(lambda: fn.Queue("q").get_job_counts()["completed"] == 2)
    until(lambda: not redis.exists(keys.own("bull", "frozen", "bull:q")))
    assert not [row for row in fn.doctor("q").itertuples() if "is stopped" in row.what]


def test_a_short_stop_costs_nothing(redis, stopped, until):
    job, worker = stopped()
    lock = f"bull:q:{job.id}:lock"
    until(lambda: redis.pttl(lock) < 1000 * LEASE - 100)  # it was not renewed just now
    ttl = redis.pttl(lock)
    until(lambda: redis.pttl(lock) > ttl)  # the keeper has seen it stopped, and renews
    os.kill(worker.process.pid, signal.SIGCONT)
    redis.set("gate", 1)
    until(lambda: job.get_state() == "completed")
    assert redis.hmget(f"bull:q:{job.id}", "ats", "stc") == [b"1", None]


def test_a_debugger_that_holds_the_process_is_a_stop(redis, stopped, until):
    """A tracer leaves the process in state `t`; gdb is not there, so this process attaches by itself."""
    import ctypes

    job, worker = stopped()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(16, worker.process.pid, None, None):  # PTRACE_ATTACH
        pytest.skip(f"{NOT_ON_THIS_SYSTEM}a process that may trace another")
    stat = Path(f"/proc/{worker.process.pid}/stat")
    try:
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "t")
        with fn.Worker("q", lambda job: "taken over", stalled_interval=60):
            until(lambda: job.get_state() == "completed", seconds=3 * LEASE + 10)
    finally:
        libc.ptrace(17, worker.process.pid, None, None)  # PTRACE_DETACH
    assert fn.Queue("q").get_job(job.id).returnvalue == "taken over"
