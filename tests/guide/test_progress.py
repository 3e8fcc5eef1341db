"""Shows the guide's "Monitoring Flow Progress": the whole tree counts, 50 % after two of four stages."""

from __future__ import annotations

import threading

import flownb as fn


class FlowProgressTracker:
    def __init__(self, queue_name):
        self.queue = fn.Queue(queue_name)

    def get_flow_progress(self, parent_job_id):
        job = self.queue.get_job(parent_job_id)
        if not job:
            return {"progress": 0, "status": "not_found", "jobs": []}
        dependencies = job.get_dependencies()
        # Collect all dependency jobs
        all_jobs = [
            {"key": key, "state": "completed", "result": child_job}
            for key, child_job in dependencies["processed"].items()
        ]
        all_jobs += [{"key": key, "state": "pending"} for key in dependencies["unprocessed"]]
        completed = len([j for j in all_jobs if j["state"] == "completed"])
        total = len(all_jobs)
        return {
            "progress": completed / total * 100 if total > 0 else 0,
            "status": job.get_state(),
            "jobs": all_jobs,
        }


STAGES = ["pipeline-notify", "pipeline-load", "pipeline-transform", "pipeline-extract"]


def pipeline():
    tree = None
    for queue in reversed(STAGES):
        tree = {
            "name": queue.removeprefix("pipeline-"),
            "queueName": queue,
            "children": [tree] if tree else [],
        }
    return fn.add(tree)


def test_half_of_a_pipeline_is_fifty_percent(until):
    flow = pipeline()
    assert flow.progress().fraction == 0.0
    assert flow.progress().total == 4
    for done, queue in enumerate(reversed(STAGES), 1):
        with fn.Worker(queue, lambda job: None):
            until(lambda done=done: flow.progress().completed == done)
        assert flow.progress().fraction == done / 4
        assert flow.state == ("waiting-children" if done < 3 else "waiting" if done == 3 else "completed")


def test_the_guides_own_tracker_reads_the_same_from_the_root(until):
    flow = fn.add(
        {
            "name": "parent",
            "queueName": "parent-queue",
            "children": [
                {"name": f"c{n}", "queueName": f"child-{n}", "opts": {"jobId": f"c{n}"}} for n in range(2)
            ],
        }
    )
    tracker = FlowProgressTracker("parent-queue")
    assert tracker.get_flow_progress("nobody") == {"progress": 0, "status": "not_found", "jobs": []}
    with fn.Worker("child-0", lambda job: 7):
        until(lambda: flow.progress().completed == 1)
    assert tracker.get_flow_progress(flow.job.id) == {
        "progress": 50.0,
        "status": "waiting-children",
        "jobs": [
            {"key": "child-0:c0", "state": "completed", "result": 7},
            {"key": "child-1:c1", "state": "pending"},
        ],
    }


def test_the_flow_tells_what_is_active_and_what_has_failed():
    started, may_end = threading.Event(), threading.Event()

    def work(job):
        if job.data["n"] == 0:
            raise ValueError("no")
        started.set()
        assert may_end.wait(20)

    children = [
        {"name": f"c{n}", "queueName": "children", "data": {"n": n}, "opts": {"failParentOnFailure": False}}
        for n in range(2)
    ]
    flow = fn.add({"name": "parent", "queueName": "parents", "children": children})
    with fn.Worker("children", work), fn.Worker("parents", lambda job: None):
        assert started.wait(20)
        progress = flow.progress()
        assert (progress.completed, progress.failed, progress.active, progress.total) == (0, 1, 1, 3)
        assert repr(progress) == "Progress(completed=0, failed=1, active=1, total=3, fraction=0.333)"
        may_end.set()
        flow.wait(timeout=20)
    assert repr(flow.progress()) == "Progress(completed=2, failed=1, active=0, total=3, fraction=1.000)"
    stages = flow.progress().stages
    assert stages.loc["children", "completed"] == 1
    assert stages.loc["children", "failed"] == 1


def test_a_completed_event_is_heard():
    heard = threading.Event()
    events = fn.QueueEvents("children")
    events.on("completed", lambda event: heard.set())
    with fn.Worker("children", lambda job: None):
        fn.Queue("children").add("one")
        assert heard.wait(20)
    events.close()
