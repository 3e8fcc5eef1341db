"""Shows that a cancelled flow ends at once, tells what runs, spares what others need, and comes back with a retry."""

from __future__ import annotations

import threading
import time

import pandas as pd
import pytest

import flownb as fn
from tests.support import invariants


def tree(children=5, **opts):
    below = [{"name": f"c{i}", "queueName": "q", "opts": opts} for i in range(children)]
    return {"name": "top", "queueName": "q", "children": below}


def sound(redis):
    assert [str(violation) for violation in invariants.violations(redis)] == []


class Work:
    """A processor that says when its first job runs, and goes on when it is let."""

    def __init__(self, until_told):
        self.until_told = until_told
        self.running, self.go_on = threading.Event(), threading.Event()
        self.ran, self.told = [], []

    def __call__(self, job):
        self.ran.append(job.name)
        self.running.set()
        self.go_on.wait(20)
        try:
            self.until_told(job)
        except fn.Cancelled as error:
            self.told.append(str(error))
            raise
        return 7


def progress(job):
    job.update_progress(1)


def test_r4_a_cancelled_flow_is_so_at_once_while_its_jobs_run(redis, until):
    flow = fn.add(tree(attempts=3))
    work = Work(progress)
    with fn.Worker("q", work):
        assert work.running.wait(20)
        assert flow.cancel() is flow
        assert flow.state == "cancelled"
        assert flow.wait(timeout=1) is flow
        with pytest.raises(fn.FlowFailed, match="flow 'top' was cancelled; retry"):
            flow.result(timeout=1)
        assert flow.progress().active == 1
        work.go_on.set()
        until(lambda: not flow.progress().active)
    assert work.ran == ["c0"]
    assert work.told == ["its flow was cancelled, or what it is for has failed"]
    jobs = flow.jobs()
    assert set(jobs["state"]) == {"failed"}
    assert jobs["attempts"].tolist() == [0, 1, 0, 0, 0, 0]
    assert repr(flow) == "Flow('top': 6 jobs, 6 failed, cancelled)"
    sound(redis)


@pytest.mark.parametrize("call", ["update_progress", "update_data", "log"])
def test_each_call_that_tells_how_far_a_job_is_tells_that_it_is_cancelled(until, call):
    flow = fn.add(tree(1))
    work = Work(lambda job: getattr(job, call)("x"))
    with fn.Worker("q", work):
        assert work.running.wait(20)
        flow.cancel()
        work.go_on.set()
        until(lambda: not flow.progress().active)
    assert len(work.told) == 1


def test_a_function_can_ask_and_return_and_what_it_returns_is_kept(until):
    flow = fn.add(tree(1))
    answers = []
    work = Work(lambda job: answers.append(job.is_cancelled()))
    with fn.Worker("q", work):
        assert work.running.wait(20)
        flow.cancel()
        work.go_on.set()
        until(lambda: not flow.progress().active)
    assert answers == [True]
    assert flow.jobs("completed")["name"].tolist() == ["c0"]
    assert flow.state == "cancelled"


def test_a_function_that_swallows_it_and_fails_gets_no_further_attempt(until):
    def swallow(job):
        try:
            job.update_progress(1)
        except Exception:
            raise ValueError("not now") from None

    flow = fn.add(tree(1, attempts=9))
    work = Work(swallow)
    with fn.Worker("q", work):
        assert work.running.wait(20)
        flow.cancel()
        work.go_on.set()
        until(lambda: not flow.progress().active)
    assert work.ran == ["c0"]
    assert flow.jobs().loc[1, "error"] == "ValueError: not now"


def test_a_cancel_changes_nothing_when_it_comes_again_or_too_late(redis):
    flow = fn.add(tree())
    flow.cancel()
    finished = flow.job.finished_on
    assert flow.cancel().job.finished_on == finished

    done = fn.add({"name": "done", "queueName": "w"})
    with fn.Worker("w", lambda job: 1):
        assert done.result(timeout=20) == 1
    assert done.cancel().state == "completed"
    assert done.result(timeout=1) == 1
    sound(redis)


def test_a_retry_of_a_cancelled_flow_runs_what_is_left_of_it(redis):
    flow = fn.add(tree())
    ran = []

    def work(job):
        ran.append(job.name)
        if job.name == "c1":
            flow.cancel()
        return job.name

    with fn.Worker("q", work):
        flow.wait(timeout=20)
        assert flow.state == "cancelled"
    with fn.Worker("q", work := lambda job: ran.append(job.name) or job.name):
        assert flow.retry().result(timeout=20) == "top"
    assert ran == ["c0", "c1", "c2", "c3", "c4", "top"]
    assert repr(flow) == "Flow('top': 6 jobs, 6 completed)"
    sound(redis)


def test_a_job_that_another_flow_needs_runs_for_it(redis):
    shared = fn.Node("shared", "q", opts={"jobId": "both"})
    mine = fn.add(fn.Node("mine", "q", children=[shared, fn.Node("alone", "q")]))
    other = fn.add(fn.Node("other", "q", children=[shared]))
    ran = []

    mine.cancel()

    with fn.Worker("q", lambda job: ran.append(job.name)):
        other.result(timeout=20)
    assert ran == ["shared", "other"]
    assert mine.state == "cancelled"
    sound(redis)


def test_a_flow_that_is_still_being_stored_stops_there(redis, monkeypatch):
    from flownb.adding import send
    from flownb.wire.store.jobs import Jobs

    stored = Jobs.add
    calls = []

    def add_jobs(store, *args, **more):
        calls.append(1)
        if len(calls) == 3:
            fn.attach("big").cancel()
        return stored(store, *args, **more)

    monkeypatch.setattr(Jobs, "add", add_jobs)
    monkeypatch.setattr(send, "CALLS_AHEAD", 0)
    with pytest.raises(fn.FlowError, match="flow 'big' was cancelled while it was being stored"):
        fn.add(tree(3000), name="big")
    flow = fn.attach("big")
    assert flow.state == "cancelled"
    with fn.Worker("q", lambda job: 1):
        probe = fn.add({"name": "probe", "queueName": "q"})
        probe.result(timeout=20)
    assert flow.progress().completed == 0
    assert set(flow.jobs()["state"]) == {"failed"}
    with pytest.raises(fn.FlowError, match="cancelled before all of it was stored; add it again"):
        flow.retry()
    flow.remove()
    assert not [
        key
        for key in redis.keys("*")
        if b"flownb:" in key
        and b":served" not in key
        and b"probe" not in key
        and flow._stored.id.encode() in key
    ]


def test_explain_says_that_it_was_cancelled_and_how_it_goes_on():
    reasons = fn.add(tree()).cancel().explain()
    assert reasons.to_dict("records") == [
        {"job": "top", "why": "it was cancelled", "fix": "run what is left of it with retry()"}
    ]


def test_the_listeners_of_a_queue_hear_that_its_jobs_failed(until):
    heard = []
    events = fn.QueueEvents("q", last_event_id="0")
    events.on("failed", lambda event: heard.append((event.prev, event.data)))
    with events:
        fn.add(tree(2)).cancel()
        until(lambda: len(heard) == 3)
    assert [prev for prev, _ in heard] == ["waiting-children", "waiting", "waiting"]
    assert [data["failed_reason"] for _, data in heard] == ["cancelled"] * 3


# ---- batches ------------------------------------------------------------------------------------------------


def test_a_cancelled_batch_keeps_its_values_and_the_same_fan_out_runs_the_rest(redis, until):
    ran = []

    @fn.task
    def double(x):
        time.sleep(0.05)  # so long that none is fetched ahead
        ran.append(x)
        if x == 1 and ran == [0, 1]:
            fn.attach("doubles").cancel()
        return 2 * x

    rows = pd.DataFrame({"x": range(4)})
    with fn.workers(concurrency=1):
        batch = fn.fan_out(rows, double, name="doubles")
        batch.wait(timeout=20)
        until(lambda: not batch.progress().active)
        assert batch.state == "cancelled"
        with pytest.raises(fn.FlowFailed, match="was cancelled"):
            batch.result(timeout=20)
        assert batch.results(timeout=20)["double"].dropna().tolist() == [0, 2]
        assert set(batch.failures["error"]) == {"cancelled"}

        again = fn.fan_out(rows, double, name="doubles")
        assert again.results(timeout=20)["double"].tolist() == [0, 2, 4, 6]
    assert ran == [0, 1, 2, 3]
    sound(redis)


def test_the_chosen_rows_of_a_cancelled_batch_run_alone():
    ran = []

    def double(job):
        ran.append(job.data["x"])
        return 2 * job.data["x"]

    batch = fn.fan_out(pd.DataFrame({"x": range(4)}), "double").cancel()
    with fn.Worker("double", double):
        assert batch.retry(rows=[2]).result(timeout=20)["double"].dropna().tolist() == [4]
        assert ran == [2]
        assert batch.retry().result(timeout=20)["double"].tolist() == [0, 2, 4, 6]
