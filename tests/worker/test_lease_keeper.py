"""Shows that leases are kept whatever lies beside the worker, and by a thread where no process can be started for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flownb as fn

# Serves the queue `q` with a short lease; its own folder is not the current one.
SERVE = """
import sys
sys.path[:0] = [{root!r}]
import flownb as fn
from tests.support import worker_functions
{before}
fn.connect(path={path!r})
with fn.Worker("q", worker_functions.{function}, lock_duration={lease}, stalled_interval=60, executor={executor!r}):
    sys.stdin.read()
"""
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def serve(server_folder, tmp_path):
    """Start a worker from a script; give the process, whose stderr can be read once it has ended."""
    started = []

    def start(
        before="", function="first_run_is_gated", lease=4, executor="threads", **environment
    ) -> subprocess.Popen[str]:
        (tmp_path / "scripts").mkdir()
        script = tmp_path / "scripts" / "serve.py"
        script.write_text(
            SERVE.format(
                root=ROOT,
                path=str(server_folder),
                before=before,
                function=function,
                lease=lease,
                executor=executor,
            )
        )
        started.append(
            subprocess.Popen(
                [sys.executable, str(script)],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment},
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def renewed(redis, until):
    """Wait until the lease of a job has been renewed some times."""

    def wait(job, times=2, seconds=20.0):
        left = [0, 0]  # now, and before

        def is_renewed():
            left[:] = redis.pttl(f"bull:q:{job.id}:lock"), left[0]
            return left[0] > left[1] > 0

        for _ in range(times):
            until(is_renewed, seconds)

    return wait


def ran_once(redis, until, job):
    redis.set("gate", 1)
    until(lambda: job.get_state() == "completed")
    return fn.Queue("q").get_job(job.id).returnvalue == 1 and redis.llen("ran") == 1


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_files_in_the_folder_named_like_the_standard_librarys_end_no_lease(
    redis, serve, until, tmp_path, renewed, executor
):
    for name in ("string", "signal", "json", "redis", "site"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine')\n")
    job = fn.Queue("q").add("j")
    serve(executor=executor)
    until(lambda: redis.llen("ran") == 1)
    renewed(job)
    assert ran_once(redis, until, job)


def test_what_pythonpath_says_later_is_not_the_keepers_business(redis, serve, until, tmp_path, renewed):
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "string.py").write_text("raise SystemExit('mine')\n")
    job = fn.Queue("q").add("j")
    late = str(tmp_path / "late")
    process = serve(f"import os; os.environ['PYTHONPATH'] = {late!r}")
    until(lambda: redis.llen("ran") == 1)
    renewed(job)
    assert ran_once(redis, until, job)
    assert process.communicate(timeout=30)[1] == ""


@pytest.mark.parametrize("wrong", ["/bin/false", "/nowhere/python", "", None])
def test_a_thread_keeps_the_leases_where_no_keeper_can_be_started(redis, serve, until, renewed, wrong):
    first, second = fn.Queue("q").add_bulk([{"name": "j"}] * 2)
    process = serve(f"sys.executable = {wrong!r}")
    until(lambda: redis.llen("ran") == 1)
    running = first if redis.exists(f"bull:q:{first.id}:lock") else second
    renewed(running)
    redis.set("gate", 1)
    until(lambda: first.get_state() == second.get_state() == "completed")
    assert redis.llen("ran") == 2
    errors = process.communicate(timeout=30)[1]
    assert errors.count("a thread keeps them") == 1
    assert "sys.executable" in errors
    assert "Traceback" not in errors


def test_a_thread_keeps_the_leases_where_what_starts_is_no_python(redis, serve, until, renewed, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 300\n")
    program.chmod(0o755)
    job = fn.Queue("q").add("j")
    process = serve(f"sys.executable = {str(program)!r}", lease=15)
    until(lambda: redis.llen("ran") == 1)
    renewed(job, times=4, seconds=60)  # new leases are taken anew by the worker itself, twice
    assert ran_once(redis, until, job)
    assert process.communicate(timeout=30)[1].count("does not work as a Python") == 1
