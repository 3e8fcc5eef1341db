"""finish_and_fetch, a hold: a service limits a call, and the queue starts nothing; for how long, and when that is too long."""

from __future__ import annotations

import pytest

from tests.support import invariants
from tests.support.script_bench import Bench, completed, failed, key, node, retry, returned, unbegun

MINUTE = 60_000


def limited(bench: Bench, hold: int = 0) -> int:
    """Let the next call be limited; return for how many ms the queue starts nothing."""
    bench.redis.delete(key("limiter"))  # the hold before is over: its key ends by the server's own clock
    taken = bench.take_one()
    bench.wait(1)
    turn = bench.fetch(want=0, outcomes=[returned(taken, hold=hold)])
    assert turn.answers == ["done"]
    return bench.redis.pttl(key("limiter"))


def test_where_the_service_does_not_say_for_how_long_the_wait_doubles_up_to_a_minute(bench: Bench):
    bench.add_plain("a", "b")
    waits = []
    for _ in range(9):
        waits.append(limited(bench))
        bench.wait(waits[-1] + 5)
    expected = [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]
    assert [round(wait, -3) for wait in waits] == expected
    assert bench.fetch().again_ms is not None
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("how", [completed, failed, retry])
def test_any_other_answer_begins_the_doubling_anew(bench: Bench, how):
    bench.add_plain("a", "b", "c")
    assert [round(limited(bench), -3) for _ in range(3)] == [1000, 2000, 4000]
    bench.redis.delete(key("limiter"))
    bench.finish(how(bench.take_one()))
    assert "limited" not in bench.hash(key("meta"))
    assert round(limited(bench), -3) == 1000


def test_a_run_that_did_not_begin_says_nothing_of_the_service(bench: Bench):
    bench.add_plain("a", "b", "c")
    assert [round(limited(bench), -3) for _ in range(2)] == [1000, 2000]
    bench.redis.delete(key("limiter"))
    bench.finish(unbegun(bench.take_one()))
    assert round(limited(bench), -3) == 4000


def test_calls_that_are_limited_together_double_the_wait_once_and_the_longest_counts(bench: Bench):
    bench.add_plain("a", "b", "c", "d")
    together = bench.take(want=3)
    bench.wait(1)
    holds = [0, 5000, 0]
    bench.finish(*(returned(taken, hold=hold) for taken, hold in zip(together, holds, strict=True)))
    assert 4000 < bench.redis.pttl(key("limiter")) <= 5000
    bench.wait(6000)
    assert round(limited(bench), -3) == 2000


def test_ten_minutes_of_nothing_but_limits_tell_of_the_flows_in_question(bench: Bench):
    bench.add(
        node("root", has_children=True), node("a", (key("root"), "idof")), node("b", (key("root"), "idof"))
    )

    def call() -> list[tuple[str, str]]:
        bench.redis.delete(key("limiter"))
        taken = bench.take_one()
        bench.wait(1)
        return bench.fetch(want=0, outcomes=[returned(taken, hold=MINUTE)]).limited_flows

    for _ in range(10):
        assert call() == []
        bench.wait(MINUTE)
    assert call() == [("bull:q", "f")]
    bench.wait(MINUTE)
    bench.redis.delete(key("limiter"))
    bench.finish(completed(bench.take_one()))  # the service answers
    assert call() == []


def test_calls_of_long_ago_are_not_held_against_the_service(bench: Bench):
    bench.add(node("root", has_children=True), node("a", (key("root"), "idof")))
    assert round(limited(bench), -3) == 1000
    bench.wait(30 * MINUTE)  # nobody calls: the flow may be paused
    bench.redis.delete(key("limiter"))
    taken = bench.take_one()
    turn = bench.fetch(want=0, outcomes=[returned(taken, hold=0)])
    assert turn.limited_flows == []
    assert 0 < bench.redis.pttl(key("limiter")) <= 1000


def test_a_hold_that_is_told_twice_holds_once(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.wait(1)
    bench.finish(returned(taken, hold=0))
    before = bench.contents()
    assert bench.finish(returned(taken, hold=0)) == ["repeated"]
    assert bench.contents() == before


@pytest.mark.parametrize(("hold", "more"), [(200, 1), (20_000, 3)])
def test_after_a_hold_the_limiters_window_goes_on_until_it_ends(bench: Bench, hold: int, more: int):
    """Three in ten seconds: two had begun when one of them was limited."""
    bench.add_plain(*"abcdef")
    bench.redis.hset(key("meta"), mapping={"max": 3, "duration": 10_000})
    bench.finish(returned(bench.take(want=2)[1], hold=hold))
    assert bench.take(want=5) == []
    bench.redis.delete(key("limiter"))  # the hold is over
    bench.wait(hold)
    assert len(bench.take(want=5)) == more
    assert bench.take(want=5) == []
    assert bench.redis.hget(key("meta"), "window") is None
    assert invariants.violations(bench.redis) == []
