"""Shows what a worker tells its own listeners, and that a paused worker takes nothing while others go on."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

import flownb as fn
from flownb.worker.listeners import Listeners
from flownb.worker.middleware import Hooks

EXECUTORS = ["threads", "processes"]


def halve(job):
    if job.data == "odd" and job.attempts_made == 0:
        raise ValueError("no half of it")
    return 7


@pytest.mark.parametrize("executor", EXECUTORS)
def test_each_step_of_a_job_and_of_the_worker_is_told_in_order(executor, until):
    told: list[tuple] = []
    worker = fn.Worker("q", halve, executor=executor)
    for event in ("ready", "active", "completed", "failed", "closing", "closed"):
        worker.on(
            event, lambda *about, event=event: told.append((event, *(getattr(x, "name", x) for x in about)))
        )
    job = fn.Queue("q").add("half", "odd", {"attempts": 2})

    with worker:
        until(lambda: len(told) == 5)

    run = [
        ("active", "half"),
        ("failed", "half", "ValueError: no half of it"),
        ("active", "half"),
        ("completed", "half", 7),
    ]
    assert told == [("ready",), *run, ("closing",), ("closed",)]
    assert job.get_state() == "completed"


def test_the_job_that_is_told_has_its_value_and_can_be_asked():
    heard: SimpleQueue = SimpleQueue()
    fn.Queue("q").add("a")

    with fn.Worker("q", lambda job: {"n": 1}).on(
        "completed", lambda job, _: heard.put((job, job.get_state()))
    ):
        job, state = heard.get(timeout=30)

    assert (job.name, job.returnvalue, state) == ("a", {"n": 1}, "completed")


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_listener_that_raises_holds_up_nobody(caplog, error):
    heard: SimpleQueue = SimpleQueue()

    def broken(job, value):
        raise error("this listener is broken")

    fn.Queue("q").add_bulk([{"name": "a"}, {"name": "b"}])
    with fn.Worker("q", lambda job: job.name) as worker:
        worker.on("completed", broken).on("completed", lambda job, value: heard.put(value))
        worker.pause()
        worker.resume()
        fn.Queue("q").add("c")
        assert heard.get(timeout=30)
    assert "a listener for 'completed' failed" in caplog.text


def test_a_paused_worker_takes_nothing_others_go_on_and_it_goes_on_when_it_is_resumed(until):
    queue, by = fn.Queue("q"), []
    with fn.Worker("q", lambda job: by.append("one")) as one:
        one.pause()
        jobs = queue.add_bulk([{"name": "a"}] * 3)
        with fn.Worker("q", lambda job: by.append("other")):
            until(lambda: queue.get_job_counts()["completed"] == 3)
        assert by == ["other"] * 3

        queue.add_bulk([{"name": "b"}] * 3)
        one.resume()
        until(lambda: queue.get_job_counts()["completed"] == 2 * len(jobs))
    assert by[3:] == ["one"] * 3


def test_a_pause_waits_for_what_runs_and_gives_back_what_has_not_begun(until):
    begun, go_on, paused = threading.Event(), threading.Event(), threading.Event()
    queue = fn.Queue("q")

    def work(job):
        begun.set()
        go_on.wait(20)

    queue.add_bulk([{"name": "a"}] * 4)
    with fn.Worker("q", work) as worker:
        assert begun.wait(20)
        pausing = threading.Thread(target=lambda: (worker.pause(), paused.set()))
        pausing.start()
        assert not paused.wait(0.1)
        worker.pause(wait=False)
        go_on.set()
        assert paused.wait(20)
        assert queue.get_job_counts()["completed"] == 1
        assert queue.get_job_counts()["waiting"] == 3
        pausing.join()


def test_a_worker_that_is_paused_before_its_start_starts_paused(until):
    job = fn.Queue("q").add("a")
    worker, told = fn.Worker("q", lambda job: 7), []
    worker.on("paused", lambda: told.append("paused")).on("resumed", lambda: told.append("resumed"))
    worker.pause()

    with worker:
        probe = fn.Queue("other").add("probe")
        with fn.Worker("other", lambda job: 1):
            probe.wait_until_finished(timeout=30)
        assert job.get_state() == "waiting"
        worker.resume()
        assert job.wait_until_finished(timeout=30) == 7
    assert told == ["paused", "resumed"]


def test_an_event_that_there_is_not_is_refused_with_the_nearest():
    worker = fn.Worker("q", print)
    with pytest.raises(fn.OptionError, match="did you mean 'completed'"):
        worker.on("complete", print)
    with pytest.raises(fn.OptionError, match="function: one that takes the job"):
        worker.on("active", None)


def test_runs_are_noted_for_listeners_once_there_is_one():
    listeners = Listeners()
    hooks = Hooks([listeners])
    listeners.on_more = hooks.look
    assert hooks.before_run == ()

    listeners.add("completed", print)
    assert len(hooks.before_run) == 1
