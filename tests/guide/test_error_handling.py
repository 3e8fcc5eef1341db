"""Shows the guide's "Error Handling in Flows": who must succeed, who may fail, and what the parent sees of it."""

from __future__ import annotations

import pytest

import flownb as fn


def add_flow(must_succeed=True):
    critical = {"attempts": 5}
    if must_succeed is not None:
        critical["failParentOnFailure"] = must_succeed  # Default - parent fails if this fails
    return fn.FlowProducer().add(
        {
            "name": "resilient-parent",
            "queueName": "parent",
            "data": {},
            "opts": {"attempts": 2},
            "children": [
                {"name": "must-succeed", "queueName": "critical", "data": {}, "opts": critical},
                {
                    "name": "optional-task",
                    "queueName": "optional",
                    "data": {},
                    # Parent continues even if this fails
                    "opts": {"attempts": 2, "failParentOnFailure": False},
                },
            ],
        }
    )


def parent(job):
    children_values = job.get_children_values()
    # Check which children succeeded
    results = list(children_values.items())
    # Handle partial success
    successful = [(key, v) for key, v in results if v is not None]
    failed = [(key, v) for key, v in results if v is None]
    if failed:
        job.log(f"Some optional children failed: {', '.join(key.split(':')[0] for key, _ in failed)}")
    return {"totalChildren": len(results), "successful": len(successful), "failed": len(failed)}


def fail(job):
    raise RuntimeError(f"{job.name} is broken")


def test_a_failed_optional_child_is_none_and_counted_as_failed():
    flow = add_flow()
    with fn.Worker("critical", lambda job: "ok"), fn.Worker("optional", fail), fn.Worker("parent", parent):
        assert flow.result(timeout=20) == {"totalChildren": 2, "successful": 1, "failed": 1}
    assert flow.job.get_logs() == ["Some optional children failed: optional"]
    [reason] = flow.job.get_ignored_children_failures().values()
    assert reason == "RuntimeError: optional-task is broken"
    assert fn.Queue("optional").get_jobs("failed")[0].attempts_made == 2
    assert list(flow.job.get_children_values().values()) == ["ok", None]


def test_when_both_succeed_nothing_is_none():
    flow = add_flow()
    with fn.Worker(["critical", "optional"], lambda job: job.name), fn.Worker("parent", parent):
        assert flow.result(timeout=20) == {"totalChildren": 2, "successful": 2, "failed": 0}
    assert flow.job.get_ignored_children_failures() == {}


@pytest.mark.parametrize("must_succeed", [None, True], ids=["by default", "explicit"])
def test_a_failed_child_fails_its_parent_without_a_worker_of_the_parent(must_succeed):
    flow = add_flow(must_succeed)
    with fn.Worker("critical", fail), pytest.raises(fn.FlowFailed) as failure:
        flow.result(timeout=20)
    assert str(failure.value) == (
        "flow 'resilient-parent' failed: resilient-parent > must-succeed: RuntimeError: must-succeed is broken"
    )
    assert flow.state == "failed"
    assert flow.job.get_state() == "failed"
    assert flow.job.attempts_made == 0
    assert fn.Queue("critical").get_jobs("failed")[0].attempts_made == 5


def test_with_an_explicit_false_everything_may_fail():
    flow = add_flow(must_succeed=False)
    with fn.Worker(["critical", "optional"], fail), fn.Worker("parent", parent):
        assert flow.result(timeout=20) == {"totalChildren": 2, "successful": 0, "failed": 2}


def test_the_parents_own_attempts_keep_the_childrens_values():
    seen = []

    def flaky_parent(job):
        seen.append(list(job.get_children_values().values()))
        if len(seen) == 1:
            raise ValueError("once more")
        return parent(job)

    flow = add_flow()
    with fn.Worker("critical", lambda job: 1), fn.Worker("optional", fail), fn.Worker("parent", flaky_parent):
        assert flow.result(timeout=20)["successful"] == 1
    assert seen == [[1, None], [1, None]]
    assert flow.job.attempts_made == 2


def test_retrying_the_failed_child_revives_the_parent():
    flow = add_flow()
    with fn.Worker(["critical", "optional"], fail):
        flow.wait(timeout=20)
    flow.retry()
    with fn.Worker(["critical", "optional"], lambda job: 1), fn.Worker("parent", parent):
        assert flow.result(timeout=20)["successful"] == 2
