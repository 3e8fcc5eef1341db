"""Flows that another program made: the same handle, read from BullMQ's own keys."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

import flownb as fn

pytestmark = pytest.mark.every_server

TREE = {
    "name": "report",
    "queueName": "reports",
    "data": {},
    "children": [
        {"name": "sum", "queueName": "sums", "children": [{"name": "load", "queueName": "loads"}]},
        *({"name": f"row-{i}", "queueName": "rows", "data": {"i": i}} for i in range(20)),
    ],
}


def row_with(**opts):
    return {
        "name": "report",
        "queueName": "reports",
        "children": [{"name": "row", "queueName": "rows", "opts": opts}],
    }


def fail(job):
    raise ValueError("no such row")


def runs_again(peer, flow):
    """Retry it with workers that do not fail."""
    peer.rest()
    peer.work("rows", lambda job: 1)
    peer.work("reports", count_children)
    assert flow.retry().result(timeout=30) == 1


def test_the_handle_of_any_job_is_that_of_its_whole_tree(peer, redis):
    root = peer.add(TREE)
    (loaded,) = redis.lrange("bull:loads:wait", 0, -1)

    for handle in (fn.attach(root), fn.attach(f"loads:{loaded.decode()}"), fn.attach(f"bull:{root}")):
        assert repr(handle) == "Flow('report': 23 jobs)"
        assert handle.name == "report"
        assert handle.state == "waiting-children"
        assert handle.job.name == "report"
    assert fn.attach(fn.Queue("loads").get_job(loaded.decode())).name == "report"


def test_its_picture_counts_and_table_say_what_the_books_say(peer, until):
    flow = fn.attach(peer.add(TREE))
    peer.work("rows", lambda job: job.data["i"])
    until(lambda: flow.progress().completed == 20)

    assert str(flow).splitlines() == [
        "Flow('report': 23 jobs, 20 completed)",
        "◇ report  waiting for 1 job",
        "├─ ✓ row-* × 20  20 completed",
        "└─ ◇ sum  waiting for 1 job",
        "   └─ ○ load  waiting",
    ]
    assert not flow.progress().counting
    assert len(flow.jobs("completed")) == 20
    assert set(flow.jobs()["name"]) >= {"report", "sum", "load", "row-0", "row-19"}
    assert len(flow.timeline()) >= 20
    assert "row-*" in flow.to_html()
    assert flow.explain()["why"].tolist()[0] == "no worker serves queue 'loads'"


def test_its_result_comes_whoever_ran_what(peer):
    flow = fn.attach(peer.add(TREE))
    peer.work("rows", lambda job: job.data["i"])
    with fn.Worker(["loads", "sums"], lambda job: 7):
        peer.work("reports", count_children)

        assert flow.result(timeout=30) == 21
    assert flow.wait().state == "completed"
    assert flow.progress().fraction == 1.0


async def count_children(job):
    return len(await job.getChildrenValues())


def test_a_task_is_one_stage_of_it(peer):
    @fn.task
    def load(day):
        return day * 2

    tree = {
        "name": "report",
        "queueName": "reports",
        "children": [{"name": "load", "queueName": "load", "data": {"day": 21}}],
    }
    flow = fn.attach(peer.add(tree))
    peer.work("reports", first_value)

    with fn.workers():
        assert flow.result(timeout=30) == 42


async def first_value(job):
    return next(iter((await job.getChildrenValues()).values()))


def test_a_failure_says_its_path_and_retry_mends_it(peer, until):
    flow = fn.attach(peer.add(row_with(failParentOnFailure=True)))
    peer.work("rows", fail)
    peer.work("reports", count_children)

    with pytest.raises(fn.FlowFailed, match=r"flow .report. failed: report > row: .*no such row"):
        flow.result(timeout=30)
    assert flow.state == "failed"
    assert "no such row" in flow.explain().loc[0, "why"]
    runs_again(peer, flow)


def test_a_failure_on_its_way_to_the_root_is_told_before_a_worker_comes_to_it(peer, until):
    flow = fn.attach(peer.add(row_with(failParentOnFailure=True)))
    peer.work("rows", fail)

    until(lambda: flow.state == "failing")
    assert flow.explain()["why"].str.contains("the next worker fails it unrun").any()


def test_a_child_without_a_policy_that_failed_is_counted_and_explained(peer, until):
    flow = fn.attach(peer.add(row_with()))
    peer.work("rows", fail)
    until(lambda: flow.progress().failed == 1)

    assert repr(flow) == "Flow('report': 2 jobs, 1 failed)"
    assert "without a policy, so 'report' waits for ever" in flow.explain().loc[0, "why"]
    runs_again(peer, flow)


def test_children_that_were_removed_as_they_ended_are_counted(peer, until):
    flow = fn.attach(peer.add(row_with(removeOnComplete=True)))
    peer.work("rows", lambda job: 1)

    until(lambda: flow.progress().completed == 1)
    assert repr(flow) == "Flow('report': 2 jobs, 1 completed)"
    assert "✓ (removed)  completed" in str(flow)


def test_children_added_meanwhile_are_found(peer, redis):
    root = peer.add(row_with())
    flow = fn.attach(root)
    assert flow.progress().total == 2

    parent = {"id": root.split(":")[1], "queue": "bull:reports"}
    peer.on_queue("rows", lambda queue: queue.add("late", {}, {"parent": parent}))

    assert flow.progress().total == 3
    assert set(flow.jobs()["name"]) == {"report", "row", "late"}


def test_removing_it_leaves_no_job(peer, redis):
    flow = fn.attach(peer.add(TREE))
    flow.remove()

    left = {key.decode().split(":")[-1] for key in redis.keys("bull:*")}
    assert left <= {"id", "meta", "events", "marker"}
    with pytest.raises(fn.JobMissing, match="is not on this server any more"):
        flow.wait()


def test_removing_a_wide_one_goes_through_its_long_line_a_few_times_only(redis):
    rows, calls = 5_000, 50  # removed a hundred at a time
    tree = {"name": "top", "queueName": "q", "opts": {"jobId": "top"}}
    tree["children"] = [{"name": f"c{i}", "queueName": "q"} for i in range(rows)]
    fn.FlowProducer().add(tree, semantics="bullmq")
    redis.config_resetstat()

    fn.attach("q:top").remove()

    assert sum(fn.Queue("q").get_job_counts().values()) == 0
    assert redis.info("commandstats")["cmdstat_lrange"]["calls"] < 3 * calls


@pytest.mark.parametrize("deed", ["pause", "resume", "cancel"])
def test_what_other_workers_would_not_honour_is_refused(peer, deed):
    flow = fn.attach(peer.add(row_with()))

    with pytest.raises(fn.FlowError, match="'report' is stored as BullMQ stores it"):
        getattr(flow, deed)()


def test_a_flow_under_another_prefix(peer, connection, redis):
    peer._options["prefix"] = "acme"
    root = peer.add(TREE)

    with pytest.raises(fn.JobMissing):
        fn.attach(root)
    other = fn.Connection(connection.client(), prefix="acme")
    assert repr(fn.attach(root, connection=other)) == "Flow('report': 23 jobs)"
    other.close()


def test_a_job_of_its_own_is_a_flow_of_one(connection):
    job = fn.Queue("mails").add("welcome")

    assert repr(fn.attach(job)) == "Flow('welcome': 1 job)"


def test_a_cell_may_look_while_a_live_view_reads_by_the_same_handle(connection, monkeypatch):
    fn.FlowProducer().add({**TREE, "opts": {"jobId": "top"}}, semantics="bullmq")
    flow = fn.attach("reports:top")
    shape, begun, go_on = flow._stored.flow_state.shape, threading.Event(), threading.Event()
    read = shape.store.children.read_names

    def read_slowly(jobs):
        begun.set()
        assert go_on.wait(60)
        return read(jobs)

    monkeypatch.setattr(shape.store.children, "read_names", read_slowly)
    with ThreadPoolExecutor(2) as threads:
        view = threads.submit(shape.explore)
        try:
            assert begun.wait(60)
            cell = threads.submit(shape.explore)
            wait([cell], timeout=0.1)  # it may begin, or not yet: either way it is to find the whole tree
        finally:
            go_on.set()
        view.result(60)
        cell.result(60)
    assert shape.complete
    assert len(list(shape.jobs())) == 23


def test_a_wide_one_is_counted_by_its_parents_books(redis):
    _store_wide(redis, rows=3000, completed=1000, failed=400, active=30, delayed=20, prioritized=10)
    flow = fn.attach("totals:r1")
    progress = flow.progress()

    assert progress.counts.by_stage["rows"] == {
        "completed": 1000,
        "failed": 400,
        "active": 30,
        "delayed": 20,
        "prioritized": 10,
        "waiting": 1540,
    }
    assert not progress.counting
    assert len(flow.jobs("failed")) == 400
    assert "row-* × 3000" in str(flow)


def test_what_cannot_be_told_apart_is_said_to_be_counting(redis):
    _store_wide(redis, rows=3000, completed=0, failed=0, active=0, delayed=1500, prioritized=0)
    redis.zadd("bull:rows:delayed", {f"other{i}": i for i in range(2000)})

    progress = fn.attach("totals:r1").progress()

    assert progress.counting
    assert progress.total == 3001


def _store_wide(redis, *, rows, completed, failed, active, delayed, prioritized):
    """Store a root and its children as BullMQ would, each in a state."""
    root, base = "bull:totals:r1", "bull:rows"
    redis.hset(root, mapping={"name": "total", "data": "{}", "opts": "{}", "timestamp": 1000})
    redis.zadd("bull:totals:waiting-children", {"r1": 1000})
    ends = [completed, failed, active, delayed, prioritized]
    states = [state for state, n in zip("CFADP", ends, strict=True) for _ in range(n)]
    with redis.pipeline(transaction=False) as pipe:
        for i in range(rows):
            id, key, state = f"c{i}", f"{base}:c{i}", states[i] if i < len(states) else "W"
            link = {"id": "r1", "queueKey": "bull:totals"}
            fields = {"name": f"row-{i}", "data": "{}", "opts": "{}", "timestamp": 1000}
            fields |= {"parentKey": root, "parent": json.dumps(link)}
            if state == "C":
                fields |= {"returnvalue": "1", "finishedOn": 2000, "atm": 1}
                pipe.zadd(f"{base}:completed", {id: 2000})
                pipe.hset(f"{root}:processed", key, "1")
            else:
                pipe.sadd(f"{root}:dependencies", key)
            if state == "F":
                fields |= {"failedReason": "no", "finishedOn": 2000, "atm": 1}
                pipe.zadd(f"{base}:failed", {id: 2000})
            elif state == "A":
                pipe.lpush(f"{base}:active", id)
            elif state in "DP":
                pipe.zadd(f"{base}:{'delayed' if state == 'D' else 'prioritized'}", {id: 10**15 + i})
            elif state == "W":
                pipe.lpush(f"{base}:wait", id)
            pipe.hset(key, mapping=fields)
        pipe.execute()


def test_a_job_with_a_time_that_is_none_runs_and_shows_as_any_other(redis, connection):
    """BullMQ's producers store the `timestamp` of a caller's options as it is."""
    flow = fn.add({"name": "top", "queueName": "odd", "children": [{"name": "a", "queueName": "odd"}] * 3})
    for id, odd in zip(redis.lrange("bull:odd:wait", 0, -1), ("nan", "2026-11-25", "inf"), strict=True):
        redis.hset(f"bull:odd:{id.decode()}", mapping={"timestamp": odd, "priority": odd, "atm": odd})

    assert flow.jobs()["name"].tolist() == ["top", "a", "a", "a"]
    assert str(flow).startswith("Flow('top': 4 jobs)")
    with fn.Worker("odd", lambda job: job.name, concurrency=4):
        assert flow.result(timeout=30) == "top"
    assert set(flow.timeline()["name"]) == {"top", "a"}
