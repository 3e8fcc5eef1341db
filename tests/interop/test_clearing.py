"""Drain, clean, obliterate, retry and promote many: flownb's queue beside Node's and Python's, on the same jobs."""

from __future__ import annotations

import pytest

import flownb as fn
from tests.support.peers.beside import dump, without_events
from tests.support.peers.process import PeerError


def jobs(*names, do="value", **opts):
    return [
        {"name": name, "data": {"do": do, "value": name, "why": "no"}, "opts": {"jobId": name, **opts}}
        for name in names
    ]


@pytest.fixture(scope="module")
def node6(start_peer):
    return start_peer("node6")


@pytest.fixture(scope="module")
def python(start_peer):
    return start_peer("python")


@pytest.fixture(scope="module")
def runner(start_peer):
    """Give a Node peer that works when it is told to, and kills nothing else when it is killed."""
    return start_peer("node6")


@pytest.fixture
def filled(node6, redis, until, connection):
    """Let Node fill the queues of everyone the same way: a job in each state, and a flow of its own."""

    def fill(*everyone):
        for who in everyone:
            line, top = f"{who}-line", f"{who}-top"
            node6.ask("add_jobs", queue=line, jobs=jobs("done-1", "done-2", "done-3"))
            node6.ask("add_jobs", queue=line, jobs=jobs("bad-1", "bad-2", do="fail"))
            node6.ask("work", queue=line)
            ended = (f"bull:{line}:completed", f"bull:{line}:failed")
            until(lambda ended=ended: sum(map(redis.zcard, ended)) == 5)
            node6.ask("stop")
            node6.ask("add_jobs", queue=line, jobs=jobs("a", "b", "c", "d"))
            node6.ask("add_jobs", queue=line, jobs=jobs("p5", "p6", priority=5) + jobs("p1", priority=1))
            node6.ask("add_jobs", queue=line, jobs=jobs("soon", "later", delay=100_000))
            node6.ask("add_jobs", queue=line, jobs=jobs("later-p", delay=200_000, priority=3))
            node6.ask(
                "add_jobs", queue=line, jobs=[{**jobs("once")[0], "opts": {"deduplication": {"id": "d"}}}]
            )
            below = {"name": "c1", "queueName": line, "data": {}, "opts": {"jobId": "c1"}}
            node6.ask(
                "add_flow",
                tree={"name": "up", "queueName": top, "opts": {"jobId": "up"}, "children": [below]},
            )
            inner = {"name": "c2", "queueName": line, "data": {}, "opts": {"jobId": "c2"}}
            root = {"name": "in", "queueName": line, "opts": {"jobId": "in"}, "children": [inner]}
            node6.ask("add_flow", tree=root)

    return fill


#: what is asked of BullMQ's Queue: method and arguments; and of flownb's
CALLS = {
    "drain": (("drain", []), lambda q: q.drain()),
    "drain, delayed too": (("drain", [True]), lambda q: q.drain(delayed=True)),
    "clean waiting": (("clean", [0, 0, "wait"]), lambda q: q.clean(0, state="wait")),
    "clean two waiting": (("clean", [0, 2, "wait"]), lambda q: q.clean(0, 2, "waiting")),
    "clean old waiting": (("clean", [100_000, 0, "wait"]), lambda q: q.clean(100, state="waiting")),
    "clean two completed": (("clean", [0, 2, "completed"]), lambda q: q.clean(0, 2)),
    "clean completed": (("clean", [0, 0, "completed"]), lambda q: q.clean(0)),
    "clean old completed": (("clean", [100_000, 0, "completed"]), lambda q: q.clean("100s")),
    "clean failed": (("clean", [0, 0, "failed"]), lambda q: q.clean(0, state="failed")),
    "clean delayed": (("clean", [0, 0, "delayed"]), lambda q: q.clean(0, state="delayed")),
    "clean prioritized": (("clean", [0, 0, "prioritized"]), lambda q: q.clean(0, state="prioritized")),
    "promote": (("promoteJobs", []), lambda q: q.promote_jobs()),
    "obliterate": (("obliterate", []), lambda q: q.obliterate()),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_queue_is_as_after_the_same_call_of_node(what, node6, filled, redis):
    (method, args), ours = CALLS[what]
    filled("node", "ours")

    answer = node6.ask("call", queue="node-line", method=method, args=args)
    mine = ours(fn.Queue("ours-line"))

    assert sorted(mine or []) == sorted(answer or [])
    assert dump(redis, "ours") == dump(redis, "node")


@pytest.mark.parametrize("method", ["drain", "promoteJobs", "obliterate"])
def test_a_queue_is_as_after_the_same_call_of_python(method, python, filled, redis):
    ours = {"drain": "drain", "promoteJobs": "promote_jobs", "obliterate": "obliterate"}[method]
    filled("theirs", "ours")

    python.ask("call", queue="theirs-line", method=method)
    getattr(fn.Queue("ours-line"), ours)()

    assert without_events(dump(redis, "ours")) == without_events(dump(redis, "theirs"))


@pytest.mark.parametrize("state", ["failed", "completed"])
def test_jobs_that_ended_run_again_as_by_node_but_with_all_their_attempts(state, node6, filled, redis):
    filled("node", "ours")

    node6.ask("call", queue="node-line", method="retryJobs", args=[{"state": state}])
    fn.Queue("ours-line").retry_jobs(state)

    theirs, ours = dump(redis, "node"), dump(redis, "ours")
    for found in (theirs, ours):
        for name, was in found.items():
            if name.startswith(("bull:line:bad", "bull:line:done")) and "finishedOn" not in was:
                assert was.pop("atm") == (0 if found is ours else 1)
    assert ours == theirs


def test_obliterate_is_refused_while_a_job_runs_and_force_takes_it_along(
    node6, runner, redis, until, connection
):
    for who in ("node", "ours"):
        node6.ask("add_jobs", queue=f"{who}-line", jobs=jobs("runs", "waits", do="hold"))
        runner.ask("work", queue=f"{who}-line")
        until(lambda who=who: redis.exists(f"bull:{who}-line:runs:lock"))

    with pytest.raises(PeerError, match="active jobs"):
        node6.ask("call", queue="node-line", method="obliterate")
    with pytest.raises(fn.FlowError, match="job 'runs' of it still runs"):
        fn.Queue("ours-line").obliterate()
    assert dump(redis, "ours") == dump(redis, "node")

    node6.ask("call", queue="node-line", method="obliterate", args=[{"force": True}])
    fn.Queue("ours-line").obliterate(force=True)

    assert dump(redis, "ours") == dump(redis, "node")
    redis.set("test:open", 1)
    runner.ask("stop")


def test_jobs_that_lost_their_worker_are_cleaned_and_others_run_on(
    node6, redis, until, start_peer, connection
):
    runner = start_peer("node6")
    for who in ("node", "ours"):
        node6.ask("add_jobs", queue=f"{who}-line", jobs=jobs("lost", "held", do="hold"))
        runner.ask("work", queue=f"{who}-line", concurrency=2)
        until(lambda who=who: redis.exists(f"bull:{who}-line:lost:lock", f"bull:{who}-line:held:lock") == 2)
        redis.delete(f"bull:{who}-line:lost:lock")

    answer = node6.ask("call", queue="node-line", method="clean", args=[0, 0, "active"])
    assert fn.Queue("ours-line").clean(0, state="active") == answer == ["lost"]
    assert dump(redis, "ours") == dump(redis, "node")
    runner.kill()


def test_the_next_run_of_a_schedule_stays_and_goes_with_the_queue(node6, redis, connection):
    for who in ("node", "ours"):
        node6.ask(
            "schedule",
            queue=f"{who}-line",
            id="s",
            repeat={"every": 60_000},
            job={"name": "tick", "opts": {}},
        )

    node6.ask("call", queue="node-line", method="drain", args=[True])
    fn.Queue("ours-line").drain(delayed=True)
    theirs, ours = dump(redis, "node"), dump(redis, "ours")
    assert theirs.keys() >= {"bull:line:repeat"}
    assert [key for key in ours if ":repeat" in key] == [key for key in theirs if ":repeat" in key] != []

    node6.ask("call", queue="node-line", method="obliterate")
    fn.Queue("ours-line").obliterate()
    assert dump(redis, "ours") == dump(redis, "node")


@pytest.mark.parametrize("rows_per_job", [1, 2])
def test_rows_that_node_cleaned_away_keep_their_values_and_run_again_by_the_same_fan_out(
    rows_per_job, node6, connection, capsys
):
    runs = []

    @fn.task
    def square(n):
        runs.append(n)
        return n * n

    def again(**more):
        return fn.fan_out(range(6), square, name="b", rows_per_job=rows_per_job, **more)

    with fn.workers():
        batch = again().wait(timeout=30)
        node6.ask("call", queue="square", method="clean", args=[0, 2, "completed"])
        assert batch.results(timeout=30)["square"].tolist() == [0, 1, 4, 9, 16, 25]
        runs.clear()
        lost = again(dry_run=True).query("_would == 'run'").index.tolist()
        assert len(lost) == 2 * rows_per_job
        assert again().results(timeout=30)["square"].tolist() == [0, 1, 4, 9, 16, 25]
        assert sorted(runs) == lost
        assert again().progress().total == 7
        assert sorted(runs) == lost


def test_an_aggregate_that_node_cleaned_away_runs_again_by_the_same_fan_out_and_no_row_does(
    node6, connection
):
    runs, totals = [], []

    @fn.task
    def square(n):
        runs.append(n)
        return n * n

    @fn.task
    def total(rows):
        totals.append(len(rows))
        return int(rows["square"].sum())

    def again():
        return fn.fan_out(range(6), square, into=total, name="b").result(timeout=30)

    with fn.workers():
        assert again() == again() == 55
        assert totals == [6]
        assert node6.ask("call", queue="total", method="clean", args=[0, 0, "completed"])
        assert again() == again() == 55
    assert totals == [6, 6]
    assert sorted(runs) == list(range(6))


def ended_flow(children, **opts):
    """A flow that has ended; children called bad have failed."""
    below = [{"name": name, "queueName": "line", "opts": opts} for name in children]
    flow = fn.add({"name": "top", "queueName": "top", "children": below})
    with fn.Worker(["line", "top"], lambda job: 1 / 0 if job.name == "bad" else job.name):
        flow.wait(timeout=30)
    return flow


@pytest.mark.parametrize("children", [3, 12])
def test_children_that_node_cleaned_away_after_their_end_are_listed_as_they_are_counted(
    children, node6, connection
):
    flow = ended_flow([f"a{n}" for n in range(children)])
    for gone, most in ((2, 2), (children, 0)):
        node6.ask("call", queue="line", method="clean", args=[0, most, "completed"])
        jobs = flow.jobs()
        assert (flow.progress().completed, flow.progress().total) == (children + 1, children + 1)
        assert jobs["state"].tolist() == ["completed"] * (children + 1)
        assert jobs["name"].tolist().count("(removed)") == gone
        assert jobs[jobs["name"] == "(removed)"][["wait_s", "run_s", "error"]].isna().all(axis=None)
        assert len(flow.timeline()) == 2 * (children + 1 - gone)
        assert "<svg" in flow.to_html()
    assert flow.explain().empty


def test_a_failed_child_that_node_cleaned_away_is_said_to_be_gone_and_a_retry_runs_its_parent_without_it(
    node6, connection
):
    flow = ended_flow(["a", "bad"])
    assert len(node6.ask("call", queue="line", method="clean", args=[0, 0, "failed"])) == 1

    [why], [fix] = flow.explain()["why"], flow.explain()["fix"]
    assert why == "the job that failed it was removed"
    assert fix == "run it without that job with retry(), or add the flow again"
    with pytest.raises(fn.FlowFailed, match="failed, and the job that failed it was removed"):
        flow.result(timeout=5)

    flow.retry()
    with fn.Worker("top", lambda job: sorted(job.get_children_values().values())):
        assert flow.result(timeout=30) == ["a"]
    assert flow.state == "completed"
