"""Shows the guide's "Flow with Job Options": attempts, exponential backoff, priority, and an optional child."""

from __future__ import annotations

import pytest

import flownb as fn


def add_flow(**changes):
    critical = {"attempts": 5, "backoff": {"type": "exponential", "delay": 2000}, "priority": 0, **changes}
    return fn.FlowProducer().add(
        {
            "name": "parent",
            "queueName": "parent-queue",
            "data": {"type": "aggregate"},
            "opts": {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}, "priority": 1},
            "children": [
                {
                    "name": "critical-child",
                    "queueName": "child-queue",
                    "data": {"critical": True},
                    "opts": critical,  # priority 0: highest
                },
                {
                    "name": "optional-child",
                    "queueName": "child-queue",
                    "data": {"optional": True},
                    "opts": {"attempts": 1, "failParentOnFailure": False},  # Don't fail parent if this fails
                },
            ],
        }
    )


def test_options_are_stored_as_they_were_given():
    flow = add_flow()
    assert flow.job.opts == {"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}, "priority": 1}
    critical, optional = fn.Queue("child-queue").get_jobs("waiting")
    assert critical.opts == {"attempts": 5, "backoff": {"type": "exponential", "delay": 2000}, "priority": 0}
    assert optional.opts["attempts"] == 1


def test_the_critical_child_has_five_attempts_and_the_optional_one_may_fail():
    runs = []

    def child(job):
        runs.append(job.name)
        if job.name == "optional-child":
            raise ValueError("optional")
        if runs.count("critical-child") < 5:
            raise ValueError("not yet")
        return "done"

    flow = add_flow(backoff={"type": "exponential", "delay": 5})
    with (
        fn.Worker("child-queue", child),
        fn.Worker("parent-queue", lambda job: list(job.get_children_values().values())),
    ):
        assert flow.result(timeout=20) == ["done", None]
    assert runs.count("critical-child") == 5
    assert runs.count("optional-child") == 1


def test_a_critical_child_out_of_attempts_fails_the_parent():
    def child(job):
        if "critical" in job.data:
            raise ValueError("broken")

    flow = add_flow(backoff={"type": "exponential", "delay": 1})
    with (
        fn.Worker("child-queue", child),
        pytest.raises(fn.FlowFailed, match="parent > critical-child: ValueError: broken"),
    ):
        flow.result(timeout=20)
    assert fn.Queue("child-queue").get_jobs("failed")[0].attempts_made == 5


def test_the_second_attempt_waits_two_seconds_and_the_third_four(redis, until):
    """The waits are read from the scores of the delayed jobs, not sat out."""
    waits = []

    def child(job):
        if "optional" in job.data:
            return
        raise ValueError("again")

    flow = add_flow()
    queue = fn.Queue("child-queue")
    with fn.Worker("child-queue", child):
        for _ in range(3):
            delayed = until(lambda: queue.get_jobs("delayed"))
            [(_, score)] = redis.zrange("bull:child-queue:delayed", 0, -1, withscores=True)
            waits.append(score / 4096 - delayed[0].processed_on.timestamp() * 1000)
            redis.zadd("bull:child-queue:delayed", {delayed[0].id: 4096})  # due now
            redis.zadd("bull:child-queue:marker", {"0": 0})
            made = delayed[0].attempts_made
            until(lambda made=made: any(job.attempts_made > made for job in queue.get_jobs(["delayed"])))
    assert flow.state == "waiting-children"
    for wait, expected in zip(waits, [2000, 4000, 8000], strict=True):
        assert expected - 1 <= wait < expected + 1500


def test_priority_zero_runs_before_priority_one():
    ran = []
    children = [{"name": f"p{p}", "queueName": "ranked", "opts": {"priority": p}} for p in (3, 1, 0, 2, 0, 1)]
    root = fn.add({"name": "root", "queueName": "roots", "children": children})
    with fn.Worker("ranked", lambda job: ran.append(job.name)), fn.Worker("roots", lambda job: None):
        root.wait(timeout=20)
    assert ran == ["p0", "p0", "p1", "p1", "p2", "p3"]


@pytest.mark.parametrize("option", ["removeOnComplete", "removeOnFail"])
def test_completed_flows_are_cleaned_up_as_configured(redis, until, option):
    """Best practice 6, "Clean up completed flows": the whole flow goes with its root, ten seconds after its end."""

    def end(job):
        if option == "removeOnFail":
            raise ValueError("broken")
        return sum(job.get_children_values().values())

    children = [{"name": f"part-{n}", "queueName": "parts", "data": n} for n in range(3)]
    flow = fn.add({"name": "root", "queueName": "roots", "opts": {option: True}, "children": children})
    root = flow.job.id
    with fn.Worker("parts", lambda job: job.data), fn.Worker("roots", end, stalled_interval=0.1):
        assert flow.wait(timeout=20).state == ("completed" if option == "removeOnComplete" else "failed")
        assert redis.exists(f"bull:roots:{root}")  # whoever waits still gets the value
        redis.zadd(
            "bull:flownb:tidy", dict.fromkeys(redis.zrange("bull:flownb:tidy", 0, -1), 0)
        )  # ten seconds pass
        until(lambda: not list(redis.scan_iter(f"*{root}*")))
    assert not list(redis.scan_iter("bull:flownb:children:*"))
    if option == "removeOnComplete":
        assert flow.result() == 3  # kept by the handle that waited
