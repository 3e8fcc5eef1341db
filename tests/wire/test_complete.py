"""finish_and_fetch, completed: active -> completed; the last child wakes its parent."""

from __future__ import annotations

import pytest

from flownb.wire.lease_records import Death
from tests.support import invariants
from tests.support.script_bench import START, Bench, completed, failed, key, node, parent, retry

P = key("p", "up")


def test_a_completed_job_has_a_value_an_end_and_no_lease(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.redis.sadd(key("stalled"), "a")
    bench.wait(40)

    assert bench.finish(completed(taken, '{"v":[1,2]}')) == ["done"]

    stored = bench.hash(key("a"))
    assert (stored["returnvalue"], stored["finishedOn"], stored["atm"]) == (
        '{"v":[1,2]}',
        str(START + 40),
        "1",
    )
    assert stored["ft"] == taken.token
    assert bench.zset(key("completed")) == {"a": START + 40}
    assert bench.list(key("active")) == []
    assert not bench.redis.exists(key("a:lock"), key("stalled"))
    assert bench.event_fields()[-1] == {
        "event": "completed",
        "jobId": "a",
        "returnvalue": '{"v":[1,2]}',
        "prev": "active",
    }


def test_a_job_without_a_value_completed_with_null(bench: Bench):
    bench.add_plain("a")

    bench.finish(completed(bench.take_one()))

    assert bench.hash(key("a"))["returnvalue"] == "null"


def test_many_jobs_of_many_queues_end_in_one_call(bench: Bench):
    bench.add_plain("a", "b", queue="q1")
    bench.add_plain("a", queue="q2")
    taken = bench.take("q1", "q2", want=3)

    assert bench.finish(*(completed(one, str(i)) for i, one in enumerate(taken))) == ["done"] * 3

    assert bench.zset(key("completed", "q1")).keys() == {"a", "b"}
    assert bench.hash(key("a", "q2"))["returnvalue"] == "2"
    assert invariants.violations(bench.redis) == []


def test_the_last_child_wakes_the_parent_to_the_head_of_its_line(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    bench.add_plain("other", queue="up")
    bench.redis.delete(key("marker", "up"))
    a, b = bench.take(want=2)

    bench.finish(completed(a, "1"))
    assert bench.state_of(P) == "waiting-children"
    assert not bench.redis.exists(key("marker", "up"))
    bench.finish(completed(b, "2"))

    assert bench.list(key("wait", "up")) == ["other", "p"]
    assert bench.zset(key("marker", "up")) == {"0": 0}
    assert bench.hash(f"{P}:processed") == {key("a"): "1", key("b"): "2"}
    assert not bench.redis.exists(f"{P}:dependencies", key("waiting-children", "up"))
    assert bench.event_fields("up")[-1] == {"event": "waiting", "jobId": "p", "prev": "waiting-children"}


def test_the_parents_waiting_is_told_before_the_childs_completed(bench: Bench):
    bench.add(parent("p"), node("c", (key("p"), "fpof")))

    bench.finish(completed(bench.take_one(), "1"))

    assert bench.events(last=2) == [("waiting", "p", "waiting-children"), ("completed", "c", "1", "active")]


def test_all_children_in_one_call_wake_the_parent_once(bench: Bench):
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(20)))

    bench.finish(*(completed(one, "0") for one in bench.take(want=20)))

    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.events("up").count(("waiting", "p", "waiting-children")) == 1
    assert bench.counts() == {"up waiting": 1, "q completed": 20}


def test_a_released_parent_waits_its_own_delay_from_then_on(bench: Bench):
    bench.add(parent("p", queue="up", delay=300), node("c", (P, "fpof")))
    bench.wait(1000)

    bench.finish(completed(bench.take_one()))

    assert bench.zset(key("delayed", "up")) == {"p": (START + 1300) * 4096}
    assert bench.events("up", last=1) == [("delayed", "p", str(START + 1300))]
    ((member, due),) = bench.redis.zrange(key("marker", "up"), 0, -1, withscores=True)
    assert (member, int(due)) == (b"1", START + 1300)
    assert bench.counts() == {"up delayed": 1, "q completed": 1}
    assert invariants.violations(bench.redis) == []


def test_a_released_parent_takes_its_rank(bench: Bench):
    bench.add(parent("p", queue="up", priority=6), node("c", (P, "fpof")))

    bench.finish(completed(bench.take_one()))

    assert bench.zset(key("prioritized", "up")) == {"p": 6 * 2**32 + 1}
    assert bench.events("up", last=1) == [("waiting", "p", "waiting-children")]
    assert bench.counts() == {"up prioritized": 1, "q completed": 1}


def test_a_paused_parents_queue_is_not_woken(bench: Bench):
    bench.add(parent("p", queue="up"), node("c", (P, "fpof")))
    bench.store.queues.pause("bull:up")

    bench.finish(completed(bench.take_one()))

    assert bench.list(key("wait", "up")) == ["p"]
    assert not bench.redis.exists(key("marker", "up"))


def test_an_ended_root_ends_its_flow(bench: Bench):
    bench.add(parent("p", queue="up"), node("c", (P, "fpof")))
    bench.finish(completed(bench.take_one()))
    assert bench.store.flows.read_end("f") == (None, None)
    bench.wait(9)

    bench.finish(completed(bench.take_one("up")))

    assert bench.store.flows.read_end("f") == ("completed", None)
    assert bench.store.flows.read("f")["finished"] == str(START + 9)
    assert bench.counts() == {"up completed": 1, "q completed": 1}


def test_a_child_that_is_awaited_no_more_leaves_its_parent_alone(bench: Bench):
    bench.add(parent("p", queue="up"), node("c", (P, "fpof")))
    taken = bench.take_one()
    bench.redis.delete(f"{P}:dependencies")

    bench.finish(completed(taken, "1"))

    assert bench.state_of(P) == "waiting-children"
    assert not bench.redis.exists(f"{P}:processed")
    assert bench.state_of(key("c")) == "completed"


# ---- refusals -----------------------------------------------------------------------------------------------


def no_hash(bench: Bench) -> None:
    bench.redis.delete(key("a"))


def other_owner(bench: Bench) -> None:
    bench.redis.set(key("a:lock"), "other")


def started_again(bench: Bench) -> None:
    bench.redis.delete(key("a:lock"))
    bench.redis.hincrby(key("a"), "ats", 1)


def in_no_line(bench: Bench) -> None:
    bench.redis.delete(key("active"))


def pending_child(bench: Bench) -> None:
    bench.redis.sadd(key("a:dependencies"), "bull:q:x")


def failed_child(bench: Bench) -> None:
    bench.redis.sadd(key("a:dependencies"), "bull:q:x")
    bench.redis.zadd(key("a:unsuccessful"), {"bull:q:y": 1})


@pytest.mark.parametrize(
    ("spoil", "answer"),
    [
        (no_hash, "missing"),
        (other_owner, "stale"),
        (started_again, "stale"),
        (in_no_line, "stale"),
        (pending_child, "pending-children"),
        (failed_child, "failed-children"),
    ],
)
def test_a_refused_end_leaves_no_trace(bench: Bench, spoil, answer: str):
    bench.add_plain("a", "b")
    taken, _ = bench.take(want=2)
    spoil(bench)
    before = bench.dump()

    assert bench.finish(completed(taken)) == [answer]

    assert bench.dump() == before


def test_a_refused_end_spoils_no_other(bench: Bench):
    bench.add_plain("a", "b", "c")
    a, b, c = bench.take(want=3)
    other_owner(bench)

    assert bench.finish(completed(b), completed(a), completed(c)) == ["done", "stale", "done"]

    assert bench.zset(key("completed")).keys() == {"b", "c"}
    assert bench.get(key("a:lock")) == "other"
    assert bench.list(key("active")) == ["a"]


def test_a_job_named_twice_in_one_call_ends_once(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()

    assert bench.finish(completed(taken, "1"), failed(taken)) == ["done", "stale"]

    assert bench.hash(key("a"))["returnvalue"] == "1"
    assert invariants.violations(bench.redis) == []


def test_an_end_sent_twice_changes_nothing(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    outcomes = [completed(one, "1") for one in bench.take(want=2)]
    bench.finish(*outcomes)
    before = bench.dump()

    assert bench.finish(*outcomes) == ["repeated", "repeated"]

    assert bench.dump() == before


def test_an_end_sent_twice_fetches_all_the_same(bench: Bench):
    bench.add_plain("a", "b", "c")
    outcome = completed(bench.take_one())
    assert [one.record.id for one in bench.fetch(outcomes=[outcome]).taken] == ["b"]

    turn = bench.fetch(outcomes=[outcome])

    assert (turn.answers, [one.record.id for one in turn.taken]) == (["repeated"], ["c"])


# ---- fencing ------------------------------------------------------------------------------------------------


def test_a_late_end_is_accepted_while_nobody_started_the_job_since(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.lose_lease(taken)

    assert bench.finish(completed(taken, "1")) == ["done"]
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("priority", [0, 3])
def test_a_late_end_takes_the_job_out_of_the_line_it_was_put_back_to(bench: Bench, priority: int):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof"), priority=priority))
    taken = bench.take_one()
    if priority:
        bench.store.leases.give_back("bull:q", {"a": taken.token}, death=Death("begun"), most=1)
    else:
        bench.lose_lease(taken)
        bench.sweep()
        assert bench.sweep() == ["a"]
    assert bench.counts() == {"up waiting-children": 1, f"q {'prioritized' if priority else 'waiting'}": 1}

    assert bench.finish(completed(taken, "1")) == ["done"]

    assert bench.list(key("wait")) == []
    assert not bench.redis.exists(key("prioritized"))
    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.counts() == {"up waiting": 1, "q completed": 1}
    assert invariants.violations(bench.redis) == []


def test_a_late_end_of_a_job_given_up_as_stalled_clears_what_was_to_fail_it(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.lose_lease(taken)
    bench.redis.hset(key("a"), "suspect", "1")  # so it had been alone
    bench.sweep()
    bench.sweep(most=0)
    assert "defa" in bench.hash(key("a"))

    assert bench.finish(completed(taken, "1")) == ["done"]

    assert "defa" not in bench.hash(key("a"))
    assert invariants.violations(bench.redis) == []


def test_a_late_end_is_refused_when_somebody_started_the_job_since(bench: Bench):
    bench.add_plain("a")
    first = bench.take_one()
    bench.lose_lease(first)
    bench.sweep()
    bench.sweep()
    second = bench.take_one()
    before = bench.dump()

    assert bench.finish(completed(first, '"old"')) == ["stale"]
    assert bench.dump() == before
    assert bench.finish(completed(second, '"new"')) == ["done"]
    assert bench.finish(completed(first, '"old"')) == ["stale"]
    assert bench.hash(key("a"))["returnvalue"] == '"new"'


def test_a_late_end_is_refused_even_when_the_second_owner_lost_its_lease_too(bench: Bench):
    bench.add_plain("a")
    first = bench.take_one()
    bench.lose_lease(first)
    bench.sweep()
    bench.sweep()
    second = bench.take_one()
    bench.lose_lease(second)

    assert bench.finish(completed(first)) == ["stale"]
    assert bench.finish(completed(second)) == ["done"]


def test_a_late_end_after_a_retry_by_somebody_else_is_refused(bench: Bench):
    bench.add_plain("a")
    first = bench.take_one()
    bench.lose_lease(first)
    bench.sweep()
    bench.sweep()
    bench.finish(retry(bench.take_one(), delay=100))
    before = bench.dump()

    assert bench.finish(completed(first)) == ["stale"]

    assert bench.dump() == before


# ---- what the run has printed ----------------------------------------------------------------------------


def test_lines_join_the_log_once_however_often_the_end_is_sent(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.redis.rpush(key("a:logs"), "before")
    end = completed(taken)._replace(printed=[str(i) for i in range(2500)])

    assert bench.finish(end) == ["done"]
    before = bench.dump()
    assert bench.finish(end) == ["repeated"]

    assert bench.dump() == before
    assert bench.list(key("a:logs")) == ["before", *map(str, range(2500))]
    assert invariants.violations(bench.redis) == []


def test_of_a_log_that_is_cut_the_newest_lines_stay(bench: Bench):
    bench.add_plain("a")
    bench.redis.rpush(key("a:logs"), "before")

    bench.finish(completed(bench.take_one())._replace(printed=["1", "2"], keep_logs=2))

    assert bench.list(key("a:logs")) == ["1", "2"]


def test_where_something_else_has_the_logs_place_the_job_ends_all_the_same(bench: Bench):
    bench.add_plain("a")
    bench.redis.set(key("a:logs"), "?")

    assert bench.finish(completed(bench.take_one())._replace(printed=["1"])) == ["done"]
