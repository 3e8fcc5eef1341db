"""Shows what a program's own logging hears of jobs and flows, and that nobody hears of their data."""

from __future__ import annotations

import logging

import flownb as fn


def heard(caplog, name):
    return [record for record in caplog.records if record.name == name]


def test_every_step_of_a_job_is_a_record_with_flow_job_attempt_and_state(caplog, until):
    def work(job):
        if job.name == "parent":
            return job.add_children([{"name": "late", "queueName": "q"}])
        if job.name == "flaky" and not job.attempts_made:
            raise ValueError("secret")
        if job.name == "bad":
            raise fn.UnrecoverableError("secret")

    children = [
        {"name": "flaky", "queueName": "q", "opts": {"attempts": 2, "jobId": "f"}},
        {"name": "bad", "queueName": "q", "opts": {"failParentOnFailure": False, "jobId": "b"}},
    ]
    tree = {
        "name": "parent",
        "queueName": "q",
        "data": "secret",
        "children": children,
        "opts": {"jobId": "p"},
    }
    with caplog.at_level(logging.DEBUG, logger="flownb"):
        flow = fn.add(tree)
        with fn.Worker("q", work):
            flow.wait(timeout=30)
    found = heard(caplog, "flownb.worker.jobs")
    steps = {}
    for record in found:
        assert record.flow == flow._id
        steps.setdefault(record.job, []).append((record.attempt, record.state, record.levelname))
    late = next(job for job in steps if job not in ("q:p", "q:f", "q:b"))
    assert steps == {
        "q:f": [
            (1, "active", "DEBUG"),
            (1, "waiting", "INFO"),
            (2, "active", "DEBUG"),
            (2, "completed", "DEBUG"),
        ],
        "q:b": [(1, "active", "DEBUG"), (1, "failed", "INFO")],
        "q:p": [
            (1, "active", "DEBUG"),
            (1, "waiting-children", "DEBUG"),
            (2, "active", "DEBUG"),
            (2, "completed", "DEBUG"),
        ],
        late: [(1, "active", "DEBUG"), (1, "completed", "DEBUG")],
    }
    assert "job bad (q:b), start 1, failed (UnrecoverableError)" in [r.getMessage() for r in found]
    assert "secret" not in caplog.text


def test_what_is_done_to_a_flow_is_a_record(caplog):
    with caplog.at_level(logging.INFO, logger="flownb"):
        flow = fn.add({"name": "j", "queueName": "q"})
        with fn.Worker("q", lambda job: 1 / 0):
            flow.wait(timeout=30)
        flow.retry()
        flow.remove()
    told = [(record.flow, record.getMessage()) for record in heard(caplog, "flownb.flows")]
    assert told == [
        (flow._id, f"flow {flow._id} is stored, jobs: 1"),
        (flow._id, f"flow {flow._id} is retried by hand, failed jobs: 1"),
        (flow._id, f"flow {flow._id} is removed"),
    ]


def test_nothing_is_said_or_kept_when_nobody_listens(capfd, until):
    flow = fn.add({"name": "j", "queueName": "q"})
    with fn.Worker("q", lambda job: 1) as worker:
        flow.wait(timeout=30)
        assert worker._pump._journal._running == {}
    assert capfd.readouterr() == ("", "")
