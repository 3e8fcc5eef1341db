"""tell_spent and finish_and_fetch with `spent`: each run's amounts are added once to its job and to its flow's account."""

from __future__ import annotations

import pytest

from flownb.wire.amounts import flat, flat_of_rows, of_job
from flownb.wire.store.accounts import SpentByRun
from tests.support.script_bench import Bench, completed, key, node


def spent(bench: Bench, account: str = "f") -> dict[str, int]:
    return bench.store.accounts.read(account)


def of(bench: Bench, id: str) -> dict[str, int]:
    return of_job(bench.hash(key(id)).get("spent"))


@pytest.fixture
def taken(bench: Bench):
    bench.add(node("a"))
    return bench.fetch().taken[0]


def tell(bench: Bench, taken, **amounts: int) -> None:
    bench.store.accounts.tell([by_run(taken, **amounts)])


def by_run(taken, **amounts: int) -> SpentByRun:
    return SpentByRun(taken.base, taken.record.id, taken.record.attempts_started, flat(amounts))


def test_what_is_told_again_or_late_adds_nothing(bench: Bench, taken):
    for parts in (5, 5, 9, 7):
        tell(bench, taken, usd=parts)

    assert spent(bench) == of(bench, "a") == {"usd": 9}


def test_the_end_of_a_run_adds_what_was_not_told(bench: Bench, taken):
    tell(bench, taken, usd=5)

    bench.fetch(outcomes=[completed(taken)._replace(spent=flat({"usd": 6, "tokens": 1}))])

    assert spent(bench) == of(bench, "a") == {"usd": 6, "tokens": 1}


def test_an_end_that_is_refused_counts_all_the_same(bench: Bench, taken):
    bench.store.leases.give_back("bull:q", {"a": taken.token})
    again = bench.fetch().taken[0]

    turn = bench.fetch(outcomes=[completed(taken)._replace(spent=flat({"usd": 6}))], want=0)
    tell(bench, again, usd=1)

    assert turn.answers == ["stale"]
    assert spent(bench) == of(bench, "a") == {"usd": 7}


def test_one_call_tells_of_many_jobs_and_makes_none_again_that_is_gone(bench: Bench):
    bench.add(node("a"), node("b"), node("c", queue="other"))
    runs = bench.take("q", "other", want=3)
    bench.redis.delete(key("b"))
    calls = bench.redis.info("commandstats")["cmdstat_evalsha"]["calls"]

    bench.store.accounts.tell([by_run(taken, usd=1 + n) for n, taken in enumerate(runs)])

    assert bench.redis.info("commandstats")["cmdstat_evalsha"]["calls"] == calls + 1
    told = {taken.record.id: 1 + n for n, taken in enumerate(runs)}
    assert of(bench, "a") == {"usd": told["a"]}
    assert of_job(bench.hash(key("c", "other")).get("spent")) == {"usd": told["c"]}
    assert spent(bench) == {"usd": told["a"] + told["c"]}
    assert not bench.redis.exists(key("b"))


def test_a_job_that_is_gone_is_not_made_again(bench: Bench, taken):
    bench.redis.delete(key("a"))
    before = bench.dump()

    tell(bench, taken, usd=1)

    assert bench.dump() == before


def test_a_job_of_no_flow_keeps_it_alone(bench: Bench):
    bench.add_plain("a")
    taken = bench.fetch().taken[0]

    tell(bench, taken, usd=1)

    assert of(bench, "a") == {"usd": 1}
    assert not bench.redis.keys("bull:flownb:spent:*")


def test_a_sum_that_no_number_of_the_server_holds_stays_at_the_largest(bench: Bench, taken):
    bench.redis.hset("bull:flownb:spent:f", "usd", 2**63 - 2)

    tell(bench, taken, usd=5)

    assert spent(bench) == {"usd": 2**63 - 1}


def test_a_damaged_account_costs_no_job(bench: Bench, taken):
    bench.redis.set("bull:flownb:spent:f", "x")

    turn = bench.fetch(outcomes=[completed(taken)._replace(spent=flat({"usd": 6}))], want=0)

    assert turn.answers == ["done"]
    assert of(bench, "a") == {"usd": 6}


def test_of_very_many_runs_the_oldest_become_one(bench: Bench, taken):
    for run in range(1, 201):
        bench.store.accounts.tell([SpentByRun(taken.base, "a", run, ["usd", run])])

    assert of(bench, "a") == spent(bench) == {"usd": sum(range(1, 201))}
    assert len(bench.hash(key("a"))["spent"].split()) < 70


def test_of_a_row_that_shares_its_job_the_most_that_was_told_is_kept_until_the_job_has_ended(
    bench: Bench, taken
):
    def told(**sums: int):
        rows = flat_of_rows({int(row[1:]): {"usd": parts} for row, parts in sums.items()})
        bench.store.accounts.tell([by_run(taken, usd=sum(sums.values()))._replace(rows=rows)])
        return bench.store.jobs.read_part(key("a")).spent_by_row

    assert told(r0=5) == {0: {"usd": 5}}
    assert told(r0=5, r3=2**52) == {0: {"usd": 5}, 3: {"usd": 2**52}}
    assert told(r0=4, r1=7) == {0: {"usd": 5}, 1: {"usd": 7}, 3: {"usd": 2**52}}
    bench.fetch(outcomes=[completed(taken)._replace(rows=(2, 0))], want=0)
    assert told(r0=9) == {}  # late


def test_what_rows_tell_takes_no_more_room_than_their_number(bench: Bench, taken):
    for parts in range(1, 3000):
        rows = flat_of_rows({parts % 7: {"usd": parts}})
        bench.store.accounts.tell([by_run(taken, usd=parts)._replace(rows=rows)])

    assert len(bench.hash(key("a"))["rspent"]) < 20_000
    assert bench.store.jobs.read_part(key("a")).spent_by_row == {
        parts % 7: {"usd": parts} for parts in range(2993, 3000)
    }
