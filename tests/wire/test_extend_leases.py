"""extend_leases: active -> active; the leases of running jobs live on."""

from __future__ import annotations

from flownb.wire.lease_records import Lease
from tests.support.script_bench import Bench, completed, key


def lease(taken, *, ats: bool = True) -> Lease:
    more = (taken.record.attempts_started,) if ats else ()
    return Lease(taken.base, taken.record.id, taken.token, *more)


def test_a_lease_is_renewed_and_its_job_suspected_no_more(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one(lock_ms=500)
    bench.redis.sadd(key("stalled"), "a", "b")

    assert bench.store.leases.extend(["bull:q"], [lease(taken)], lock_ms=90_000) == []

    assert bench.get(key("a:lock")) == taken.token
    assert 500 < bench.redis.pttl(key("a:lock")) <= 90_000
    assert bench.set(key("stalled")) == {"b"}


def test_a_lease_of_somebody_else_is_lost_and_nothing_written(bench: Bench):
    bench.add_plain("a", "b")
    a, b = bench.take(want=2)
    bench.redis.set(key("a:lock"), "other")
    bench.redis.delete(key("b:lock"))
    before = bench.dump()

    assert bench.store.leases.extend(["bull:q"], [lease(a), lease(b, ats=False)], lock_ms=900) == ["a", "b"]

    assert bench.dump() == before


def test_a_bad_lease_spoils_no_other(bench: Bench):
    bench.add_plain("a", "b", "c")
    a, b, c = bench.take(want=3, lock_ms=100)
    bench.redis.set(key("b:lock"), "other")

    assert bench.store.leases.extend(["bull:q"], [lease(a), lease(b), lease(c)], lock_ms=60_000) == ["b"]

    assert all(bench.redis.pttl(key(f"{id}:lock")) > 100 for id in "ac")


def test_a_lease_that_ran_out_is_taken_again_while_nobody_started_the_job_since(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.lose_lease(taken)
    bench.sweep()
    assert bench.set(key("stalled")) == {"a"}

    assert bench.store.leases.extend(["bull:q"], [lease(taken)], lock_ms=900) == []

    assert bench.sweep() == []
    assert bench.finish(completed(taken)) == ["done"]


def test_a_lease_that_ran_out_is_lost_when_somebody_started_the_job_since(bench: Bench):
    bench.add_plain("a")
    first = bench.take_one()
    bench.lose_lease(first)
    bench.sweep()
    bench.sweep()
    bench.lose_lease(bench.take_one())
    before = bench.dump()

    assert bench.store.leases.extend(["bull:q"], [lease(first)], lock_ms=900) == ["a"]

    assert bench.dump() == before


def test_a_lease_that_ran_out_is_lost_when_the_job_waits_again(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.lose_lease(taken)
    bench.sweep()
    bench.sweep()
    before = bench.dump()

    assert bench.store.leases.extend(["bull:q"], [lease(taken)], lock_ms=900) == ["a"]

    assert bench.dump() == before


def test_an_ended_job_has_no_lease_to_renew(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.finish(completed(taken))
    before = bench.dump()

    assert bench.store.leases.extend(["bull:q"], [lease(taken)], lock_ms=900) == ["a"]

    assert bench.dump() == before


def test_a_renewal_sent_twice_changes_nothing(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.store.leases.extend(["bull:q"], [lease(taken)], lock_ms=900)
    before = bench.dump()
    bench.redis.script_flush()

    bench.store.leases.extend(["bull:q"], [lease(taken)], lock_ms=900)

    assert bench.dump() == before


def test_thousands_of_leases_go_in_calls_of_a_thousand(bench: Bench):
    leases = [Lease("bull:q", f"a{i}", "w:1", 1) for i in range(8500)]

    assert len(bench.store.leases.extend(["bull:q"], leases, lock_ms=900)) == 8500
    assert bench.dump() == {}
