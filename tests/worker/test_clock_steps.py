"""Shows that a step of the server's clock charges nobody and runs nothing twice."""

from __future__ import annotations

import glob
import os
import tempfile
from pathlib import Path

import pytest

import flownb as fn
from tests.support.programs import missing
from tests.support.server import OwnServer


@pytest.fixture
def clock(monkeypatch):
    """Give a server, and what sets its clock forward by so many seconds."""
    libraries = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not libraries:
        missing("libfaketime", "apt-get install faketime")
    with tempfile.TemporaryDirectory(prefix="flownb-clock-") as folder:
        offset = Path(folder) / "offset"
        offset.write_text("+0\n")
        with monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", libraries[0])
            patch.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
            patch.setenv("FAKETIME_CACHE_DURATION", "1")
            patch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            server = OwnServer(Path(folder))

        def step(seconds):
            (Path(folder) / "new").write_text(f"{seconds:+}\n")
            os.replace(Path(folder) / "new", offset)

        yield server, step
        server.kill()


@pytest.mark.parametrize("seconds", [60, -60])
def test_a_step_of_the_servers_clock_charges_nobody_and_runs_nothing_twice(
    clock, start_worker, until, seconds
):
    server, step = clock
    with fn.Connection(server.url) as connection:
        redis = connection.client()
        hog, gated = fn.Queue("hogs", connection=connection), fn.Queue("q", connection=connection)
        jobs = [gated.add("j"), hog.add("hog", {"seconds": 15})]
        options = {"url": server.url, "lock_duration": 4, "stalled_interval": 2}
        start_worker("q", "first_run_is_gated", **options)
        start_worker("hogs", "hog", **options)  # its process cannot renew a lease itself
        until(lambda: redis.llen("ran") == 2)
        for queue, job in zip(("q", "hogs"), jobs, strict=True):  # the keeper knows both
            lock = f"bull:{queue}:{job.id}:lock"
            until(lambda lock=lock: redis.pttl(lock) < 3900)
            until(lambda lock=lock: redis.pttl(lock) > 3900)
        before = redis.time()[0]
        step(seconds)
        until(lambda: abs(redis.time()[0] - before - seconds) < 10)
        with fn.Worker(["q", "hogs"], lambda job: "stolen", connection=connection, stalled_interval=2):
            until(lambda: jobs[1].get_state() == "completed", seconds=40)
            redis.set("gate", 1)
            until(lambda: jobs[0].get_state() == "completed")
        assert redis.llen("ran") == 2
        for queue, job in zip(("q", "hogs"), jobs, strict=True):
            assert redis.hmget(f"bull:{queue}:{job.id}", "ats", "stc") == [b"1", None]
