"""finish_and_fetch, the fetch: waiting or prioritized -> active, with a lease; delayed jobs that are due first join the line."""

from __future__ import annotations

import pytest

from flownb.wire.lease_records import OwnRun
from flownb.wire.store.limits import MOST_JOBS_A_CALL
from tests.support import invariants
from tests.support.script_bench import (
    START,
    Bench,
    begun,
    completed,
    failed,
    key,
    node,
    parent,
    returned,
    unbegun,
)

HELD = 9007199254740991


def test_a_fetched_job_stands_at_the_left_of_active_under_a_lease(bench: Bench):
    bench.add_plain("a", "b")
    bench.take_one()
    bench.wait(7)

    taken = bench.take_one(lock_ms=1500)

    assert bench.list(key("active")) == ["b", "a"]
    assert bench.list(key("wait")) == []
    assert bench.get(key("b:lock")) == taken.token
    assert 0 < bench.redis.pttl(key("b:lock")) <= 1500
    stored = bench.hash(key("b"))
    assert (stored["processedOn"], stored["ats"]) == (str(START + 7), "1")
    assert not {"atm", "finishedOn", "pb", "ft"} & stored.keys()
    assert bench.event_fields()[-1] == {"event": "active", "jobId": "b", "prev": "waiting"}


def test_what_a_worker_gets_is_what_was_stored(bench: Bench):
    bench.add(parent("p", queue="up"), node("c", (key("p", "up"), "idof"), data='{"x":[1]}', bind='{"a":1}'))

    taken = bench.take_one()

    record = taken.record
    assert (record.key, record.id, record.queue, record.name) == (key("c"), "c", "q", "name-c")
    assert (record.data, record.opts, record.bind, record.flow) == (
        '{"x":[1]}',
        '{"attempts":0}',
        '{"a":1}',
        "f",
    )
    assert (record.parent_key, record.state, record.timestamp) == (key("p", "up"), "active", START)
    assert (record.attempts_made, record.attempts_started, taken.deferred) == (0, 1, None)


def test_a_named_worker_signs_its_jobs(bench: Bench):
    bench.add_plain("a")

    bench.take_one(name="ada")

    assert bench.hash(key("a"))["pb"] == "ada"


def test_a_fetch_that_may_leave_some_puts_the_marker_back_for_the_next_idle_worker(bench: Bench):
    bench.add_plain("a", "b")
    bench.redis.delete(key("marker"))

    bench.take_one()

    assert bench.zset(key("marker")) == {"0": 0}


def test_a_fetch_that_leaves_none_wakes_nobody(bench: Bench):
    bench.add_plain("a", "b")
    bench.redis.delete(key("marker"))

    assert len(bench.take(want=3)) == 2

    assert not bench.redis.exists(key("marker"))


def test_a_parent_that_its_last_child_lets_go_and_the_same_call_takes_wakes_nobody(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (key("p", "up"), "fpof")))
    child = bench.take_one()
    bench.redis.delete(key("marker", "up"))

    turn = bench.fetch("up", want=2, outcomes=[completed(child, "1")])

    assert [taken.record.id for taken in turn.taken] == ["p"]
    assert not bench.redis.exists(key("marker", "up"))


def test_the_line_is_emptied_from_its_head_and_before_ranks(bench: Bench):
    bench.add(node("x", priority=9), node("y", priority=1), node("a"), node("b"), flow=None)

    assert [taken.record.id for taken in bench.take(want=3)] == ["a", "b", "y"]
    assert bench.list(key("active")) == ["y", "b", "a"]
    assert bench.get(key("pc")) == "2"
    assert [event[:2] for event in bench.events(last=3)] == [
        ("active", "a"),
        ("active", "b"),
        ("active", "y"),
    ]


def test_an_empty_rank_forgets_its_counter(bench: Bench):
    bench.add_plain("a", priority=3)

    bench.take(want=2)

    assert not bench.redis.exists(key("pc"), key("prioritized"))


def test_a_due_job_joins_the_end_of_the_line_and_loses_its_delay(bench: Bench):
    bench.add_plain("d", delay=100)
    bench.add_plain("a")
    bench.wait(100)

    assert [taken.record.id for taken in bench.take(want=1)] == ["a"]
    assert bench.list(key("wait")) == ["d"]
    assert bench.hash(key("d"))["delay"] == "0"
    assert ("waiting", "d", "delayed") in bench.events()


def test_a_job_is_not_taken_a_millisecond_before_it_is_due(bench: Bench):
    bench.add_plain("d", delay=100)
    bench.wait(99)
    turn = bench.fetch()
    assert (turn.taken, turn.again_ms) == ([], 1)

    bench.wait(1)
    assert bench.take_one().record.id == "d"


def test_a_due_job_with_a_priority_takes_its_rank(bench: Bench):
    bench.add_plain("d", delay=100, priority=4)
    bench.wait(100)
    bench.redis.hset(key("meta"), "paused", "1")

    bench.take()

    assert bench.zset(key("prioritized")) == {"d": 4 * 2**32 + 1}


def test_a_due_job_joins_the_line_of_a_paused_queue_without_a_marker(bench: Bench):
    bench.add_plain("d", delay=100)
    bench.store.queues.pause("bull:q")
    bench.wait(100)

    assert bench.take() == []
    assert bench.list(key("wait")) == ["d"]
    assert not bench.redis.exists(key("marker"))
    assert bench.events(last=1) == [("waiting", "d", "delayed")]


def test_a_paused_queue_gives_nothing(bench: Bench):
    bench.add_plain("a")
    bench.redis.hset(key("meta"), "paused", "1")
    before = bench.dump()

    turn = bench.fetch(want=5)

    assert (turn.taken, turn.again_ms) == ([], None)
    assert bench.dump() == before


def test_a_global_concurrency_counts_every_running_job(bench: Bench):
    bench.add_plain(*"abcd")
    bench.redis.hset(key("meta"), "concurrency", "3")
    bench.redis.lpush(key("active"), "other")

    assert len(bench.take(want=5)) == 2
    before = bench.dump()
    assert bench.take(want=5) == []
    assert bench.dump() == before


def test_a_finish_makes_room_under_a_global_concurrency(bench: Bench):
    bench.add_plain("a", "b")
    bench.redis.hset(key("meta"), "concurrency", "1")
    first = bench.take_one()

    turn = bench.fetch(outcomes=[completed(first)])

    assert [taken.record.id for taken in turn.taken] == ["b"]


def test_the_fetch_after_the_last_one_allowed_answers_when_the_window_ends(bench: Bench):
    bench.add_plain(*"abcd")
    limiter = {"max": 2, "duration": 5000}

    assert len(bench.take(want=1, limiter=limiter)) == 1
    assert len(bench.take(want=4, limiter=limiter)) == 1
    assert bench.get(key("limiter")) == "2"
    assert 0 < bench.redis.pttl(key("limiter")) <= 5000
    before = bench.dump()
    turn = bench.fetch(want=4, limiter=limiter)
    assert turn.taken == []
    assert 0 < turn.again_ms <= 5000
    assert bench.dump() == before


def test_the_queues_own_limit_goes_before_the_workers(bench: Bench):
    bench.add_plain(*"abcd")
    bench.redis.hset(key("meta"), mapping={"max": "1", "duration": "777"})

    assert len(bench.take(want=4, limiter={"max": 3, "duration": 5000})) == 1
    bench.redis.delete(key("limiter"))
    assert len(bench.take(want=4)) == 1
    assert 0 < bench.redis.pttl(key("limiter")) <= 777


def test_a_window_without_an_end_does_not_limit(bench: Bench):
    bench.add_plain("a")
    bench.redis.set(key("limiter"), "50")

    assert len(bench.take(limiter={"max": 2, "duration": 5000})) == 1


def test_a_job_that_is_only_to_be_failed_is_not_counted_against_a_limit(bench: Bench):
    bench.add_plain("a", "b")
    bench.redis.hset(key("a"), "defa", "child x failed")

    taken = bench.take(want=2, limiter={"max": 2, "duration": 5000})

    assert [one.deferred for one in taken] == ["child x failed", None]
    assert bench.get(key("limiter")) == "1"


def test_a_queue_held_by_hand_gives_nothing_until_then(bench: Bench):
    bench.add_plain("a")
    bench.redis.set(key("limiter"), HELD, px=4000)

    turn = bench.fetch()

    assert turn.taken == []
    assert 0 < turn.again_ms <= 4000


def test_several_queues_are_asked_in_the_callers_order(bench: Bench):
    for queue in ("q1", "q2", "q3"):
        bench.add_plain("a", "b", queue=queue)

    taken = bench.take("q2", "q1", "q3", want=3)

    assert [one.record.key for one in taken] == ["bull:q2:a", "bull:q2:b", "bull:q1:a"]
    assert bench.list(key("wait", "q3")) == ["b", "a"]


def test_the_soonest_of_all_queues_is_when_to_come_again(bench: Bench):
    bench.add_plain("a", queue="q1", delay=900)
    bench.add_plain("a", queue="q2", delay=300)

    assert bench.fetch("q1", "q2", want=3).again_ms == 300


def test_an_empty_queue_gives_nothing_and_is_not_made(bench: Bench):
    turn = bench.fetch(want=3)

    assert (turn.answers, turn.taken, turn.again_ms) == ([], [], None)
    assert bench.dump() == {}


def test_wanting_nothing_takes_nothing(bench: Bench):
    bench.add_plain("a")
    before = bench.dump()

    assert bench.take(want=0) == []

    assert bench.dump() == before


@pytest.mark.parametrize("left", [{}, {"processedOn": "1", "ats": "1"}, {"name": "n"}])
def test_an_id_whose_data_is_gone_is_parked_and_never_run(bench: Bench, left: dict[str, str]):
    bench.add_plain("ghost", "b")
    bench.redis.delete(key("ghost"))
    if left:
        bench.redis.hset(key("ghost"), mapping=left)

    taken = bench.take(want=2)

    assert [one.record.id for one in taken] == ["b"]
    assert bench.zset(key("failed")) == {"ghost": START}
    stored = bench.hash(key("ghost"))
    assert stored["why"] == "missing"
    assert stored["failedReason"].startswith("job data missing")
    assert not bench.redis.exists(key("ghost:lock"))
    assert [violation for violation in invariants.violations(bench.redis) if violation.rule != "I12"] == []
    assert ("failed", "ghost", stored["failedReason"], "active") in bench.events()


def test_a_ghost_does_not_put_the_other_workers_to_sleep(bench: Bench):
    bench.add_plain("ghost", "b")
    bench.redis.delete(key("ghost"), key("marker"))

    assert bench.take(want=1) == []

    assert bench.zset(key("marker")) == {"0": 0}


def test_a_fetch_of_thousands_is_bounded(bench: Bench):
    for i in range(9):
        bench.add_plain(*(f"a{i}-{n}" for n in range(1000)))

    taken = bench.take(want=9000)

    assert len(taken) == MOST_JOBS_A_CALL
    assert bench.redis.llen(key("active")) == len(taken)
    assert bench.redis.llen(key("wait")) == 9000 - len(taken)


def test_thousands_of_outcomes_in_one_call_are_refused_before_the_first_write(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    before = bench.dump()

    with pytest.raises(ValueError, match="at most 1,000"):
        bench.finish(*[completed(taken)] * 8000)

    assert bench.dump() == before


def test_thousands_of_due_jobs_join_the_line_a_thousand_at_a_time(bench: Bench):
    bench.add_plain(*(f"a{i}" for i in range(1000)), delay=1)
    bench.add_plain(*(f"b{i}" for i in range(1000)), delay=2)
    bench.wait(5)

    assert len(bench.take(want=1)) == 1
    assert (bench.redis.zcard(key("delayed")), bench.redis.llen(key("wait"))) == (1000, 999)


def test_a_lost_answer_leaves_jobs_that_their_token_finds(bench: Bench):
    bench.add_plain("a", "b")
    bench.take(want=1, token="w:lost")

    held = bench.store.queues.read_active("bull:q")

    assert held == [("a", "w:lost")]
    assert bench.store.leases.give_back("bull:q", dict(held)) == ["a"]
    assert bench.list(key("wait")) == ["b", "a"]


def test_a_flushed_script_cache_goes_unnoticed(bench: Bench):
    bench.add_plain("a")
    bench.redis.script_flush()

    assert bench.take_one().record.id == "a"


def test_counts_follow_a_job_from_line_to_run(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", key("p", "up")), node("b", key("p", "up"), priority=1))
    bench.add(node("c", delay=10), flow="g")
    bench.take(want=2)
    assert bench.counts() == {"up waiting-children": 1, "q active": 2}
    bench.wait(10)
    bench.redis.hset(key("meta"), "paused", "1")
    bench.take()
    assert bench.counts("g") == {"q waiting": 1}
    assert invariants.violations(bench.redis) == []


def test_a_queue_is_drained_once_when_its_last_job_ends(bench: Bench):
    bench.add_plain("a", "b")
    a, b = bench.take(want=2)
    bench.fetch(outcomes=[completed(a)])
    assert bench.events().count(("drained",)) == 0

    bench.fetch(outcomes=[completed(b)])
    bench.fetch()

    assert bench.events().count(("drained",)) == 1
    assert bench.events(last=1) == [("drained",)]


def test_a_queue_with_a_delayed_job_is_not_drained(bench: Bench):
    bench.add_plain("a")
    bench.add_plain("d", delay=1000)

    turn = bench.fetch(outcomes=[completed(bench.take_one())])

    assert ("drained",) not in bench.events()
    assert turn.again_ms == 1000


def test_what_a_call_gives_back_it_may_take_again(bench: Bench):
    bench.add_plain("a")
    first = bench.take_one()

    turn = bench.fetch(outcomes=[returned(first)])

    assert turn.answers == ["done"]
    assert [taken.record.attempts_started for taken in turn.taken] == [2]
    assert bench.finish(failed(first)) == ["repeated"]


def test_beyond_the_free_slots_jobs_are_taken_ahead_and_wait(bench: Bench):
    bench.add(node("a"), node("b"), node("c", priority=3))
    turn = bench.fetch(want=3, free=1)
    assert [(one.record.id, one.is_ahead) for one in turn.taken] == [("a", False), ("b", True), ("c", True)]
    assert bench.counts() == {"q active": 1, "q waiting": 2}
    assert [bench.state_of(key(id)) for id in "abc"] == ["active", "waiting", "waiting"]
    assert [event for event in bench.events() if event[0] == "active"] == [("active", "a", "waiting")]
    assert [bench.hash(key(id)).get("processedOn") for id in "abc"] == [str(START), None, None]
    assert invariants.violations(bench.redis) == []


def test_a_beginning_is_told_once_with_its_age(bench: Bench):
    bench.add(node("a"))
    (taken,) = bench.take(free=0)
    bench.wait(70)

    assert bench.finish(begun(taken, ran=60)) == ["done"]
    assert bench.hash(key("a"))["processedOn"] == str(START + 10)
    assert bench.counts() == {"q active": 1}
    before = bench.contents()
    assert bench.finish(begun(taken, ran=90)) == ["done"]
    assert bench.contents() == before
    assert bench.finish(completed(taken)) == ["done"]
    assert [event[0] for event in bench.events(last=2)] == ["active", "completed"]


def test_a_short_job_tells_of_its_beginning_with_its_end(bench: Bench):
    bench.add(node("a"), node("b"))
    one, other = bench.take(want=2, free=0)
    bench.wait(30)

    bench.finish(completed(one)._replace(ran=20), failed(other, "broke")._replace(ran=5))

    assert [bench.hash(key(id))["processedOn"] for id in "ab"] == [str(START + 10), str(START + 25)]
    assert sorted(event[:2] for event in bench.events()[4:] if event[0] != "retries-exhausted") == [
        ("active", "a"),
        ("active", "b"),
        ("completed", "a"),
        ("failed", "b"),
    ]
    assert bench.counts() == {"q completed": 1, "q failed": 1}


def test_what_has_not_begun_goes_back_as_if_nobody_had_taken_it(bench: Bench):
    bench.add(node("a"), node("b", priority=2))
    runs = bench.take(want=2, free=1)

    assert bench.finish(*map(unbegun, runs)) == ["done", "done"]

    assert bench.counts() == {"q waiting": 1, "q prioritized": 1}
    assert (bench.list(key("wait")), list(bench.zset(key("prioritized")))) == (["a"], ["b"])
    assert not {"processedOn", "atm"} & (bench.hash(key("a")).keys() | bench.hash(key("b")).keys())
    assert invariants.violations(bench.redis) == []


def test_what_has_not_begun_gives_its_place_in_a_rate_limits_window_back(bench: Bench):
    bench.add_plain("a", "b", "c")
    limiter = {"max": 2, "duration": 5000}
    one, other = bench.take(want=3, limiter=limiter, free=2)
    assert bench.take(want=1, limiter=limiter, free=1) == []
    bench.fetch(want=0, limiter=limiter, outcomes=[unbegun(one)])
    assert bench.get(key("limiter")) == "1"
    bench.fetch(want=0, limiter=limiter, outcomes=[unbegun(other, age=6000)])
    assert bench.get(key("limiter")) == "1", "it was taken in the window before"


@pytest.mark.parametrize("meta", [{"max": 9, "duration": 1000}, {"concurrency": 9}])
def test_of_a_queue_with_a_limit_nothing_is_taken_ahead(bench: Bench, meta: dict[str, int]):
    bench.add_plain("a", "b", "c")
    bench.redis.hset(key("meta"), mapping=meta)
    assert [one.record.id for one in bench.take(want=3, free=2)] == ["a", "b"]
    assert bench.take(want=3, free=0) == []


def test_what_a_job_writes_tells_of_its_beginning(bench: Bench):
    bench.add(node("a"))
    (taken,) = bench.take(free=0)
    own_run = OwnRun(key=key("a"), token=taken.token, attempts_started=1)
    bench.store.jobs.update("bull:q", "a", "progress", "1", own_run=own_run)
    assert [event[0] for event in bench.events(last=2)] == ["active", "progress"]
    assert bench.counts() == {"q active": 1}
