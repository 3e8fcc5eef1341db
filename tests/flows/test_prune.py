"""`prune`: flows that have ended go, by age and state; what runs, waits or is paused stays."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.errors import OptionError, ReadOnly

TREE = {"name": "sum", "queueName": "sums", "children": [{"name": "part", "queueName": "parts"}]}


def fail(job):
    raise fn.UnrecoverableError("no")


@pytest.fixture
def ended(connection) -> dict[str, fn.Flow]:
    """One flow in each state in which it has ended."""
    done = fn.add(TREE, name="done")
    with fn.Worker(["sums", "parts"], lambda job: 1):
        done.wait(timeout=30)
    bad = fn.add(TREE, name="bad")
    with fn.Worker(["sums", "parts"], fail):
        bad.wait(timeout=30)
    return {"done": done, "bad": bad, "off": fn.add(TREE, name="off").cancel()}


@pytest.fixture
def lasting(connection) -> list[str]:
    """Flows that have not ended, one of them paused."""
    other = {"name": "other", "queueName": "others"}
    fn.add(other, name="waits")
    fn.add(other, name="held").pause()
    return ["held", "waits"]


def names() -> set[str]:
    return set(fn.flows(limit=1000)["name"])


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        ({"older_than": 0}, {"done", "bad", "off"}),
        ({"state": "completed"}, {"done"}),
        ({"state": "failed"}, {"bad"}),
        ({"state": "cancelled", "older_than": 0}, {"off"}),
        ({"older_than": "1h"}, set()),
        ({"state": "older"}, set()),
    ],
)
def test_what_is_asked_for_goes_and_is_returned(lasting, ended, asked, gone):
    would = fn.prune(**asked, dry_run=True)
    assert names() == {"done", "bad", "off", *lasting}
    went = fn.prune(**asked)
    assert set(went["name"]) == gone
    assert went.drop(columns="age_s").equals(would.drop(columns="age_s"))
    assert names() == {"done", "bad", "off", *lasting} - gone


def test_nothing_is_left_of_what_went(ended, redis):
    fn.prune(older_than=0)
    assert [key for key in redis.keys("*") if b":flownb:" in key and b":served" not in key] == []
    assert not redis.keys("bull:*:01*")  # jobs


def test_a_failed_flow_of_which_a_job_still_waits_stays(connection):
    broken = {"name": "broken", "queueName": "parts"}
    tree = {"name": "sum", "queueName": "sums", "children": [broken, {"name": "w", "queueName": "w"}]}
    flow = fn.add(tree, on_failure="finish")
    with fn.Worker("parts", fail):
        flow.wait(timeout=30)
    assert fn.prune(state="failed").empty
    assert flow.progress().total == 3


def test_flows_that_had_its_name_before_go_with_a_flow_unless_they_still_run(connection):
    running = fn.add(TREE, name="nightly")
    fn.add(TREE, name="nightly").cancel()
    fn.add(TREE, name="nightly").cancel()
    assert fn.prune(older_than=0)["why"].tolist() == ["", "a newer flow has its name"]
    assert fn.attach("nightly").job.id == running.job.id


def test_older_flows_can_go_alone(connection):
    fn.add(TREE, name="nightly").cancel()
    fn.add(TREE, name="nightly").cancel()
    assert len(fn.prune(state="older")) == 1
    assert fn.attach("nightly").state == "cancelled"


def test_what_another_programs_workers_ended_goes_too(peer, connection, until):
    flow = fn.add({"name": "top", "queueName": "tops"})
    peer.work("tops", lambda job: 1)
    until(lambda: fn.Queue("tops").get_job(flow.job.id).finished_on)
    assert fn.prune(state="completed")["name"].tolist() == ["top"]
    assert fn.flows().empty


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "prune: say which flows: older_than='7d', state='completed', or both"),
        ({"state": "waiting"}, "state: 'completed', 'failed', 'cancelled' or 'older', not 'waiting'"),
        ({"older_than": "soon"}, "older_than: 'soon' is no duration"),
        ({"older_than": 1, "dry_run": "yes"}, "dry_run: "),
    ],
)
def test_what_cannot_be_meant_is_refused(ended, asked, told):
    with pytest.raises(OptionError, match=told):
        fn.prune(**asked)
    assert len(names()) == 3


def test_a_connection_that_only_reads_may_ask_what_would_go(ended, connection):
    with fn.Connection(connection.client(), read_only=True) as reader:
        assert len(fn.prune(older_than=0, dry_run=True, connection=reader)) == 3
        with pytest.raises(ReadOnly):
            fn.prune(older_than=0, connection=reader)
