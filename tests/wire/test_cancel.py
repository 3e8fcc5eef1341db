"""cancel_flow, cancel_jobs: what has not run ends as failed, with the reason cancelled; what somebody else needs stays."""

from __future__ import annotations

import pytest

from flownb import errors
from flownb.wire.job_rows import FlowRecord, JobDetails, JobRow, ParentRow
from flownb.wire.lease_records import Death
from flownb.wire.requests import Retry
from tests.support import invariants
from tests.support.script_bench import (
    START,
    Bench,
    base,
    completed,
    failed,
    key,
    node,
    parent,
    put_off,
    retry,
    returned,
)

P, G, R = key("p", "up"), key("g", "top"), key("r", "top")


def sound(bench: Bench) -> None:
    assert invariants.violations(bench.redis) == []


def cancel(bench: Bench, flow: str = "f") -> str | None:
    return bench.store.flows.cancel(base("top"), flow)


def tree(bench: Bench, flow: str = "f") -> None:
    """G over p over a (waiting), b (prioritized), c (delayed); the same policies as a tree without options."""
    bench.add(
        parent("g", queue="top"),
        parent("p", (G, "fpof"), queue="up"),
        node("a", (P, "fpof")),
        node("b", (P, "fpof"), priority=2),
        node("c", (P, "fpof"), delay=5000),
        flow=flow,
    )


# ---- the flow -----------------------------------------------------------------------------------------------


def test_the_flow_ends_as_cancelled_and_its_root_as_failed(bench: Bench):
    tree(bench)
    bench.wait(7)

    assert cancel(bench) == "cancelled"

    record = bench.store.flows.read("f")
    assert (record["ended"], record["finished"]) == ("cancelled", str(START + 7))
    assert bench.state_of(G) == "failed"
    stored = bench.hash(G)
    assert (stored["failedReason"], stored["why"]) == ("cancelled", "cancelled")
    assert bench.event_fields("top")[-1] == {
        "event": "failed",
        "jobId": "g",
        "failedReason": "cancelled",
        "prev": "waiting-children",
    }
    assert bench.counts()["top failed"] == 1
    sound(bench)


def test_every_job_that_waits_ends_in_the_books_as_any_failed_one(bench: Bench):
    tree(bench)
    cancel(bench)

    assert bench.store.jobs.cancel([key("a"), key("b"), key("c"), P]) == 4

    assert bench.counts() == {"top failed": 1, "up failed": 1, "q failed": 3}
    for place in ("wait", "prioritized", "delayed"):
        assert not bench.redis.exists(key(place))
    assert not bench.redis.exists(key("waiting-children", "up"), key("waiting-children", "top"))
    assert set(bench.zset(f"{P}:unsuccessful")) == {key("a"), key("b"), key("c")}
    assert {event[2] for event in bench.events() if event[0] == "failed"} == {"cancelled"}
    sound(bench)


def test_a_parent_whose_child_is_cancelled_goes_with_it(bench: Bench):
    tree(bench)
    cancel(bench)

    bench.store.jobs.cancel([key("a")])

    assert bench.state_of(P) == "failed"
    assert bench.hash(P)["why"] == "cancelled"
    sound(bench)


@pytest.mark.parametrize(("policy", "keeps"), [("idof", True), ("cpof", True), ("rdof", False)])
def test_a_parent_keeps_of_an_optional_child_what_it_keeps_of_a_failed_one(bench: Bench, policy: str, keeps):
    bench.add(parent("p", queue="up"), node("a", (P, policy)))
    cancel(bench)

    bench.store.jobs.cancel([key("a")])

    assert bench.hash(f"{P}:failed") == ({key("a"): "cancelled"} if keeps else {})
    assert not bench.redis.exists(f"{P}:dependencies")
    sound(bench)


def test_sent_twice_it_changes_nothing(bench: Bench):
    tree(bench)
    jobs = [key("a"), key("b"), key("c"), P]
    cancel(bench)
    before = bench.dump()
    bench.wait(9)
    assert cancel(bench) == "cancelled"
    assert bench.dump() == before

    bench.store.jobs.cancel(jobs)
    before = bench.dump()
    assert bench.store.jobs.cancel(jobs) == 0
    assert bench.dump() == before


def test_a_flow_that_has_completed_or_is_gone_stays_as_it_is(bench: Bench):
    bench.add(node("a"))
    bench.finish(completed(bench.take_one(), "1"))
    before = bench.dump()

    assert cancel(bench) == "completed"
    assert cancel(bench, "nobody") is None

    assert bench.dump() == before


def test_of_a_failed_flow_what_is_left_is_cancelled(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    bench.finish(failed(bench.take_one()))

    assert cancel(bench) == "failed"
    assert bench.store.jobs.cancel([key("a"), key("b")]) == 1

    assert bench.store.flows.read_end("f") == ("failed", key("a"))
    assert bench.counts() == {"up failed": 1, "q failed": 2}
    sound(bench)


def test_jobs_of_a_flow_that_was_not_cancelled_are_not_touched(bench: Bench):
    tree(bench)
    before = bench.dump()

    assert bench.store.jobs.cancel([key("a"), key("b"), key("c"), P, G, key("nobody")]) == 0

    assert bench.dump() == before


@pytest.mark.parametrize("first", [0, 25, 99])
def test_many_jobs_leave_a_line_in_which_others_stand_before_behind_and_between(bench: Bench, first: int):
    def others(word: str) -> list[str]:
        return [f"{word}{i}" for i in range(1500)]

    mine = [f"m{i}" for i in range(100)]
    bench.add_plain(*others("x")[:900])
    bench.add(parent("p", queue="up"), *(node(id, (P, "idof")) for id in mine[:50]))
    bench.add_plain("between")
    bench.add(*(node(id, (P, "idof")) for id in mine[50:]), record=FlowRecord(id="f", fields={}))
    bench.add_plain(*others("y")[:900])
    cancel(bench)

    assert bench.store.jobs.cancel([key(id) for id in mine[first:] + mine[:first]]) == 100

    line = bench.list(key("wait"))
    assert line == [*reversed(others("y")[:900]), "between", *reversed(others("x")[:900])]
    sound(bench)


# ---- what runs ----------------------------------------------------------------------------------------------


def test_nothing_of_it_starts_also_when_nobody_has_taken_it_out_of_line(bench: Bench):
    tree(bench)
    bench.add_plain("z")
    cancel(bench)

    assert [taken.record.id for taken in bench.take(want=1)] == ["z"]
    bench.wait(6000)
    assert bench.take(want=9) == []

    assert bench.counts() == {"top failed": 1, "up failed": 1, "q failed": 3}
    sound(bench)


def test_a_fetch_looks_at_a_thousand_and_is_to_be_asked_again(bench: Bench):
    children = [node(f"c{i}", (P, "fpof")) for i in range(900)]
    bench.add(parent("p", queue="up"), *children)
    bench.add(*(node(f"d{i}", (P, "fpof")) for i in range(900)), record=FlowRecord(id="f", fields={}))
    bench.add_plain("z")
    cancel(bench)

    turn = bench.fetch(want=10)
    assert (turn.taken, turn.again_ms) == ([], 1)
    assert [taken.record.id for taken in bench.take(want=10)] == ["z"]
    sound(bench)


def test_what_a_running_job_completes_all_the_same_is_kept_and_the_flow_stays_cancelled(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    taken = bench.take_one()
    cancel(bench)

    assert bench.finish(completed(taken, "7")) == ["done"]

    assert bench.state_of(key("a")) == "completed"
    assert bench.hash(f"{P}:processed") == {key("a"): "7"}
    assert bench.store.flows.read_end("f")[0] == "cancelled"
    sound(bench)


def test_a_root_that_runs_is_cancelled_at_once_and_may_end_later(bench: Bench):
    bench.add(node("a"))
    taken = bench.take_one()

    assert cancel(bench) == "cancelled"

    assert bench.state_of(key("a")) == "active"
    bench.wait(9)
    bench.finish(completed(taken, "7"))
    record = bench.store.flows.read("f")
    assert (record["ended"], record["finished"]) == ("cancelled", str(START))
    sound(bench)


@pytest.mark.parametrize(
    ("end", "reason", "made"),
    [
        (lambda taken: retry(taken, "not yet", delay=9), "not yet", "1"),
        (returned, "cancelled", None),
        (put_off, "cancelled", None),
        (lambda taken: failed(taken, "Cancelled: no", why="cancelled"), "Cancelled: no", "1"),
    ],
)
def test_a_running_job_gets_no_further_attempt(bench: Bench, end, reason: str, made: str | None):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    taken = bench.take_one()
    cancel(bench)
    outcome = end(taken)

    assert bench.finish(outcome) == ["done"]

    stored = bench.hash(key("a"))
    assert (stored["why"], stored["failedReason"], stored.get("atm")) == ("cancelled", reason, made)
    assert bench.store.flows.read_end("f") == ("cancelled", None), "nobody is to blame"
    sound(bench)
    before = bench.dump()
    assert bench.finish(outcome) == ["repeated"]
    assert bench.dump() == before


def test_a_rate_limit_holds_its_queue_also_when_the_job_is_cancelled(bench: Bench):
    bench.add(node("a"))
    taken = bench.take_one()
    cancel(bench)
    bench.finish(returned(taken, hold=5000))
    bench.add_plain("z")
    assert bench.take() == []


def test_a_job_that_lost_its_worker_is_not_put_back(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    one, other = bench.take(want=2)
    cancel(bench)

    bench.store.leases.give_back(base("q"), {"a": one.token}, death=Death("begun"), most=3)
    bench.lose_lease(other)
    bench.sweep()
    bench.sweep()

    assert bench.counts() == {"up failed": 1, "q failed": 2}
    sound(bench)


def test_a_running_job_is_told_when_it_says_how_far_it_is(bench: Bench):
    bench.add(node("a"))
    bench.take_one()
    bench.store.jobs.update(base("q"), "a", "progress", "1")
    assert bench.store.jobs.are_cancelled([key("a"), key("nobody")]) == [False, True]
    cancel(bench)
    before = bench.dump()

    for field in ("progress", "data", "log"):
        with pytest.raises(errors.Cancelled, match="its flow was cancelled"):
            bench.store.jobs.update(base("q"), "a", field, "2")
    assert bench.store.jobs.are_cancelled([key("a")]) == [True]

    assert bench.dump() == before


def test_no_further_chunk_of_it_is_stored(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    cancel(bench)
    before = bench.dump()

    with pytest.raises(errors.Cancelled, match="f"):
        bench.add(node("b", (P, "fpof")), record=FlowRecord(id="f", fields={}))

    assert bench.dump() == before


# ---- shared jobs --------------------------------------------------------------------------------------------


def test_what_another_flow_needs_runs_with_all_below_it(bench: Bench):
    bench.add(
        parent("r", queue="top"), parent("s", (R, "fpof"), queue="up"), node("a", (key("s", "up"), "fpof"))
    )
    bench.add(parent("g", queue="top"), parent("s", (G, "fpof"), queue="up"), flow="g2")

    bench.store.flows.cancel(base("top"), "f")
    assert bench.store.jobs.cancel([key("s", "up"), key("a")]) == 0
    assert bench.store.jobs.are_cancelled([key("a"), R]) == [False, True]

    bench.finish(completed(bench.take_one(), "1"))
    bench.finish(completed(bench.take_one("up"), "2"))
    assert bench.hash(f"{G}:processed") == {key("s", "up"): "2"}
    bench.finish(completed(bench.take_one("top"), "3"))
    assert bench.store.flows.read_end("g2") == ("completed", None)
    sound(bench)


def test_it_is_cancelled_when_the_last_flow_that_needs_it_is(bench: Bench):
    bench.add(parent("r", queue="top"), node("a", (R, "fpof")))
    bench.add(parent("g", queue="top"), node("a", (G, "idof")), flow="g2")
    bench.store.flows.cancel(base("top"), "f")

    assert bench.redis.exists("bull:flownb:shared")
    bench.store.flows.cancel(base("top"), "g2")
    assert bench.store.jobs.cancel([key("a")]) == 1
    assert not bench.redis.exists("bull:flownb:shared"), "nobody looks for its end any more"

    assert bench.hash(f"{G}:failed") == {key("a"): "cancelled"}
    assert bench.counts("g2") == {"top failed": 1, "q failed": 1}
    sound(bench)


def test_a_flow_under_another_prefix_is_found(bench: Bench):
    far = "far:q:a"
    bench.add(parent("p", queue="up"), flow="f")
    bench.store.jobs.add(
        [base("up"), "far:q"],
        jobs=[JobRow(2, "a", "n", "{}", 1, 1, JobDetails(flow_prefix="bull:"))],
        opts=["{}"],
        parents=[ParentRow(P, f'{{"id":"p","queueKey":"{base("up")}","fpof":true}}', "fpof")],
        record=FlowRecord(id="f", fields={}),
    )
    cancel(bench)

    assert bench.store.jobs.cancel([far]) == 1

    assert bench.hash(far)["why"] == "cancelled"


# ---- again --------------------------------------------------------------------------------------------------


def test_a_retry_takes_the_cancel_back(bench: Bench):
    tree(bench)
    jobs = [key("a"), key("b"), key("c"), P, G]
    cancel(bench)
    bench.store.jobs.cancel(jobs)

    answers = bench.store.jobs.retry([Retry(job) for job in jobs[:3]], token="t", flow="f")

    assert answers == ["done"] * 3
    assert bench.store.flows.read_end("f") == (None, None)
    assert bench.counts() == {
        "top waiting-children": 1,
        "up waiting-children": 1,
        "q waiting": 2,
        "q prioritized": 1,
    }
    assert not bench.redis.exists("bull:flownb:cancelled")
    bench.finish(*(completed(taken, "1") for taken in bench.take(want=3)))
    for queue in ("up", "top"):
        bench.finish(completed(bench.take_one(queue), "1"))
    assert bench.store.flows.read_end("f") == ("completed", None)
    sound(bench)


def test_a_cancelled_flow_whose_root_completed_has_completed_once_the_cancel_is_taken_back(bench: Bench):
    bench.add(node("a"))
    taken = bench.take_one()
    cancel(bench)
    bench.finish(completed(taken, "7"))

    bench.store.jobs.retry([], token="t", flow="f", base=base("q"))

    assert bench.store.flows.read_end("f") == ("completed", None)
    sound(bench)


def test_a_job_that_is_named_twice_is_cancelled_once(bench: Bench):
    tree(bench)
    cancel(bench)
    bench.store.jobs.cancel([key("a"), key("b"), key("a"), P, P])
    assert bench.counts() == {"top failed": 1, "up failed": 1, "q failed": 2, "q delayed": 1}
    sound(bench)
