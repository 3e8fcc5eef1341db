"""Shows what each failure policy means on the wire and for every job of a flow, with nobody on the ancestors' queues."""

from __future__ import annotations

import json

import pytest

import flownb as fn

POLICIES = {
    "default": ({}, "fpof"),
    "fail": ({"failParentOnFailure": True}, "fpof"),
    "continue": ({"continueParentOnFailure": True}, "cpof"),
    "ignore": ({"ignoreDependencyOnFailure": True}, "idof"),
    "remove": ({"removeDependencyOnFailure": True}, "rdof"),
    "false": ({"failParentOnFailure": False}, "idof"),
}


def family(opts, *others):
    bad = {"name": "bad", "queueName": "bad", "opts": {"jobId": "bad-1", **opts}}
    return {"name": "top", "queueName": "top", "opts": {"jobId": "top-1"}, "children": [bad, *others]}


def fail(job):
    raise ValueError("broken")


def states(flow):
    return {row["name"]: row["state"] for _, row in flow.jobs().iterrows()}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_stands_in_the_childs_link_to_its_parent(redis, policy):
    opts, word = POLICIES[policy]
    fn.add(family(opts))
    link = json.loads(redis.hget("bull:bad:bad-1", "parent"))
    assert link == {"id": "top-1", "queueKey": "bull:top", word: True}
    assert redis.smembers("bull:top:top-1:dependencies") == {b"bull:bad:bad-1"}
    assert fn.Queue("bad").get_job("bad-1").opts == {"attempts": 0, **({word: True} if opts else {})}


@pytest.mark.parametrize("policy", ["default", "fail"])
def test_a_failure_fails_the_parent_at_once(redis, policy):
    tree = family(POLICIES[policy][0], {"name": "good", "queueName": "idle"})
    flow = fn.add(tree, on_failure="finish")
    with fn.Worker("bad", fail), pytest.raises(fn.FlowFailed, match="top > bad: ValueError: broken"):
        flow.result(timeout=20)
    assert states(flow) == {"top": "failed", "bad": "failed", "good": "waiting"}
    assert redis.zrange("bull:top:top-1:unsuccessful", 0, -1) == [b"bull:bad:bad-1"]
    assert flow.job.failed_reason == "child bull:bad:bad-1 failed"
    assert flow.job.get_dependencies()["failed"] == ["bad:bad-1"]
    assert flow.progress().counts.count("failed") == 2


@pytest.mark.parametrize(("policy", "listed"), [("ignore", True), ("false", True), ("remove", False)])
def test_an_optional_failure_lets_the_parent_run_after_the_others(until, policy, listed):
    flow = fn.add(family(POLICIES[policy][0], {"name": "good", "queueName": "good", "opts": {"jobId": "g1"}}))
    with fn.Worker("top", lambda job: dict(job.get_children_values())):
        with fn.Worker("bad", fail):
            until(lambda: flow.progress().failed == 1)
        assert flow.state == "waiting-children"
        with fn.Worker("good", lambda job: 7):
            assert flow.result(timeout=20) == ({"bad:bad-1": None} if listed else {}) | {"good:g1": 7}
    assert flow.job.get_ignored_children_failures() == ({"bad:bad-1": "ValueError: broken"} if listed else {})
    assert states(flow) == {"top": "completed", "bad": "failed", "good": "completed"}


def test_a_parent_continues_at_once_when_its_child_says_so(until):
    flow = fn.add(
        family(POLICIES["continue"][0], {"name": "good", "queueName": "good", "opts": {"jobId": "g1"}})
    )
    with fn.Worker("bad", fail):
        until(lambda: flow.progress().failed == 1)
    assert flow.state == "waiting"
    assert flow.job.get_ignored_children_failures() == {"bad:bad-1": "ValueError: broken"}
    assert flow.job.get_dependencies()["unprocessed"] == ["good:g1"]


@pytest.mark.parametrize("late", [lambda job: 7, fail], ids=["completes", "fails"])
def test_s28_a_parent_that_continued_may_end_while_other_children_run(until, late):
    flow = fn.add(
        family(POLICIES["continue"][0], {"name": "late", "queueName": "late", "opts": {"jobId": "l1"}})
    )
    with fn.Worker("bad", fail), fn.Worker("top", lambda job: dict(job.get_children_values())):
        assert flow.result(timeout=20) == {"bad:bad-1": None}
    with fn.Worker("late", late):
        until(lambda: flow.progress().fraction == 1)
    assert (flow.state, flow.result()) == ("completed", {"bad:bad-1": None})
    assert flow.job.get_state() == "completed"


def test_alone_a_child_to_continue_after_is_like_an_optional_one():
    flow = fn.add(family(POLICIES["continue"][0]))
    with fn.Worker("bad", fail), fn.Worker("top", lambda job: list(job.get_children_values().values())):
        assert flow.result(timeout=20) == [None]


def test_a_failure_climbs_three_levels_without_a_worker_of_their_queues():
    tree = {"name": "leaf", "queueName": "leaf"}
    for level in ("low", "middle", "high"):
        tree = {
            "name": level,
            "queueName": level,
            "children": [tree, {"name": "beside", "queueName": "idle"}],
        }
    flow = fn.add(tree, on_failure="finish")
    with fn.Worker("leaf", fail), pytest.raises(fn.FlowFailed) as failure:
        flow.result(timeout=20)
    assert str(failure.value) == "flow 'high' failed: high > middle > low > leaf: ValueError: broken"
    assert states(flow) == {
        "high": "failed",
        "middle": "failed",
        "low": "failed",
        "leaf": "failed",
        "beside": "waiting",
    }
    assert flow.job.attempts_made == 0
    assert repr(flow) == "Flow('high': 7 jobs, 4 failed)"


def test_the_climb_ends_at_the_first_optional_edge():
    leaf = {"name": "leaf", "queueName": "leaf"}
    middle = {
        "name": "middle",
        "queueName": "middle",
        "opts": {"failParentOnFailure": False},
        "children": [leaf],
    }
    flow = fn.add({"name": "top", "queueName": "top", "children": [middle]})
    with fn.Worker("leaf", fail), fn.Worker("top", lambda job: list(job.get_children_values().values())):
        assert flow.result(timeout=20) == [None]
    assert states(flow) == {"top": "completed", "middle": "failed", "leaf": "failed"}


def test_a_delayed_parent_fails_too_and_an_unrecoverable_error_charges_one_attempt():
    tree = family({"attempts": 5})
    tree["opts"]["delay"] = "1h"

    def fail_for_good(job):
        raise fn.UnrecoverableError("stolen")

    flow = fn.add(tree)
    with fn.Worker("bad", fail_for_good), pytest.raises(fn.FlowFailed, match="UnrecoverableError: stolen"):
        flow.result(timeout=20)
    assert fn.Queue("bad").get_job("bad-1").attempts_made == 1


def test_a_delayed_parent_waits_its_time_after_its_children(redis, until):
    flow = fn.add(family({}) | {"opts": {"jobId": "top-1", "delay": "1h"}})
    with fn.Worker("bad", lambda job: 1):
        until(lambda: flow.state == "delayed")
    due = redis.zscore("bull:top:delayed", "top-1") / 4096
    ended = fn.Queue("bad").get_job("bad-1").finished_on.timestamp() * 1000
    assert abs(due - ended - 3_600_000) < 1000


def test_while_a_parent_with_a_failed_child_runs_it_fails_at_its_end(until):
    """The child continued its parent; the other child, which must not fail, fails while the parent runs."""
    import threading

    running, may_end = threading.Event(), threading.Event()

    def top(job):
        running.set()
        assert may_end.wait(20)
        return "too late"

    flow = fn.add(family(POLICIES["continue"][0], {"name": "must", "queueName": "must"}))
    with fn.Worker("top", top), fn.Worker("bad", fail):
        assert running.wait(20)
        with fn.Worker("must", fail):
            until(lambda: flow.progress().failed == 2)
        assert flow.state == "failing"
        may_end.set()
        with pytest.raises(fn.FlowFailed, match="top > must: ValueError: broken"):
            flow.result(timeout=20)
