"""on_failure=cancel: what a failed parent still waits for is not run, by whom ever it is met; what else needs it runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flownb.wire.job_rows import FlowRecord
from flownb.wire.requests import Retry
from tests.support import invariants
from tests.support.script_bench import Bench, arguments, completed, failed, key, node, parent, retry

P, G, R = key("p", "up"), key("g", "top"), key("r", "top")


def sound(bench: Bench) -> None:
    assert invariants.violations(bench.redis) == []


def add(bench: Bench, *nodes: dict, flow: str = "f", on_failure: str = "cancel") -> None:
    """Store a flow that asks for it."""
    record = arguments(nodes, flow)["record"]
    fields = {**record.fields, "on_failure": on_failure}
    bench.add(*nodes, flow=flow, record=replace(record, fields=fields))


def siblings(bench: Bench, n: int = 4, **more) -> None:
    add(bench, parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(n)), **more)


def test_s24_r4_no_sibling_starts_after_the_failure(bench: Bench):
    siblings(bench)
    bad, running = bench.take(want=2)

    turn = bench.fetch(want=9, outcomes=[failed(bad)])

    assert (turn.answers, turn.taken, turn.failed_parents) == (["done"], [], [P])
    assert bench.counts() == {"up failed": 1, "q failed": 3, "q active": 1}
    assert [bench.hash(key(f"c{i}")).get("why") for i in (2, 3)] == ["cancelled"] * 2
    assert bench.store.jobs.are_cancelled([key("c1")]) == [True]
    assert bench.finish(retry(running)) == ["done"]
    assert bench.counts() == {"up failed": 1, "q failed": 4}
    assert bench.store.flows.read_end("f") == ("failed", key("c0"))
    sound(bench)


def test_no_sibling_starts_in_a_call_that_looked_at_the_flow_before_it_failed(bench: Bench):
    siblings(bench)
    bad, running = bench.take(want=2)

    turn = bench.fetch(want=9, outcomes=[retry(running), failed(bad)])

    assert (turn.answers, turn.taken) == (["done", "done"], [])
    assert bench.counts() == {"up failed": 1, "q failed": 4}
    sound(bench)


@pytest.mark.parametrize("on_failure", ["finish", "none"])
def test_the_siblings_run_where_the_flow_asks_for_it_or_says_nothing(bench: Bench, on_failure: str):
    siblings(bench, on_failure=on_failure)

    turn = bench.fetch(want=9, outcomes=[failed(bench.take_one())])

    assert (len(turn.taken), turn.failed_parents) == (3, [])
    assert not bench.redis.exists("bull:flownb:cancelled")


def test_a_flow_in_which_nothing_is_pending_is_not_marked(bench: Bench):
    add(bench, parent("g", queue="top"), parent("p", (G, "fpof"), queue="up"), node("a", (P, "fpof")))

    turn = bench.fetch(outcomes=[failed(bench.take_one())])

    assert turn.failed_parents == []
    assert not bench.redis.exists("bull:flownb:cancelled")


def test_an_optional_failure_dooms_nobody(bench: Bench):
    add(bench, parent("p", queue="up"), node("a", (P, "idof")), node("b", (P, "fpof")))
    turn = bench.fetch(want=9, outcomes=[failed(bench.take_one())])
    assert [taken.record.id for taken in turn.taken] == ["b"]


def test_only_what_stands_below_the_failed_parent_is_cancelled(bench: Bench):
    other = key("o", "up")
    add(
        bench,
        parent("g", queue="top"),
        parent("p", (G, "idof"), queue="up"),
        parent("o", (G, "fpof"), queue="up"),
        node("a", (P, "fpof")),
        node("b", (P, "fpof")),
        node("c", (other, "fpof")),
    )

    turn = bench.fetch(want=9, outcomes=[failed(bench.take_one())])

    assert [taken.record.id for taken in turn.taken] == ["c"]
    assert bench.hash(key("b"))["why"] == "cancelled"
    bench.finish(completed(turn.taken[0], "1"))
    bench.finish(completed(bench.take_one("up"), "2"))
    bench.finish(completed(bench.take_one("top"), "3"))
    assert bench.store.flows.read_end("f")[0] == "completed"
    sound(bench)


def test_whole_branches_go_with_their_parents(bench: Bench):
    add(
        bench,
        parent("g", queue="top"),
        node("bad", (G, "fpof"), queue="w"),
        parent("p", (G, "fpof"), queue="up"),
        node("a", (P, "fpof")),
        node("b", (P, "idof"), delay=9),
    )

    turn = bench.fetch("w", "q", want=9, outcomes=[failed(bench.take_one("w"))])

    assert (turn.taken, turn.failed_parents) == ([], [G])
    assert bench.hash(P)["why"] == "cancelled", "whoever meets its child ends it too"
    assert bench.store.jobs.cancel([P, key("a"), key("b")]) == 1
    assert bench.counts() == {"top failed": 1, "w failed": 1, "up failed": 1, "q failed": 2}
    sound(bench)


@pytest.mark.parametrize("of", ["another flow", "another parent"])
def test_what_something_else_needs_runs(bench: Bench, of: str):
    if of == "another flow":
        add(bench, parent("p", queue="up"), node("bad", (P, "fpof"), queue="w"), node("a", (P, "fpof")))
        bench.add(parent("r", queue="top"), node("a", (R, "fpof")), flow="g2")
    else:
        add(
            bench,
            parent("r", queue="top"),
            parent("p", (R, "idof"), queue="up"),
            node("bad", (P, "fpof"), queue="w"),
            node("a", (P, "fpof"), (R, "fpof")),
        )

    turn = bench.fetch("w", "q", outcomes=[failed(bench.take_one("w"))])

    assert [taken.record.id for taken in turn.taken] == ["a"]
    bench.finish(completed(turn.taken[0], "1"))
    assert bench.hash(f"{R}:processed") == {key("a"): "1"}
    sound(bench)


def test_a_failure_that_climbs_dooms_each_parent_on_its_way(bench: Bench):
    add(
        bench,
        parent("g", queue="top"),
        parent("p", (G, "fpof"), queue="up"),
        node("a", (P, "fpof")),
        node("b", (P, "fpof")),
        node("c", (G, "fpof"), queue="w"),
    )

    turn = bench.fetch("q", "w", want=9, outcomes=[failed(bench.take_one())])

    assert (turn.taken, turn.failed_parents) == ([], [P, G])
    assert bench.counts() == {"top failed": 1, "up failed": 1, "q failed": 2, "w failed": 1}
    sound(bench)


def test_a_parent_that_ran_early_and_fails_by_itself_dooms_what_is_pending(bench: Bench):
    add(bench, parent("p", queue="up"), node("a", (P, "cpof")), node("b", (P, "idof")))
    bench.finish(failed(bench.take_one()))

    turn = bench.fetch("q", want=9, outcomes=[failed(bench.take_one("up"))])

    assert (turn.taken, turn.failed_parents) == ([], [P])
    assert bench.hash(key("b"))["why"] == "cancelled"
    sound(bench)


def test_the_failing_call_touches_a_thousand_of_many_siblings(bench: Bench):
    siblings(bench, n=900)
    more = [node(f"d{i}", (P, "fpof")) for i in range(900)]
    bench.add(*more, record=FlowRecord(id="f", fields={}))
    bench.add_plain("z")

    turn = bench.fetch(want=1, outcomes=[failed(bench.take_one())])

    assert (turn.taken, turn.again_ms) == ([], 1)
    assert bench.counts()["q failed"] == 1001
    assert [taken.record.id for taken in bench.take(want=1)] == ["z"]
    sound(bench)


def test_a_retry_of_all_that_failed_runs_the_cancelled_too(bench: Bench):
    siblings(bench)
    bench.fetch(want=9, outcomes=[failed(bench.take_one())])

    jobs = [Retry(key(f"c{i}")) for i in range(4)]
    assert bench.store.jobs.retry(jobs, token="t", flow="f") == ["done"] * 4

    assert bench.counts() == {"up waiting-children": 1, "q waiting": 4}
    assert not bench.redis.exists("bull:flownb:cancelled")
    bench.finish(*(completed(taken, "1") for taken in bench.take(want=9)))
    bench.finish(completed(bench.take_one("up"), "1"))
    assert bench.store.flows.read_end("f") == ("completed", None)
    sound(bench)


def test_the_failure_sent_again_changes_nothing(bench: Bench):
    siblings(bench)
    outcome = failed(bench.take_one())
    bench.finish(outcome)
    before = bench.dump()
    turn = bench.fetch(outcomes=[outcome], want=0)
    assert (turn.answers, turn.failed_parents) == (["repeated"], [])
    assert bench.dump() == before


def test_a_flow_goes_on_that_another_one_uses_and_that_has_useless_jobs_of_its_own(bench: Bench):
    top = key("r", "top")
    add(
        bench,
        parent("r", queue="top"),
        parent("p", (top, "idof"), queue="up"),
        node("bad", (P, "fpof")),
        node("useless", (P, "fpof")),
        node("last", (top, "fpof")),
    )
    bench.add(parent("r2", queue="top"), node("r", (key("r2", "top"), "fpof"), queue="top"), flow="g")
    assert bench.fetch(outcomes=[failed(bench.take_one())], want=0).failed_parents == [P]

    bench.store.flows.cancel("bull:top", "g")
    bench.store.jobs.cancel([top])

    assert bench.state_of(top) == "waiting-children"
    assert [taken.record.id for taken in bench.take(want=9)] == ["last"]
    sound(bench)
