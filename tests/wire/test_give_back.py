"""give_back: active -> waiting or prioritized; a worker that ended gives its jobs back at once."""

from __future__ import annotations

import pytest

from tests.support import invariants
from tests.support.script_bench import Bench, completed, failed, key, node


def give(bench: Bench, *ids: str, token: str = "w:", charge: bool = True, most: int = 1) -> list[str]:
    return bench.store.leases.give_back("bull:q", ids, token=token, charge=charge, most=most)


def test_jobs_go_back_to_the_head_of_the_line(bench: Bench):
    bench.add(node("a"), node("b"), node("c"))
    bench.take(want=2)
    bench.redis.sadd(key("stalled"), "a")
    bench.redis.delete(key("marker"))

    assert give(bench, "a", "b") == ["a", "b"]

    assert bench.list(key("wait")) == ["c", "a", "b"]
    assert bench.list(key("active")) == []
    assert not bench.redis.exists(key("a:lock"), key("b:lock"), key("stalled"))
    assert bench.zset(key("marker")) == {"0": 0}
    assert bench.events(last=2) == [("waiting", "a", "active"), ("waiting", "b", "active")]
    assert bench.counts() == {"q waiting": 3}
    assert invariants.violations(bench.redis) == []


def test_a_prioritized_job_goes_before_its_rank(bench: Bench):
    bench.add(node("a", priority=3), node("b", priority=3))
    bench.take_one()

    give(bench, "a")

    assert bench.zset(key("prioritized")) == {"a": 3 * 2**32, "b": 3 * 2**32 + 2}
    assert bench.counts() == {"q prioritized": 2}
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("charge", [True, False])
def test_a_crash_is_charged_and_a_lost_answer_is_not(bench: Bench, charge: bool):
    bench.add_plain("a")
    bench.take_one()

    give(bench, "a", charge=charge)

    stored = bench.hash(key("a"))
    assert stored.get("stc") == ("1" if charge else None)
    assert not {"defa", "atm"} & stored.keys()


def test_a_job_that_was_there_in_too_many_crashes_is_failed_by_the_next_worker(bench: Bench):
    bench.add_plain("a")
    for _ in range(2):
        assert bench.take_one().deferred is None
        give(bench, "a", most=1)

    taken = bench.take_one()

    assert taken.deferred == "job stalled more than allowable limit"
    bench.finish(failed(taken, taken.deferred, why="stalled"))
    assert bench.hash(key("a"))["why"] == "stalled"
    assert invariants.violations(bench.redis) == []


def test_only_jobs_under_the_given_token_are_touched(bench: Bench):
    bench.add_plain("mine", "theirs", "free", "ended", "waits")
    bench.take(want=1)
    bench.take(want=1, token="other:1")
    free = bench.take_one(token="w:7")
    ended = bench.take_one(token="w:8")
    bench.lose_lease(free)
    bench.finish(completed(ended))

    assert give(bench, "theirs", "free", "ended", "waits", "nobody") == []
    before = bench.dump()
    assert give(bench, "mine", token="w:12") == []
    assert bench.dump() == before
    assert give(bench, "mine", token="w:1") == ["mine"]


def test_a_lock_without_a_running_job_is_left_alone(bench: Bench):
    bench.add_plain("a")
    bench.redis.set(key("a:lock"), "w:1")
    before = bench.dump()

    assert give(bench, "a") == []

    assert bench.dump() == before


def test_jobs_given_back_twice_go_back_once(bench: Bench):
    bench.add_plain("a", "b")
    bench.take(want=2)
    give(bench, "a", "b")
    before = bench.dump()
    bench.redis.script_flush()

    assert give(bench, "a", "b") == []

    assert bench.dump() == before


def test_a_paused_queue_is_not_woken(bench: Bench):
    bench.add_plain("a")
    bench.take_one()
    bench.store.queues.pause("bull:q")

    give(bench, "a")

    assert bench.list(key("wait")) == ["a"]
    assert not bench.redis.exists(key("marker"))


def test_a_late_end_of_a_job_given_back_counts_while_nobody_started_it_since(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    give(bench, "a", most=0)

    assert bench.finish(completed(taken)) == ["done"]
    assert invariants.violations(bench.redis) == []


def test_thousands_of_ids_go_in_bounded_calls(bench: Bench):
    assert give(bench, *(f"a{i}" for i in range(8500))) == []
    assert bench.dump() == {}
