"""When jobs waited, ran and waited for another attempt, as a real worker leaves it on the server."""

from __future__ import annotations

import flownb as fn


def test_a_job_that_failed_twice_and_then_passed_shows_three_runs(connection):
    def break_twice(job):
        if job.name == "shaky" and job.attempts_made < 2:
            raise ValueError("not yet")
        return 1

    child = {
        "name": "shaky",
        "queueName": "q",
        "opts": {"attempts": 3, "backoff": {"type": "fixed", "delay": 20}},
    }
    flow = fn.add({"name": "top", "queueName": "q", "children": [child]})
    with fn.Worker("q", break_twice):
        assert flow.result(timeout=60) == 1

    frame = flow.timeline()
    shaky = frame[frame["name"] == "shaky"]
    assert shaky["phase"].tolist() == ["waiting", "running", "retrying", "running", "retrying", "running"]
    assert (shaky["start"].tolist()[1:], shaky["end"].isna().any()) == (shaky["end"].tolist()[:-1], False)
    assert (shaky.loc[shaky["phase"] == "retrying", "seconds"] >= 0.02).all()
    assert flow.to_html().count("fn-part fn-delayed") == 3 * 3  # two waits, and the legend; in three widths
    top = frame[frame["name"] == "top"]
    assert top["phase"].tolist() == ["waiting", "running"]


def test_a_job_retried_by_hand_shows_the_run_that_failed(connection):
    failing = {"now": True}

    def once(job):
        if failing["now"]:
            raise ValueError("no such host")
        return 1

    flow = fn.add({"name": "only", "queueName": "q"})
    with fn.Worker("q", once):
        flow.wait(timeout=60)
        failing["now"] = False
        flow.retry()
        assert flow.result(timeout=60) == 1
    assert flow.timeline()["phase"].tolist() == ["waiting", "running", "retrying", "running"]
