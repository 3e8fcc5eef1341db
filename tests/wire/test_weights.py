"""finish_and_fetch, limits by weight: what begins in a window weighs no more than the limit, exactly, whoever asks."""

from __future__ import annotations

import random

import pytest

from flownb.wire.amounts import PARTS, flat
from flownb.wire.outcomes import Outcome
from flownb.wire.store.accounts import SpentByRun
from flownb.wire.store.job_records import Taken
from tests.support import invariants
from tests.support.script_bench import Bench, completed, key, node, retry, unbegun

WINDOW = 1000
USED = "bull:flownb:used:bull:q"


def limit(bench: Bench, *limits: str) -> None:
    bench.redis.hset(key("meta"), "limits", ";".join(limits))


def add(bench: Bench, *weights: int | float, unit: str = "tokens", **options: object) -> None:
    nodes = [node(f"j{i}", weights=f"{unit}={weight}", **options) for i, weight in enumerate(weights)]
    bench.add(*nodes, flow=None)


def begun(bench: Bench, want: int = 100) -> list[str]:
    return [taken.record.id for taken in bench.take(want=want, free=want)]


def used(bench: Bench, field: str = "tokens/1000") -> float:
    return float(bench.hash(USED)[field].split()[1])


def test_jobs_begin_until_the_next_one_would_weigh_too_much(bench: Bench):
    limit(bench, "100 1000 tokens")
    add(bench, 40, 50, 20, 10)
    assert begun(bench) == ["j0", "j1"]  # nothing overtakes: a heavy one would never have its turn
    bench.wait(300)
    turn = bench.fetch(want=5, free=5)
    assert (turn.taken, turn.again_ms) == ([], WINDOW - 300)
    assert bench.list(key("wait")) == ["j3", "j2"]
    bench.wait(699)
    assert begun(bench) == []
    bench.wait(1)
    assert begun(bench) == ["j2", "j3"]
    assert used(bench) == 30
    assert invariants.violations(bench.redis) == []


def test_ten_windows_hold_exactly_ten_times_the_limit_with_retries_and_late_workers(bench: Bench):
    limit(bench, "1000 1000 tokens")
    chance = random.Random(16)
    weights = [chance.choice([5, 10, 20]) for _ in range(1000)]
    add(bench, *weights)
    of = {f"j{i}": weight for i, weight in enumerate(weights)}
    starts: list[tuple[int, int]] = []
    while bench.now < 1_700_000_000_000 + 10 * WINDOW:
        for taken in bench.take(want=10, free=10):
            starts.append((bench.now, of[taken.record.id]))
            bench.finish(retry(taken) if chance.random() < 0.3 else completed(taken))
        bench.wait(chance.randint(1, 150))  # workers ask when they get round to it
    begin = starts[0][0]
    per_window = [sum(w for at, w in starts if n <= (at - begin) // WINDOW < n + 1) for n in range(10)]
    assert max(per_window) <= 1000
    assert 0.98 * 10_000 <= sum(per_window) <= 10_000


def test_windows_follow_without_a_gap_while_jobs_begin_in_each_and_a_pause_begins_a_new_one(bench: Bench):
    limit(bench, "10 1000 tokens")
    add(bench, 10, 10, 10, 10, 10)
    assert begun(bench) == ["j0"]
    bench.wait(1900)  # a worker that asks late
    assert begun(bench) == ["j1"]
    bench.wait(100)
    assert begun(bench) == ["j2"]
    bench.wait(2900)
    assert begun(bench) == ["j3"]
    bench.wait(999)
    assert begun(bench) == []


def test_several_limits_hold_together_and_what_one_refuses_uses_up_none(bench: Bench):
    limit(bench, "3 1000 calls", "100 2000 tokens", "1 5000 usd")
    nodes = [node(f"j{i}", weights=f"tokens=30 usd={usd}") for i, usd in enumerate([0.25, 0.5, 0.5, 0.25])]
    bench.add(*nodes, flow=None)
    assert begun(bench) == ["j0", "j1"]  # a third would spend too much
    assert bench.hash(USED) == {
        "calls/1000": f"{bench.now} 2",
        "tokens/2000": f"{bench.now} 60",
        "usd/5000": f"{bench.now} 0.75",
    }
    bench.wait(5000)
    assert begun(bench) == ["j2", "j3"]


def test_a_job_that_does_not_say_weighs_one(bench: Bench):
    limit(bench, "2 1000 tokens")
    bench.add_plain("a", "b", "c")
    assert begun(bench) == ["a", "b"]


def test_calls_and_weights_are_counted_in_the_same_call(bench: Bench):
    limit(bench, "100 1000 tokens")
    bench.redis.hset(key("meta"), mapping={"max": 2, "duration": 1000})
    add(bench, 10, 10, 10)
    assert begun(bench) == ["j0", "j1"]
    assert bench.get(key("limiter")) == "2"
    assert used(bench) == 20


def test_what_weighs_more_than_a_limit_that_was_lowered_begins_alone_and_counts_in_the_windows_after(
    bench: Bench,
):
    limit(bench, "100 1000 tokens")
    add(bench, 10, 250, 10)
    assert begun(bench) == ["j0"]
    bench.wait(WINDOW)
    assert begun(bench) == ["j1"]
    waited = 0
    while not begun(bench):
        bench.wait(100)
        waited += 100
    assert waited == 2 * WINDOW  # 250 are two windows and a half: in the third there is room


def test_a_job_that_did_not_begin_gives_its_weight_back_in_its_own_window_alone(bench: Bench):
    limit(bench, "100 1000 tokens")
    add(bench, 60, 30, 50)
    first, second = bench.take(want=2, free=2)
    bench.wait(200)
    bench.finish(unbegun(first, age=200))
    assert used(bench) == 30
    bench.wait(WINDOW - 200)
    assert begun(bench, 1) == ["j0"]
    bench.finish(unbegun(second, age=WINDOW))
    assert used(bench) == 60


def test_a_job_whose_weight_its_worker_finds_out_begins_when_it_has_said_so(bench: Bench):
    limit(bench, "100 1000 tokens")
    bench.redis.hset(key("meta"), mapping={"max": 5, "duration": 1000})
    bench.add(node("a", weights="tokens=90"), node("b", weights="?"), node("c"), flow=None)
    heavy, unknown, _ = bench.take(want=3, free=3)
    assert [heavy.is_unweighed, unknown.is_unweighed] == [False, True]
    assert used(bench) == 91
    bench.finish(unbegun(unknown, weights="tokens=20"))
    assert used(bench) == 91
    assert bench.get(key("limiter")) == "2"
    assert begun(bench) == []
    bench.wait(WINDOW)
    (again,) = bench.take(want=3, free=3)
    assert (again.record.id, again.is_unweighed, again.record.attempts_started) == ("b", False, 1)
    assert used(bench) == 20


def test_jobs_that_are_to_fail_without_a_run_use_nothing_up(bench: Bench):
    limit(bench, "10 1000 tokens")
    add(bench, 10, 10)
    bench.redis.hset(key("j0"), "defa", "a child failed")
    assert begun(bench) == ["j0", "j1"]


def test_nothing_is_taken_ahead_and_no_other_worker_is_woken_for_a_full_window(bench: Bench):
    limit(bench, "100 1000 tokens")
    add(bench, 60, 60, 60)
    (taken,) = bench.take(want=5, free=5)
    assert not taken.is_ahead
    bench.redis.delete(key("marker"))  # a worker woke
    assert bench.take(want=5, free=5) == []
    assert bench.redis.exists(key("marker")) == 0
    bench.wait(WINDOW)
    assert len(bench.take(want=5, free=1)) == 1


def tell(bench: Bench, taken: Taken, **amounts: float) -> None:
    parts = {unit: round(amount * PARTS) for unit, amount in amounts.items()}
    record = taken.record
    bench.store.accounts.tell([SpentByRun(taken.base, record.id, record.attempts_started, flat(parts))])


def end(taken: Taken, **amounts: float) -> Outcome:
    return completed(taken)._replace(
        spent=flat({unit: round(amount * PARTS) for unit, amount in amounts.items()})
    )


def test_what_a_run_spends_beyond_its_weight_is_used_up_as_soon_as_it_is_told_and_once(bench: Bench):
    limit(bench, "100 1000 tokens", "9 1000 usd")
    add(bench, 20, 20)
    taken = bench.take_one(free=1)
    for told, expected in [(5, 20), (15, 20), (30, 30), (30, 30), (130, 130), (90, 130)]:
        tell(bench, taken, tokens=told, pages=7)
        assert used(bench) == expected
    bench.finish(end(taken, tokens=150))
    assert used(bench) == 150
    bench.wait(WINDOW)
    assert begun(bench) == ["j1"]  # 50 are left over from the first window
    assert used(bench) == 70


def test_what_a_run_spends_less_is_free_again_at_its_end_in_the_window_in_which_it_began(bench: Bench):
    limit(bench, "100 1000 tokens")
    add(bench, 60, 40, 50, 70, 30, 10)
    first, second = bench.take(want=2, free=2)
    tell(bench, first, tokens=5)
    assert used(bench) == 100  # more may follow
    bench.wait(400)
    turn = bench.fetch(want=1, free=1, outcomes=[end(first, tokens=10)])
    assert [taken.record.id for taken in turn.taken] == ["j2"]
    bench.wait(WINDOW)
    assert begun(bench) == ["j3", "j4"]
    bench.finish(end(second, tokens=1), end(turn.taken[0], tokens=20, usd=1))
    assert used(bench) == 100  # nothing is gained for this window
    assert begun(bench) == []


def test_a_unit_of_which_a_run_tells_nothing_keeps_what_its_job_weighs(bench: Bench):
    limit(bench, "100 1000 tokens")
    add(bench, 60)
    bench.finish(end(bench.take_one(free=1), usd=1))
    assert used(bench) == 60


def test_an_account_that_nobody_needs_any_more_goes_by_itself(bench: Bench):
    limit(bench, "100 1000 tokens")
    add(bench, 60)
    begun(bench)
    assert 0 < bench.redis.pttl(USED) <= 2 * WINDOW


@pytest.mark.parametrize("limits", ["", "soon", "0 1000 tokens", "10 0 tokens", "x 1000 tokens"])
def test_limits_that_cannot_be_read_limit_nothing(bench: Bench, limits: str):
    limit(bench, limits)
    add(bench, 10, 10)
    assert begun(bench) == ["j0", "j1"]


def test_an_account_of_another_type_limits_each_call_alone_and_stops_nothing(bench: Bench):
    limit(bench, "10 1000 tokens")
    bench.redis.set(USED, "damaged")
    add(bench, 10, 10)
    assert begun(bench) == ["j0"]
    assert bench.get(USED) == "damaged"
