"""Shows that a worker closes soon whose server has died or hangs, and that it says which jobs run again."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

import flownb as fn

A_FEW_SECONDS = 6.0  # beyond the grace, on a loaded machine


@pytest.fixture
def worker(own_server):
    """Give a worker that has begun a job on a server of its own, and what lets the job end."""
    connection = fn.Connection(own_server.url)
    begun, go_on = threading.Event(), threading.Event()

    def work(job):
        begun.set()
        go_on.wait(60)
        return "done"

    worker = fn.Worker("q", work, connection=connection)
    worker.job = fn.Queue("q", connection=connection).add("mail")
    worker.start()
    assert begun.wait(20)
    yield worker, go_on
    go_on.set()
    connection.close()


def seconds_to_close(worker, grace):
    began = time.monotonic()
    worker.close(grace=grace)
    return time.monotonic() - began


@pytest.mark.parametrize("ends", [True, False], ids=["the job ends", "the job goes on"])
@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_it_closes_a_few_seconds_after_the_grace_and_names_the_jobs(worker, own_server, caplog, how, ends):
    worker, go_on = worker
    if how == "dies":
        own_server.kill()
    else:
        os.kill(own_server.process.pid, signal.SIGSTOP)
    if ends:
        go_on.set()

    assert seconds_to_close(worker, grace=1) < 1 + A_FEW_SECONDS

    last = [record.getMessage() for record in caplog.records if "closed without" in record.getMessage()]
    assert last == [f"closed without an answer of the server, so what it held runs again: {worker.job.id}"]
    if how == "hangs":
        os.kill(own_server.process.pid, signal.SIGCONT)


def test_what_has_ended_is_not_waited_for_as_long_as_the_grace(worker, own_server):
    worker, go_on = worker
    own_server.kill()
    go_on.set()
    assert seconds_to_close(worker, grace=3600) < 2 * A_FEW_SECONDS


def test_a_server_that_comes_back_gets_the_result(worker, own_server, caplog):
    worker, go_on = worker
    own_server.kill()
    go_on.set()
    closing = threading.Thread(target=worker.close)
    closing.start()
    own_server.start()
    closing.join(30)
    assert worker.job.wait_until_finished(timeout=30) == "done"
    assert "closed without" not in caplog.text


def test_an_idle_worker_closes_at_once(own_server):
    connection = fn.Connection(own_server.url)
    done = threading.Event()
    worker = (
        fn.Worker("q", lambda job: None, connection=connection).on("completed", lambda *_: done.set()).start()
    )
    fn.Queue("q", connection=connection).add("mail")
    assert done.wait(20)
    own_server.kill()
    assert seconds_to_close(worker, grace=10) < A_FEW_SECONDS
    connection.close()
