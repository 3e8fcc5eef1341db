"""Readers write nothing, also where another program's workers left a flow's end or further parents unwritten."""

from __future__ import annotations

import pandas as pd
import pytest

import flownb as fn
from flownb.wire.store.limits import JOB_LINES_A_READ
from tests.support.watched_server import contents, watched, writes_among

FLOW_READERS = {
    "name": lambda flow: flow.name,
    "state": lambda flow: flow.state,
    "job": lambda flow: flow.job.get_state(),
    "progress": lambda flow: flow.progress(),
    "eta": lambda flow: flow.progress().eta,
    "stages": lambda flow: flow.progress().stages,
    "jobs": lambda flow: flow.jobs(),
    "draw": lambda flow: flow.draw(),
    "timeline": lambda flow: flow.timeline(),
    "explain": lambda flow: flow.explain(),
    "to_html": lambda flow: flow.to_html(),
    "repr": repr,
    "str": str,
}
BATCH_READERS = {
    "table": lambda batch: batch.table(),
    "failures": lambda batch: batch.failures,
}
JOB_READERS = {
    "get_state": lambda job: job.get_state(),
    "is_cancelled": lambda job: job.is_cancelled(),
    "get_children_values": lambda job: job.get_children_values(),
    "get_ignored_children_failures": lambda job: job.get_ignored_children_failures(),
    "get_dependencies": lambda job: job.get_dependencies(),
    "get_dependencies_count": lambda job: job.get_dependencies_count(),
    "get_logs": lambda job: job.get_logs(),
}
QUEUE_READERS = {
    "get_jobs": lambda queue: queue.get_jobs(["waiting", "active", "completed", "failed"]),
    "get_job_counts": lambda queue: queue.get_job_counts(),
    "is_paused": lambda queue: queue.is_paused(),
    "flows": lambda queue: fn.flows(queue=queue.name),
    "doctor": lambda queue: fn.doctor(queue.name),
}


def tree(name: str, **opts) -> dict:
    return {
        "name": name,
        "queueName": f"{name}-top",
        "opts": {"jobId": "top"},
        "children": [{"name": "leaf", "queueName": f"{name}-leaf", "data": {}, "opts": opts}],
    }


def of_flownb(stage) -> dict[str, fn.Flow]:
    """Flows that only flownb's workers ran, in every state."""
    flows = {name: fn.add(tree(name)) for name in ("waiting", "running", "completed", "failed", "cancelled")}
    stage.take("running-leaf")
    for queue in ("completed-leaf", "completed-top"):
        stage.finish(*stage.take(queue), "completed", value="1")
    stage.fail(*stage.take("failed-leaf"))
    flows["cancelled"].cancel()
    flows["paused"] = fn.add(tree("paused")).pause()
    flows["delayed"] = fn.add(tree("delayed", delay=3_600_000))
    return flows


def of_others(peer, redis, until) -> dict[str, fn.Flow]:
    """Flows whose jobs another program's workers ended."""
    flows = {name: fn.add(tree(name)) for name in ("ended", "doomed", "half")}
    paid = fn.Node("paid", "paid", {}, {"jobId": "paid-1"})
    parents = [fn.Node(name, name, children=[paid]) for name in ("ship", "bill")]
    flows["shared"] = fn.add(fn.Node("order", "orders", children=parents))
    flows["found"] = fn.attach(peer.add(tree("found")))
    flows["found half"] = fn.attach(peer.add(tree("foundhalf")))
    done = ("ended-leaf", "ended-top", "half-leaf", "paid", "found-leaf", "found-top", "foundhalf-leaf")
    for queue in done:
        peer.work(queue, lambda job: 1)
    peer.work("doomed-leaf", raise_error)
    until(lambda: all(redis.zcard(f"bull:{queue}:completed") for queue in done))
    until(lambda: redis.llen("bull:doomed-top:wait") == 1)
    peer.rest()
    return flows


def raise_error(job):
    raise ValueError("no")


@pytest.fixture
def flows(peer, stage, redis, until) -> dict[str, fn.Flow]:
    """Give flows in every state, and those that another program's workers ran."""
    return of_flownb(stage) | of_others(peer, redis, until)


def test_no_reader_writes(flows, redis):
    queues = {queue for flow in flows.values() for queue in flow.progress().counts.by_stage}
    before = contents(redis)

    with watched(redis) as commands:
        for flow in flows.values():
            for read in FLOW_READERS.values():
                read(flow)
            for read in JOB_READERS.values():
                read(flow.job)
            fn.attach(f"{flow.job.queue_name}:{flow.job.id}")
        for name in queues:
            for read in QUEUE_READERS.values():
                read(fn.Queue(name))
        fn.flows()
        fn.doctor()

    assert writes_among(redis, commands) == set()
    assert contents(redis) == before
    assert len(commands) > 1000


def test_no_reader_of_a_batch_writes(stage, redis):
    """No task is known here, so that no worker starts by itself."""
    batches = [fn.fan_out(pd.DataFrame({"x": [2, 0]}), name, name=name) for name in ("done", "rows-done")]
    for name in ("done", "rows-done"):
        one, other = stage.take(name, want=2)
        stage.finish(one, "completed", value="1")
        stage.fail(other)
    stage.finish(stage.take("flownb-batch")[0], "completed", value="{}")  # the other root waits for a worker
    before = contents(redis)

    with watched(redis) as commands:
        for batch in batches:
            for read in (FLOW_READERS | BATCH_READERS).values():
                read(batch)
        fn.flows()

    assert writes_among(redis, commands) == set()
    assert contents(redis) == before
    assert sorted(batch.state for batch in batches) == ["completed", "waiting"]


def test_readers_show_what_nobody_wrote_yet(flows, redis):
    listed = fn.flows().set_index("name")["state"]

    assert (flows["ended"].state, listed["ended"]) == ("completed", "completed")
    assert flows["ended"].progress().fraction == 1
    assert (flows["doomed"].state, listed["doomed"]) == ("failing", "failing")
    assert (flows["shared"].state, listed["order"]) == ("waiting-children", "waiting-children")
    assert flows["shared"].progress().completed == 1
    assert (flows["found"].state, flows["found half"].state) == ("completed", "waiting")
    assert not redis.hexists(record_of(flows["ended"]), "ended")


def test_who_waits_or_watches_writes_it(flows, redis):
    assert flows["ended"].wait(timeout=30).state == "completed"
    assert redis.hget(record_of(flows["ended"]), "ended") == b"completed"

    assert redis.llen("bull:ship:wait") + redis.llen("bull:bill:wait") == 1
    view = flows["shared"].watch()
    view.poll()
    view.close()
    assert redis.llen("bull:ship:wait") + redis.llen("bull:bill:wait") == 2

    assert flows["doomed"].wait(timeout=30).state == "failed"


def record_of(flow) -> str:
    return f"bull:flownb:flow:{redis_id(flow)}"


def redis_id(flow) -> str:
    from flownb.api.flow import stored

    return stored(flow).id


def test_all_jobs_of_a_wide_flow_are_read_by_few_commands(connection, redis):
    flow = fn.add(
        {
            "name": "top",
            "queueName": "tops",
            "children": [{"name": "c", "queueName": "cs"} for _ in range(2499)],
        }
    )
    flow.jobs()  # the scripts are there

    redis.config_resetstat()
    jobs = flow.jobs()

    assert len(jobs) == 2500
    calls = {
        name.removeprefix("cmdstat_"): about["calls"] for name, about in redis.info("commandstats").items()
    }
    of_jobs = 2500 // JOB_LINES_A_READ
    assert calls["evalsha"] - of_jobs in (0, 1), "250 jobs a call, and at most one look at the flow's counts"
    # A job takes one read of its hash; in a queue without active jobs nobody asks for locks.
    assert calls["hmget"] <= 2500 + 10
    assert calls["exists"] <= 10 * of_jobs
    assert calls.get("sscan", 0) <= 5, "children are looked through a thousand a page"
