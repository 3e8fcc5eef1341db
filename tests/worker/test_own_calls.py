"""Shows what a worker's own jobs and listeners may do to it: pause it without a wait, and nothing that waits for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

import flownb as fn

WAITS = {
    "pause": r"pause\(\) in one of the worker's own jobs or listeners would wait for itself; call pause\(wait=False\)",
    "close": r"close\(\) in one of the worker's own jobs or listeners would wait for itself; tell another thread",
}


@pytest.fixture(params=["function", "coroutine", "thread pool"])
def worker_calling(request):
    """Give what makes a worker whose job calls a function."""
    with ThreadPoolExecutor(1) as pool:

        def made(call):
            async def asynchronous(job):
                return call()

            processor = asynchronous if request.param == "coroutine" else lambda job: call()
            return fn.Worker("q", processor, executor=pool if request.param == "thread pool" else "threads")

        yield made


@pytest.mark.parametrize("verb", WAITS)
def test_a_job_that_would_wait_for_itself_is_told_so_and_nothing_changes(worker_calling, verb):
    queue = fn.Queue("q")
    first = queue.add("first")
    worker = worker_calling(lambda: getattr(worker, verb)())
    with worker:
        with pytest.raises(fn.FlowFailed, match=WAITS[verb]):
            first.wait_until_finished(timeout=30)
        with pytest.raises(fn.FlowFailed):  # it is not paused, and not half closed
            queue.add("second").wait_until_finished(timeout=30)
        assert worker.running


@pytest.mark.parametrize("verb", WAITS)
def test_a_job_that_runs_before_start_has_returned_is_told_so_too(monkeypatch, verb):
    """A worker's last step of starting waits for the job here, as a slow machine may have it."""
    has_run, hook = threading.Event(), fn.Connection.on_close

    def hook_after_the_job(connection, call):
        has_run.wait(10)
        return hook(connection, call)

    def call(job):
        try:
            getattr(worker, verb)()
        finally:
            has_run.set()

    monkeypatch.setattr(fn.Connection, "on_close", hook_after_the_job)
    first = fn.Queue("q").add("first")
    worker = fn.Worker("q", call)
    with worker, pytest.raises(fn.FlowFailed, match=WAITS[verb]):
        first.wait_until_finished(timeout=30)


def test_a_job_may_pause_its_worker_without_a_wait(worker_calling, until):
    queue = fn.Queue("q")
    first, second = queue.add_bulk([{"name": "first"}, {"name": "second"}])
    worker = worker_calling(lambda: worker.pause(wait=False))
    with worker:
        first.wait_until_finished(timeout=30)
        probe = fn.Queue("other").add("probe")
        with fn.Worker("other", lambda job: None):
            probe.wait_until_finished(timeout=30)
        assert second.get_state() == "waiting"
        worker.resume()
        second.wait_until_finished(timeout=30)


@pytest.mark.parametrize("verb", WAITS)
@pytest.mark.parametrize("event", ["active", "completed"])
def test_a_listener_that_would_wait_for_its_worker_is_told_so(event, verb):
    told: SimpleQueue = SimpleQueue()

    def listener(*about):
        with pytest.raises(fn.FlowError, match=WAITS[verb]):
            getattr(worker, verb)()
        told.put(verb)

    worker = fn.Worker("q", lambda job: None).on(event, listener)
    fn.Queue("q").add("mail")
    with worker:  # the listener may be called before the start has returned
        assert told.get(timeout=30) == verb
        assert worker.running


def test_a_listener_of_the_start_pauses_it_before_it_takes_a_job():
    job, worker = fn.Queue("q").add("mail"), fn.Worker("q", lambda job: 7)
    worker.on("ready", lambda: worker.pause())
    with worker:
        probe = fn.Queue("other").add("probe")
        with fn.Worker("other", lambda job: None):
            probe.wait_until_finished(timeout=30)
        assert job.get_state() == "waiting"
        worker.resume()
        assert job.wait_until_finished(timeout=30) == 7


def test_another_worker_and_another_thread_may_wait_for_it():
    begun, paused = threading.Event(), threading.Event()
    other = fn.Worker("other", lambda job: None).start()

    def work(job):
        other.pause()
        threading.Thread(target=lambda: (begun.set(), worker.pause(), paused.set())).start()
        assert begun.wait(20)
        other.close()
        return other.running

    job, worker = fn.Queue("q").add("mail"), fn.Worker("q", work)
    with worker:
        assert job.wait_until_finished(timeout=30) is False
        assert paused.wait(20)
