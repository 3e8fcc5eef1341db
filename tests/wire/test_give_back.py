"""give_back: active -> waiting or prioritized; a worker that ended gives its jobs back at once."""

from __future__ import annotations

import pytest

from flownb.wire.lease_records import Death
from tests.support import invariants
from tests.support.script_bench import Bench, completed, failed, key, node

ALONE = Death("begun", alone=True)


def give(
    bench: Bench, *ids: str, lock: str | None = None, death: Death | None = ALONE, most: int = 1
) -> list[str]:
    locks = {id: lock or (bench.redis.get(key(f"{id}:lock")) or b"").decode() for id in ids}
    return bench.store.leases.give_back("bull:q", locks, death=death, most=most)


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


@pytest.mark.parametrize(
    ("death", "charged"),
    [
        (ALONE, {"stc": "1", "alone": "1"}),
        (Death("begun"), {"stc": "1"}),
        (Death("unbegun"), {"unbegun": "1"}),
        (None, {}),
    ],
)
def test_a_death_is_charged_to_what_had_begun(bench: Bench, death: Death | None, charged: dict[str, str]):
    bench.add_plain("a")
    bench.take_one()

    give(bench, "a", death=death)

    stored = bench.hash(key("a"))
    names = ("stc", "alone", "unbegun", "suspect", "died", "dead", "defa", "atm")
    assert {name: stored[name] for name in names if name in stored} == charged


@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_job_whose_workers_die_when_nothing_else_runs_is_failed_by_the_next_one(bench: Bench, most: int):
    bench.add_plain("a")
    for _ in range(most + 1):
        assert bench.take_one().deferred is None
        give(bench, "a", most=most)

    taken = bench.take_one()

    assert taken.deferred == f"crashed its worker {most + 1} time{'s' if most else ''}"
    bench.finish(failed(taken, taken.deferred, why="crashed"))
    assert bench.hash(key("a"))["why"] == "crashed"
    assert invariants.violations(bench.redis) == []


def test_a_job_that_was_never_alone_is_given_to_a_worker_that_holds_nothing_else(bench: Bench):
    bench.add_plain("other", "a", "z")
    for _ in range(3):
        bench.take(want=2)
        give(bench, "other", death=None)
        give(bench, "a", death=Death("begun"), most=2)
        bench.redis.lrem(key("wait"), 1, "a")
        bench.redis.rpush(key("wait"), "a")
        bench.redis.lrem(key("wait"), 1, "other")
        bench.redis.rpush(key("wait"), "other")

    turn = bench.fetch(want=3)
    assert ([one.record.id for one in turn.taken], turn.suspect_in) == (["other"], "bull:q")
    assert bench.list(key("wait")) == ["z", "a"]
    (alone,) = bench.take(alone=True)
    assert (alone.record.id, alone.is_suspect, alone.deferred) == ("a", True, None)
    assert invariants.violations(bench.redis) == []


def test_a_suspect_with_a_priority_keeps_its_place(bench: Bench):
    bench.add(node("a", priority=2), node("b", priority=2))
    bench.redis.hset(key("a"), "suspect", "1")
    before = bench.zset(key("prioritized"))

    assert bench.take(want=2) == []

    assert bench.zset(key("prioritized")) == before


def test_of_a_many_row_job_the_row_that_ran_is_charged(bench: Bench):
    bench.add_plain("a")
    for row in (7, 3, 7):
        bench.take_one()
        give(bench, "a", death=Death("begun", alone=True, rows={"a": row}), most=1)

    stored = bench.hash(key("a"))
    assert (stored["died"], stored["dead"]) == ("3:1:1", "7:2")
    assert not {"stc", "defa", "suspect"} & stored.keys()


def test_only_jobs_with_the_given_lock_are_touched(bench: Bench):
    bench.add_plain("mine", "theirs", "free", "ended", "waits")
    bench.take(want=1)
    bench.take(want=1, token="other:1")
    free = bench.take_one(token="w:7")
    ended = bench.take_one(token="w:8")
    bench.lose_lease(free)
    bench.finish(completed(ended))

    before = bench.dump()
    assert give(bench, "theirs", "free", "ended", "waits", "nobody", lock="w:1") == []
    assert give(bench, "mine", lock="w:12") == []
    assert bench.dump() == before
    assert give(bench, "mine", lock="w:1") == ["mine"]


def test_a_job_that_its_worker_has_taken_anew_stays_there(bench: Bench):
    """Who read its lock a while ago, or sends a call again without an answer, means an earlier start."""
    bench.add_plain("a")
    first = bench.take_one()
    assert give(bench, "a", lock=first.token, death=None) == ["a"]
    again = bench.take_one()

    assert give(bench, "a", lock=first.token, death=None) == []

    assert bench.store.queues.read_active("bull:q") == [("a", again.token)]


def test_a_lock_without_a_running_job_is_left_alone(bench: Bench):
    bench.add_plain("a")
    bench.redis.set(key("a:lock"), "w:1")
    before = bench.dump()

    assert give(bench, "a") == []

    assert bench.dump() == before


def test_jobs_given_back_twice_go_back_once(bench: Bench):
    bench.add_plain("a", "b")
    bench.take(want=2)
    give(bench, "a", "b", lock="w:1")
    before = bench.dump()
    bench.redis.script_flush()

    assert give(bench, "a", "b", lock="w:1") == []

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
