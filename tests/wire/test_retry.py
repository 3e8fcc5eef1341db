"""finish_and_fetch, retry, returned and put_off: active -> waiting, prioritized or delayed."""

from __future__ import annotations

import pytest

from tests.support import invariants
from tests.support.script_bench import (
    START,
    Bench,
    about,
    completed,
    key,
    node,
    parent,
    put_off,
    retry,
    returned,
)

P = key("p", "up")


def test_a_retry_at_once_joins_the_end_of_the_line(bench: Bench):
    bench.add_plain("a", "b")
    taken = bench.take_one()

    assert bench.finish(retry(taken, "no", stacktrace='["t1"]')) == ["done"]

    stored = bench.hash(key("a"))
    assert (stored["atm"], stored["failedReason"], stored["stacktrace"]) == ("1", "no", '["t1"]')
    assert "finishedOn" not in stored
    assert bench.list(key("wait")) == ["a", "b"]
    assert bench.list(key("active")) == []
    assert bench.event_fields()[-1] == {"event": "waiting", "jobId": "a", "prev": "active"}
    assert not bench.redis.exists(key("a:lock"))


def test_a_lifo_retry_goes_to_the_head_of_the_line(bench: Bench):
    bench.add_plain("a", "b")

    bench.finish(retry(bench.take_one(), lifo=True))

    assert bench.list(key("wait")) == ["b", "a"]


def test_a_prioritized_retry_takes_a_new_place_in_its_rank(bench: Bench):
    bench.add_plain("a", "b", priority=2)

    bench.finish(retry(bench.take_one()))

    assert bench.zset(key("prioritized")) == {"b": 2 * 2**32 + 2, "a": 2 * 2**32 + 3}


def test_the_hash_says_how_urgent_a_job_is_by_now(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.redis.hset(key("a"), "priority", "3")

    bench.finish(retry(taken))

    assert list(bench.zset(key("prioritized"))) == ["a"]


def test_a_retry_with_backoff_is_delayed_by_it(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.wait(10)

    bench.finish(retry(taken, delay=250))

    stored = bench.hash(key("a"))
    assert (stored["delay"], stored["atm"]) == ("250", "1")
    assert bench.zset(key("delayed")) == {"a": (START + 260) * 4096}
    assert bench.event_fields()[-1] == {"event": "delayed", "jobId": "a", "delay": str(START + 260)}
    marker = {name: int(score) for name, score in bench.redis.zrange(key("marker"), 0, -1, withscores=True)}
    assert marker[b"1"] == START + 260
    assert invariants.violations(bench.redis) == []


def test_a_retried_job_may_complete_in_its_second_attempt(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    bench.finish(retry(bench.take_one(), delay=100))
    assert bench.counts() == {"up waiting-children": 1, "q delayed": 1}
    bench.wait(100)

    taken = bench.take_one()
    assert (taken.record.attempts_made, taken.record.attempts_started) == (1, 2)
    assert taken.record.stacktrace == '["t"]'
    bench.finish(completed(taken, "1"))

    assert bench.hash(key("a"))["atm"] == "2"
    assert bench.state_of(P) == "waiting"
    assert invariants.violations(bench.redis) == []


def test_when_failed_runs_began_and_ended_is_kept_of_the_newest_twenty(bench: Bench):
    bench.add_plain("a", "b")
    kept = []
    for _ in range(22):
        taken = bench.take_one()
        assert taken.record.id == "a"
        began = bench.hash(key("a"))["processedOn"]
        bench.wait(3)
        outcome = retry(taken, lifo=True)
        bench.finish(outcome)
        assert bench.finish(outcome) == ["repeated"]
        kept.append(f"{began}-{int(began) + 3}")
        assert bench.hash(key("a"))["runs"] == " ".join(kept[-20:])

    bench.finish(completed(bench.take_one(), "1"))
    bench.finish(completed(bench.take_one(), "1"))
    assert bench.hash(key("a"))["runs"] == " ".join(kept[-20:])
    assert "runs" not in bench.hash(key("b"))


def test_a_failed_attempt_says_nothing_to_the_parent(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    before = bench.contents(but=("q",)) | {}
    up = {name: value for name, value in before.items() if ":up" in name and "flownb" not in name}

    bench.finish(retry(bench.take_one()))

    after = bench.contents()
    assert {name: after[name] for name in up if name in after} == {
        name: up[name] for name in up if name in after
    }
    assert bench.set(f"{P}:dependencies") == {key("a")}


def test_a_returned_job_goes_to_the_head_of_the_line_uncharged(bench: Bench):
    bench.add_plain("a", "b")

    assert bench.finish(returned(bench.take_one())) == ["done"]

    assert bench.list(key("wait")) == ["b", "a"]
    stored = bench.hash(key("a"))
    assert stored["ats"] == "1"
    assert not {"atm", "failedReason", "finishedOn", "stc"} & stored.keys()
    assert bench.event_fields()[-1] == {"event": "waiting", "jobId": "a", "prev": "active"}
    assert bench.zset(key("marker")) == {"0": 0}
    assert not bench.redis.exists(key("limiter"), key("a:lock"))


def test_a_returned_prioritized_job_goes_before_its_rank(bench: Bench):
    bench.add_plain("a", "b", priority=2)

    bench.finish(returned(bench.take_one()))

    assert bench.zset(key("prioritized")) == {"a": 2 * 2**32, "b": 2 * 2**32 + 2}
    assert bench.get(key("pc")) == "2"


def test_a_hold_keeps_the_whole_queue_still(bench: Bench):
    bench.add_plain("a", "b")

    bench.finish(returned(bench.take_one(), hold=3000))

    assert bench.get(key("limiter")) == "9007199254740991"
    turn = bench.fetch(want=2)
    assert turn.taken == []
    assert 0 < turn.again_ms <= 3000


def test_a_job_put_off_is_delayed_uncharged(bench: Bench):
    bench.add(node("a"))

    assert bench.finish(put_off(bench.take_one(), 5000)) == ["done"]

    stored = bench.hash(key("a"))
    assert stored["delay"] == "5000"
    assert "atm" not in stored
    assert bench.zset(key("delayed")) == {"a": (START + 5000) * 4096}
    assert bench.event_fields()[-1] == {"event": "delayed", "jobId": "a", "delay": str(START + 5000)}
    assert bench.counts() == {"q delayed": 1}
    assert invariants.violations(bench.redis) == []


OUTCOMES = {
    "retry": retry,
    "retry later": lambda taken: retry(taken, delay=100),
    "returned": returned,
    "held": lambda taken: returned(taken, hold=50_000),
    "put off": put_off,
}


@pytest.mark.parametrize("priority", [0, 2])
@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_sent_twice_changes_nothing(bench: Bench, name: str, priority: int):
    bench.add(node("b", priority=priority), node("a", priority=priority))
    bench.finish(completed(bench.take_one()))
    outcome = OUTCOMES[name](bench.take_one())
    assert bench.finish(outcome) == ["done"]
    before = bench.dump()

    assert bench.finish(outcome) == ["repeated"]

    assert bench.dump() == before


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_sent_again_after_the_next_start_is_refused(bench: Bench, name: str):
    bench.add_plain("a")
    outcome = OUTCOMES[name](bench.take_one())
    bench.finish(outcome)
    bench.redis.delete(key("limiter"))
    bench.wait(10_000)
    assert bench.take_one().record.attempts_started == 2
    before = bench.dump()

    assert bench.finish(outcome) in (["repeated"], ["stale"])

    assert bench.dump() == before


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_refused_outcome_leaves_no_trace(bench: Bench, name: str):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.redis.set(key("a:lock"), "other")
    before = bench.dump()

    assert bench.finish(OUTCOMES[name](taken)) == ["stale"]

    assert bench.dump() == before


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_late_outcome_counts_while_nobody_started_the_job_since(bench: Bench, name: str):
    bench.add(node("a"))
    taken = bench.take_one()
    bench.lose_lease(taken)
    bench.sweep()
    bench.sweep()

    assert bench.finish(OUTCOMES[name](taken)) == ["done"]

    assert invariants.violations(bench.redis) == []


def test_counts_follow_each_outcome(bench: Bench):
    bench.add(parent("p", queue="up"), *(node(id, P) for id in "abcd"))
    a, b, c, d = bench.take(want=4)

    bench.finish(retry(a), retry(b, delay=10), returned(c), put_off(d))

    assert bench.counts() == {"up waiting-children": 1, "q waiting": 2, "q delayed": 2}
    assert invariants.violations(bench.redis) == []


def test_outcomes_say_whose_job_they_end(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()

    assert about(taken) == {"base": "bull:q", "id": "a", "token": taken.token, "ats": 1}
