"""Shows the doors of a worker: which hook is called when, in which thread, and that a broken one stops nothing."""

from __future__ import annotations

import logging
import threading

import pytest

import flownb as fn
from flownb.worker.middleware import Hooks, Middleware


class Noting(Middleware):
    """Notes every call with its name, and the thread."""

    def __init__(self, name, calls):
        self.name = name
        self.calls = calls

    def note(self, hook, *what):
        self.calls.append((f"{self.name}.{hook}", *what, threading.current_thread().name))

    def on_start(self, settings):
        self.note("on_start", settings.name)

    def on_sweep(self, bases):
        self.note("on_sweep", *bases)

    def on_swept(self, bases, sweep):
        self.note("on_swept", *bases, sweep.is_idle)

    def before_run(self, taken):
        self.note("before_run", taken.record.name)

    def after_run(self, taken, outcome, seconds):
        self.note("after_run", taken.record.name)

    def on_answers(self, outcomes, answers):
        self.note("on_answers", *answers)

    def on_stop(self):
        self.note("on_stop")


@pytest.fixture
def serve():
    """Return a worker of queue `q` with middleware of these classes, or what makes it."""

    def make(processor, *middleware, **options):
        worker = fn.Worker("q", processor, name="mw", **options)
        worker._middleware = middleware
        return worker

    return make


def test_the_order_of_calls_is_first_in_last_out_each_in_its_thread(serve):
    calls = []
    worker = serve(lambda job: calls.append("runs"), lambda: Noting("a", calls), lambda: Noting("b", calls))
    with worker:
        fn.add({"name": "j", "queueName": "q"}).wait(timeout=30)
    here, pump, slot = threading.current_thread().name, "flownb-mw-pump", "flownb-mw-slot"
    sweep = ("bull:q", "bull:flownb-batch")
    found = [call for call in calls if ".on_sw" not in call[0]]
    assert found == [
        ("a.on_start", "mw", here),
        ("b.on_start", "mw", here),
        ("a.before_run", "j", slot),
        ("b.before_run", "j", slot),
        "runs",
        ("b.after_run", "j", slot),
        ("a.after_run", "j", slot),
        ("b.on_answers", "done", pump),
        ("a.on_answers", "done", pump),
        ("b.on_stop", here),
        ("a.on_stop", here),
    ]
    sweeps = [call for call in calls if ".on_sweep" in call[0]]
    assert sweeps[:2] == [("a.on_sweep", *sweep, pump), ("b.on_sweep", *sweep, pump)]
    swept = [call[:-2] for call in calls if ".on_swept" in call[0]]
    assert swept[:2] == [("a.on_swept", *sweep), ("b.on_swept", *sweep)]


def test_middleware_is_made_anew_at_each_start(serve):
    made = []

    def make():
        made.append(Middleware())
        return made[-1]

    worker = serve(lambda job: None, make)
    for _ in range(2):
        with worker:
            pass
    assert len(made) == 2


class Broken(Middleware):
    def broken(self, *given):
        raise ValueError("mine")

    on_start = on_sweep = on_swept = before_run = after_run = on_answers = on_stop = broken


def test_a_hook_that_raises_is_logged_and_the_jobs_run_all_the_same(serve, caplog):
    caplog.set_level(logging.ERROR, logger="flownb.worker")
    with serve(lambda job: 7, Broken):
        assert fn.add({"name": "j", "queueName": "q"}).result(timeout=30) == 7
    said = [record.getMessage() for record in caplog.records if record.name == "flownb.worker"]
    assert len(said) >= 6
    assert set(said) == {"the worker goes on after Broken.broken failed"}


class Leaving(Middleware):
    def leave(self, *given):
        raise SystemExit

    before_run = after_run = on_answers = on_sweep = leave


def test_a_hook_that_would_end_its_thread_does_not(serve, caplog):
    """A slot that had ended so kept its job, with a lease, for ever."""
    with serve(lambda job: 7, Leaving):
        for _ in range(2):
            assert fn.add({"name": "j", "queueName": "q"}).result(timeout=30) == 7
    assert "the worker goes on after Leaving.leave failed" in caplog.text


def test_a_run_that_is_given_up_has_its_after_run_too_and_one_outcome(serve, until):
    calls, go_on = [], threading.Event()
    worker = serve(lambda job: go_on.wait(20), lambda: Noting("a", calls))
    with worker:
        flow = fn.add({"name": "j", "queueName": "q", "opts": {"timeout": 100}})
        with pytest.raises(fn.FlowFailed):
            flow.result(timeout=30)
        assert [call[0] for call in calls if "_run" in call[0]] == ["a.before_run"]
        go_on.set()
        until(lambda: [call[0] for call in calls if "_run" in call[0]] == ["a.before_run", "a.after_run"])
    assert [call[1] for call in calls if call[0] == "a.on_answers"] == ["done"]


def test_a_hook_that_nobody_overrides_is_not_called():
    class Quiet(Middleware):
        def on_stop(self):
            pass

    hooks = Hooks([Quiet(), Middleware()])
    assert len(hooks.on_stop) == 1
    assert hooks.before_run == hooks.after_run == hooks.on_answers == hooks.on_sweep == hooks.on_swept == ()
    assert hooks.on_start == ()
