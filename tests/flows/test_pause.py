"""Shows that a paused flow stays still on every queue while others go on, until it is resumed, by whoever does."""

from __future__ import annotations

import subprocess
import sys
import threading

import pandas as pd
import pytest

import flownb as fn
from flownb.errors import JobMissing
from tests.support import invariants


def tree(name="top", children=3, **opts):
    below = [{"name": f"{name}-{i}", "queueName": "q", "opts": opts} for i in range(children)]
    return {"name": name, "queueName": "q", "children": below}


def sound(redis):
    assert [str(violation) for violation in invariants.violations(redis)] == []


def test_other_flows_of_the_same_queue_run_meanwhile(redis):
    held, other = fn.add(tree("held")), fn.add(tree("other"))
    ran = []
    assert held.pause() is held
    with fn.Worker("q", lambda job: ran.append(job.name)):
        other.wait(timeout=20)
        assert ran == ["other-0", "other-1", "other-2", "other"]
        assert repr(held) == "Flow('held': 4 jobs, paused)"
        assert held.progress().paused
        assert held.progress().counts.count("waiting") == 3
        sound(redis)
        held.resume().wait(timeout=20)
    assert ran[4:] == ["held-0", "held-1", "held-2", "held"]
    assert not held.progress().paused
    sound(redis)


def test_what_runs_ends_and_its_parent_waits(redis, until):
    running, go_on = threading.Event(), threading.Event()

    def work(job):
        running.set()
        assert go_on.wait(20)
        return job.name

    flow = fn.add(tree(children=1))
    with fn.Worker("q", work):
        assert running.wait(20)
        flow.pause()
        go_on.set()
        until(lambda: flow.progress().completed == 1)
        assert fn.add({"name": "probe", "queueName": "q"}).result(timeout=20) == "probe"
        assert flow.job.get_state() == "waiting"
        assert flow.resume().result(timeout=20) == "top"


def test_a_delayed_and_a_prioritized_job_wait_for_the_resume(redis, until):
    flow = fn.add(
        {
            "name": "top",
            "queueName": "q",
            "children": [
                {"name": "late", "queueName": "q", "opts": {"delay": 1}},
                {"name": "soon", "queueName": "q", "opts": {"priority": 1}},
            ],
        }
    ).pause()
    ran = []
    with fn.Worker("q", lambda job: ran.append(job.name)):
        until(lambda: flow.progress().counts.count("waiting") == 2)
        fn.add({"name": "probe", "queueName": "q"}).wait(timeout=20)
        assert ran == ["probe"]
        flow.resume().wait(timeout=20)
    assert sorted(ran[1:3]) == ["late", "soon"]
    sound(redis)


def test_another_process_resumes_what_a_killed_one_paused(server_folder):
    flow = fn.add(tree())
    script = f"""
import os, signal
import flownb as fn
fn.connect(path={str(server_folder)!r})
fn.attach({"q:" + flow.job.id!r}).pause()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert flow.progress().paused
    with fn.Worker("q", lambda job: 1):
        fn.add({"name": "probe", "queueName": "q"}).wait(timeout=20)
        assert flow.progress().completed == 0
        assert flow.resume().result(timeout=20) == 1


def test_explain_and_a_wait_that_runs_out_say_that_it_is_paused():
    flow = fn.add(tree()).pause()
    with fn.Worker("q", lambda job: 1):
        assert flow.explain().to_dict("records")[0] == {
            "job": "top",
            "why": "the flow is paused",
            "fix": "resume it with resume()",
        }
        with pytest.raises(TimeoutError, match=r"top: the flow is paused; resume it with resume\(\)"):
            flow.wait(timeout=0.01)


def test_a_queue_that_is_resumed_does_not_resume_the_flow(redis):
    flow = fn.add(tree()).pause()
    with fn.Worker("q", lambda job: 1):
        fn.add({"name": "probe", "queueName": "q"}).wait(timeout=20)
        fn.Queue("q").resume()
        fn.add({"name": "probe", "queueName": "q"}).wait(timeout=20)
        assert flow.progress().completed == 0
        assert flow.resume().result(timeout=20) == 1
    sound(redis)


def test_a_batch_is_paused_and_resumed():
    batch = fn.fan_out(pd.Series(range(3), name="x"), "double").pause()
    with fn.Worker("double", lambda job: 2 * job.data["x"]):
        fn.add({"name": "probe", "queueName": "double", "data": {"x": 0}}).wait(timeout=20)
        assert batch.progress().completed == 0
        assert batch.resume().results(timeout=20)["double"].tolist() == [0, 2, 4]


def test_a_paused_flow_that_is_removed_leaves_no_key(redis):
    flow = fn.add(tree()).pause()
    with fn.Worker("q", lambda job: 1):
        fn.add({"name": "probe", "queueName": "q"}).wait(timeout=20)
    flow.remove()
    left = [key.decode() for key in redis.keys("*")]
    assert not [key for key in left if flow._stored.id in key or key.endswith((":paused", ":wait"))]


@pytest.mark.parametrize("call", ["pause", "resume", "progress"])
def test_a_removed_flow_is_not_there_to_be_paused_resumed_or_counted(redis, call):
    flow = fn.add({"name": "gone", "queueName": "q"})
    flow.remove()

    with pytest.raises(JobMissing, match="removed"):
        getattr(flow, call)()
    assert redis.keys("bull:flownb:*") == []
