"""pause_flow and resume_flow: jobs of one flow stay where they are, everything else on their queues goes on."""

from __future__ import annotations

import pytest

from flownb.wire.job_rows import FlowRecord
from flownb.wire.requests import Retry
from tests.support import invariants
from tests.support.script_bench import Bench, base, completed, failed, key, node, parent, retry

P, G = key("p", "up"), key("g", "top")


def sound(bench: Bench) -> None:
    assert invariants.violations(bench.redis) == []


def pause(bench: Bench, flow: str = "f") -> None:
    bench.store.flows.pause(base("up"), flow)


def resume(bench: Bench, flow: str = "f") -> None:
    bench.store.flows.resume(bench.store.flows.read_queues(flow), flow)


def ids(taken: list) -> list[str]:
    return [one.record.id for one in taken]


def test_nothing_of_it_starts_and_what_stands_behind_it_does(bench: Bench):
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(3)))
    bench.add_plain("z")
    pause(bench)

    assert ids(bench.take(want=1)) == ["z"]
    assert bench.take(want=9) == []

    assert bench.counts() == {"up waiting-children": 1, "q waiting": 3}
    assert [bench.state_of(key(f"c{i}")) for i in range(3)] == ["waiting"] * 3
    assert bench.store.flows.read_counts("f").paused
    sound(bench)


def test_a_resume_puts_them_back_to_the_head_of_their_line_in_their_order(bench: Bench):
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(900)))
    for start in (900, 1800):
        more = [node(f"c{i}", (P, "fpof")) for i in range(start, start + 900)]
        bench.add(*more, record=FlowRecord(id="f", fields={}))
    pause(bench)
    bench.add_plain("z")
    assert [ids(bench.take(want=1)) for _ in range(3)] == [[], [], ["z"]][:3]
    bench.add_plain("y")

    resume(bench)

    assert bench.list(key("wait")) == ["y", *(f"c{i}" for i in reversed(range(2700)))]
    assert not bench.redis.exists(key("paused"), "bull:flownb:paused")
    assert bench.zset(key("marker"))["0"] == 0
    assert not bench.store.flows.read_counts("f").paused
    sound(bench)


def test_a_resume_leaves_those_of_other_paused_flows_aside(bench: Bench):
    for flow in ("f", "g"):
        bench.add(node(f"{flow}1"), flow=flow)
        pause(bench, flow)
    assert bench.take(want=9) == []

    resume(bench, "g")

    assert (bench.list(key("wait")), bench.list(key("paused"))) == (["g1"], ["f1"])
    assert ids(bench.take(want=9)) == ["g1"]
    assert bench.list(key("paused")) == ["f1"]


def test_a_delayed_a_prioritized_a_retried_and_a_released_job_stay_still_too(bench: Bench):
    bench.add(
        parent("p", queue="up"),
        node("a", (P, "fpof")),
        node("b", (P, "fpof"), priority=3),
        node("c", (P, "fpof"), delay=100),
    )
    running = bench.take_one()
    pause(bench)
    bench.finish(retry(running, delay=50))
    bench.wait(200)

    assert bench.take(want=9) == []
    assert bench.counts() == {"up waiting-children": 1, "q waiting": 3}
    sound(bench)
    resume(bench)
    assert bench.counts() == {"up waiting-children": 1, "q waiting": 2, "q prioritized": 1}
    sound(bench)
    taken = bench.take(want=9)
    pause(bench)
    bench.finish(*(completed(one, "1") for one in taken))
    assert bench.take("up") == []
    resume(bench)
    assert ids(bench.take("up")) == ["p"]


def test_what_runs_goes_on(bench: Bench):
    bench.add(node("a"))
    taken = bench.take_one()
    pause(bench)

    bench.store.jobs.update(base("q"), "a", "progress", "1")
    assert bench.finish(completed(taken, "1")) == ["done"]

    assert bench.store.flows.read_end("f") == ("completed", None)


def test_a_late_end_of_a_job_put_aside_is_accepted(bench: Bench):
    bench.add(node("a"))
    late = bench.take_one()
    pause(bench)
    bench.lose_lease(late)
    bench.sweep()
    bench.sweep()
    assert bench.take() == []

    assert bench.finish(completed(late, "1")) == ["done"]

    assert bench.counts() == {"q completed": 1}
    assert not bench.redis.exists(key("paused"))
    sound(bench)


def test_a_job_that_a_flow_needs_that_is_not_paused_runs(bench: Bench):
    bench.add(
        parent("p", queue="up"), parent("s", (P, "fpof"), queue="up"), node("a", (key("s", "up"), "fpof"))
    )
    bench.add(parent("g", queue="top"), parent("s", (G, "fpof"), queue="up"), flow="g2")
    pause(bench)

    bench.finish(completed(bench.take_one(), "1"))
    bench.finish(completed(bench.take_one("up"), "2"))

    assert ids(bench.take("top")) == ["g"]
    assert bench.take("up") == []
    sound(bench)


def test_a_paused_flow_can_be_cancelled_retried_and_goes_on_when_resumed(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    pause(bench)
    bench.take(want=1)
    bench.store.flows.cancel(base("up"), "f")
    assert bench.store.jobs.cancel([key("a"), key("b")]) == 2
    assert not bench.redis.exists(key("paused"), key("wait"))
    sound(bench)

    bench.store.jobs.retry([Retry(key("a")), Retry(key("b"))], token="t", flow="f")
    assert bench.take(want=9) == []
    resume(bench)
    assert ids(bench.take(want=9)) == ["a", "b"]


def test_a_job_put_aside_that_is_to_wait_for_a_child_again_leaves_the_list(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "idof")))
    bench.finish(failed(bench.take_one()))
    pause(bench)
    assert bench.take("up") == []

    bench.store.jobs.retry([Retry(key("a"))], token="t")

    assert bench.state_of(P) == "waiting-children"
    assert not bench.redis.exists(key("paused", "up"))
    sound(bench)


@pytest.mark.parametrize("act", [pause, resume])
def test_sent_twice_it_changes_nothing(bench: Bench, act):
    bench.add(node("a"))
    pause(bench)
    bench.take()
    act(bench)
    before = bench.dump()

    act(bench)

    assert bench.dump() == before


def test_a_flow_that_is_gone_is_not_paused(bench: Bench):
    before = bench.dump()
    pause(bench, "nobody")
    resume(bench, "nobody")
    assert bench.dump() == before
