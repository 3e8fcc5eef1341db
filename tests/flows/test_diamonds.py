"""Shows that a shared job runs once, that each parent gets its value or its failure by its own policy, in flows and across."""

from __future__ import annotations

import threading

import pytest

import flownb as fn


class Runs:
    """Counts runs by name; a value is the name and the children's values."""

    def __init__(self, *failing):
        self.names = []
        self.failing = failing
        self.noting = threading.Lock()

    def __call__(self, job):
        with self.noting:
            self.names.append(job.name)
        if job.name in self.failing:
            raise ValueError(f"{job.name} is broken")
        return {job.name: list(job.get_children_values().values())}


def states(flow):
    return {row["name"]: row["state"] for _, row in flow.jobs().iterrows()}


def test_a_diamond_of_two_levels_runs_each_job_once_and_hands_its_value_to_both():
    base = fn.Node("base", "q", {"n": 1})
    low = [fn.Node(f"low{i}", "q", children=[base]) for i in range(2)]
    high = [fn.Node(f"high{i}", "q", children=low) for i in range(2)]
    runs = Runs()
    flow = fn.add(fn.Node("top", "q", children=high))
    with fn.Worker("q", runs, concurrency=3):
        value = flow.result(timeout=20)
    lows = [{f"low{i}": [{"base": []}]} for i in range(2)]
    assert value == {"top": [{"high0": lows}, {"high1": lows}]}
    assert sorted(runs.names) == ["base", "high0", "high1", "low0", "low1", "top"]
    assert (flow.progress().completed, flow.progress().total) == (6, 6)


def test_a_shared_subtree_runs_once_under_both():
    below = [fn.Node(f"leaf{i}", "q") for i in range(3)]
    shared = fn.Node("shared", "q", children=below)
    runs = Runs()
    flow = fn.add(
        {"name": "top", "queueName": "q", "children": [fn.Node(n, "q", children=[shared]) for n in "ab"]}
    )
    with fn.Worker("q", runs, concurrency=4):
        flow.result(timeout=20)
    assert sorted(runs.names) == ["a", "b", "leaf0", "leaf1", "leaf2", "shared", "top"]


def test_a_shared_job_may_be_a_child_of_the_root_as_well():
    shared = fn.Node("shared", "q")
    flow = fn.add(fn.Node("top", "q", children=[shared, fn.Node("a", "q", children=[shared])]))
    with fn.Worker("q", Runs()):
        assert flow.result(timeout=20) == {"top": [{"shared": []}, {"a": [{"shared": []}]}]}


def test_each_parent_has_its_own_policy_for_a_shared_job_that_fails():
    must = {"name": "s", "queueName": "q", "opts": {"jobId": "s1"}}
    may = {"name": "s", "queueName": "q", "opts": {"jobId": "s1", "failParentOnFailure": False}}
    strict = {"name": "strict", "queueName": "q", "opts": {"failParentOnFailure": False}, "children": [must]}
    lenient = {"name": "lenient", "queueName": "q", "children": [may]}
    runs = Runs("s")
    flow = fn.add({"name": "top", "queueName": "q", "children": [strict, lenient]})
    with fn.Worker("q", runs):
        assert flow.result(timeout=20) == {"top": [None, {"lenient": [None]}]}
    assert runs.names == ["s", "lenient", "top"]
    assert states(flow) == {"top": "completed", "strict": "failed", "lenient": "completed", "s": "failed"}


def test_a_failing_shared_job_fails_all_its_parents_and_their_root():
    shared = fn.Node("shared", "q")
    flow = fn.add(fn.Node("top", "q", children=[fn.Node(n, "idle", children=[shared]) for n in "abc"]))
    with fn.Worker("q", Runs("shared")), pytest.raises(fn.FlowFailed, match="top > a > shared: ValueError"):
        flow.result(timeout=20)
    assert set(states(flow).values()) == {"failed"}
    assert repr(flow) == "Flow('top': 5 jobs, 5 failed)"


def two_flows(**opts):
    shared = {"name": "s", "queueName": "shared", "data": {"n": 1}, "opts": {"jobId": "s1", **opts}}
    return [{"name": f"top{i}", "queueName": "tops", "children": [shared]} for i in range(2)]


def test_a_job_that_waits_in_one_flow_is_shared_with_the_next():
    one, two = two_flows()
    runs = Runs()
    flows = [fn.add(one), fn.add(two)]
    assert [flow.progress().total for flow in flows] == [2, 2]
    with fn.Worker("shared", runs), fn.Worker("tops", runs):
        assert [flow.result(timeout=20) for flow in flows] == [{f"top{i}": [{"s": []}]} for i in range(2)]
    assert sorted(runs.names) == ["s", "top0", "top1"]
    assert [(flow.progress().completed, flow.progress().total) for flow in flows] == [(2, 2), (2, 2)]


def test_a_job_that_has_completed_in_one_flow_is_there_for_the_next():
    one, two = two_flows()
    runs = Runs()
    with fn.Worker("shared", runs), fn.Worker("tops", runs):
        fn.add(one).result(timeout=20)
        later = fn.add(two)
        assert later.result(timeout=20) == {"top1": [{"s": []}]}
    assert runs.names.count("s") == 1
    assert later.progress().completed == 2


def test_a_job_that_has_completed_does_not_release_the_next_parent_before_its_other_child():
    one, two = two_flows()
    two["children"].append({"name": "slow", "queueName": "slow"})
    with fn.Worker("shared", Runs()), fn.Worker("tops", Runs()):
        fn.add(one).result(timeout=20)
        later = fn.add(two)
        assert later.state == "waiting-children"
        with fn.Worker("slow", Runs()):
            assert later.result(timeout=20) == {"top1": [{"s": []}, {"slow": []}]}


def test_a_job_that_has_failed_in_one_flow_fails_the_next_at_once():
    one, two = two_flows()
    with fn.Worker("shared", Runs("s")):
        fn.add(one).wait(timeout=20)
    later = fn.add(two)
    with pytest.raises(fn.FlowFailed, match="s is broken"):
        later.result(timeout=5)
    assert later.progress().failed == 2


def test_a_shared_job_that_fails_fails_both_flows_and_their_counts():
    flows = [fn.add(tree) for tree in two_flows()]
    with fn.Worker("shared", Runs("s")):
        for flow in flows:
            with pytest.raises(fn.FlowFailed, match="s is broken"):
                flow.result(timeout=20)
    assert [(flow.progress().failed, flow.progress().total) for flow in flows] == [(2, 2), (2, 2)]


def test_a_shared_job_that_fails_by_its_child_is_counted_in_both_flows():
    child = {"name": "child", "queueName": "children"}
    shared = {"name": "s", "queueName": "shared", "data": {"n": 1}, "opts": {"jobId": "s1"}}
    one = {"name": "top0", "queueName": "tops", "children": [{**shared, "children": [child]}]}
    two = {"name": "top1", "queueName": "tops", "children": [shared]}
    flows = [fn.add(one), fn.add(two)]
    with fn.Worker("children", Runs("child")):
        for flow in flows:
            with pytest.raises(fn.FlowFailed, match="child is broken"):
                flow.result(timeout=20)
    assert [(flow.progress().failed, flow.progress().total) for flow in flows] == [(3, 3), (2, 2)]


def test_a_flow_under_the_root_of_another_waits_for_it():
    inner = {"name": "inner", "queueName": "inner", "opts": {"jobId": "i1"}}
    first = fn.add(inner)
    outer = fn.add({"name": "outer", "queueName": "outer", "children": [inner]})
    with fn.Worker("inner", Runs()), fn.Worker("outer", Runs()):
        assert outer.result(timeout=20) == {"outer": [{"inner": []}]}
    assert first.state == "completed"
    assert first.result(timeout=5) == {"inner": []}


def test_r2_ten_thousand_parents_of_one_child_are_added_in_no_more_calls_than_with_children_of_their_own(
    redis, until
):
    def calls(tree):
        before = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
        flow = fn.add(tree)
        return flow, redis.info("commandstats")["cmdstat_evalsha"]["calls"] - before

    def parents(child):
        return fn.Node("top", "q", children=[fn.Node("p", "q", children=[child()]) for _ in range(10_000)])

    fn.add(fn.Node("warm", "warm"))
    s = fn.Node("s", "shared")
    flow, shared = calls(parents(lambda: s))
    _, own = calls(parents(lambda: fn.Node("s", "own")))
    assert shared <= own
    with fn.Worker("shared", Runs()):
        until(lambda: fn.Queue("q").get_job_counts()["waiting"] == 10_000, 60)
    assert flow.progress().completed == 1
