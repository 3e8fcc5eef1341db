"""Shows what becomes of one job that is cancelled, wherever it is, and of who waits for one job."""

from __future__ import annotations

import threading

import pytest

import flownb as fn
from tests.support import invariants


def tree(*children, **opts):
    return {"name": "top", "queueName": "tops", "opts": opts, "children": list(children)}


def leaf(name, queue="q", **opts):
    return {"name": name, "queueName": queue, "opts": opts}


@pytest.fixture(autouse=True)
def _sound_in_the_end(redis, connection):
    yield
    assert [str(violation) for violation in invariants.violations(redis)] == []
    assert fn.doctor().empty


def one(queue, state="waiting"):
    (job,) = fn.Queue(queue).get_jobs(state)
    return job


@pytest.mark.parametrize(
    ("opts", "state"),
    [({}, "waiting"), ({"delay": 60_000}, "delayed"), ({"priority": 3}, "prioritized")],
)
def test_a_job_that_waits_ends_at_once_and_its_parent_goes_by_the_policy(opts, state):
    fails, goes_on = (
        fn.add(tree(leaf("a", queue, failParentOnFailure=policy, **opts)))
        for queue, policy in (("q", True), ("r", False))
    )

    assert one("q", state).cancel()
    assert one("r", state).cancel()

    with fn.Worker("tops", lambda job: job.get_ignored_children_failures()):
        assert list(goes_on.result(timeout=30).values()) == ["cancelled"]
        with pytest.raises(fn.FlowFailed, match="top > a: cancelled"):
            fails.result(timeout=30)
    assert one("q", "failed").cancel() is False


def test_a_running_job_is_told_and_gets_no_further_attempt(until):
    begun, go_on, attempts = threading.Event(), threading.Event(), []

    def work(job):
        attempts.append(job.is_cancelled())
        begun.set()
        go_on.wait(20)
        attempts.append(job.is_cancelled())
        job.update_progress(50)

    flow = fn.add(tree(leaf("a", attempts=5)))
    with fn.Worker("q", work):
        assert begun.wait(20)
        assert one("q", "active").cancel()
        go_on.set()
        with pytest.raises(fn.FlowFailed, match="cancelled"):
            flow.result(timeout=30)
    assert attempts == [False, True]
    assert one("q", "failed").attempts_made == 1


@pytest.mark.parametrize("in_flow", [False, True])
@pytest.mark.parametrize("backoff", [0, 60_000])
def test_a_running_job_that_fails_by_itself_after_it_was_cancelled_has_failed_with_that_run(
    backoff, in_flow, until
):
    begun, go_on, runs = threading.Event(), threading.Event(), []

    def work(job):
        runs.append(job.id)
        begun.set()
        go_on.wait(20)
        raise ValueError("no")

    opts = {"attempts": 5, "backoff": backoff}
    flow = fn.add(tree(leaf("a", **opts), leaf("b", "r"))) if in_flow else None
    job = one("q") if in_flow else fn.Queue("q").add("a", opts=opts)
    with fn.Worker("q", work):
        assert begun.wait(20)
        assert job.cancel()
        go_on.set()
        with pytest.raises(fn.FlowFailed, match="cancelled"):
            job.wait_until_finished(timeout=20)
        failed = one("q", "failed")
        assert (failed.failed_reason, failed.attempts_made, len(runs)) == ("cancelled", 1, 1)
        assert "ValueError: no" in failed.stacktrace[-1]
        if flow:
            with pytest.raises(fn.FlowFailed, match="top > a: cancelled"):
                flow.result(timeout=20)
            flow.retry()
        else:
            job.retry()
        until(lambda: len(runs) > 1)


@pytest.mark.parametrize("how", ["waits for its children", "is rate limited", "was only taken ahead"])
def test_a_cancelled_job_that_would_go_back_uncharged_has_failed_instead(how, until):
    begun, go_on = threading.Event(), threading.Event()

    def work(job):
        begun.set()
        go_on.wait(20)
        if how == "is rate limited":
            raise fn.RateLimitError("100ms")
        if how == "waits for its children" and job.name == "a":
            job.add_children([leaf("c", "r")])
        return job.name

    queue = fn.Queue("q")
    job = queue.add("a")
    with fn.Worker("q", work):
        assert begun.wait(20)
        if how == "was only taken ahead":
            job = queue.add("b")
            until(lambda: job.get_state() == "active" or queue.get_job_counts()["waiting"])
        assert job.cancel()
        go_on.set()
        until(lambda: job.get_state() == "failed")
    failed = queue.get_job(job.id)
    assert (failed.failed_reason, failed.attempts_made) == ("cancelled", 0)


def test_what_a_cancelled_run_returns_all_the_same_is_its_value():
    begun, go_on = threading.Event(), threading.Event()

    def work(job):
        begun.set()
        go_on.wait(20)
        return 7

    job = fn.Queue("q").add("a")
    with fn.Worker("q", work):
        assert begun.wait(20)
        assert job.cancel()
        go_on.set()
        assert job.wait_until_finished(timeout=30) == 7


def test_what_a_cancelled_job_waits_for_is_cancelled_unless_somebody_else_needs_it():
    shared = fn.Node("shared", "q")
    mid = fn.Node("mid", "mids", opts={"failParentOnFailure": False}, children=[shared, fn.Node("own", "r")])
    flow = fn.add(fn.Node("top", "tops", children=[mid, fn.Node("other", "others", children=[shared])]))

    assert one("mids", "waiting-children").cancel()

    assert one("r", "failed").failed_reason == "cancelled"
    assert one("q").get_state() == "waiting"
    with fn.Worker(["q", "others", "tops"], lambda job: job.name):
        assert flow.result(timeout=30) == "top"


def test_a_root_is_cancelled_with_its_flow_and_a_retry_runs_all_of_it():
    flow = fn.add(tree(leaf("a"), leaf("b")))

    assert flow.job.cancel()

    assert flow.state == "cancelled"
    flow.retry()
    with fn.Worker(["q", "tops"], lambda job: job.name):
        assert flow.result(timeout=30) == "top"


def test_a_cancelled_job_that_is_retried_runs():
    flow = fn.add(tree(leaf("a")))
    one("q").cancel()

    one("q", "failed").retry()

    with fn.Worker(["q", "tops"], lambda job: job.name):
        assert flow.result(timeout=30) == "top"


def test_who_waits_for_one_job_gets_its_value_or_its_failure_or_an_end_of_the_wait():
    good, bad, never, gone = fn.Queue("q").add_bulk(
        [{"name": name} for name in ("good", "bad", "never", "gone")]
    )
    gone.remove()
    with pytest.raises(fn.JobMissing, match=f"job q:{gone.id} is not on this server"):
        gone.wait_until_finished()
    with pytest.raises(TimeoutError, match=r"'never' has not ended after 0.05 s: waiting"):
        never.wait_until_finished(timeout=0.05)
    never.remove()
    with fn.Worker("q", lambda job: {"good": 7}[job.name]):
        assert good.wait_until_finished(timeout="30s") == 7
        with pytest.raises(fn.FlowFailed, match="job 'bad' failed: KeyError"):
            bad.wait_until_finished(timeout=30)
