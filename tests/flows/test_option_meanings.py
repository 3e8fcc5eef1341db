"""Shows what a job's options mean in a flow, on leaves and on parents: when it runs, how often, and what is kept of it."""

from __future__ import annotations

import pytest

import flownb as fn


def node(name, *children, queue="q", **opts):
    return {"name": name, "queueName": queue, "opts": opts, "children": list(children)}


def order_of(tree, *, queue="q", others=()):
    """Run a tree with one worker of `queue`; return the order in which its jobs ran."""
    ran = []
    flow = fn.add(tree)
    with (
        fn.Worker(list(others) or ["nobody"], lambda job: None),
        fn.Worker(queue, lambda job: ran.append(job.name)),
    ):
        flow.wait(timeout=30)
    return ran


def test_leaves_run_in_declared_order_and_lifo_ones_before_them_the_last_first():
    leaves = [node("a"), node("b", lifo=True), node("c"), node("d", lifo=True)]
    assert order_of(node("top", *leaves, queue="tops"), others=["tops"]) == ["d", "b", "a", "c"]


def test_priority_0_goes_first_then_1_upward_in_declared_order():
    leaves = [node(f"{n}-p{p}", priority=p) for n, p in enumerate([2, 0, 1, 2, 0, 1])]
    ran = order_of(node("top", *leaves, queue="tops"), others=["tops"])
    assert ran == ["1-p0", "4-p0", "2-p1", "5-p1", "0-p2", "3-p2"]


def test_a_parents_priority_counts_when_its_children_are_done(until):
    """All three are released by children of another queue, before anybody works on theirs."""
    parents = [node(f"p{p}", node("leaf", queue="leaves"), queue="parents", priority=p) for p in (3, 1, 0)]
    flow = fn.add(node("top", *parents, queue="tops"))
    with fn.Worker("leaves", lambda job: None):
        until(lambda: flow.progress().completed == 3)
    assert fn.Queue("parents").get_job_counts()["prioritized"] == 2
    ran = []
    with fn.Worker("parents", lambda job: ran.append(job.name)), fn.Worker("tops", lambda job: None):
        flow.wait(timeout=30)
    assert ran == ["p0", "p1", "p3"]


@pytest.mark.parametrize("delay", [200, "200ms", "0.2s"])
def test_a_leafs_delay_counts_from_the_add_and_a_parents_from_its_last_child(delay):
    flow = fn.add(node("top", node("leaf", delay=delay), delay=delay))
    assert flow.jobs().set_index("name")["state"].to_dict() == {"top": "waiting-children", "leaf": "delayed"}
    with fn.Worker("q", lambda job: None):
        flow.wait(timeout=30)
    leaf = next(job for job in fn.Queue("q").get_jobs("completed") if job.name == "leaf")
    assert (leaf.processed_on - leaf.timestamp).total_seconds() >= 0.2
    assert (flow.job.processed_on - leaf.finished_on).total_seconds() >= 0.2


def test_a_delayed_job_with_a_priority_keeps_it_when_it_is_due(redis, until):
    fn.add(node("top", node("late", priority=1, delay=50), node("early", priority=2), queue="tops"))
    [(_, score)] = redis.zrange("bull:q:delayed", 0, -1, withscores=True)
    until(lambda: redis.time()[0] * 1000 > score / 4096)
    ran = []
    with fn.Worker("q", lambda job: ran.append(job.name)):
        until(lambda: len(ran) == 2)
    assert ran == ["late", "early"]


@pytest.mark.parametrize(("attempts", "runs"), [(None, 1), (0, 1), (1, 1), (3, 3)])
def test_attempts_are_the_runs_of_a_job_that_fails(attempts, runs):
    ran = []

    def fail(job):
        ran.append(job.attempts_made)
        raise ValueError("no")

    flow = fn.add(node("top", node("c", attempts=attempts), queue="idle"))
    with fn.Worker("q", fail):
        assert flow.wait(timeout=30).state == "failed"
    assert ran == list(range(runs))


def test_a_parents_attempts_run_it_again_on_the_same_values():
    seen = []

    def work(job):
        if job.name == "top":
            seen.append(list(job.get_children_values().values()))
            if len(seen) == 1:
                raise ValueError("once")
        return job.name

    flow = fn.add(node("top", node("c"), attempts=2))
    with fn.Worker("q", work):
        assert flow.result(timeout=30) == "top"
    assert seen == [["c"], ["c"]]


def test_keep_logs_keeps_the_newest_rows_and_stack_trace_limit_the_newest_traces():
    def work(job):
        for n in range(5):
            job.log(f"row {n}")
        raise ValueError(f"attempt {job.attempts_made}")

    flow = fn.add(node("job", keepLogs=2, attempts=3, stackTraceLimit=2))
    with fn.Worker("q", work):
        flow.wait(timeout=30)
    assert flow.job.get_logs() == ["row 3", "row 4"]
    assert [trace.splitlines()[-1] for trace in flow.job.stacktrace] == [
        "ValueError: attempt 1",
        "ValueError: attempt 2",
    ]


def test_data_over_their_size_limit_are_refused_with_the_path_and_nothing_is_written(redis):
    heavy = {**node("heavy", sizeLimit=10), "data": {"x": "é" * 10}}
    with pytest.raises(
        fn.FlowError, match=r"^root/children\[1\]/children\[0\]: data: 28 bytes, over its sizeLimit of 10"
    ):
        fn.add(node("top", node("a"), node("b", heavy)))
    options = {"q": {"defaultJobOptions": {"sizeLimit": 10}}}
    with pytest.raises(fn.FlowError, match=r"^root/children\[0\]: data"):
        fn.FlowProducer().add(node("top", {**node("heavy"), "data": "x" * 20}), queues_options=options)
    assert redis.dbsize() == 0
