"""Shows that what is done to many jobs of a queue leaves the flows right that they belong to: counts, states, results."""

from __future__ import annotations

import threading
import warnings

import pytest

import flownb as fn
from tests.support import invariants

pytestmark = pytest.mark.every_server


def leaf(name, queue="q", **opts):
    return {"name": name, "queueName": queue, "opts": opts}


def tree(*children, name="top", queue="tops", **opts):
    return {"name": name, "queueName": queue, "opts": opts, "children": list(children)}


def names_below(job):
    return sorted(value for value in job.get_children_values().values() if value)


@pytest.fixture(autouse=True)
def _sound_in_the_end(redis, connection):
    yield
    assert [str(violation) for violation in invariants.violations(redis)] == []
    assert fn.doctor().empty


def counts(flow):
    return {
        state: n
        for state, n in flow.progress()._asdict().items()
        if state in ("completed", "failed", "total")
    }


def test_a_parent_goes_on_without_children_that_are_drained_and_its_flow_counts_them_no_more(redis):
    flow = fn.add(tree(leaf("a"), leaf("b", priority=3), leaf("c", delay=60_000), leaf("d", queue="r")))

    fn.Queue("q").drain(delayed=True)

    assert flow.job.get_state() == "waiting-children"
    with fn.Worker("r", lambda job: job.name), fn.Worker("tops", names_below), warnings.catch_warnings():
        warnings.simplefilter("error")  # it was done on purpose
        assert flow.result(timeout=30) == ["d"]
    assert (flow.progress().completed, flow.progress().total) == (2, 2)
    assert fn.Queue("q").get_job_counts()["waiting"] == 0


def test_under_bullmqs_semantics_a_parent_elsewhere_goes_on_and_one_in_the_queue_goes_too(redis):
    outside = fn.FlowProducer().add(tree(leaf("a")), semantics="bullmq")
    inside = fn.FlowProducer().add(tree(leaf("b"), name="in", queue="q"), semantics="bullmq")

    fn.Queue("q").drain()

    assert outside.job.get_state() == "waiting"
    with pytest.raises(fn.JobMissing):
        inside.wait(timeout=5)


def test_a_flow_whose_queue_is_drained_goes_as_a_whole_and_never_runs_on_nothing(redis):
    flow = fn.add(tree(leaf("a"), tree(leaf("b"), leaf("c"), name="mid", queue="q"), name="top", queue="q"))
    other = fn.add(leaf("alone", queue="q"))
    rest = fn.add(leaf("rest", queue="r"))

    fn.Queue("q").drain()

    for gone in (flow, other):
        with pytest.raises(fn.JobMissing):
            gone.wait(timeout=5)
    assert fn.flows()["name"].tolist() == ["rest"]
    assert rest.state == "waiting"


def test_what_stands_above_parents_that_go_with_their_queue_goes_on(redis):
    mid = tree(leaf("b"), leaf("c"), name="mid", queue="q")
    flow = fn.add(tree(tree(mid, name="high", queue="q"), leaf("d", queue="r")))

    fn.Queue("q").drain()

    assert fn.Queue("q").get_job_counts() == dict.fromkeys(fn.Queue("q").get_job_counts(), 0)
    with fn.Worker("r", lambda job: job.name), fn.Worker("tops", names_below):
        assert flow.result(timeout=30) == ["d"]
    assert flow.progress().total == 2


def test_both_parents_of_a_shared_job_go_on_without_it(redis):
    shared = fn.Node("shared", "q")
    ups = [fn.Node(f"up-{n}", "ups", children=[shared]) for n in range(2)]
    flow = fn.add(fn.Node("top", "tops", children=ups))

    fn.Queue("q").drain()

    with fn.Worker("ups", lambda job: len(job.get_children_values())), fn.Worker("tops", lambda job: "done"):
        assert flow.result(timeout=30) == "done"


def test_more_jobs_than_one_call_takes_are_drained(redis):
    flow = fn.add(tree(*[leaf(f"a{n}") for n in range(2500)]))

    fn.Queue("q").drain()

    with fn.Worker("tops", lambda job: len(job.get_children_values())):
        assert flow.result(timeout=30) == 0
    assert flow.progress().total == 1


def test_cleaning_the_queue_of_its_root_removes_a_flow_that_has_ended_with_all_its_jobs(redis):
    flow = fn.add(tree(leaf("a"), leaf("b"), removeOnComplete=False))
    with fn.Worker(["q", "tops"], lambda job: job.name):
        flow.wait(timeout=30)
    root = flow.job.id

    assert fn.Queue("tops").clean(0) == [root]

    with pytest.raises(fn.JobMissing):
        flow.state  # noqa: B018
    assert fn.Queue("q").get_jobs("completed") == []
    assert fn.flows().empty


def test_children_that_were_cleaned_away_after_their_end_leave_their_values_to_their_parent(redis, until):
    flow = fn.add(tree(leaf("a"), leaf("b", queue="r")))
    with fn.Worker("q", lambda job: job.name):
        until(lambda: fn.Queue("q").get_job_counts()["completed"])

    assert len(fn.Queue("q").clean(0)) == 1

    with fn.Worker("r", lambda job: job.name), fn.Worker("tops", names_below):
        assert flow.result(timeout=30) == ["a", "b"]


def test_failed_children_that_are_cleaned_away_leave_their_flow_failed_by_their_parent(redis):
    flow = fn.add(tree(leaf("a")))
    with fn.Worker("q", lambda job: 1 / 0):
        flow.wait(timeout=30)

    assert len(fn.Queue("q").clean(0, state="failed")) == 1

    assert flow.state == "failed"
    assert flow.explain()[["why", "fix"]].values.tolist() == [
        ["the job that failed it was removed", "run it without that job with retry(), or add the flow again"]
    ]
    with pytest.raises(fn.FlowFailed, match="failed, and the job that failed it was removed"):
        flow.result(timeout=5)
    assert str(flow).splitlines()[-1].split() == ["└─", "·", "(removed)", "removed"]
    assert flow.progress().total == len(flow.jobs()) == 1
    flow.retry()
    with fn.Worker("tops", lambda job: "on its own"):
        assert flow.result(timeout=30) == "on its own"


def test_retrying_the_failed_jobs_of_a_queue_revives_their_flows(redis):
    flows = [fn.add(tree(leaf("a"), leaf("b"), name=f"top-{n}")) for n in range(3)]
    with fn.Worker("q", lambda job: 1 / 0):
        for flow in flows:
            flow.wait(timeout=30)

    fn.Queue("q").retry_jobs()

    with fn.Worker("q", lambda job: job.name), fn.Worker("tops", names_below):
        assert [flow.result(timeout=30) for flow in flows] == [["a", "b"]] * 3


def test_retrying_a_queue_also_runs_what_was_cancelled_because_of_its_failures(redis, until):
    flow = fn.add(tree(leaf("bad"), leaf("later", queue="r")), on_failure="cancel")
    with fn.Worker("q", lambda job: 1 / 0):
        flow.wait(timeout=30)
    with fn.Worker("r", print, stalled_interval=0.1):
        until(lambda: fn.Queue("r").get_job_counts()["failed"])

    fn.Queue("q").retry_jobs()

    with fn.Worker(["q", "r"], lambda job: job.name), fn.Worker("tops", names_below):
        assert flow.result(timeout=30) == ["bad", "later"]


def test_retrying_completed_jobs_runs_them_and_what_stands_above_them_again(redis):
    flow, calls = fn.add(tree(leaf("a"), leaf("b"))), []
    with fn.Worker(["q", "tops"], lambda job: calls.append(job.name)):
        flow.wait(timeout=30)
        fn.Queue("q").retry_jobs("completed")
        assert flow.wait(timeout=30).state == "completed"

    assert sorted(calls) == ["a", "a", "b", "b", "top", "top"]


def test_a_parent_that_a_child_elsewhere_failed_is_refused_and_the_others_of_its_queue_run(redis):
    flow, alone = fn.add(tree(leaf("a"))), fn.Queue("tops").add("alone")
    with fn.Worker(["q", "tops"], lambda job: 1 / 0):
        flow.wait(timeout=30)
        with pytest.raises(fn.FlowFailed):
            alone.wait_until_finished(timeout=30)

    with pytest.raises(
        fn.FlowError, match="'top' failed because its child 'a' did; retry that one, or the flow"
    ):
        fn.Queue("tops").retry_jobs()

    assert (flow.state, flow.job.get_state(), alone.get_state()) == ("failed", "failed", "waiting")


def test_a_refused_retry_of_a_roots_queue_leaves_cancelled_siblings_cancelled(redis, until):
    flow = fn.add(tree(leaf("bad"), leaf("later", queue="r")), on_failure="cancel")
    with fn.Worker("q", lambda job: 1 / 0):
        flow.wait(timeout=30)
    with fn.Worker("r", print, stalled_interval=0.1):
        until(lambda: fn.Queue("r").get_job_counts()["failed"])

    with pytest.raises(fn.FlowError, match="retry that one, or the flow"):
        fn.Queue("tops").retry_jobs()

    assert (flow.state, fn.Queue("r").get_job_counts()["failed"]) == ("failed", 1)


def test_a_queue_that_holds_parents_and_the_children_that_failed_them_is_retried_as_a_whole(redis, until):
    flows = [fn.add(tree(*[leaf(f"a{n}") for n in range(60)], name="top", queue="q")) for _ in range(3)]
    mood = {"bad": True}
    with fn.Worker("q", lambda job: 1 / 0 if mood["bad"] else job.name, concurrency=4):
        for flow in flows:
            flow.wait(timeout=30)
        until(lambda: not fn.Queue("q").get_job_counts()["active"])
        mood["bad"] = False
        fn.Queue("q").retry_jobs()
        assert [flow.wait(timeout=30).state for flow in flows] == ["completed"] * 3


def test_delayed_children_are_promoted_in_bulk_and_put_off_and_made_urgent_one_by_one(redis):
    flow = fn.add(tree(*[leaf(f"a{n}", delay=60_000) for n in range(4)]))
    one, two, three, _ = fn.Queue("q").get_jobs("delayed")

    one.promote()
    one.change_priority(4)
    two.change_delay("2h")
    three.change_priority(2)
    fn.Queue("q").promote_jobs()
    three.change_priority(1)

    assert fn.Queue("q").get_job_counts()["prioritized"] == 2
    order = []
    with fn.Worker("q", lambda job: order.append(job.id)), fn.Worker("tops", names_below):
        flow.wait(timeout=30)
    assert order[2:] == [three.id, one.id]


def test_a_child_that_leaves_its_parent_leaves_the_flow_with_all_below_it(redis, until):
    low = tree(leaf("deep"), name="low", queue="lows")
    flow = fn.add(tree(tree(low, name="mid", queue="mids"), leaf("a")))
    (mid,) = fn.Queue("mids").get_jobs("waiting-children")

    assert mid.remove_child_dependency()

    assert flow.progress().total == 2
    with fn.Worker(["q", "lows", "mids"], lambda job: job.name), fn.Worker("tops", names_below):
        assert flow.result(timeout=30) == ["a"]
        until(lambda: mid.get_state() == "completed")
    assert flow.state == "completed"
    assert (flow.progress().completed, flow.progress().total) == (2, 2)


def test_a_shared_child_that_leaves_one_parent_stays_under_the_other(redis):
    shared = fn.Node("shared", "q")
    ups = [fn.Node(f"up-{n}", "ups", children=[shared]) for n in range(2)]
    flow = fn.add(fn.Node("top", "tops", children=ups))
    (job,) = fn.Queue("q").get_jobs("waiting")
    before = job.parent

    assert job.remove_child_dependency()

    assert fn.Queue("q").get_job(job.id).parent not in (before, None)

    def run(job):
        values = job.get_children_values().values()
        return {"q": 7, "ups": sum(values), "tops": sorted(values)}[job.queue_name]

    with fn.Worker(["q", "ups", "tops"], run):
        assert flow.result(timeout=30) == [0, 7]


def test_a_running_parent_that_removes_its_pending_children_completes(redis):
    flow = fn.add(
        tree(
            leaf("bad", continueParentOnFailure=True),
            leaf("slow", queue="r"),
            leaf("late", queue="r", delay=60_000),
        )
    )

    def go_on(job):
        job.remove_unprocessed_children()
        return job.get_dependencies_count()["unprocessed"]

    with fn.Worker("q", lambda job: 1 / 0), fn.Worker("tops", go_on):
        assert flow.result(timeout=30) == 0
    assert flow.progress().total == 2
    assert fn.Queue("r").get_jobs(["waiting", "delayed"]) == []


def test_obliterate_by_force_takes_running_jobs_of_flows_along(redis):
    begun, go_on = threading.Event(), threading.Event()
    flow = fn.add(tree(leaf("runs"), leaf("waits")))
    alone = fn.add(leaf("alone", queue="q", priority=1))

    def hold(job):
        begun.set()
        go_on.wait(20)

    with fn.Worker("q", hold):
        assert begun.wait(20)
        with pytest.raises(fn.FlowError, match="still runs"):
            fn.Queue("q").obliterate()
        fn.Queue("q").obliterate(force=True)
        go_on.set()

    with fn.Worker("tops", names_below):
        assert flow.result(timeout=30) == []
    with pytest.raises(fn.JobMissing):
        alone.wait(timeout=5)
    assert flow.progress().total == 1


def test_a_root_that_runs_goes_with_its_flow_when_its_queue_is_obliterated(redis):
    begun, go_on = threading.Event(), threading.Event()
    flow = fn.add(tree(leaf("a", queue="r"), queue="q"))

    def hold(job):
        begun.set()
        go_on.wait(20)

    with fn.Worker("r", print), fn.Worker("q", hold):
        assert begun.wait(20)
        fn.Queue("q").obliterate(force=True)
        go_on.set()

    with pytest.raises(fn.JobMissing):
        flow.wait(timeout=5)
    assert fn.flows().empty
