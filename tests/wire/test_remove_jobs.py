"""remove_jobs: a flow or a job with its children is gone with all its keys; shared jobs stay with who still uses them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flownb import errors
from flownb.steering import remove as removal
from flownb.wire.lease_records import Lease
from flownb.wire.requests import Removal, Retry
from tests.support import invariants
from tests.support.random_flows import QUEUES, Model, check, fresh, graphs, renamed, tries
from tests.support.script_bench import Bench, base, completed, failed, key, node, parent, retry

pytestmark = pytest.mark.every_server

P, G = key("p", "up"), key("g", "top")
QUEUE_KEYS = (":meta", ":id", ":events", ":marker", ":pc", ":stalled-check", ":served")


def left(bench: Bench) -> list[str]:
    """Return the keys that are no queue's own."""
    return sorted(name for name in bench.contents() if not name.endswith(QUEUE_KEYS))


def remove(bench: Bench, *jobs: str, **more) -> int:
    return bench.store.jobs.remove(base("q"), Removal(jobs=jobs, **more))


def whole(bench: Bench, flow: str = "f") -> None:
    removal.remove_flow(bench.store, flow)


PLACES = {
    "wait": {},
    "delayed": {"delay": 9},
    "prioritized": {"priority": 2},
    "completed": {},
    "failed": {},
    "waiting-children": {},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_job_leaves_no_key_wherever_it_is(bench: Bench, place: str):
    made = parent if place == "waiting-children" else node
    bench.add(made("a", **PLACES[place]), node("b", (key("a"), ""), queue="w"), node("z"))
    for name in ("logs", "processed", "failed", "unsuccessful"):
        bench.redis.rpush(key(f"a:{name}"), "x")
    bench.redis.sadd(key("stalled"), "a")
    bench.redis.hset(f"bull:flownb:children:{key('a')}", "0", "x")
    if place in ("completed", "failed"):
        taken = bench.take_one()
        bench.redis.delete(key("a:dependencies"), key("a:unsuccessful"))
        assert bench.finish((completed if place == "completed" else failed)(taken)) == ["done"]

    assert remove(bench, key("a"), top=key("a")) == 1

    assert [name for name in left(bench) if key("a") in name] == []
    assert "a" not in str(
        bench.redis.zrange(key(place), 0, -1) if place != "wait" else bench.list(key("wait"))
    )
    assert not bench.redis.exists(key("stalled"))
    assert bench.event_fields()[-1] == {"event": "removed", "jobId": "a", "prev": place}
    assert [one for one in invariants.violations(bench.redis) if one.rule == "C1"] == []


@pytest.mark.parametrize("spoil", ["active", "lock"])
def test_a_running_job_is_refused_and_nothing_is_touched(bench: Bench, spoil: str):
    bench.add_plain("a", "b")
    if spoil == "active":
        bench.lose_lease(bench.take_one())
    else:
        bench.redis.set(key("a:lock"), "somebody")
    before = bench.dump()

    with pytest.raises(errors.JobActive, match=key("a")):
        remove(bench, key("b"), key("a"))

    assert bench.dump() == before


def test_a_job_that_somebody_else_uses_is_refused_unless_it_is_told(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    before = bench.dump()

    with pytest.raises(errors.JobShared, match=key("a")):
        remove(bench, key("a"))

    assert bench.dump() == before
    assert remove(bench, key("a"), going=[P]) == 1
    assert bench.set(f"{P}:dependencies") == {key("a")}, "P goes too, and is not released"


def test_sent_twice_it_removes_nothing_twice(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    assert remove(bench, key("a"), top=key("a")) == 1
    before = bench.dump()

    assert remove(bench, key("a"), top=key("a")) == 0

    assert bench.dump() == before


def test_many_jobs_leave_a_line_in_whatever_order_they_are_named(bench: Bench):
    ids = [f"a{i}" for i in range(10)]
    bench.add_plain("y", *ids, "z")

    assert remove(bench, *(key(id) for id in ids[5:] + ids[:5])) == 10

    assert bench.list(key("wait")) == ["z", "y"]


def test_the_last_child_that_is_removed_releases_its_parent_softly(bench: Bench):
    bench.add(parent("p", queue="up", delay=1000), node("a", (P, "fpof")), node("b", (P, "fpof")))
    bench.finish(completed(bench.take_one(), "1"))
    bench.add_plain("z", queue="up")

    remove(bench, key("b"), top=key("b"))

    assert bench.list(key("wait", "up")) == ["z", "p"], "at once, to the head of the line"
    assert bench.events("up", last=1) == [("waiting", "p", "waiting-children")]
    assert bench.zset(key("marker", "up"))["0"] == 0
    assert bench.hash(f"{P}:processed") == {key("a"): "1"}
    assert bench.counts() == {"up waiting": 1, "q completed": 1}
    assert invariants.violations(bench.redis) == []


def test_a_parent_keeps_the_value_of_a_child_that_is_removed(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    bench.finish(completed(bench.take_one(), "1"))

    remove(bench, key("a"), top=key("a"))

    assert bench.hash(f"{P}:processed") == {key("a"): "1"}
    assert bench.state_of(P) == "waiting-children"
    assert invariants.violations(bench.redis) == []


def test_a_parent_is_held_down_no_more_by_a_failed_child_that_is_removed(bench: Bench):
    bench.add(parent("g", queue="top"), parent("p", (G, "fpof"), queue="up"), node("a", (P, "fpof")))
    bench.finish(failed(bench.take_one()))

    remove(bench, key("a"), top=key("a"))

    assert bench.state_of(P) == "failed"
    assert bench.store.flows.read_end("f") == ("failed", P)
    assert invariants.violations(bench.redis) == []
    assert bench.store.jobs.retry([Retry(P)], token="t") == ["done"]
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("where", ["everywhere", "newest", "oldest", "middle", "aside"])
def test_many_ids_are_taken_out_of_a_long_line_that_keeps_its_order(bench: Bench, where: str):
    ids = [f"n{i:05}" for i in range(3_000)]
    for start in range(0, len(ids), 500):
        bench.add_plain(*ids[start : start + 500])
    gone = {
        "everywhere": ids[7::30],
        "newest": ids[-100:],
        "oldest": ids[:100],
        "middle": ids[1_500:1_600],
        "aside": [*ids[:50], *ids[1_500:1_550]],
    }[where]
    if where == "aside":  # of a paused flow: some of them stand in the other list
        for _ in range(20):
            bench.redis.lmove(key("wait"), key("paused"), "RIGHT", "LEFT")
    before = {list_: bench.list(key(list_)) for list_ in ("wait", "paused")}

    assert remove(bench, *map(key, gone)) == 100

    for list_, there in before.items():
        assert bench.list(key(list_)) == [id for id in there if id not in gone]
    assert invariants.violations(bench.redis) == []


# ---- flows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["nothing", "some", "all"])
def test_a_flow_leaves_no_key(bench: Bench, ends: str):
    bench.add(
        parent("g", queue="top"),
        parent("p", (G, "fpof"), queue="up"),
        parent("r", (G, "idof"), queue="up"),
        node("a", (P, "fpof"), (key("r", "up"), "idof")),
        node("b", (P, "idof"), delay=5),
        node("c", (P, "rdof"), priority=3),
    )
    bench.redis.hset("bull:flownb:names", "n", "f")
    if ends != "nothing":
        bench.finish(failed(bench.take_one()))
    if ends == "all":
        bench.finish(completed(bench.take_one("up")))

    whole(bench)

    assert left(bench) == []
    assert bench.store.flows.read_counts("f").total == 0
    whole(bench)  # again: nothing to do
    assert left(bench) == []


def test_the_name_of_a_newer_flow_stays(bench: Bench):
    bench.add(node("a"), flow="f")
    bench.redis.hset("bull:flownb:flow:f", "name", "n")
    bench.redis.hset("bull:flownb:names", "n", "newer")

    whole(bench)

    assert bench.hash("bull:flownb:names") == {"n": "newer"}


def test_s25_a_running_job_goes_with_its_whole_flow_and_its_late_end_changes_nothing(bench: Bench):
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(3)))
    late = bench.take_one()

    whole(bench)

    assert left(bench) == []
    before = bench.dump()
    lease = Lease(late.base, late.record.id, late.token, late.record.attempts_started)
    assert bench.finish(completed(late, "1"), retry(late)) == ["missing", "missing"]
    assert bench.store.leases.extend([late.base], [lease], lock_ms=9000) == ["c0"]
    with pytest.raises(errors.JobMissing):
        bench.store.jobs.update(late.base, "c0", "progress", "1")
    assert bench.sweep() == []
    assert bench.dump().keys() - before.keys() <= {"bull:flownb:served", key("stalled-check")}


def test_a_removal_that_was_cut_short_is_finished_by_the_next_one(bench: Bench, monkeypatch):
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(20)))
    monkeypatch.setattr(removal, "JOBS_A_CHANGE", 6)
    calls, send = [], bench.store.jobs.remove

    def cut(*asked):
        calls.append(asked)
        if len(calls) == 3:
            raise ConnectionError
        return send(*asked)

    monkeypatch.setattr(bench.store.jobs, "remove", cut)
    with pytest.raises(ConnectionError):
        whole(bench)
    assert 0 < sum(bench.counts().values()) < 21
    assert bench.state_of(P) == "failed", "half of a flow never runs"
    assert invariants.violations(bench.redis) == []

    whole(bench)

    assert left(bench) == []


def test_a_flow_that_was_half_stored_can_be_removed(bench: Bench):
    seal = "bull:flownb:seal:f"
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), seal=seal, unseal=[])

    whole(bench)

    assert left(bench) == []


# ---- shared jobs --------------------------------------------------------------------------------------------


def two_flows(bench: Bench) -> None:
    """Flow f: p over s over t; flow g2: o over s."""
    s = key("s", "up")
    bench.add(parent("p", queue="up"), parent("s", (P, "fpof"), queue="up"), node("t", (s, "idof")))
    bench.add(parent("o", queue="top"), parent("s", (key("o", "top"), "idof"), queue="up"), flow="g2")


@pytest.mark.parametrize("ends", [False, True])
def test_a_shared_job_stays_with_the_other_flow_and_its_children_with_it(bench: Bench, ends: bool):
    two_flows(bench)
    if ends:
        bench.finish(completed(bench.take_one(), "1"))
        bench.finish(completed(bench.take_one("up"), "2"))

    whole(bench)

    s, o = key("s", "up"), key("o", "top")
    assert not bench.redis.exists(P, f"bull:flownb:parents:{s}", "bull:flownb:flow:f", "bull:flownb:counts:f")
    stored = bench.hash(s)
    assert (stored["fl"], stored["parentKey"], bench.hash(key("t"))["fl"]) == ("g2", o, "g2")
    assert "sh" not in stored
    assert sum(bench.counts("g2").values()) == 3
    assert invariants.violations(bench.redis) == []

    for queue in ("q", "up", "top"):
        for taken in bench.take(queue):
            bench.finish(completed(taken, '"new"'))
    assert bench.store.flows.read_end("g2") == ("completed", None)
    assert invariants.violations(bench.redis) == []
    whole(bench, "g2")
    assert left(bench) == []


def test_a_job_of_another_flow_is_only_detached(bench: Bench):
    two_flows(bench)

    whole(bench, "g2")

    s = key("s", "up")
    stored = bench.hash(s)
    assert (stored["fl"], stored["parentKey"]) == ("f", P)
    assert "sh" not in stored
    assert not bench.redis.exists(key("o", "top"), "bull:flownb:counts:g2", f"bull:flownb:parents:{s}")
    assert bench.counts() == {"up waiting-children": 2, "q waiting": 1}
    assert invariants.violations(bench.redis) == []


def test_the_root_of_a_flow_that_another_uses_stays_with_that(bench: Bench):
    bench.add(node("i"), flow="f")
    bench.add(parent("o", queue="top"), node("i", (key("o", "top"), "fpof")), flow="g2")

    whole(bench)

    assert (bench.hash(key("i"))["fl"], bench.hash(key("i"))["parentKey"]) == ("g2", key("o", "top"))
    assert invariants.violations(bench.redis) == []
    bench.finish(failed(bench.take_one()))
    assert bench.store.flows.read_end("g2") == ("failed", key("i"))
    assert invariants.violations(bench.redis) == []


# ---- one job with its children ----------------------------------------------------------------------------------


def test_a_job_goes_with_its_children_and_its_parent_waits_no_more(bench: Bench):
    bench.add(
        parent("g", queue="top"),
        parent("p", (G, "fpof"), queue="up"),
        node("a", (P, "fpof")),
        node("b", (P, "idof")),
    )
    bench.finish(completed(bench.take_one(), "1"))

    removal.remove_job(bench.store, P)

    assert left(bench) == [
        "bull:flownb:counts:f",
        "bull:flownb:flow:f",
        "bull:flownb:flows",
        G,
        key("wait", "top"),
    ]
    assert bench.counts() == {"top waiting": 1}
    assert invariants.violations(bench.redis) == []


def test_a_running_child_keeps_a_job_as_it_is(bench: Bench):
    bench.add(parent("g", queue="top"), parent("p", (G, "fpof"), queue="up"), node("a", (P, "fpof")))
    bench.take_one()
    before = bench.dump()

    with pytest.raises(errors.FlowError, match="runs right now"):
        removal.remove_job(bench.store, P)

    assert bench.dump() == before


def test_a_shared_child_stays_with_its_other_parent(bench: Bench):
    r = key("r", "up")
    bench.add(
        parent("g", queue="top"),
        parent("p", (G, "fpof"), queue="up"),
        parent("r", (G, "fpof"), queue="up"),
        node("a", (P, "fpof"), (r, "idof")),
    )

    removal.remove_job(bench.store, P)

    assert (bench.hash(key("a"))["parentKey"], bench.hash(key("a"))["fl"]) == (r, "f")
    assert bench.set(f"{G}:dependencies") == {r}
    assert invariants.violations(bench.redis) == []


def test_a_root_goes_with_its_flow(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))

    removal.remove_job(bench.store, P)

    assert left(bench) == []


def test_a_job_outside_any_flow_is_removed_alone(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")), flow=None)

    removal.remove_job(bench.store, key("a"))

    assert bench.set(f"{P}:dependencies") == {key("b")}
    removal.remove_job(bench.store, P)
    assert left(bench) == []


@tries(40)
@given(nodes=graphs(), more=graphs(), seed=st.integers(0, 2**32), steps=st.integers(0, 15))
def test_two_flows_that_share_jobs_go_one_after_the_other_and_leave_nothing(
    bench: Bench, nodes: list[dict], more: list[dict], seed: int, steps: int
):
    fresh(bench)
    dice = random.Random(seed)
    bench.add(*nodes, flow="f")
    model = Model(bench, nodes, dice)
    second = [renamed(one) for one in more]
    targets = [(one["id"], one["queue"]) for one in nodes]
    for i, one in enumerate(second):
        if not one["has_children"] and i:
            one["id"], one["queue"] = targets[i % len(targets)]
    bench.add(*{(one["id"], one["queue"]): one for one in second}.values(), flow="g")
    for _ in range(steps):
        model.step()
    while model.held:
        model.end()
    bench.sweep(*QUEUES)
    bench.sweep(*QUEUES)
    check(bench)
    model.late.clear()

    for flow in dice.sample(["f", "g"], 2):
        whole(bench, flow)
        check(bench)
        assert not bench.redis.exists(f"bull:flownb:flow:{flow}", f"bull:flownb:counts:{flow}")
        model.held += bench.take(*QUEUES, want=2)
        while model.held:
            model.end()
        check(bench)
    assert left(bench) == []
