"""`flows`: what is on the server, without searching for it."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.wire.store import Store
from flownb.wire.store.flows import Flows

TREE = {
    "name": "report",
    "queueName": "reports",
    "children": [{"name": f"row-{i}", "queueName": "rows", "data": {"i": i}} for i in range(3)],
}


def fail(job):
    raise ValueError("no such row")


def test_nothing_is_a_frame_of_nothing(connection):
    assert fn.flows().columns.tolist() == [
        "flow",
        "name",
        "state",
        "completed",
        "failed",
        "total",
        "age_s",
        "why",
        "spent",
    ]
    assert fn.flows().empty


def test_each_flow_is_a_line_the_newest_first(connection):
    done = fn.add({"name": "done", "queueName": "q"})
    with fn.Worker("q", lambda job: 1):
        done.wait(timeout=30)
    bad = fn.add({**TREE, "name": "bad", "children": TREE["children"][:1]})
    with fn.Worker("rows", fail):
        bad.wait(timeout=30)
    fn.add(TREE)

    found = fn.flows()

    assert found[["name", "state", "completed", "failed", "total"]].to_numpy().tolist() == [
        ["report", "waiting-children", 0, 0, 4],
        ["bad", "failed", 0, 2, 2],
        ["done", "completed", 1, 0, 1],
    ]
    assert found["why"][0].startswith("no worker serves queue")
    assert found["why"][1] == "it failed: ValueError: no such row"
    assert found["why"][2] == ""
    assert (found["age_s"] >= 0).all()
    assert fn.attach(found["flow"][1]).name == "bad"


def test_it_can_be_narrowed(connection):
    fn.add(TREE)
    fn.add({"name": "other", "queueName": "others"})

    assert fn.flows(queue="rows")["name"].tolist() == ["report"]
    assert fn.flows(state="waiting")["name"].tolist() == ["other"]
    assert fn.flows(limit=1)["name"].tolist() == ["other"]
    assert fn.flows(queue="nobody").empty


def test_cancelled_flows_can_be_asked_for(connection):
    fn.add({"name": "bad", "queueName": "others"}).cancel()
    fn.add({"name": "other", "queueName": "others"})

    found = fn.flows(state="cancelled")

    assert found[["name", "state", "why"]].to_numpy().tolist() == [["bad", "cancelled", "it was cancelled"]]
    assert fn.flows(state="failed").empty


def test_the_limit_counts_what_is_shown(connection):
    fn.add(TREE)
    for _ in range(120):
        fn.add({"name": "small", "queueName": "others"})

    assert fn.flows(state="waiting-children", limit=1)["name"].tolist() == ["report"]
    assert len(fn.flows()) == 100
    assert len(fn.flows(limit=200)) == 121


def test_flows_of_other_programs_are_found_in_a_queue_of_theirs(peer, redis, until):
    theirs = peer.add(TREE)
    fn.add({**TREE, "name": "ours"})
    fn.Queue("rows").add("a job of its own")

    for queue in ("rows", "reports"):
        found = fn.flows(queue=queue)
        assert found["name"].tolist() == ["ours", "report"]
        assert found["flow"][1] == theirs
        assert found["total"].tolist() == [4, 4]
    assert fn.flows()["name"].tolist() == ["ours"]


def test_a_flow_that_others_ended_is_told_so(peer, connection, until):
    flow = fn.add({"name": "top", "queueName": "tops"})
    peer.work("tops", lambda job: 1)
    until(lambda: fn.Queue("tops").get_job(flow.job.id).finished_on)

    assert fn.flows()[["state", "completed", "why"]].to_numpy().tolist() == [["completed", 1, ""]]


def test_a_server_with_many_jobs_is_not_searched(connection, redis):
    fn.Queue("rows").add_bulk([{"name": "row"} for _ in range(3000)])
    fn.add(TREE)
    redis.config_resetstat()

    fn.flows(queue="rows")

    commands = redis.info("commandstats")
    assert not {"cmdstat_keys", "cmdstat_scan"} & commands.keys()
    assert sum(about["calls"] for about in commands.values()) < 3500


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"state": "done"}, "state: 'waiting', .* or 'older', not 'done'"),
        ({"limit": 0}, "limit: a whole number from 1 to 1000000000, not 0"),
        ({"queue": "a:b"}, "queue 'a:b': the name must not hold a colon"),
    ],
)
def test_what_cannot_be_asked_is_refused(connection, asked, told):
    with pytest.raises(fn.FlownbError, match=told):
        fn.flows(**asked)


def test_many_flows_take_a_few_calls_a_hundred(connection, redis):
    child = {"name": "c", "queueName": "c"}
    producer = fn.FlowProducer()
    served = producer.add_bulk(
        [{"name": f"top-{i}", "queueName": "tops", "children": [child]} for i in range(150)]
    )
    producer.add_bulk([{"name": f"top-{i}", "queueName": "nobodys"} for i in range(150, 300)])
    with fn.Worker(["tops", "c"], lambda job: 1):
        for flow in served:
            flow.wait(timeout=60)
    fn.flows()  # the scripts are there
    redis.config_resetstat()

    ended = fn.flows(limit=1000, state="completed")
    calls = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    listed = fn.flows(limit=1000)

    assert len(ended) == 150
    assert calls < 20 + 5 * 100  # of the first 100 that have not ended other programs' workers are asked for
    assert set(listed["name"]) == {f"top-{i}" for i in range(300)}
    assert listed["why"].tolist() == ["no worker serves queue 'nobodys'"] * 150 + [""] * 150


def test_a_flow_is_listed_once_though_others_are_stored_meanwhile(connection):
    for n in range(5):
        fn.add({"name": f"old-{n}", "queueName": "q"})
    listed = []
    for n, (flow, _) in enumerate(Store(connection.client(), connection.prefix).flows.pages(2)):
        listed.append(flow)
        if n < 3:
            fn.add({"name": f"new-{n}", "queueName": "q"})
    assert len(listed) == len(set(listed)) == 5


def test_flows_of_one_name_tell_each_which_one_was_before_it(connection, monkeypatch):
    """Over pages too, none of them is followed back: 10,000 of one name were read 100 times."""

    def follow(flows, flow):
        raise AssertionError("the flows before this one are read one by one")

    for _ in range(120):
        fn.add({"name": "report", "queueName": "reports"}, name="nightly")
    with monkeypatch.context() as patched:
        patched.setattr(Flows, "formers", follow)
        assert fn.flows()["name"].tolist() == ["nightly"]
        assert len(fn.flows(state="older", limit=1000)) == 119
