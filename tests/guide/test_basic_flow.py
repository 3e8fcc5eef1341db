"""Shows the guide's "Understanding Flow Producer": a parent waits for its two children and then runs."""

from __future__ import annotations

import flownb as fn


def add_flow():
    flow_producer = fn.FlowProducer()
    return flow_producer.add(
        {
            "name": "parent-job",
            "queueName": "parent-queue",
            "data": {"type": "aggregate"},
            "children": [
                {"name": "child-1", "queueName": "child-queue", "data": {"item": 1}},
                {"name": "child-2", "queueName": "child-queue", "data": {"item": 2}},
            ],
        }
    )


def test_the_parent_waits_for_its_children_and_they_wait_for_a_worker():
    flow = add_flow()
    assert flow.name == "parent-job"
    assert flow.state == "waiting-children"
    assert flow.job.data == {"type": "aggregate"}
    assert fn.Queue("child-queue").get_job_counts()["waiting"] == 2
    assert fn.Queue("parent-queue").get_job_counts()["waiting-children"] == 1
    assert [job.name for job in fn.Queue("child-queue").get_jobs("waiting")] == ["child-1", "child-2"]


def test_the_parent_runs_once_after_both_children():
    ran = []

    def record(job):
        ran.append((job.name, job.data))

    flow = add_flow()
    with fn.Worker("child-queue", record), fn.Worker("parent-queue", record):
        flow.result(timeout=20)
    assert sorted(ran[:2], key=lambda run: run[0]) == [("child-1", {"item": 1}), ("child-2", {"item": 2})]
    assert ran[2:] == [("parent-job", {"type": "aggregate"})]


def test_a_worker_of_the_parent_alone_does_not_start_it():
    flow = add_flow()
    ran = []
    with (
        fn.Worker("parent-queue", lambda job: ran.append(job.name)),
        fn.Worker("other-queue", lambda job: "ran"),
    ):
        assert fn.add({"name": "later", "queueName": "other-queue"}).result(timeout=20) == "ran"
        assert fn.Queue("parent-queue").add("by-itself")
        with fn.Worker("child-queue", lambda job: None):
            flow.result(timeout=20)
    assert ran == ["by-itself", "parent-job"]
