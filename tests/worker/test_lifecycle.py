"""Shows how workers begin and end: once, any time, twice; what runs ends, what has not begun goes back."""

from __future__ import annotations

import logging
import threading

import pytest

import flownb as fn


def ours():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("flownb-worker"))


def test_a_worker_does_nothing_before_it_is_started(until):
    job = fn.Queue("q").add("j")
    worker = fn.Worker("q", lambda job: None)
    assert repr(worker) == "Worker('q', concurrency=1, not running)"
    worker.close()  # allowed before start
    assert job.get_state() == "waiting"
    with worker:
        assert worker.running
        assert repr(worker) == "Worker('q', concurrency=1, running)"
        until(lambda: job.get_state() == "completed")
    assert not worker.running


def test_starting_twice_is_refused_and_closing_twice_is_not():
    worker = fn.Worker("q", lambda job: None).start()
    with pytest.raises(RuntimeError, match=r"is running already; close\(\) it first"):
        worker.start()
    with worker:
        pass
    worker.close()
    worker.close()


def test_a_closed_worker_can_be_started_again(until):
    queue = fn.Queue("q")
    worker = fn.Worker("q", lambda job: None)
    for _ in range(5):
        job = queue.add("j")
        with worker:
            until(lambda job=job: job.get_state() == "completed")


def test_closing_waits_for_running_jobs_and_gives_back_those_that_have_not_begun(redis, until):
    started, may_end = threading.Barrier(3), threading.Event()

    def work(job):
        started.wait(20)
        assert may_end.wait(20)
        return "done"

    queue = fn.Queue("q")
    jobs = queue.add_bulk([{"name": f"j{i}"} for i in range(6)])
    worker = fn.Worker("q", work, concurrency=2).start()
    started.wait(20)
    closing = threading.Thread(target=worker.close)
    closing.start()
    assert closing.is_alive()
    may_end.set()
    closing.join(20)
    assert [job.get_state() for job in jobs] == ["completed"] * 2 + ["waiting"] * 4
    assert [queue.get_job(job.id).attempts_made for job in jobs] == [1, 1, 0, 0, 0, 0]
    assert redis.llen("bull:q:active") == 0
    assert not redis.keys("bull:q:*:lock")


def test_a_job_that_outlasts_the_grace_goes_back_and_its_late_end_is_refused(until):
    started, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work(job):
        started.set()
        may_end.wait(20)
        ended.set()
        return "late"

    queue = fn.Queue("q")
    job = queue.add("long")
    worker = fn.Worker("q", work).start()
    assert started.wait(20)
    worker.close(grace=0.05)
    assert job.get_state() == "waiting"
    may_end.set()
    assert ended.wait(20)
    assert job.get_state() == "waiting"
    assert queue.get_job(job.id).attempts_made == 0
    with fn.Worker("q", lambda job: "in time"):
        until(lambda: job.get_state() == "completed")
    assert queue.get_job(job.id).returnvalue == "in time"


def test_a_worker_of_the_same_name_replaces_the_one_before(until):
    """A cell that is run again does not double its worker."""
    queue = fn.Queue("q")
    first = fn.Worker("q", lambda job: "first", name="mine").start()
    second = fn.Worker("q", lambda job: "second", name="mine").start()
    assert not first.running
    for _ in range(5):
        job = queue.add("j")
        until(lambda job=job: job.get_state() == "completed")
        assert queue.get_job(job.id).returnvalue == "second"
    first.close()
    assert second.running
    second.close()


def test_two_hundred_starts_and_closes_leak_no_thread(redis, until):
    queue = fn.Queue("q")
    with fn.Worker("q", lambda job: None, name="stays"):  # keeps the keeper, so that no cycle starts one
        until(lambda: not ours())
        for _ in range(200):
            fn.Worker("q", lambda job: None, concurrency=2).start().close()
        until(lambda: not ours())
        until(lambda: redis.info("clients")["connected_clients"] < 15)
        job = queue.add("j")
        until(lambda: job.get_state() == "completed")


def test_closing_the_connection_closes_its_workers(server_folder):
    with fn.Connection(path=server_folder) as connection:
        worker = fn.Worker("q", lambda job: None, connection=connection).start()
    assert not worker.running


def test_a_worker_may_be_closed_by_one_of_its_own_jobs(until):
    closed = threading.Event()
    queue = fn.Queue("q")

    def work(job):
        threading.Thread(target=lambda: (worker.close(), closed.set())).start()

    worker = fn.Worker("q", work)  # known to the job before it can run
    job = queue.add("last")
    worker.start()
    assert closed.wait(20)
    assert job.get_state() == "completed"


def test_a_failure_in_the_with_block_closes_the_worker():
    worker = fn.Worker("q", lambda job: None)
    with pytest.raises(ValueError, match="mine"), worker:
        raise ValueError("mine")
    assert not worker.running


def test_a_server_that_is_away_is_told_of_in_one_line(own_server, until, caplog):
    caplog.set_level(logging.WARNING, logger="flownb.worker")
    with fn.Connection(own_server.url) as connection:
        queue = fn.Queue("q", connection=connection)
        with fn.Worker("q", lambda job: 1, connection=connection, stalled_interval=0.1) as worker:
            own_server.kill()
            until(lambda: worker._pump.recovery.failures >= 4)
            own_server.start()
            job = queue.add("after")
            until(lambda: job.get_state() == "completed")
    told = [record.getMessage() for record in caplog.records if record.name == "flownb.worker"]
    assert len(told) == 1
    assert "the server does not answer" in told[0]
    assert "\n" not in told[0]
