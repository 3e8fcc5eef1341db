"""The guide's sentences that BullMQ does not keep, one test each, named by the row of the table they stand in (S1 to S28).

In tests/flows are S24 (test_on_failure.py), S25 (test_remove.py), and the matrices of re-adding ids (S21, S22, S27:
test_existing_ids.py) and of removal (S20: test_removal_options.py).
"""

from __future__ import annotations

import threading
import time

import pytest

import flownb as fn
from tests.guide.test_order_workflow import ORDER, OrderWorkflow, Shop
from tests.support.guide_trees import Work, node, run, states, working


def test_s1_a_payment_mentioned_again_is_one_job_after_its_validation():
    with Shop() as shop:
        OrderWorkflow().process_order(ORDER).wait(timeout=30)
    assert shop.ran.count("process-payment") == 1
    assert shop.ran.index("process-payment") > shop.ran.index("validate-order")
    assert (
        shop.received["reserve-inventory"]
        == shop.received["prepare-shipping"]
        == {"payment": {"paid": "c-1"}}
    )


def test_s2_one_id_under_two_parents_is_one_job_and_both_get_its_value():
    shared = {"jobId": "s1"}
    tree = node("top", node("a", node("s", **shared)), node("b", node("s", **shared)))
    flow, work = run(tree)
    assert sorted(work.ran) == ["a", "b", "s", "top"]
    assert work.values["a"] == work.values["b"] == {"q:s1": "s"}
    assert flow.state == "completed"


def test_s3_a_parent_added_later_gets_the_value_of_a_job_that_another_parent_waits_for():
    first = fn.add(node("first", node("s", jobId="s1")))
    later = fn.add(node("later", node("s", jobId="s1"), node("own", jobId="o1")))
    with working(Work()) as work:
        assert later.wait(timeout=30).state == first.wait(timeout=30).state == "completed"
    assert work.values["later"] == {"q:s1": "s", "q:o1": "own"}
    assert work.ran.count("s") == 1


@pytest.mark.parametrize("opts", [{}, {"failParentOnFailure": True}], ids=["default", "said"])
def test_s4_a_failed_child_fails_its_parent(opts):
    flow, work = run(node("top", node("bad", **opts)), Work("bad"))
    assert states(flow) == {"top": "failed", "bad": "failed"}
    assert work.ran == ["bad"]


def test_s5_a_parent_continues_after_a_child_that_need_not_succeed():
    flow, work = run(node("top", node("bad", failParentOnFailure=False, jobId="b1")), Work("bad"))
    assert (flow.state, flow.result()) == ("completed", "top")
    assert work.values["top"] == {"q:b1": None}


def test_s6_a_failure_climbs_to_the_root_at_once_and_is_told_with_its_path():
    flow = fn.add(node("top", node("middle", node("leaf", queue="leaves"), queue="idle"), queue="idle"))
    with working(Work("leaf"), "leaves"), pytest.raises(fn.FlowFailed) as failure:
        flow.result(timeout=30)
    assert str(failure.value) == "flow 'top' failed: top > middle > leaf: ValueError: leaf is broken"
    assert flow.job.attempts_made == 0


def test_s7_a_failed_optional_child_is_none_and_can_be_told_from_one_that_returned_none():
    def work(job):
        if job.name == "bad":
            raise ValueError("broken")

    optional = {"failParentOnFailure": False}
    tree = node("top", node("bad", jobId="b1", **optional), node("empty", jobId="e1", **optional))
    flow, _ = run(tree, work)
    assert dict(flow.job.get_children_values()) == {"q:b1": None, "q:e1": None}
    assert flow.job.get_ignored_children_failures() == {"q:b1": "ValueError: broken"}


def test_s8_children_are_keyed_by_queue_and_id_and_bullmqs_key_finds_them_too():
    flow, _ = run(node("top", node("c", jobId="c1")))
    values = flow.job.get_children_values()
    [key] = values
    queue, id = key.split(":")
    assert (queue, id, values[key], values["bull:q:c1"]) == ("q", "c1", "c", "c")


def test_s9_a_sum_over_children_sees_which_one_is_missing():
    def work(job):
        if job.name == "bad":
            raise ValueError("broken")
        if job.name == "good":
            return {"count": 3}
        values = job.get_children_values().values()
        return {"sum": sum(v["count"] for v in values if v is not None), "missing": list(values).count(None)}

    flow, _ = run(node("top", node("good"), node("bad", failParentOnFailure=False)), work)
    assert flow.result() == {"sum": 3, "missing": 1}


def test_s10_the_first_child_declared_is_the_first_value_whoever_ends_first():
    first_may_end = threading.Event()

    def work(job):
        if job.name == "first":
            assert first_may_end.wait(30)
        elif job.name == "second":
            first_may_end.set()
        return list(job.get_children_values().values()) or job.name

    flow, _ = run(node("top", node("first"), node("second")), work)
    assert flow.result() == ["first", "second"]


def test_s11_an_aggregate_of_a_batch_gets_every_row_and_counts_those_that_failed():
    @fn.task
    def process_item(n):
        return 10 // n

    @fn.task
    def aggregate(rows):
        return {"total": len(rows), "failed": int((rows["_state"] == "failed").sum())}

    flow = fn.fan_out([1, 0, 2, 0], process_item, into=aggregate)
    with fn.workers():
        assert flow.result(timeout=30) == {"total": 4, "failed": 2}


def test_s12_a_parent_of_no_children_runs_at_once_on_no_values():
    flow = fn.add(node("top"))
    assert flow.state == "waiting"
    with working(Work()) as work:
        flow.wait(timeout=30)
    assert work.values == {"top": {}}


def test_s13_progress_is_that_of_the_whole_tree(until):
    flow = fn.add(
        node("notify", node("load", node("transform", node("extract", queue="a"), queue="b"), queue="c"))
    )
    for done, queue in enumerate("ab", 1):
        with working(Work(), queue):
            until(lambda done=done: flow.progress().completed == done)
    assert flow.progress().fraction == 0.5
    optional, _ = run(node("top", node("bad", failParentOnFailure=False)), Work("bad"))
    progress = optional.progress()
    assert (progress.completed, progress.failed, progress.total, progress.fraction) == (1, 1, 2, 1.0)


def test_s14_jobs_are_listed_with_name_and_state():
    flow, _ = run(node("top", node("good"), node("bad", failParentOnFailure=False)), Work("bad"))
    assert states(flow) == {"top": "completed", "good": "completed", "bad": "failed"}
    assert list(flow.jobs(state="failed")["error"]) == ["ValueError: bad is broken"]


def test_s15_a_flow_is_followed_over_all_its_queues(until):
    heard = []
    events = [fn.QueueEvents(q).on("completed", heard.append) for q in ("a", "b")]
    flow, _ = run(node("top", node("c", queue="a"), queue="b"), Work(), "a", "b")
    until(lambda: len(heard) == 2)
    assert flow.progress().completed == 2
    for listener in events:
        listener.close()


def test_s16_a_failure_is_told_once_when_no_attempt_is_left_and_so_is_that_of_its_ancestors(until):
    heard = []
    listeners = [fn.QueueEvents(q).on("failed", heard.append) for q in ("q", "idle")]
    flow = fn.add(node("top", node("bad", attempts=3), queue="idle"))
    with working(Work("bad")):
        flow.wait(timeout=30)
    until(lambda: len(heard) == 2)
    assert {event.prev for event in heard} == {"active", "waiting-children"}
    for listener in listeners:
        listener.close()
    assert len(heard) == 2


@pytest.mark.parametrize(
    ("sources", "transforms", "destinations", "jobs"),
    [
        ("ab", "ct", "xyz", 8),
        ("ab", "", "xyz", 6),
        ("", "ct", "xyz", 6),
        ("ab", "ct", "", 1),
        ("", "", "", 1),
    ],
)
def test_s17_a_built_flow_has_each_step_once_and_lists_may_be_empty(sources, transforms, destinations, jobs):
    """Without destinations the tree that reaches `add` holds the root alone: the builder has dropped the rest."""
    below = [node(f"extract-{name}", data={"source": name}) for name in sources]
    for name in transforms:
        below = [node(f"transform-{name}", *below, data={"transform": name})]
    loads = [{**node(f"load-{name}", data={"to": name}), "children": below} for name in destinations]
    flow, work = run(node("complete", *loads))
    assert flow.progress().total == len(work.ran) == len(set(work.ran)) == jobs


def test_s18_the_builder_is_written_in_python_as_in_the_guide():
    """In TypeScript its reassigned list does not compile; here it is two lines."""
    children = [{"name": "extract", "queueName": "q"}]
    for name in ("clean", "join"):
        children = [{"name": name, "queueName": "q", "children": children}]
    flow, work = run({"name": "top", "queueName": "q", "children": children})
    assert work.ran == ["extract", "clean", "join", "top"]
    assert flow.state == "completed"


def test_s19_a_timeout_ends_the_attempt():
    flow, _ = run(node("top", node("slow", timeout="100ms", attempts=2)), lambda job: time.sleep(1.0))
    with pytest.raises(fn.FlowFailed, match="top > slow: JobTimeout"):
        flow.result()
    assert {job.name: job.attempts_made for job in fn.Queue("q").get_jobs("failed")} == {"slow": 2, "top": 0}


def test_s20_a_child_whose_failure_is_not_kept_still_fails_its_flow():
    flow, work = run(node("top", node("good"), node("bad", removeOnFail=True)), Work("bad"))
    assert flow.state == "failed"
    assert "top" not in work.ran


@pytest.mark.parametrize("id", ["a:b", "123", "0", "", "wait", "x" * 300, 5])
def test_s21_an_id_that_bullmq_could_not_read_is_refused_with_its_place(redis, id):
    with pytest.raises((fn.FlowError, fn.OptionError), match=r"^root/children\[1\]: opts.jobId:? "):
        fn.add(node("top", node("a"), node("b", jobId=id)))
    assert redis.dbsize() == 0


def test_s22_two_pipelines_of_one_millisecond_do_not_meet():
    flows = fn.FlowProducer().add_bulk([node("pipeline", node("extract")) for _ in range(100)])
    assert len({flow.job.id for flow in flows}) == 100
    assert fn.Queue("q").get_job_counts()["waiting"] == 100


def test_s23_a_retry_goes_from_the_leaf_to_the_root_and_no_parent_runs_before_its_child():
    flow, work = run(node("top", node("middle", node("leaf"))), Work(leaf=1))
    assert work.ran == ["leaf"]
    with pytest.raises(fn.FlowError, match="'top' failed because its child 'middle' did"):
        flow.job.retry()
    with working(work):
        assert flow.retry().result(timeout=30) == "top"
    assert work.ran == ["leaf", "leaf", "middle", "top"]


def test_s26_priority_0_goes_first_then_1_upward_and_a_negative_one_is_refused():
    tree = node("top", *[node(f"p{p}", priority=p) for p in (2, 1, 0, 3, 0)], queue="tops")
    flow = fn.add(tree)
    work = Work()
    with working(work, concurrency=1), working(Work(), "tops"):
        flow.wait(timeout=30)
    assert work.ran == ["p0", "p0", "p1", "p2", "p3"]
    with pytest.raises(
        fn.OptionError, match=r"root/children\[0\]: opts.priority: a whole number from 0 .* not -1"
    ):
        fn.add(node("top", node("c", priority=-1)))


def test_s27_a_child_that_failed_before_fails_its_new_parent_at_once():
    run(node("old", node("s", jobId="s1"), queue="idle"), Work("s"))
    flow = fn.add(node("new", node("s", jobId="s1", attempts=5), queue="idle"))
    assert flow.state == "failed"
    with pytest.raises(fn.FlowFailed, match="new > s: ValueError: s is broken"):
        flow.result(timeout=5)


def test_s28_a_parent_that_goes_on_after_a_failure_may_end_before_its_other_children(until):
    flow = fn.add(
        node("top", node("bad", continueParentOnFailure=True, jobId="b1"), node("late", queue="late"))
    )
    with working(Work("bad")) as work:
        assert flow.wait(timeout=30).state == "completed"
    assert work.values["top"] == {"q:b1": None}
    with working(Work(), "late"):
        until(lambda: flow.progress().completed == 2)
