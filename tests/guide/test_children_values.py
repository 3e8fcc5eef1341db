"""Shows the guide's "Getting Results from Child Jobs": a mapping keyed `queue:id` that split(":") takes apart."""

from __future__ import annotations

import pytest

import flownb as fn


def parent(job):
    # Get all children values
    children_values = job.get_children_values()
    # Process results
    results = []
    for key, value in children_values.items():
        queue_name, job_id = key.split(":")
        results.append({"queueName": queue_name, "jobId": job_id, "value": value})
    # Aggregate results
    aggregated = {"total": 0}
    for r in results:
        aggregated["total"] += r["value"].get("count") or 0
    return {**aggregated, "results": results}


def add_parent():
    children = [
        {"name": f"child-{n}", "queueName": "child-queue", "data": {"n": n}, "opts": {"jobId": f"c{n}"}}
        for n in range(3)
    ]
    return fn.FlowProducer().add({"name": "parent", "queueName": "parent-queue", "children": children})


def child(job):
    return {"count": job.data["n"]} if job.data["n"] else {}


def test_keys_are_queue_and_id_and_give_two_parts():
    flow = add_parent()
    with fn.Worker("child-queue", child), fn.Worker("parent-queue", parent):
        value = flow.result(timeout=20)
    assert value["total"] == 3
    assert value["results"] == [
        {"queueName": "child-queue", "jobId": f"c{n}", "value": {"count": n} if n else {}} for n in range(3)
    ]


def test_values_can_be_read_afterwards_and_by_the_raw_key_too():
    flow = add_parent()
    with fn.Worker("child-queue", child), fn.Worker("parent-queue", parent):
        flow.wait(timeout=20)
    values = flow.job.get_children_values()
    assert list(values) == ["child-queue:c0", "child-queue:c1", "child-queue:c2"]
    assert values["bull:child-queue:c2"] == values["child-queue:c2"] == {"count": 2}
    with pytest.raises(KeyError):
        values["child-queue:c9"]


def test_before_a_child_has_ended_there_are_no_values():
    assert dict(add_parent().job.get_children_values()) == {}


def test_a_child_that_returned_nothing_is_there_as_none_and_did_not_fail():
    flow = add_parent()
    with (
        fn.Worker("child-queue", lambda job: None),
        fn.Worker("parent-queue", lambda job: len(job.get_children_values())),
    ):
        assert flow.result(timeout=20) == 3
    assert set(flow.job.get_children_values().values()) == {None}
    assert flow.job.get_ignored_children_failures() == {}


@pytest.mark.parametrize("key", [0, -1, "child", ("queue", "id"), None])
def test_what_is_no_child_is_a_key_error_that_says_what_to_write(key):
    flow = fn.add({"name": "p", "queueName": "up", "children": [{"name": "child", "queueName": "down"}]})
    with fn.Worker("down", lambda job: 7), fn.Worker("up", lambda job: None):
        flow.wait(timeout=20)
    values = flow.job.get_children_values()
    with pytest.raises(KeyError, match=r"queue:id, such as 'down:.*list\(values\.values\(\)\)"):
        values[key]
    assert key not in values
    assert values.get(key, "none") == "none"
    assert list(values.values()) == [7]
