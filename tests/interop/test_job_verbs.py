"""What a Job can be asked for, beside Node's and Python's on the same jobs: promote, delays, priorities, logs, parents."""

from __future__ import annotations

import pytest

import flownb as fn
from tests.support.peers.beside import dump, without_events
from tests.support.peers.process import PeerError


def jobs(*names, **opts):
    return [{"name": name, "data": {}, "opts": {"jobId": name, **opts}} for name in names]


@pytest.fixture(scope="module")
def node6(start_peer):
    return start_peer("node6")


@pytest.fixture(scope="module")
def python(start_peer):
    return start_peer("python")


@pytest.fixture
def filled(node6, connection):
    """Let Node fill everyone's queue the same way, with a flow of two parents above it."""

    def fill(*everyone):
        for who in everyone:
            line = f"{who}-line"
            node6.ask("add_jobs", queue=line, jobs=jobs("a", "b", "c") + jobs("p1", "p1b", priority=1))
            node6.ask("add_jobs", queue=line, jobs=jobs("later", delay=90_000) + jobs("far", delay=900_000))
            node6.ask("add_jobs", queue=line, jobs=jobs("later-p", delay=100_000, priority=3))
            leaves = [{"name": f"l{n}", "queueName": line, "opts": {"jobId": f"l{n}"}} for n in range(2)]
            below = {"name": "mid", "queueName": line, "opts": {"jobId": "mid"}, "children": leaves[1:]}
            tree = {
                "name": "up",
                "queueName": f"{who}-top",
                "opts": {"jobId": "up"},
                "children": [leaves[0], below],
            }
            node6.ask("add_flow", tree=tree)
            for row in ("one", "two", "three"):
                node6.ask("call_job", queue=line, id="a", method="log", args=[row])

    return fill


CALLS = {
    "promote": ("later", ("promote", []), lambda job: job.promote()),
    "promote a prioritized one": ("later-p", ("promote", []), lambda job: job.promote()),
    "clear logs": ("a", ("clearLogs", []), lambda job: job.clear_logs()),
    "clear all logs but two": ("a", ("clearLogs", [2]), lambda job: job.clear_logs(2)),
    "priority 0 for a prioritized one": (
        "p1",
        ("changePriority", [{"priority": 0}]),
        lambda job: job.change_priority(0),
    ),
    "priority for a waiting one": (
        "b",
        ("changePriority", [{"priority": 7}]),
        lambda job: job.change_priority(7),
    ),
    "another priority": ("p1", ("changePriority", [{"priority": 2}]), lambda job: job.change_priority(2)),
    "first of its priority": (
        "p1b",
        ("changePriority", [{"priority": 1, "lifo": True}]),
        lambda job: job.change_priority(1, lifo=True),
    ),
    "first of all": (
        "a",
        ("changePriority", [{"priority": 0, "lifo": True}]),
        lambda job: job.change_priority(lifo=True),
    ),
    "priority of a delayed one": (
        "later",
        ("changePriority", [{"priority": 4}]),
        lambda job: job.change_priority(4),
    ),
    "a child less": ("l0", ("removeChildDependency", []), lambda job: job.remove_child_dependency()),
    "the last child less": ("l1", ("removeChildDependency", []), lambda job: job.remove_child_dependency()),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_job_is_as_after_the_same_call_of_node(what, node6, filled, redis):
    id, (method, args), ours = CALLS[what]
    filled("node", "ours")

    answer = node6.ask("call_job", queue="node-line", id=id, method=method, args=args)
    mine = ours(fn.Queue("ours-line").get_job(id))

    assert mine == answer
    mine, theirs = dump(redis, "ours"), dump(redis, "node")
    for found in (mine, theirs):  # a marker of its own: Node leaves it out where only the order has changed
        found.pop("bull:line:marker")
    assert mine == theirs


@pytest.mark.parametrize(("method", "ours"), [("promote", "promote"), ("changePriority", "change_priority")])
def test_a_job_is_as_after_the_same_call_of_python(method, ours, python, filled, redis):
    filled("theirs", "ours")
    args = [{"priority": 5}] if method == "changePriority" else []

    python.ask("call_job", queue="theirs-line", id="later", method=method, args=args)
    getattr(fn.Queue("ours-line").get_job("later"), ours)(*[5][: len(args)])

    assert without_events(dump(redis, "ours")) == without_events(dump(redis, "theirs"))


def test_a_changed_delay_counts_from_now_on(node6, filled, redis):
    filled("node", "ours")

    node6.ask("call_job", queue="node-line", id="far", method="changeDelay", args=[30_000])
    fn.Queue("ours-line").get_job("far").change_delay(30)

    assert dump(redis, "ours") == dump(redis, "node")
    due = {who: redis.zscore(f"bull:{who}-line:delayed", "far") / 4096 for who in ("node", "ours")}
    assert abs(due["ours"] - due["node"]) < 5_000
    assert redis.zrange("bull:ours-line:delayed", 0, 0) == [b"far"]


@pytest.mark.parametrize(("method", "args", "ours"), [("promote", [], []), ("changeDelay", [5], [5])])
def test_a_job_that_is_not_delayed_is_refused(method, args, ours, node6, filled, redis):
    filled("node", "ours")
    mine = fn.Queue("ours-line").get_job("a")

    with pytest.raises(PeerError, match="not in the delayed state"):
        node6.ask("call_job", queue="node-line", id="a", method=method, args=args)
    with pytest.raises(fn.FlowError, match="job 'a' is waiting; only a delayed job can be"):
        {"promote": mine.promote, "changeDelay": mine.change_delay}[method](*ours)

    assert dump(redis, "ours") == dump(redis, "node")


@pytest.mark.parametrize("bounds", [(0, -1), (0, 0), (1, 2), (-2, -1), (5, 9)])
@pytest.mark.parametrize("asc", [True, False])
def test_logs_are_paged_as_by_node(bounds, asc, node6, filled):
    filled("ours")

    theirs = node6.ask("call", queue="ours-line", method="getJobLogs", args=["a", *bounds, asc])

    assert fn.Queue("ours-line").get_job("a").get_logs(*bounds, asc=asc) == theirs["logs"]


def test_unprocessed_children_go_with_theirs_and_the_parent_goes_on(node6, filled, redis):
    filled("node", "ours")

    node6.ask("call_job", queue="node-top", id="up", method="removeUnprocessedChildren")
    fn.Queue("ours-top").get_job("up").remove_unprocessed_children()

    ours, theirs = dump(redis, "ours"), dump(redis, "node")
    removed = [
        {event["jobId"] for event in found.pop("bull:line:events") if event["event"] == "removed"}
        for found in (ours, theirs)
    ]  # a parent that goes with its children is released before, by Node alone
    assert removed[0] == removed[1] == {"l0", "l1", "mid"}
    assert ours == theirs


def test_unprocessed_children_that_run_stay(node6, filled, redis, start_peer, until):
    filled("node", "ours")
    for who in ("node", "ours"):
        redis.set(f"bull:{who}-line:l0:lock", "somebody")
        redis.lrem(f"bull:{who}-line:wait", 1, "l0")
        redis.lpush(f"bull:{who}-line:active", "l0")

    node6.ask("call_job", queue="node-top", id="up", method="removeUnprocessedChildren")
    fn.Queue("ours-top").get_job("up").remove_unprocessed_children()

    assert fn.Queue("ours-top").get_job("up").get_dependencies()["unprocessed"] == ["ours-line:l0"]
    assert without_events(dump(redis, "ours")) == without_events(dump(redis, "node"))


def test_a_job_that_is_cancelled_while_nodes_worker_runs_it_gets_no_further_attempt(
    start_peer, redis, until, connection
):
    runner = start_peer("node6")
    job = fn.Queue("q").add("a", {"do": "hold", "fails": True}, {"attempts": 3})
    runner.ask("work", queue="q")
    until(lambda: redis.exists("test:runs"))

    assert job.cancel()
    redis.set("test:open", 1)

    until(lambda: job.get_state() == "failed")
    assert fn.Queue("q").get_job(job.id).failed_reason == "cancelled"
    assert redis.llen("test:runs") == 1
    runner.ask("stop")
