"""add_jobs under a running job, and finish_and_fetch, parked: active -> waiting-children."""

from __future__ import annotations

import pytest

from flownb import errors
from flownb.wire.job_rows import FieldRow, FlowRecord
from flownb.wire.lease_records import OwnRun
from flownb.wire.store.job_records import Taken
from tests.support import invariants
from tests.support.script_bench import (
    START,
    Bench,
    completed,
    failed,
    key,
    node,
    parent,
    parked,
    retry,
)

P = key("p", "up")


def run_of(taken: Taken) -> OwnRun:
    record = taken.record
    return OwnRun(key=record.key, token=taken.token, attempts_started=record.attempts_started)


def grow(bench: Bench, taken: Taken, *children: str, policy: str = "fpof", flow: str | None = "f") -> None:
    """Add children under a running job, as its own run does."""
    record = FlowRecord(id=flow) if flow else None
    nodes = [node(child, (taken.record.key, policy), outside=True) for child in children]
    bench.add(*nodes, flow=None, record=record, own_run=run_of(taken))


def running(bench: Bench, flow: str | None = "f") -> Taken:
    bench.add(node("p", queue="up"), flow=flow)
    return bench.take_one("up")


def test_a_job_that_waits_for_children_leaves_its_slot_and_its_lease(bench: Bench):
    taken = running(bench)
    grow(bench, taken, "a", "b")
    bench.wait(5)

    assert bench.finish(parked(taken)) == ["done"]

    assert bench.list(key("active", "up")) == []
    assert bench.zset(key("waiting-children", "up")) == {"p": START + 5}
    assert not bench.redis.exists(f"{P}:lock")
    assert "atm" not in bench.hash(P)
    assert bench.event_fields("up")[-1] == {"event": "waiting-children", "jobId": "p", "prev": "active"}
    assert bench.counts() == {"up waiting-children": 1, "q waiting": 2}
    assert invariants.violations(bench.redis, "bull") == []


def test_the_last_child_lets_it_run_again(bench: Bench):
    taken = running(bench)
    grow(bench, taken, "a", "b")
    bench.finish(parked(taken))

    bench.finish(*(completed(child, "7") for child in bench.take("q", want=2)))
    again = bench.take_one("up")

    assert (again.record.id, again.record.attempts_made, again.record.attempts_started) == ("p", 0, 2)
    assert bench.finish(completed(again)) == ["done"]
    assert invariants.violations(bench.redis, "bull") == []


def test_when_its_children_are_done_already_it_goes_to_the_head_of_the_line(bench: Bench):
    taken = running(bench)
    bench.add_plain("other", queue="up")
    grow(bench, taken, "a")
    bench.finish(completed(bench.take_one("q")))

    assert bench.finish(parked(taken)) == ["done"]

    assert bench.list(key("wait", "up")) == ["other", "p"]
    assert bench.zset(key("marker", "up")) == {"0": 0}
    assert "atm" not in bench.hash(P)


@pytest.mark.parametrize("eager", [True, False])
def test_a_child_that_lets_it_go_on_and_failed_meanwhile_ends_the_wait_before_it_began(bench: Bench, eager):
    taken = running(bench)
    grow(bench, taken, "a", "b", policy="cpof")
    bench.finish(failed(bench.take_one("q")))

    bench.finish(parked(taken)._replace(eager=[key("b"), key("a")] if eager else [key("b")]))

    assert bench.state_of(P) == ("waiting" if eager else "waiting-children")


def test_a_child_that_has_failed_it_meanwhile_keeps_it_from_waiting(bench: Bench):
    taken = running(bench)
    grow(bench, taken, "a", "b")
    bench.finish(failed(bench.take_one("q")))
    before = bench.contents()

    assert bench.finish(parked(taken)) == ["failed-children"]

    assert bench.contents() == before


def test_a_wait_that_is_sent_twice_changes_nothing(bench: Bench):
    taken = running(bench)
    grow(bench, taken, "a")
    bench.finish(parked(taken))
    before = bench.dump()

    assert bench.finish(parked(taken)) == ["repeated"]
    assert bench.finish(parked(taken)._replace(token="another")) == ["stale"]

    assert bench.dump() == before


def test_a_job_that_lost_its_lease_and_was_put_back_still_waits(bench: Bench):
    taken = running(bench)
    grow(bench, taken, "a")
    bench.lose_lease(taken)
    bench.sweep("up")
    bench.sweep("up")
    assert bench.list(key("wait", "up")) == ["p"]

    assert bench.finish(parked(taken)) == ["done"]

    assert bench.list(key("wait", "up")) == []
    assert bench.state_of(P) == "waiting-children"


@pytest.mark.parametrize("why", ["another has it", "another had it", "its end is written", "it is gone"])
def test_only_the_run_that_counts_can_add_children(bench: Bench, why):
    taken = running(bench)
    if why == "another has it":
        bench.redis.set(f"{P}:lock", "somebody")
    elif why == "another had it":
        bench.lose_lease(taken)
        bench.redis.hincrby(P, "ats", 1)
    elif why == "its end is written":
        bench.finish(retry(taken))
    else:
        bench.redis.delete(P)
    before = bench.dump()

    with pytest.raises((errors.JobElsewhere, errors.ParentMissing), match="up:p"):
        grow(bench, taken, "a", "b")

    assert bench.dump() == before


def test_children_added_twice_are_there_once(bench: Bench):
    taken = running(bench)
    grow(bench, taken, "a", "b")
    bench.finish(completed(bench.take_one("q"), "1"))
    before = bench.contents()

    grow(bench, taken, "a", "b")

    assert bench.contents() == before


def test_a_job_outside_any_flow_becomes_the_root_of_one(bench: Bench):
    taken = running(bench, flow=None)
    children = [node("a", (P, "fpof"), outside=True)]
    fields = {"name": "p", "root": P, "total": "2"}
    record = FlowRecord(id="grown", fields=fields, is_stored=True)
    run = OwnRun(key=P, token=taken.token, attempts_started=1)
    bench.redis.hset("bull:flownb:counts:grown", "failed@bull:up", 3)  # of an earlier job of this id
    bench.redis.hset("bull:flownb:flow:grown", "ended", "failed")

    bench.add(*children, flow=None, record=record, own_run=run)
    bench.add(*children, flow=None, record=record, own_run=run)

    assert bench.hash(P)["fl"] == "grown"
    assert bench.counts("grown") == {"up active": 1, "q waiting": 1}
    about_flow = bench.hash("bull:flownb:flow:grown")
    assert (about_flow["root"], about_flow["total"], about_flow["stored"]) == (P, "2", "1")
    assert "ended" not in about_flow
    bench.finish(parked(taken))
    bench.finish(completed(bench.take_one("q")))
    bench.finish(completed(bench.take_one("up")))
    assert bench.hash("bull:flownb:flow:grown")["ended"] == "completed"
    assert invariants.violations(bench.redis, "bull") == []


def test_a_parked_parent_fails_at_once_when_a_child_does(bench: Bench):
    bench.add(parent("top", queue="up"), node("p", (key("top", "up"), "fpof"), queue="up"))
    taken = bench.take_one("up")
    grow(bench, taken, "a", "b")
    bench.finish(parked(taken))

    bench.finish(failed(bench.take_one("q")))

    assert (bench.state_of(P), bench.state_of(key("top", "up"))) == ("failed", "failed")
    assert bench.hash("bull:flownb:flow:f")["cause"] == key("a")


def test_adding_a_flow_again_leaves_what_its_jobs_have_got_since(bench: Bench):
    nodes = [parent("p", queue="up"), node("a", (P, "fpof"))]
    place = f"bull:flownb:children:{P}"
    bench.add(*nodes, fields=[FieldRow(place, "groups", b"one")])
    bench.finish(completed(bench.take_one("q")))
    taken = bench.take_one("up")
    record = FlowRecord(id="f")
    run = run_of(taken)
    grown = node("b", (P, "fpof"), outside=True)
    bench.add(grown, flow=None, record=record, own_run=run, fields=[FieldRow(place, "groups", b"two")])

    bench.add(*nodes, fields=[FieldRow(place, "groups", b"one")])

    assert bench.redis.hget(place, "groups") == b"two"
