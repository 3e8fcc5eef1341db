"""Shows what a program's own logging hears of jobs and flows, and that nobody hears of their data."""

from __future__ import annotations

import logging

import flownb as fn


def heard(caplog, name):
    return [record for record in caplog.records if record.name == name]


def test_every_step_of_a_job_is_a_record_with_flow_job_attempt_and_state(caplog, until):
    def work(job):
        if job.name == "parent":
            return job.add_children([{"name": "late", "queueName": "late"}])
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
            until(lambda: "job parent (q:p), start 1, waiting-children" in caplog.messages)
            with fn.Worker("late", work):
                flow.wait(timeout=30)
    found = heard(caplog, "flownb.flows.jobs")
    steps = {}
    for record in found:
        assert record.flow == flow._stored.id
        steps.setdefault(record.job, []).append((record.attempt, record.state, record.levelname))
    late = next(job for job in steps if job not in ("q:p", "q:f", "q:b"))
    # Two workers tell of one job in the order in which they get their answers.
    assert {job: sorted(of_job) for job, of_job in steps.items()} == {
        "q:f": [
            (0, "waiting", "DEBUG"),
            (1, "active", "DEBUG"),
            (1, "waiting", "INFO"),
            (2, "active", "DEBUG"),
            (2, "completed", "DEBUG"),
        ],
        "q:b": [(0, "waiting", "DEBUG"), (1, "active", "DEBUG"), (1, "failed", "INFO")],
        "q:p": [
            (0, "waiting", "DEBUG"),
            (0, "waiting-children", "DEBUG"),
            (1, "active", "DEBUG"),
            (1, "waiting", "DEBUG"),
            (1, "waiting-children", "DEBUG"),
            (2, "active", "DEBUG"),
            (2, "completed", "DEBUG"),
        ],
        late: [(0, "waiting", "DEBUG"), (1, "active", "DEBUG"), (1, "completed", "DEBUG")],
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
        (flow._stored.id, f"flow {flow._stored.id} is stored, jobs: 1"),
        (flow._stored.id, f"flow {flow._stored.id} is retried by hand, failed jobs: 1"),
        (flow._stored.id, f"flow {flow._stored.id} is removed"),
    ]


def test_what_the_server_does_by_itself_is_a_record_too(caplog, until):
    def work(job):
        if job.name == "bad":
            raise ValueError("secret")

    def steps():
        return [(record.job, record.state) for record in heard(caplog, "flownb.flows.jobs")]

    children = [
        {"name": "bad", "queueName": "q", "opts": {"jobId": "b", "delay": 1}},
        {"name": "never", "queueName": "elsewhere", "opts": {"jobId": "n"}},
    ]
    with caplog.at_level(logging.DEBUG, logger="flownb"):
        flow = fn.add({"name": "p", "queueName": "q", "children": children, "opts": {"jobId": "p"}})
        with fn.Worker("q", work):
            flow.wait(timeout=30)
            until(lambda: "failed" in [state for job, state in steps() if job == "elsewhere:n"])
        flow.retry()
        flow.cancel()
        flow.remove()
    assert {record.flow for record in heard(caplog, "flownb.flows.jobs")} == {flow._stored.id}
    words = [record.getMessage() for record in heard(caplog, "flownb.flows.jobs") if record.job == "q:p"]
    assert list(zip([state for job, state in steps() if job == "q:p"], words, strict=True)) == [
        ("waiting-children", "job p (q:p), start 0, waiting-children"),
        ("failed", "job p (q:p), start 0, failed (a child)"),
        ("waiting-children", "job p (q:p), start 0, waiting-children"),
        ("failed", "job p (q:p), start 0, cancelled"),
        ("removed", "job p (q:p), start 0, removed"),
    ]
    assert [state for job, state in steps() if job == "q:b"] == [
        "delayed",
        "waiting",
        "active",
        "failed",
        "waiting",
        "failed",
        "removed",
    ]
    assert [state for job, state in steps() if job == "elsewhere:n"] == [
        "waiting",
        "failed",
        "waiting",
        "failed",
        "removed",
    ]
    assert "secret" not in caplog.text


def test_nothing_is_said_when_nobody_listens(capfd):
    flow = fn.add({"name": "j", "queueName": "q"})
    with fn.Worker("q", lambda job: 1):
        flow.wait(timeout=30)
    assert capfd.readouterr() == ("", "")
