"""Shows what becomes of the work that has not begun when a failure makes the job above it fail."""

from __future__ import annotations

import threading
import time

import pandas as pd
import pytest

import flownb as fn
from tests.support import invariants


def fails(job):
    if job.name == "bad":
        raise ValueError("broken")
    return job.name


class Work:
    """A processor that notes what it ran; `bad` fails as long as it is broken."""

    def __init__(self):
        self.ran, self.broken = [], True

    def __call__(self, job):
        time.sleep(0.05)  # so long that none is fetched ahead
        self.ran.append(job.name)
        if job.name == "bad" and self.broken:
            raise ValueError("broken")
        return job.name


def leaf(name, **opts):
    return {"name": name, "queueName": "q", "opts": opts}


def tree(*children, name="top"):
    return {"name": name, "queueName": "q", "children": list(children)}


def settled(until, flow):
    """Wait until nothing of the flow is left to do."""
    until(lambda: (progress := flow.progress()).completed + progress.failed == progress.total)


def sound(redis):
    assert [str(violation) for violation in invariants.violations(redis)] == []


def test_the_data_of_what_failed_are_mended_while_what_it_was_for_has_failed(redis, until):
    flow = fn.add(tree(leaf("bad"), leaf("late", delay=600_000)))
    with fn.Worker("q", lambda job: 1 / job.data.get("by", 0) if job.name == "bad" else 7):
        settled(until, flow)
        bad = next(job for job in fn.Queue("q").get_jobs("failed") if job.name == "bad")
        bad.update_data({"by": 2})
        bad.log("mended")
        bad.retry()
        until(lambda: fn.Queue("q").get_job(bad.id).returnvalue == 0.5)
    sound(redis)


def test_s24_r4_a_failed_child_cancels_its_siblings_that_have_not_begun(redis, until):
    work = Work()
    flow = fn.add(tree(leaf("bad"), *(leaf(f"c{i}") for i in range(10)), leaf("late", delay=600_000)))
    with fn.Worker("q", work):
        with pytest.raises(fn.FlowFailed, match="top > bad: ValueError: broken"):
            flow.result(timeout=20)
        settled(until, flow)
    assert work.ran == ["bad"]
    jobs = flow.jobs().set_index("name")
    assert set(jobs.drop(["bad", "top"])["error"]) == {"cancelled"}
    assert flow.explain()["why"].tolist() == ["it failed: ValueError: broken"]
    sound(redis)


def test_r4_running_siblings_are_told(until):
    both, told = threading.Barrier(2, timeout=20), []

    def work(job):
        if job.name in ("bad", "busy"):
            both.wait()
        if job.name == "bad":
            raise ValueError("broken")
        until(job.is_cancelled)
        told.append(job.name)
        job.update_progress(1)

    flow = fn.add(tree(leaf("bad"), leaf("busy"), leaf("idle")))
    with fn.Worker("q", work, concurrency=2):
        flow.wait(timeout=20)
        settled(until, flow)
    assert told == ["busy"]
    assert flow.jobs().set_index("name")["state"].to_dict() == dict.fromkeys(
        ("top", "bad", "busy", "idle"), "failed"
    )


def test_r5_the_parent_fails_at_once_without_a_worker_of_its_queue(until):
    heard = []
    events = fn.QueueEvents("parents", last_event_id="0")
    events.on("failed", lambda event: heard.append(event.prev))
    flow = fn.add({"name": "top", "queueName": "parents", "children": [leaf("bad"), leaf("good")]})
    with events, fn.Worker("q", fails):
        assert flow.wait(timeout=20).state == "failed"
        until(lambda: heard)
    assert heard == ["waiting-children"]


def test_a_flow_may_ask_for_all_that_has_not_begun_to_be_run(until):
    work = Work()
    flow = fn.add(tree(leaf("bad"), leaf("a"), leaf("b")), on_failure="finish")
    with fn.Worker("q", work):
        flow.wait(timeout=20)
        settled(until, flow)
    assert work.ran == ["bad", "a", "b"]


def test_the_rows_of_a_batch_run_all_the_same(until):
    def work(job):
        if job.data["x"] == 0:
            raise fn.UnrecoverableError("no")
        return job.data["x"]

    batch = fn.fan_out(pd.Series(range(4), name="x"), "rows", failParentOnFailure=True)
    with fn.Worker("rows", work):
        assert batch.wait(timeout=20).state == "failed"
        settled(until, batch)
    assert batch.progress().completed == 3


def test_another_branch_and_another_flow_run_on(redis, until):
    work = Work()
    shared = fn.Node("shared", "q", opts={"jobId": "both"})
    doomed = fn.Node(
        "doomed",
        "q",
        opts={"failParentOnFailure": False},
        children=[leaf("bad", jobId="bad"), shared, leaf("alone")],
    )
    flow = fn.add(fn.Node("top", "q", children=[doomed, leaf("branch")]))
    other = fn.add(fn.Node("other", "q", children=[shared]))
    with fn.Worker("q", work):
        assert flow.result(timeout=20) == "top"
        assert other.result(timeout=20) == "other"
        settled(until, flow)
    assert sorted(work.ran) == ["bad", "branch", "other", "shared", "top"]
    assert flow.jobs().set_index("name").loc["alone", "error"] == "cancelled"
    sound(redis)


@pytest.mark.parametrize("how", ["the flow", "the job"])
def test_a_retry_runs_what_was_cancelled_too(redis, until, how):
    work = Work()
    flow = fn.add(tree(leaf("bad", jobId="bad"), leaf("a"), leaf("b"), name="top"))
    with fn.Worker("q", work):
        flow.wait(timeout=20)
        settled(until, flow)
        work.broken = False
        if how == "the flow":
            flow.retry()
        else:
            fn.Queue("q").get_job("bad").retry()
        assert flow.result(timeout=20) == "top"
    assert work.ran[0] == "bad"
    assert sorted(work.ran[1:-1]) == ["a", "b", "bad"]
    assert flow.progress().completed == 4
    sound(redis)


def test_a_wide_fan_out_is_cancelled_without_holding_up_others(redis, until):
    work = Work()
    flow = fn.add(tree(leaf("bad", lifo=True), *(leaf("wide") for _ in range(5000))))
    other = fn.add(tree(leaf("x"), name="other"))
    with fn.Worker("q", work):
        assert flow.wait(timeout=60).state == "failed"
        assert other.result(timeout=60) == "other"
        until(lambda: flow.progress().failed == 5002, 60)
    assert work.ran == ["bad", "x", "other"]
    sound(redis)


@pytest.mark.parametrize("add", [fn.add, lambda tree, **how: fn.FlowProducer().add(tree, **how)])
def test_it_is_one_word_of_two(add):
    with pytest.raises(fn.OptionError, match="on_failure: 'cancel' or 'finish', not 'stop'"):
        add(tree(leaf("a")), on_failure="stop")


def test_bullmqs_flows_have_none():
    with pytest.raises(fn.OptionError, match="on_failure: BullMQ's flows have none"):
        fn.FlowProducer().add(tree(leaf("a")), semantics="bullmq", on_failure="cancel")
