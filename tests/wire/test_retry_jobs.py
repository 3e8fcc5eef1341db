"""retry_jobs: failed -> waiting; what stands above waits again, up to the root; attempts start anew."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flownb.wire.requests import Retry
from tests.support import invariants
from tests.support.random_flows import QUEUES, check, fresh, graphs, tries
from tests.support.script_bench import START, Bench, base, completed, failed, key, node, parent, retry

P, G = key("p", "up"), key("g", "top")


def again(bench: Bench, *jobs: str, token: str = "again", lifo: bool = False) -> list[str]:
    return bench.store.jobs.retry([Retry(job, lifo) for job in jobs], token=token)


def fail(bench: Bench, *queues: str, want: int = 1, reason: str = "boom") -> None:
    bench.finish(*(failed(taken, reason) for taken in bench.take(*queues, want=want)))


# ---- one job ------------------------------------------------------------------------------------------------


def test_a_failed_job_comes_back_into_line_with_all_its_attempts(bench: Bench):
    bench.add_plain("a", "b")
    bench.finish(retry(bench.take_one(), delay=0))
    bench.take_one()
    taken = bench.take_one()
    bench.wait(5)
    bench.finish(failed(taken, "boom", stacktrace='["t1"]', why="timeout"))
    bench.redis.hset(key("a"), "stc", "2")

    assert again(bench, key("a")) == ["done"]

    stored = bench.hash(key("a"))
    assert not {"finishedOn", "processedOn", "failedReason", "why", "stc", "defa"} & stored.keys()
    assert (stored["atm"], stored["ats"], stored["stacktrace"]) == ("0", "2", '["t1"]')
    assert bench.list(key("wait")) == ["a"]
    assert bench.zset(key("failed")) == {}
    assert bench.event_fields()[-1] == {"event": "waiting", "jobId": "a", "prev": "failed"}
    assert bench.zset(key("marker")) == {"0": 0}
    assert invariants.violations(bench.redis) == []


def test_when_the_failed_run_began_and_ended_is_kept(bench: Bench):
    bench.add_plain("a")
    for token in ("first", "second"):
        taken = bench.take_one()
        bench.wait(7)
        bench.finish(failed(taken, "boom"))
        run = [bench.hash(key("a"))[name] for name in ("processedOn", "finishedOn")]
        assert again(bench, key("a"), token=token) == ["done"]
        assert bench.hash(key("a"))["runs"].split()[-1] == "-".join(run)
        bench.wait(1)
    assert len(bench.hash(key("a"))["runs"].split()) == 2


@pytest.mark.parametrize(("lifo", "order"), [(False, ["a", "b"]), (True, ["b", "a"])])
def test_it_joins_the_end_of_the_line_or_its_head(bench: Bench, lifo: bool, order: list[str]):
    bench.add_plain("a", "b")
    fail(bench)

    again(bench, key("a"), lifo=lifo)

    assert bench.list(key("wait")) == order


def test_the_hash_says_how_urgent_it_is_by_now(bench: Bench):
    bench.add_plain("a")
    fail(bench)
    bench.redis.hset(key("a"), "priority", "3")

    again(bench, key("a"))

    assert bench.zset(key("prioritized")) == {"a": 3 * 2**32 + 1}
    assert invariants.violations(bench.redis) == []


def test_a_paused_queue_is_not_woken(bench: Bench):
    bench.add_plain("a")
    fail(bench)
    bench.store.queues.pause(base("q"))

    again(bench, key("a"))

    assert bench.list(key("wait")) == ["a"]
    assert not bench.redis.exists(key("marker"))


def test_the_same_request_sent_twice_retries_once_also_when_the_job_failed_again_meanwhile(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    fail(bench)
    again(bench, key("a"), token="t")
    before = bench.dump()
    assert again(bench, key("a"), token="t") == ["repeated"]
    assert bench.dump() == before

    fail(bench)
    before = bench.dump()
    assert again(bench, key("a"), token="t") == ["repeated"]
    assert bench.dump() == before
    assert again(bench, key("a"), key("a"), token="t2") == ["done", "repeated"]


def test_the_end_of_the_last_run_sent_again_after_a_retry_changes_nothing(bench: Bench):
    bench.add(node("a"))
    outcome = failed(bench.take_one())
    bench.finish(outcome)
    again(bench, key("a"))
    before = bench.dump()

    assert bench.finish(outcome) == ["repeated"]

    assert bench.dump() == before


# ---- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", ["missing", "waiting", "active", "completed", "delayed", "waiting-children"]
)
def test_a_job_that_has_not_failed_is_refused_without_a_trace(bench: Bench, state: str):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof"), delay=9 if state == "delayed" else 0))
    if state in ("active", "completed"):
        taken = bench.take_one()
        if state == "completed":
            bench.finish(completed(taken))
    asked = {"missing": key("x"), "waiting-children": P}.get(state, key("a"))
    before = bench.dump()

    assert again(bench, asked) == ["missing" if state == "missing" else "not-failed"]

    assert bench.dump() == before


def test_a_parent_whose_child_failed_it_is_refused_until_that_child_is_retried(bench: Bench):
    bench.add(parent("g", queue="top"), parent("p", (G, "fpof"), queue="up"), node("a", (P, "fpof")))
    fail(bench)
    before = bench.dump()

    assert again(bench, P) == [f"failed-children {key('a')}"]
    assert again(bench, G, P, token="t2") == [f"failed-children {P}", f"failed-children {key('a')}"]
    assert bench.dump() == before

    assert again(bench, G, P, key("a"), token="t3") == ["done"] * 3
    assert [bench.state_of(job) for job in (G, P, key("a"))] == ["waiting-children"] * 2 + ["waiting"]
    assert invariants.violations(bench.redis) == []


def test_a_job_whose_parent_runs_right_now_is_refused_without_a_trace(bench: Bench):
    bench.add(parent("g", queue="top"), parent("p", (G, "idof"), queue="up"), node("a", (P, "fpof")))
    fail(bench)
    running = bench.take_one("top")
    before = bench.dump()

    assert again(bench, key("a")) == [f"parent-active {G}"]

    assert bench.dump() == before
    bench.finish(completed(running, "1"))
    assert again(bench, key("a")) == ["done"]
    assert bench.state_of(G) == "waiting-children"
    assert invariants.violations(bench.redis) == []


def test_a_bad_job_spoils_only_itself(bench: Bench):
    bench.add_plain("a", "b")
    fail(bench)

    assert again(bench, key("x"), key("a"), key("b")) == ["missing", "done", "not-failed"]
    assert bench.list(key("wait")) == ["a", "b"]


# ---- families -----------------------------------------------------------------------------------------------


def test_a_parent_in_line_is_doomed_by_a_child_that_was_cancelled_when_it_would_wait_for_another(
    bench: Bench,
):
    """It was to be cancelled at the head of its line; the retry of the other child takes the cancel back."""
    bench.add(parent("g", queue="top"), parent("p", (G, "fpof"), queue="up"))
    bench.add(node("a", (P, "cpof")), node("b", (P, "fpof")))
    fail(bench)  # the parent goes on without `a`, at once
    assert bench.store.flows.cancel(base("top"), "f") == "cancelled"
    assert bench.take() == []  # `b` is cancelled when its turn comes
    assert bench.zset(f"{P}:unsuccessful").keys() == {key("b")}

    assert again(bench, key("a")) == ["done"]

    assert bench.hash(P)["defa"] == f"child {key('b')} failed"
    assert invariants.violations(bench.redis) == []


def test_a_chain_that_failed_to_the_root_waits_again_up_to_the_root(bench: Bench):
    bench.add(parent("g", queue="top"), parent("p", (G, "fpof"), queue="up"), node("a", (P, "fpof")))
    fail(bench)
    assert bench.store.flows.read_end("f") == ("failed", key("a"))
    bench.wait(7)

    assert again(bench, key("a")) == ["done"]

    for job, child, queue in ((P, key("a"), "up"), (G, P, "top")):
        stored = bench.hash(job)
        assert not {"finishedOn", "failedReason", "why", "defa"} & stored.keys()
        assert stored["atm"] == "0"
        assert bench.set(f"{job}:dependencies") == {child}
        assert not bench.redis.exists(f"{job}:unsuccessful")
        assert bench.zset(key("waiting-children", queue)) == {job.rsplit(":", 1)[1]: START + 7}
        assert bench.event_fields(queue)[-1] == {
            "event": "waiting-children",
            "jobId": job.rsplit(":", 1)[1],
            "prev": "failed",
        }
    assert not {"ended", "finished", "cause"} & bench.store.flows.read("f").keys()
    assert bench.counts() == {"top waiting-children": 1, "up waiting-children": 1, "q waiting": 1}
    assert invariants.violations(bench.redis) == []

    for queue in ("q", "up", "top"):
        bench.finish(completed(bench.take_one(queue), f'"{queue}"'))
    assert bench.hash(f"{G}:processed") == {P: '"up"'}
    assert bench.store.flows.read_end("f") == ("completed", None)
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("policy", ["idof", "cpof", "rdof"])
def test_a_parent_that_completed_without_an_optional_child_waits_again_for_it(bench: Bench, policy: str):
    bench.add(parent("g", queue="top"), parent("p", (G, "fpof"), queue="up"), node("a", (P, policy)))
    fail(bench)
    bench.finish(completed(bench.take_one("up"), '"old"'))
    bench.finish(completed(bench.take_one("top"), '"old"'))
    assert bench.store.flows.read_end("f") == ("completed", None)

    assert again(bench, key("a")) == ["done"]

    assert [bench.state_of(job) for job in (P, G)] == ["waiting-children"] * 2
    assert not {"returnvalue", "finishedOn"} & (bench.hash(P).keys() | bench.hash(G).keys())
    assert not bench.redis.exists(f"{P}:failed", f"{G}:processed")
    assert bench.set(f"{G}:dependencies") == {P}
    assert bench.store.flows.read_end("f") == (None, None)
    assert invariants.violations(bench.redis) == []

    for queue in ("q", "up", "top"):
        bench.finish(completed(bench.take_one(queue), '"new"'))
    assert bench.hash(f"{P}:processed") == {key("a"): '"new"'}
    assert bench.hash(P)["ats"] == "2"
    assert bench.store.flows.read_end("f") == ("completed", None)


def test_a_parent_that_another_child_holds_down_stays_failed_until_that_one_is_retried_too(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    fail(bench, want=2)

    again(bench, key("a"))

    assert bench.state_of(P) == "failed"
    assert bench.set(f"{P}:dependencies") == {key("a")}
    assert bench.store.flows.read_end("f") == ("failed", key("b")), "the cause that is left"
    assert invariants.violations(bench.redis) == []
    bench.finish(completed(bench.take_one(), "1"))
    assert bench.hash(f"{P}:processed") == {key("a"): "1"}

    again(bench, key("b"), token="t2")

    assert bench.state_of(P) == "waiting-children"
    assert bench.set(f"{P}:dependencies") == {key("b")}
    assert bench.store.flows.read_end("f") == (None, None)
    assert invariants.violations(bench.redis) == []


def test_all_failed_children_in_one_call_revive_the_parent_once(bench: Bench):
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(3)))
    fail(bench, want=3)

    assert again(bench, *(key(f"c{i}") for i in range(3))) == ["done"] * 3

    assert bench.events("up").count(("waiting-children", "p", "failed")) == 1
    assert bench.counts() == {"up waiting-children": 1, "q waiting": 3}
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("timing", [{}, {"delay": 50}, {"priority": 2}])
def test_a_parent_in_line_leaves_it_to_wait_again(bench: Bench, timing: dict):
    bench.add(parent("p", queue="up", **timing), node("a", (P, "idof")), node("b", (P, "idof")))
    fail(bench, want=2)
    assert bench.state_of(P) in ("waiting", "delayed", "prioritized")

    again(bench, key("a"))

    assert bench.state_of(P) == "waiting-children"
    assert bench.set(f"{P}:dependencies") == {key("a")}
    assert bench.hash(f"{P}:failed") == {key("b"): "boom"}
    assert bench.take("up") == []
    assert bench.counts() == {"up waiting-children": 1, "q waiting": 1, "q failed": 1}
    assert invariants.violations(bench.redis) == []


def test_a_parent_in_line_to_be_failed_is_to_be_failed_no_more(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "cpof")), node("b", (P, "fpof")))
    fail(bench, want=2)
    assert bench.hash(P)["defa"]
    assert bench.store.flows.read_end("f") == (None, key("b"))

    again(bench, key("b"))

    assert "defa" not in bench.hash(P)
    assert bench.state_of(P) == "waiting-children"
    assert bench.store.flows.read_end("f") == (None, None)
    assert invariants.violations(bench.redis) == []


def test_a_worker_that_lost_its_lease_cannot_end_a_parent_late_that_waits_again(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "idof")))
    fail(bench)
    late = bench.take_one("up")
    bench.lose_lease(late)
    bench.sweep("up")
    bench.sweep("up")
    again(bench, key("a"))
    bench.finish(completed(bench.take_one(), "1"))
    assert bench.state_of(P) == "waiting"

    assert bench.finish(completed(late, '"old"')) == ["stale"]

    assert invariants.violations(bench.redis) == []


def test_a_parent_that_failed_by_itself_runs_again_alone(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    bench.finish(completed(bench.take_one(), "1"))
    fail(bench, "up")

    assert again(bench, P) == ["done"]

    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.hash(f"{P}:processed") == {key("a"): "1"}
    assert bench.store.flows.read_end("f") == (None, None)
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("order", [0, 1])
def test_a_parent_and_its_optional_child_that_both_failed_run_in_order(bench: Bench, order: int):
    bench.add(parent("p", queue="up"), node("a", (P, "idof")))
    fail(bench)
    fail(bench, "up")

    assert again(bench, *[P, key("a")][:: 1 - 2 * order]) == ["done"] * 2

    assert bench.state_of(P) == "waiting-children"
    assert bench.list(key("wait", "up")) == []
    assert invariants.violations(bench.redis) == []


def test_all_parents_of_a_shared_job_wait_again_in_both_flows(bench: Bench):
    other = key("o", "up")
    bench.add(
        parent("g", queue="top"),
        parent("p", (G, "fpof"), queue="up"),
        parent("r", (G, "idof"), queue="up"),
        node("a", (P, "fpof"), (key("r", "up"), "idof")),
    )
    bench.add(parent("o", queue="up"), node("a", (other, "fpof")), flow="g2")
    fail(bench)
    assert bench.store.flows.read_end("g2") == ("failed", key("a"))

    assert again(bench, key("a")) == ["done"]

    for job in (P, key("r", "up"), other, G):
        assert bench.state_of(job) == "waiting-children"
    assert bench.store.flows.read_end("g2") == (None, None)
    assert bench.counts("g2") == {"up waiting-children": 1, "q waiting": 1}
    assert invariants.violations(bench.redis) == []


def test_a_parent_without_a_policy_has_waited_all_along(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", P))
    fail(bench)

    assert again(bench, key("a")) == ["done"]
    bench.finish(completed(bench.take_one(), "1"))

    assert bench.list(key("wait", "up")) == ["p"]
    assert invariants.violations(bench.redis) == []


def test_a_parent_that_is_gone_is_not_made_again(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "rdof")))
    fail(bench)
    bench.redis.delete(P, f"{P}:failed")

    assert again(bench, key("a")) == ["done"]

    assert not bench.redis.exists(P, f"{P}:dependencies")


def test_a_hundred_at_once_and_no_more(bench: Bench):
    with pytest.raises(ValueError, match="101 jobs"):
        again(bench, *(key(f"c{i}") for i in range(101)))
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "idof")) for i in range(100)))
    fail(bench, want=100)

    assert again(bench, *(key(f"c{i}") for i in range(100))) == ["done"] * 100

    assert invariants.violations(bench.redis) == []


def test_sealed_parents_wait_until_the_last_call(bench: Bench):
    seal, other = "bull:flownb:seal:f", key("o", "up")
    bench.add(
        parent("g", queue="top"),
        parent("p", (G, "fpof"), queue="up"),
        *(node(f"c{i}", (P, "idof")) for i in (0, 1)),
    )
    bench.add(parent("o", queue="up"), node("c0", (other, "idof")), flow="g2")
    fail(bench, want=2)
    for queue in ("up", "up", "top"):
        bench.finish(completed(bench.take_one(queue), "1"))

    def send(*jobs, unseal=()):
        return bench.store.jobs.retry(
            [Retry(job) for job in jobs], token="t", flow="f", seal=seal, unseal=unseal
        )

    for _ in range(2):  # the second time as if it was sent again
        assert send(key("c0")) in (["done"], ["repeated"])
    bench.finish(completed(bench.take_one(), '"c0"'))
    assert bench.state_of(other) == "waiting", "another flow's parent waits for no more calls"
    assert bench.set(f"{P}:dependencies") == {seal}
    assert bench.store.children.read_sealed([G, P, other], seal) == [G, P]
    assert [bench.state_of(job) for job in (P, G)] == ["waiting-children"] * 2
    assert send(key("c1")) == ["done"]
    bench.finish(completed(bench.take_one(), '"c1"'))
    assert bench.state_of(P) == "waiting-children"

    for _ in range(2):
        assert send(unseal=[G, P]) == []

    assert bench.list(key("wait", "up")) == ["o", "p"]
    assert bench.state_of(G) == "waiting-children"
    assert bench.hash(f"{P}:processed") == {key("c0"): '"c0"', key("c1"): '"c1"'}
    assert invariants.violations(bench.redis) == []


@tries(60)
@given(nodes=graphs(), seed=st.integers(0, 2**32))
def test_any_flow_that_fails_anywhere_and_is_retried_ends_with_every_value_right(
    bench: Bench, nodes: list[dict], seed: int
):
    fresh(bench)
    nodes = [one | {"under": [(above, policy or "fpof") for above, policy in one["under"]]} for one in nodes]
    dice, luck = random.Random(seed), 0.5
    bench.add(*nodes)
    root = key(nodes[0]["id"], nodes[0]["queue"])
    for turn in range(400):
        bench.wait(60)
        held = bench.take(*QUEUES, want=dice.randint(1, 4))
        outcomes = [
            failed(one, one.deferred or f"{one.record.id} broke")
            if one.deferred or dice.random() > luck
            else completed(one, f'"{one.record.id} {turn}"')
            for one in held
        ]
        answers = bench.finish(*outcomes)
        refused = [one for one, answer in zip(held, answers, strict=True) if answer != "done"]
        bench.finish(*(failed(one, "children", why="child") for one in refused))
        check(bench)
        found = invariants.read(bench.redis)
        broken = [job for job, places in found.where().items() if places == ["failed"]]
        waits = all(bench.redis.zcard(f"{base(queue)}:delayed") == 0 for queue in QUEUES)
        if not held and waits and not broken:
            break
        if broken and dice.random() < 0.4:
            again(bench, *dice.sample(broken, dice.randint(1, len(broken))), token=f"t{turn}")
            check(bench)
            luck = min(luck + 0.05, 1.0)
    found = invariants.read(bench.redis)
    assert set(map(tuple, found.where().values())) == {("completed",)}
    assert bench.store.flows.read_end("f") == ("completed", None)
    for child in found.jobs:
        for above, _, _ in found.edges(child):
            assert found.sub[above]["processed"][child] == found.jobs[child]["returnvalue"]
            times = [int(found.jobs[job]["finishedOn"]) for job in (child, above)]
            assert times == sorted(times), "a parent ran after its last child"
    assert root in found.jobs
