"""An idle worker sleeps on the queue's marker: every job added later wakes it, not only the first."""

from __future__ import annotations

import time

import pytest

from flownb import Queue, Worker


@pytest.mark.serial
def test_an_idle_worker_is_woken_again_and_again(connection):
    queue = Queue("later")
    with Worker("later", lambda job: job.data["n"]):
        for n in range(5):
            started = time.monotonic()
            job = queue.add("count", {"n": n})
            while queue.get_job(job.id).get_state() != "completed":
                assert time.monotonic() - started < 4, "not woken: it would have looked by itself after 5 s"
