"""add_jobs: flows, with their records and counts; shared jobs; sealed parents of flows stored in chunks."""

from __future__ import annotations

import json

import pytest

from flownb.adding.plan import plan
from flownb.adding.send import store_plan
from flownb.wire import child_list
from tests.support import invariants
from tests.support.script_bench import START, Bench, base, completed, failed, key, node, parent

P, Q = key("p", "up"), key("q2", "up")


def up(id: str = "p", *under, **more):
    return parent(id, *under, queue="up", **more)


# ---- families -------------------------------------------------------------------------------------------------


def test_a_parent_waits_for_the_keys_of_its_children(bench: Bench):
    assert bench.add(up(), node("c", (P, "fpof")), node("d", (P, "idof"))) == (3, [])

    assert bench.zset(key("waiting-children", "up")) == {"p": START}
    assert bench.set(f"{P}:dependencies") == {key("c"), key("d")}
    assert bench.hash(key("c")) == {
        "name": "name-c",
        "data": "{}",
        "opts": '{"attempts":0}',
        "timestamp": str(START),
        "delay": "0",
        "priority": "0",
        "fl": "f",
        "parentKey": P,
        "parent": json.dumps({"id": "p", "queueKey": base("up"), "fpof": True}),
    }
    assert bench.events("up") == [("added", "p", "name-p"), ("waiting-children", "p")]
    assert not bench.redis.exists(key("marker", "up"))
    assert invariants.violations(bench.redis) == []


def test_a_flow_has_a_record_counts_and_a_place_in_the_list(bench: Bench):
    bench.add(
        up(), node("c", (P, "fpof")), node("d", (P, "fpof"), delay=5), node("e", (P, "fpof"), priority=2)
    )

    assert bench.store.flows.read("f") == {
        "name": "n",
        "root": P,
        "total": "4",
        "layout": "1",
        "created": str(START),
        "stored": "1",
    }
    assert bench.counts() == {"up waiting-children": 1, "q waiting": 1, "q delayed": 1, "q prioritized": 1}
    assert bench.hash("bull:flownb:counts:f")["waiting@bull:q"] == "1"
    assert bench.zset("bull:flownb:flows") == {"f": START}


def test_a_name_means_the_newest_flow_of_that_name(bench: Bench):
    for flow in ("one", "two"):
        store_plan(bench.store, plan({"name": "n", "queueName": "q"}, prefix="bull", flow=flow), "nightly")

    assert bench.store.flows.find("nightly") == "two"
    assert bench.store.flows.find("daily") is None


def test_jobs_under_another_prefix_are_counted_where_the_flow_is(bench: Bench):
    tree = {"name": "r", "queueName": "q", "children": [{"name": "c", "queueName": "far", "prefix": "else"}]}
    store_plan(bench.store, plan(tree, prefix="bull", flow="f"))

    assert bench.hash("else:far:f-1")["fl"] == "bull:f"
    assert bench.hash("bull:flownb:counts:f") == {"waiting-children@bull:q": "1", "waiting@else:far": "1"}
    taken = bench.take_one("else:far")
    bench.finish(completed(taken))
    assert bench.counts() == {"q waiting": 1, "far completed": 1}


def test_the_declared_order_of_children_is_kept(bench: Bench):
    children = [{"name": f"c{i}", "queueName": f"q{i % 2}"} for i in range(5)]
    tree = {"name": "r", "queueName": "q", "children": children}
    store_plan(bench.store, plan(tree, prefix="bull", flow="f"))

    (piece,) = bench.store.declared.read("bull:q:f")
    assert piece.keys == [f"bull:q{i % 2}:f-{i + 1}" for i in range(5)]
    (groups,) = bench.store.declared.read_groups(["bull:q:f"])
    assert [(group["name"], group["count"]) for group in groups] == [(f"c{i}", 1) for i in range(5)]


def test_a_flow_added_twice_is_one_flow(bench: Bench):
    nodes = [
        up(),
        up("m", (P, "fpof")),
        node("c", (key("m", "up"), "fpof")),
        node("s", (P, "idof"), (key("m", "up"), "fpof")),
    ]
    bench.add(*nodes)
    before = bench.contents()

    assert bench.add(*nodes) == (0, ["p", "m", "c", "s"])

    assert bench.contents() == before
    assert bench.counts() == {"up waiting-children": 2, "q waiting": 2}


def test_a_flow_added_again_while_it_runs_changes_nothing(bench: Bench):
    nodes = [up(), *(node(id, (P, "idof")) for id in "abc")]
    bench.add(*nodes)
    a, b = bench.take(want=2)
    bench.finish(completed(a, "1"), failed(b))
    before = bench.contents()

    bench.add(*nodes)

    assert bench.contents() == before


def test_a_parent_all_of_whose_children_were_completed_before_is_released_by_the_add(bench: Bench):
    bench.add_plain("c")
    bench.finish(completed(bench.take_one(), '{"v":1}'))

    bench.add(up(), node("c", (P, "fpof")))

    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.hash(f"{P}:processed") == {key("c"): '{"v":1}'}
    assert bench.events("up", last=1) == [("waiting", "p", "waiting-children")]
    assert bench.counts() == {"up waiting": 1, "q completed": 1}
    assert invariants.violations(bench.redis) == []


def test_a_completed_child_does_not_release_a_parent_that_has_a_new_one(bench: Bench):
    bench.add_plain("old")
    bench.finish(completed(bench.take_one(), "1"))

    bench.add(up(), node("old", (P, "fpof")), node("new", (P, "fpof")))

    assert bench.state_of(P) == "waiting-children"
    assert bench.set(f"{P}:dependencies") == {key("new")}
    bench.finish(completed(bench.take_one(), "2"))
    assert bench.hash(f"{P}:processed") == {key("old"): "1", key("new"): "2"}
    assert bench.list(key("wait", "up")) == ["p"]


@pytest.mark.parametrize(
    ("policy", "state"), [("fpof", "failed"), ("idof", "waiting"), ("rdof", "waiting"), ("cpof", "waiting")]
)
def test_a_child_that_failed_before_counts_by_its_policy(bench: Bench, policy: str, state: str):
    bench.add_plain("c")
    bench.finish(failed(bench.take_one(), "no luck"))

    bench.add(up(), node("c", (P, policy)))

    assert bench.state_of(P) == state
    assert invariants.violations(bench.redis) == []
    if policy == "fpof":
        assert bench.hash(P)["failedReason"] == f"child {key('c')} failed"
        assert bench.store.flows.read_end("f") == ("failed", key("c"))


def test_a_child_that_failed_before_without_policy_is_waited_for(bench: Bench):
    bench.add_plain("c")
    bench.finish(failed(bench.take_one()))

    bench.add(up(), node("c", P))

    assert bench.set(f"{P}:dependencies") == {key("c")}
    assert [str(one) for one in invariants.stuck(bench.redis)] == [
        f"I24 {P}: waits for {key('c')}, which failed"
    ]


# ---- shared jobs ------------------------------------------------------------------------------------------------


def diamond(bench: Bench, *policies: str) -> None:
    """One job `s` under several parents of the root."""
    mids = [key(f"m{i}", "up") for i in range(len(policies))]
    bench.add(
        up(),
        *(up(mid.rsplit(":", 1)[1], (P, "fpof")) for mid in mids),
        node("s", *zip(mids, policies, strict=True)),
    )


def test_a_shared_job_stands_in_every_parents_dependencies(bench: Bench):
    diamond(bench, "fpof", "idof", "fpof")

    assert bench.hash(key("s"))["parentKey"] == key("m0", "up")
    assert bench.hash(key("s"))["sh"] == "1"
    assert bench.hash(f"bull:flownb:parents:{key('s')}") == {
        key("m1", "up"): "idof ",
        key("m2", "up"): "fpof ",
    }
    assert all(bench.set(key(f"m{i}:dependencies", "up")) == {key("s")} for i in range(3))
    assert bench.counts() == {"up waiting-children": 4, "q waiting": 1}


def test_a_shared_job_runs_once_and_every_parent_has_its_value(bench: Bench):
    diamond(bench, "fpof", "fpof", "idof")

    bench.finish(completed(bench.take_one(), "7"))

    assert all(bench.hash(key(f"m{i}:processed", "up")) == {key("s"): "7"} for i in range(3))
    assert bench.list(key("wait", "up")) == ["m0", "m1", "m2"]
    assert invariants.violations(bench.redis) == []


def test_a_failed_shared_job_means_to_each_parent_what_its_policy_says(bench: Bench):
    diamond(bench, "idof", "rdof", "cpof", "")

    bench.finish(failed(bench.take_one(), "boom"))

    assert [bench.state_of(key(f"m{i}", "up")) for i in range(4)] == [*["waiting"] * 3, "waiting-children"]
    assert bench.hash(key("m0:failed", "up")) == {key("s"): "boom"}
    assert not bench.redis.exists(key("m1:failed", "up"))
    assert bench.hash(key("m2:failed", "up")) == {key("s"): "boom"}
    assert bench.set(key("m3:dependencies", "up")) == {key("s")}
    assert invariants.violations(bench.redis) == []


def test_a_job_shared_between_flows_is_counted_once_in_each(bench: Bench):
    bench.add(up(), node("s", (P, "fpof")), flow="one")

    bench.add(up("q2"), up("m", (Q, "fpof")), node("s", (Q, "fpof"), (key("m", "up"), "idof")), flow="two")

    assert bench.hash(key("s"))["fl"] == "one"
    assert bench.counts("two") == {"up waiting-children": 2, "q waiting": 1}
    assert invariants.violations(bench.redis) == []
    bench.finish(completed(bench.take_one(), "1"))
    assert bench.counts("one") == {"up waiting": 1, "q completed": 1}
    assert bench.counts("two") == {"up waiting": 1, "up waiting-children": 1, "q completed": 1}
    assert invariants.violations(bench.redis) == []


def test_a_job_shared_between_flows_that_fails_fails_both(bench: Bench):
    bench.add(up(), node("s", (P, "fpof")), flow="one")
    bench.add(up("q2"), node("s", (Q, "fpof")), flow="two")

    bench.finish(failed(bench.take_one()))

    assert bench.store.flows.read_end("one") == bench.store.flows.read_end("two") == ("failed", key("s"))
    assert invariants.violations(bench.redis) == []


def test_a_shared_parent_that_fails_at_once_is_counted_in_both_flows(bench: Bench):
    shared = key("m", "up")
    bench.add(up(), up("m", (P, "fpof")), node("c", (shared, "fpof")), flow="one")
    bench.add(up("q2"), node("m", (Q, "fpof"), queue="up"), flow="two")
    assert bench.counts("two") == {"up waiting-children": 1, "up waiting": 1}

    bench.finish(failed(bench.take_one()))

    assert bench.counts("two") == {"up failed": 2}
    assert bench.counts("one") == {"up failed": 2, "q failed": 1}
    assert invariants.violations(bench.redis) == []


# ---- sealed chunks ----------------------------------------------------------------------------------------------

SEAL = "bull:flownb:seal:f"


def chunk(bench: Bench, *nodes, last: bool = False) -> tuple[int, list[str]]:
    more = {} if last else {"unseal": []}
    return bench.add(*nodes, seal=SEAL, **more)


def test_a_sealed_parent_outlives_the_early_end_of_its_children(bench: Bench):
    chunk(bench, up(), node("a", (P, "fpof")), node("b", (P, "fpof")))
    assert bench.set(f"{P}:dependencies") == {key("a"), key("b"), SEAL}
    bench.finish(*(completed(taken) for taken in bench.take(want=2)))

    assert bench.state_of(P) == "waiting-children"
    assert bench.store.children.read_pending(P) == []

    chunk(bench, node("c", (P, "fpof")))
    bench.add(node("d", (P, "fpof")), seal=SEAL, unseal=[P])
    assert bench.set(f"{P}:dependencies") == {key("c"), key("d")}
    assert bench.state_of(P) == "waiting-children"
    bench.finish(*(completed(taken) for taken in bench.take(want=2)))
    assert bench.state_of(P) == "waiting"
    assert invariants.violations(bench.redis) == []


def test_the_last_chunk_releases_a_parent_whose_children_are_all_done(bench: Bench):
    chunk(bench, up(), node("a", (P, "fpof")))
    bench.finish(completed(bench.take_one()))
    last = [node("a", (P, "fpof"))]

    bench.add(*last, seal=SEAL, unseal=[P])
    assert bench.list(key("wait", "up")) == ["p"]
    before = bench.contents()

    bench.add(*last, seal=SEAL, unseal=[P])
    assert bench.contents() == before


def test_an_earlier_chunk_sent_late_does_not_seal_again(bench: Bench):
    first = [up(), node("a", (P, "fpof"))]
    chunk(bench, *first)
    bench.add(node("b", (P, "fpof")), seal=SEAL, unseal=[P])
    before = bench.contents()

    chunk(bench, *first)

    assert bench.contents() == before


def test_a_child_that_fails_early_fails_its_sealed_parent_at_once(bench: Bench):
    chunk(bench, up(), node("a", (P, "fpof")))
    bench.finish(failed(bench.take_one()))
    assert bench.state_of(P) == "failed"

    bench.add(node("b", (P, "fpof")), seal=SEAL, unseal=[P])

    assert bench.state_of(P) == "failed"
    assert bench.store.flows.read_end("f") == ("failed", key("a"))
    assert invariants.violations(bench.redis) == []


def test_a_large_flow_goes_in_chunks_and_may_be_stored_again_at_any_point(bench: Bench):
    tree = {
        "name": "r",
        "queueName": "up",
        "children": [{"name": f"c{i}", "queueName": "q"} for i in range(1200)],
    }
    made = plan(tree, prefix="bull", flow="f")

    assert store_plan(bench.store, made) == []
    before = bench.contents()
    assert len(store_plan(bench.store, made)) == 1201

    assert bench.contents() == before
    assert bench.redis.scard("bull:up:f:dependencies") == 1200
    assert bench.counts() == {"up waiting-children": 1, "q waiting": 1200}
    assert bench.store.flows.read("f")["stored"] == "1"
    assert len(child_list.unpack(bench.redis.hget("bull:flownb:children:bull:up:f", "0")).keys) == 1200


def test_a_producer_that_died_between_chunks_is_run_again(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    tree = {
        "name": "r",
        "queueName": "up",
        "children": [{"name": f"c{i}", "queueName": "q"} for i in range(1200)],
    }
    made = plan(tree, prefix="bull", flow="f")
    calls, send = [], bench.store.jobs.add

    def die_in_the_second(*args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise ConnectionError("gone")
        return send(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.jobs, "add", die_in_the_second)
        with pytest.raises(ConnectionError):
            store_plan(bench.store, made)
    assert "stored" not in bench.store.flows.read("f")
    bench.finish(*(completed(taken) for taken in bench.take(want=499)))
    assert bench.state_of("bull:up:f") == "waiting-children"

    assert len(store_plan(bench.store, made)) == 500

    assert bench.redis.scard("bull:up:f:dependencies") == 1200 - 499
    assert bench.counts() == {"up waiting-children": 1, "q waiting": 701, "q completed": 499}
    assert invariants.violations(bench.redis) == []
