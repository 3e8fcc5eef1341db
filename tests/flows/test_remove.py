"""Shows that a removed flow leaves no key, that a running one is refused as it is, and that shared jobs stay."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

import flownb as fn
from tests.support import invariants

pytestmark = pytest.mark.every_server

TREE = {
    "name": "top",
    "queueName": "q",
    "children": [
        {
            "name": "mid",
            "queueName": "q",
            "children": [{"name": f"c{i}", "queueName": "q"} for i in range(3)],
        },
        {"name": "late", "queueName": "q", "opts": {"delay": 600_000}},
    ],
}


def work(job):
    job.log("here")
    if job.name == "c1":
        raise ValueError("no")
    return job.name


@pytest.fixture
def used(redis):
    """Give the number of keys when the queue's own are there: those of a queue that was used before."""
    flow = fn.add(TREE)
    with fn.Worker("q", work):
        flow.wait(timeout=20)
    flow.remove()
    return lasting(redis)


QUEUES_OWN = ("meta", "id", "events", "marker", "pc", "stalled", "stalled-check", "served")


def lasting(redis):
    """Count the keys, but for a queue's own, which come and go with its workers."""
    names = [name.decode() if isinstance(name, bytes) else name for name in redis.keys("*")]
    return len([name for name in names if name.rsplit(":", 1)[1] not in QUEUES_OWN])


def sound(redis):
    assert [str(violation) for violation in invariants.violations(redis)] == []


def test_the_job_of_a_root_goes_with_its_flow_though_a_child_runs_and_any_other_job_is_kept(redis):
    begun, go_on = threading.Event(), threading.Event()

    def run(job):
        begun.set()
        go_on.wait(30)

    flow = fn.add({"name": "top", "queueName": "tops", "children": [TREE["children"][0]]})
    with fn.Worker("q", run):
        assert begun.wait(30)
        mid = fn.Queue("q").get_jobs("waiting-children")[0]
        with pytest.raises(fn.FlowError, match="runs right now"):
            mid.remove()
        assert mid.get_state() == "waiting-children"

        flow.job.remove()
        go_on.set()
    with pytest.raises(fn.JobMissing):
        flow.wait(timeout=5)


def test_a_flow_that_never_ran_leaves_no_key(used, redis):
    flow = fn.add(TREE, name="named")
    flow.remove()
    assert lasting(redis) == used
    with pytest.raises(fn.JobMissing):
        fn.attach("named")


def test_a_flow_that_ran_leaves_no_key(used, redis):
    flow = fn.add(TREE, name="named")
    with fn.Worker("q", work):
        assert flow.wait(timeout=20).state == "failed"
    flow.remove()
    flow.remove()
    assert lasting(redis) == used
    assert sum(fn.Queue("q").get_job_counts().values()) == 0
    sound(redis)


def test_2500_jobs_leave_no_key(redis):
    def tree():
        return {
            "name": "top",
            "queueName": "q",
            "children": [
                {"name": f"c{i}", "queueName": "q", "opts": {"priority": i % 2}} for i in range(2_500)
            ],
        }

    fn.add(tree()).remove()
    used = lasting(redis)
    stay = fn.Queue("q").add_bulk([{"name": f"stay{i}"} for i in range(3)])
    flow = fn.add(tree())
    fn.Queue("q").add("newest")
    flow.remove()
    assert lasting(redis) == used + 5, "four jobs, and the line they stand in"
    assert [job.name for job in fn.Queue("q").get_jobs("waiting")] == ["stay0", "stay1", "stay2", "newest"]
    assert stay[0].get_state() == "waiting"
    sound(redis)


def test_s25_r15_a_flow_with_a_running_job_goes_and_the_late_end_of_that_changes_nothing(used, redis):
    started, may_end, told = threading.Event(), threading.Event(), []

    def wait(job):
        if job.name == "probe":
            return
        started.set()
        assert may_end.wait(20)
        told.append(job.is_cancelled())

    flow = fn.add({"name": "top", "queueName": "q", "children": [{"name": "slow", "queueName": "q"}]})
    with fn.Worker("q", wait):
        assert started.wait(20)
        flow.remove()
        assert lasting(redis) == used
        probe = fn.add({"name": "probe", "queueName": "q"})
        may_end.set()
        probe.wait(timeout=20)
    probe.remove()
    assert told == [True]
    assert lasting(redis) == used
    sound(redis)


def test_the_handle_of_a_removed_flow_says_so(redis):
    flow = fn.add(TREE, name="named")
    flow.remove()
    assert repr(flow) == "Flow('named')"
    for ask in (lambda: flow.state, flow.draw, flow.retry, lambda: flow.wait(timeout=20)):
        with pytest.raises(fn.JobMissing, match="not on this server any more"):
            ask()


def test_a_wait_ends_when_somebody_removes_the_flow(redis):
    flow = fn.add(TREE)
    found = []

    def wait():
        try:
            flow.result(timeout=30)
        except (fn.JobMissing, fn.FlowFailed) as error:  # it is cancelled first
            found.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    flow.remove()
    waiting.join(20)
    assert len(found) == 1


def test_a_shared_job_stays_with_the_flow_that_still_uses_it(redis):
    shared = {"name": "s", "queueName": "q", "opts": {"jobId": "s1"}}
    below = {**shared, "children": [{"name": "leaf", "queueName": "q"}]}
    one = fn.add({"name": "one", "queueName": "q", "children": [below]})
    two = fn.add({"name": "two", "queueName": "q", "children": [shared]})
    one.remove()
    sound(redis)
    assert two.progress().total == 3
    with fn.Worker("q", work):
        assert two.result(timeout=20) == "two"
    sound(redis)
    two.remove()
    assert redis.keys("bull:flownb:counts:*") + redis.keys("bull:q:s1*") == []


def test_a_job_goes_with_its_children_and_its_parent_runs_without_it(redis):
    flow = fn.add(
        {
            "name": "top",
            "queueName": "q",
            "children": [
                {
                    "name": "mid",
                    "queueName": "q",
                    "opts": {"jobId": "m1"},
                    "children": [{"name": "c", "queueName": "q"}],
                },
                {"name": "d", "queueName": "q"},
            ],
        }
    )
    fn.Queue("q").get_job("m1").remove()
    sound(redis)
    with fn.Worker("q", lambda job: list(job.get_children_values().values()) or job.name):
        assert flow.result(timeout=20) == ["d"]
    assert flow.progress().total == 2
    assert "top" in str(flow)
    sound(redis)


@pytest.fixture
def _serving_kernel():
    with fn.workers():
        yield


@pytest.mark.usefixtures("_serving_kernel")
def test_a_failed_row_that_is_removed_is_missing_and_the_batch_is_as_it_was(redis):
    @fn.task
    def square(n):
        if n == 2:
            raise ValueError("no")
        return n * n

    batch = fn.fan_out(pd.DataFrame({"n": [1, 2, 3]}), square)
    assert batch.results(timeout=20)["square"].tolist() == [1, pd.NA, 9]
    [failed] = fn.Queue("square").get_jobs("failed")
    failed.remove()
    assert batch.failures.empty
    assert batch.results(timeout=20)["square"].tolist() == [1, pd.NA, 9]
    assert len(batch.table()) == 3
    sound(redis)


@pytest.mark.usefixtures("_serving_kernel")
def test_a_removed_batch_runs_anew_and_rows_of_another_batch_stay(redis):
    runs = []

    @fn.task
    def square(n):
        runs.append(n)
        return n * n

    few, all_ = pd.DataFrame({"n": [1, 2]}), pd.DataFrame({"n": [1, 2, 3]})
    first = fn.fan_out(few, square, name="s")
    first.wait(timeout=20)
    second = fn.fan_out(all_, square, name="s")
    second.wait(timeout=20)
    first.remove()
    sound(redis)
    assert second.results(timeout=20)["square"].tolist() == [1, 4, 9]
    assert sorted(runs) == [1, 2, 3]
    second.remove()
    sound(redis)
    assert sum(fn.Queue("square").get_job_counts().values()) == 0
    assert fn.fan_out(few, square, name="s").results(timeout=20)["square"].tolist() == [1, 4]
    assert sorted(runs) == [1, 1, 2, 2, 3]


def test_another_flows_root_stays_with_its_jobs(redis):
    """It has no parent but in the flow that goes."""
    inner = fn.add({"name": "in", "queueName": "q", "opts": {"jobId": "in"}, "children": [TREE]})
    outer = fn.add(
        {
            "name": "out",
            "queueName": "q",
            "children": [{"name": "in", "queueName": "q", "opts": {"jobId": "in"}}],
        }
    )

    outer.remove()

    sound(redis)
    assert inner.progress().total == 7
    assert inner.state == "waiting-children"


def test_a_flow_that_took_over_a_job_counts_what_is_below_it(redis):
    """Of three flows, each the child of the next, the middle one goes: its root stays, for the third."""
    for name, child in (("a", None), ("b", "a"), ("c", "b")):
        below = [{"name": child, "queueName": "q", "opts": {"jobId": child}}] if child else []
        fn.add({"name": name, "queueName": "q", "opts": {"jobId": name}, "children": below}, name=name)

    fn.attach("b").remove()

    sound(redis)
    assert fn.attach("a").progress().total == 1
    assert fn.attach("c").progress().total == 3


@pytest.mark.parametrize("then", ["remove", "retry"])
def test_a_failure_whose_job_another_flow_removes_or_retries_is_told_from_what_is_left(redis, then):
    def work(job):
        if job.name == "shared":
            raise ValueError("broken")

    shared = {"name": "shared", "queueName": "q", "opts": {"jobId": "s"}}
    other = fn.add({"name": "other", "queueName": "q", "children": [shared]})
    middle = {"name": "middle", "queueName": "q", "children": [shared], "opts": {"jobId": "m"}}
    flow = fn.add({"name": "top", "queueName": "q", "children": [middle]})
    with (
        fn.Worker("q", work),
        pytest.raises(fn.FlowFailed, match="top > middle > shared: ValueError: broken"),
    ):
        flow.result(timeout=20)
    fn.Queue("q").get_job("m").remove()
    getattr(other, then)()
    sound(redis)
    with pytest.raises(
        fn.FlowFailed, match="'top' failed, and the job that failed it was removed: child bull:q:m failed"
    ):
        flow.result(timeout=20)


def test_a_flow_that_stays_failed_has_a_job_to_blame_when_its_first_failure_runs_again(redis):
    def work(job):
        if job.name == "shared":
            raise ValueError("broken")

    shared = {"name": "shared", "queueName": "q", "opts": {"jobId": "s"}}
    failing = {"name": "middle", "queueName": "q", "children": [shared], "opts": {"jobId": "m"}}
    ignoring = {"name": "shared", "queueName": "q", "opts": {"jobId": "s", "ignoreDependencyOnFailure": True}}
    waiting = {"name": "waiting", "queueName": "unserved"}
    beside = {"name": "beside", "queueName": "q", "children": [ignoring, waiting]}
    flow = fn.add({"name": "top", "queueName": "q", "children": [failing, beside]}, on_failure="finish")
    with fn.Worker("q", work):
        flow.wait(timeout=20)
    fn.Queue("q").get_job("m").remove()
    fn.Queue("q").get_job("s").retry()
    sound(redis)
    with pytest.raises(
        fn.FlowFailed, match="'top' failed, and the job that failed it was removed: child bull:q:m failed"
    ):
        flow.result(timeout=20)
