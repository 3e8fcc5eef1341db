"""Shows what adding an id means that is there already, in every state: S21, S22, S27 and R22 of the promises."""

from __future__ import annotations

import threading

import pytest

import flownb as fn
from flownb.api import producer
from flownb.wire.store.jobs import Jobs
from tests.support.server import client_for_all

PRESENT = ["waiting", "active", "delayed", "prioritized", "waiting-children", "completed", "failed"]
ENDED = ["completed", "failed"]


def node(name, *children, queue, data=None, **opts):
    return {"name": name, "queueName": queue, "data": data, "opts": opts, "children": list(children)}


def shared(**opts):
    return node("s", queue="shared", data={"n": 1}, jobId="s1", **opts)


class Bench:
    """Brings the job ``shared:s1`` of a flow, or of its own, into a state, with real workers."""

    def __init__(self, redis, until):
        self.redis = redis
        self.until = until
        self.runs = []
        self.go_on = threading.Event()
        self.started = threading.Event()
        self.workers = []

    def work(self, job):
        self.runs.append(job.data.get("n"))
        return f"run {len(self.runs)}"

    def fail(self, job):
        self.runs.append(job.data.get("n"))
        raise ValueError("broken")

    def hold(self, job):
        self.started.set()
        assert self.go_on.wait(60)
        return self.work(job)

    def serve(self, queue, function):
        worker = fn.Worker(queue, function).start()
        self.workers.append(worker)
        return worker

    def close(self):
        self.go_on.set()
        for worker in self.workers:
            worker.close()

    def bring(self, state, root="old"):
        """Add ``s1`` (under `root`, or alone) and bring it into `state`; return the first tree."""
        job = shared(**{"delayed": {"delay": "1h"}, "prioritized": {"priority": 5}}.get(state, {}))
        if state == "waiting-children":
            job["children"] = [node("below", queue="below", jobId="below")]
        tree = node("old", job, queue="roots", jobId="old") if root else job
        if root:
            fn.add(tree)
        elif state == "waiting-children":
            fn.FlowProducer().add(tree, semantics="bullmq")
        else:
            fn.Queue("shared").add(job["name"], job["data"], job["opts"])
        if state == "active":
            self.serve("shared", self.hold)
            assert self.started.wait(20)
        if state in ENDED:
            with fn.Worker("shared", self.work if state == "completed" else self.fail):
                self.until(lambda: fn.Queue("shared").get_job("s1").get_state() == state)
        if state == "removed":
            fn.Queue("shared").get_job("s1").remove()
        else:
            assert fn.Queue("shared").get_job("s1").get_state() == state
        return tree

    def let_all_run(self, state):
        """Make what is delayed due, and have everything run."""
        if state == "delayed":
            self.redis.zadd("bull:shared:delayed", {"s1": 4096}, xx=True)
            self.redis.zadd("bull:shared:marker", {"0": 0})
        self.go_on.set()
        if state != "active":
            self.serve("shared", self.work)
        for queue in ("below", "roots", "others"):
            self.serve(queue, lambda job: list(job.get_children_values().values()))


@pytest.fixture
def bench(redis, until):
    made = Bench(redis, until)
    yield made
    made.close()


def other(**opts):
    """Another tree, and with it another parent, with a job of its own beside ``s1``."""
    return node("new", shared(**opts), node("beside", queue="below"), queue="others", jobId="new")


def dump(redis):
    return {key: redis.dump(key) for key in redis.scan_iter() if b"marker" not in key}


# ---- reuse --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [*PRESENT, "removed"])
def test_s21_the_same_tree_again_is_the_flow_that_is_there(bench, state):
    tree = bench.bring(state)
    before = fn.attach("roots:old")
    again = fn.add(tree)
    assert again.job.id == before.job.id == "old"
    assert again.progress().total == before.progress().total
    bench.let_all_run(state)
    again.wait(timeout=30)
    assert len(bench.runs) == (state != "removed")


@pytest.mark.parametrize("state", [*PRESENT, "removed"])
def test_r22_another_parent_gets_the_one_run_of_a_job_that_is_there(bench, state):
    bench.bring(state)
    flow = fn.add(other())
    bench.let_all_run(state)
    flow.wait(timeout=30)
    if state == "failed":
        with pytest.raises(fn.FlowFailed, match="new > s: ValueError: broken"):
            flow.result()
    else:
        assert flow.result() == ["run 1", []]
    assert len(bench.runs) == 1
    assert (flow.progress().total, flow.progress().active) == (3, 0)
    assert fn.attach("roots:old").wait(timeout=30).state == ("failed" if state == "failed" else "completed")


@pytest.mark.parametrize("state", [*PRESENT, "removed"])
def test_r22_a_job_of_its_own_comes_under_a_parent(bench, state):
    bench.bring(state, root=None)
    flow = fn.add(other())
    bench.let_all_run(state)
    flow.wait(timeout=30)
    assert flow.state == ("failed" if state == "failed" else "completed")
    assert len(bench.runs) == 1


@pytest.mark.parametrize("policy", ["ignoreDependencyOnFailure", "removeDependencyOnFailure"])
def test_s27_a_parent_that_may_lose_a_job_that_failed_before_runs_without_it(bench, policy):
    bench.bring("failed")
    flow = fn.add(other(**{policy: True}))
    bench.let_all_run("failed")
    assert flow.result(timeout=30) == ([None, []] if policy == "ignoreDependencyOnFailure" else [[]])


def test_s27_a_job_that_failed_before_fails_its_new_parent_at_once_without_a_worker(bench):
    bench.bring("failed")
    flow = fn.add(other(attempts=5))
    assert flow.state == "failed"
    with pytest.raises(fn.FlowFailed, match="new > s: ValueError: broken"):
        flow.result(timeout=1)
    flow.retry()
    bench.let_all_run("failed")
    assert flow.result(timeout=30) == ["run 2", []]


@pytest.mark.parametrize("state", PRESENT)
def test_r22_a_job_that_is_there_cannot_become_a_root_as_its_flow_is_another(redis, bench, state):
    bench.bring(state)
    before = dump(redis)
    with pytest.raises(
        fn.FlowError, match=r"root: opts.jobId 's1' is part of flow 'old' in queue 'shared' already"
    ):
        fn.add(shared())
    if state != "active":  # there a worker writes
        assert dump(redis) == before


@pytest.mark.parametrize("state", PRESENT)
def test_r22_a_job_of_its_own_cannot_become_a_root(bench, state):
    bench.bring(state, root=None)
    with pytest.raises(
        fn.FlowError, match=r"root: opts.jobId 's1' is a job of its own in queue 'shared' already"
    ):
        fn.add(shared())


def test_r22_a_removed_job_becomes_a_root(bench):
    bench.bring("removed")
    flow = fn.add(shared())
    bench.let_all_run("removed")
    assert flow.result(timeout=30) == "run 1"


def test_s22_flows_added_in_one_millisecond_have_ids_of_their_own():
    flows = fn.FlowProducer().add_bulk([node("f", queue="roots") for _ in range(200)])
    assert len({flow.job.id for flow in flows}) == 200


def test_a_flow_whose_producer_died_half_way_is_finished_by_adding_it_again(redis, until):
    rows = [node(f"c{i}", queue="rows") for i in range(1_500)]
    tree = node("total", *rows, queue="totals", jobId="november")
    stored, left = Jobs.add, [2]

    def dying(self, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise fn.ServerUnreachable("gone")
        return stored(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Jobs, "add", dying)
        with pytest.raises(fn.ServerUnreachable):
            fn.add(tree)
    flow = fn.add(tree)
    with (
        fn.Worker("rows", lambda job: 1, concurrency=4),
        fn.Worker("totals", lambda job: len(job.get_children_values())),
    ):
        assert flow.result(timeout=60) == 1_500
    assert flow.progress().total == 1_501


# ---- error --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", PRESENT)
@pytest.mark.parametrize("as_root", [True, False])
def test_s21_an_id_that_is_there_is_an_error_if_asked_for(redis, bench, state, as_root):
    bench.bring(state)
    before = dump(redis)
    path = "root" if as_root else r"root/children\[0\]"
    with pytest.raises(
        fn.FlowError, match=rf"{path}: opts.jobId 's1' is there already in queue 'shared' \({state}"
    ):
        fn.add(shared() if as_root else other(), if_exists="error")
    if state != "active":
        assert dump(redis) == before


def test_s21_a_removed_id_is_no_error(bench):
    bench.bring("removed")
    flow = fn.add(other(), if_exists="error")
    bench.let_all_run("removed")
    assert flow.result(timeout=30) == ["run 1", []]


def test_of_several_who_add_one_id_at_once_as_new_one_succeeds(connection):
    together, outcomes = threading.Barrier(4), []

    def add():
        together.wait(20)
        try:
            outcomes.append(fn.add(other(), if_exists="error").name)
        except fn.FlowError as error:
            outcomes.append(type(error).__name__)

    for _ in range(20):
        client_for_all(connection).flushall()
        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert outcomes.count("new") == 20
    assert outcomes.count("FlowError") == 60


def test_in_add_bulk_an_id_that_is_there_is_an_error_before_the_first_write(redis, bench):
    bench.bring("completed")
    before = dump(redis)
    with pytest.raises(
        fn.FlowError, match=r"trees\[1\]: root/children\[0\]: opts.jobId 's1' is there already"
    ):
        fn.FlowProducer().add_bulk([node("one", queue="others"), other()], if_exists="error")
    assert dump(redis) == before


# ---- rerun --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [s for s in PRESENT if s != "active"] + ["removed"])
def test_s21_the_same_tree_again_runs_anew_if_asked_for(bench, state):
    tree = bench.bring(state)
    tree["children"][0]["data"] = {"n": 2}
    flow = fn.add(tree, if_exists="rerun")
    bench.let_all_run(state)
    ran_before = state in ENDED
    assert flow.result(timeout=30) == [f"run {ran_before + 1}"]
    assert bench.runs == [1] * ran_before + [2]
    assert flow.progress().completed == flow.progress().total == 2 + (state == "waiting-children")


@pytest.mark.parametrize("state", PRESENT)
def test_r22_a_job_that_another_flow_waits_for_is_not_run_anew(redis, bench, state):
    bench.bring(state)
    before = dump(redis)
    if state == "failed":  # its parent has failed with it: nobody waits for it any more
        flow = fn.add(other(), if_exists="rerun")
        bench.let_all_run(state)
        assert flow.result(timeout=30) == ["run 2", []]
        return
    says = "runs right now" if state == "active" else "'old' in queue 'roots' waits for job 's1'"
    with pytest.raises(fn.FlowError, match=rf"root/children\[0\]: .*{says}"):
        fn.add(other(), if_exists="rerun")
    if state != "active":
        assert dump(redis) == before


@pytest.mark.parametrize("state", [s for s in PRESENT if s != "active"] + ["removed"])
def test_r22_a_job_of_its_own_is_replaced_as_root_and_as_child(bench, state):
    bench.bring(state, root=None)
    flow = fn.add({**shared(), "data": {"n": 2}}, if_exists="rerun")
    bench.let_all_run(state)
    assert flow.result(timeout=30) == f"run {(state in ENDED) + 1}"
    again = fn.add(other(), if_exists="rerun")
    assert again.wait(timeout=30).state == "completed"
    assert bench.runs[-2:] == [2, 1]


def test_s21_a_flow_that_runs_is_not_replaced(redis, bench):
    tree = bench.bring("active")
    with pytest.raises(fn.FlowError, match="root: jobs of flow 'old' run right now"):
        fn.add(tree, if_exists="rerun")
    bench.let_all_run("active")
    assert fn.attach("roots:old").result(timeout=30) == ["run 1"]


def test_a_choice_that_is_none_is_refused(redis):
    with pytest.raises(fn.OptionError, match="if_exists: 'reuse', 'rerun' or 'error', not 'replace'"):
        fn.add(other(), if_exists="replace")
    assert redis.dbsize() == 0


@pytest.mark.parametrize("children", [1, 1500], ids=["in one call", "in several calls"])
def test_what_another_producer_adds_between_the_look_and_the_call_is_reused(monkeypatch, children):
    def tree():
        below = [fn.Node("child", "children") for _ in range(children)]
        return fn.Node("root", "roots", children=below, opts={"jobId": "r1"})

    look, added = producer.flow_to_reuse, []

    def look_and_add(store, plan):
        found = look(store, plan)
        if not added:
            added.append("begun")
            added[0] = fn.add(tree())
        return found

    monkeypatch.setattr(producer, "flow_to_reuse", look_and_add)
    assert fn.add(tree()).progress().total == children + 1
    assert added[0].progress().total == children + 1
    assert len(fn.flows()) == 1
    assert fn.Queue("children").get_job_counts()["waiting"] == children
    assert fn.doctor().empty
