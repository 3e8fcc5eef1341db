"""finish_and_fetch, failed: active -> failed; each parent's policy says what that means, up to the root."""

from __future__ import annotations

import pytest

from tests.support import invariants
from tests.support.script_bench import START, Bench, completed, failed, key, node, parent

P = key("p", "up")


def test_a_failed_job_has_a_reason_a_trace_and_an_end(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.wait(5)

    assert bench.finish(failed(taken, "Boom: no", stacktrace='["t1"]', why="timeout")) == ["done"]

    stored = bench.hash(key("a"))
    assert (stored["failedReason"], stored["stacktrace"], stored["why"]) == ("Boom: no", '["t1"]', "timeout")
    assert (stored["finishedOn"], stored["atm"], stored["ft"]) == (str(START + 5), "1", taken.token)
    assert "returnvalue" not in stored
    assert bench.zset(key("failed")) == {"a": START + 5}
    assert bench.list(key("active")) == []
    assert not bench.redis.exists(key("a:lock"))
    assert bench.event_fields()[-2:] == [
        {"event": "failed", "jobId": "a", "failedReason": "Boom: no", "prev": "active"},
        {"event": "retries-exhausted", "jobId": "a", "attemptsMade": "1"},
    ]


def test_an_unrecoverable_failure_with_attempts_left_exhausts_nothing(bench: Bench):
    bench.add_plain("a")

    bench.finish(failed(bench.take_one(), attempts=3, why="unrecoverable"))

    assert bench.events(last=1) == [("failed", "a", "it broke", "active")]


def test_a_job_that_was_to_be_failed_is_so_no_more(bench: Bench):
    bench.add_plain("a")
    bench.redis.hset(key("a"), "defa", "child x failed")
    taken = bench.take_one()

    bench.finish(failed(taken, taken.deferred))

    assert "defa" not in bench.hash(key("a"))
    assert bench.hash(key("a"))["failedReason"] == "child x failed"


# ---- policies ---------------------------------------------------------------------------------------------------


def test_without_a_policy_the_parent_waits_for_ever_or_until_the_child_completes(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", P), node("b", P))
    a, b = bench.take(want=2)

    bench.finish(failed(a))
    bench.finish(completed(b, "2"))

    assert bench.state_of(P) == "waiting-children"
    assert bench.set(f"{P}:dependencies") == {key("a")}
    assert not bench.redis.exists(f"{P}:failed", f"{P}:unsuccessful")
    assert bench.store.flows.read_end("f") == (None, None)
    assert invariants.violations(bench.redis) == []
    assert len(invariants.stuck(bench.redis)) == 1


def test_fail_parent_fails_a_waiting_parent_at_once_without_a_worker(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")), node("b", (P, "fpof")))
    a, b = bench.take(want=2)
    bench.wait(3)

    bench.finish(failed(a, "boom"))

    stored = bench.hash(P)
    assert (stored["failedReason"], stored["why"]) == (f"child {key('a')} failed", "child")
    assert stored["finishedOn"] == str(START + 3)
    assert not {"defa", "ats", "atm", "processedOn"} & stored.keys()
    assert bench.zset(key("failed", "up")) == {"p": START + 3}
    assert bench.zset(f"{P}:unsuccessful") == {key("a"): START + 3}
    assert bench.set(f"{P}:dependencies") == {key("b")}
    assert bench.event_fields("up")[-1] == {
        "event": "failed",
        "jobId": "p",
        "failedReason": f"child {key('a')} failed",
        "prev": "waiting-children",
    }
    assert bench.store.flows.read_end("f") == ("failed", key("a"))
    assert bench.counts() == {"up failed": 1, "q failed": 1, "q active": 1}

    bench.finish(completed(b, "2"))
    assert bench.hash(f"{P}:processed") == {key("b"): "2"}
    assert bench.zset(key("failed", "up")) == {"p": START + 3}
    assert invariants.violations(bench.redis) == []


def test_the_parents_failure_is_told_before_the_childs(bench: Bench):
    bench.add(parent("p"), node("c", (key("p"), "fpof")))

    bench.finish(failed(bench.take_one(), "boom"))

    assert [event[:2] for event in bench.events(last=3)] == [
        ("failed", "p"),
        ("failed", "c"),
        ("retries-exhausted", "c"),
    ]


def test_a_failure_climbs_to_the_root(bench: Bench):
    bench.add(
        parent("g", queue="top"),
        parent("p", (key("g", "top"), "fpof"), queue="up"),
        parent("m", (P, "fpof"), queue="mid"),
        node("c", (key("m", "mid"), "fpof")),
    )

    bench.finish(failed(bench.take_one(), "boom"))

    assert [bench.state_of(one) for one in (key("m", "mid"), P, key("g", "top"))] == ["failed"] * 3
    assert bench.hash(P)["failedReason"] == f"child {key('m', 'mid')} failed"
    assert bench.hash(key("g", "top"))["failedReason"] == f"child {P} failed"
    assert bench.store.flows.read_end("f") == ("failed", key("c"))
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize(("policy", "state"), [("idof", "waiting"), ("rdof", "waiting"), ("cpof", "waiting")])
def test_a_forgiven_failure_stops_climbing(bench: Bench, policy: str, state: str):
    bench.add(
        parent("p", queue="up"), parent("m", (P, policy), queue="mid"), node("c", (key("m", "mid"), "fpof"))
    )

    bench.finish(failed(bench.take_one(), "boom"))

    assert bench.state_of(key("m", "mid")) == "failed"
    assert bench.state_of(P) == state
    expected = {} if policy == "rdof" else {key("m", "mid"): f"child {key('c')} failed"}
    assert bench.hash(f"{P}:failed") == expected
    assert bench.store.flows.read_end("f")[0] is None
    assert invariants.violations(bench.redis) == []


def test_continue_parent_releases_it_though_siblings_are_pending(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "cpof")), node("b", (P, "cpof")))
    a, b = bench.take(want=2)

    bench.finish(failed(a, "boom"))

    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.set(f"{P}:dependencies") == {key("b")}
    assert bench.hash(f"{P}:failed") == {key("a"): "boom"}
    bench.finish(failed(b, "bang"))
    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.events("up").count(("waiting", "p", "waiting-children")) == 1


@pytest.mark.parametrize("policy", ["idof", "rdof"])
def test_an_optional_child_releases_its_parent_only_as_the_last_one(bench: Bench, policy: str):
    bench.add(parent("p", queue="up"), node("a", (P, policy)), node("b", (P, policy)))
    a, b = bench.take(want=2)

    bench.finish(failed(a, "boom"))
    assert bench.state_of(P) == "waiting-children"
    bench.finish(completed(b, "2"))

    assert bench.state_of(P) == "waiting"
    assert bench.hash(f"{P}:processed") == {key("b"): "2"}
    assert bench.hash(f"{P}:failed") == ({key("a"): "boom"} if policy == "idof" else {})
    assert bench.store.flows.read_end("f") == (None, None)


def test_a_completed_and_a_failed_child_in_one_call_release_the_parent_once(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "idof")), node("b", (P, "idof")))
    a, b = bench.take(want=2)

    bench.finish(failed(a), completed(b))

    assert bench.list(key("wait", "up")) == ["p"]
    assert invariants.violations(bench.redis) == []


def test_several_failures_fail_the_parent_once(bench: Bench):
    bench.add(parent("p", queue="up"), *(node(f"c{i}", (P, "fpof")) for i in range(3)))
    taken = bench.take(want=3)

    bench.finish(failed(taken[0]), failed(taken[1]))
    bench.finish(failed(taken[2]))

    assert bench.zset(f"{P}:unsuccessful").keys() == {key(f"c{i}") for i in range(3)}
    assert [event[0] for event in bench.events("up")].count("failed") == 1
    assert bench.hash(P)["failedReason"] == f"child {key('c0')} failed"
    assert "defa" not in bench.hash(P)
    assert bench.store.flows.read_end("f") == ("failed", key("c0"))
    assert invariants.violations(bench.redis) == []


def test_a_parent_that_waits_its_delay_fails_at_once(bench: Bench):
    bench.add(parent("p", queue="up", delay=1000), node("a", (P, "cpof")), node("b", (P, "fpof")))
    a, b = bench.take(want=2)
    bench.finish(failed(a))
    assert bench.state_of(P) == "delayed"

    bench.finish(failed(b))

    assert bench.state_of(P) == "failed"
    assert bench.events("up", last=1)[0][-1] == "delayed"
    assert bench.counts() == {"up failed": 1, "q failed": 2}
    assert invariants.violations(bench.redis) == []


@pytest.mark.parametrize("runs", [False, True])
def test_a_parent_in_line_or_running_is_failed_by_its_worker(bench: Bench, runs: bool):
    bench.add(parent("p", queue="up"), node("a", (P, "cpof")), node("b", (P, "fpof")))
    a, b = bench.take(want=2)
    bench.finish(failed(a))
    running = bench.take_one("up") if runs else None

    bench.finish(failed(b))

    assert bench.hash(P)["defa"] == f"child {key('b')} failed"
    assert bench.store.flows.read_end("f") == (None, key("b"))
    if running:
        assert bench.finish(completed(running)) == ["failed-children"]
    else:
        running = bench.take_one("up")
        assert running.deferred == f"child {key('b')} failed"
    bench.finish(failed(running, "child failed", why="child"))
    assert bench.store.flows.read_end("f") == ("failed", key("b"))
    assert invariants.violations(bench.redis) == []


def test_a_child_that_fails_in_the_call_in_which_its_parent_completes_changes_nothing_for_it(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "cpof")), node("b", (P, "fpof")))
    a, b = bench.take(want=2)
    bench.finish(failed(a))
    running = bench.take_one("up")

    assert bench.finish(failed(b), completed(running)) == ["done", "done"]

    assert "defa" not in bench.hash(P)
    assert bench.store.flows.read_end("f") == ("completed", None)
    assert invariants.violations(bench.redis) == []


def test_a_failed_root_is_its_own_cause(bench: Bench):
    bench.add(node("a"))

    bench.finish(failed(bench.take_one()))

    assert bench.store.flows.read_end("f") == ("failed", key("a"))
    assert bench.counts() == {"q failed": 1}


# ---- families of BullMQ's own: no `fl`, so lazily ------------------------------------------------------------------


def test_a_parent_outside_flownbs_flows_is_failed_by_the_next_worker_as_bullmq_does(bench: Bench):
    bench.add(parent("p", queue="up", priority=2), node("a", (P, "fpof")), flow=None)

    bench.finish(failed(bench.take_one()))

    assert bench.hash(P)["defa"] == f"child {key('a')} failed"
    assert list(bench.zset(key("prioritized", "up"))) == ["p"]
    assert bench.events("up", last=1) == [("waiting", "p", "waiting-children")]
    taken = bench.take_one("up")
    assert taken.deferred == f"child {key('a')} failed"
    bench.finish(failed(taken, taken.deferred))
    assert invariants.violations(bench.redis) == []


def test_a_delayed_parent_outside_flownbs_flows_comes_into_line_to_be_failed(bench: Bench):
    bench.add(parent("p", queue="up", delay=1000), node("a", (P, "cpof")), node("b", (P, "fpof")), flow=None)
    a, b = bench.take(want=2)
    bench.finish(failed(a))
    assert bench.state_of(P) == "delayed"

    bench.finish(failed(b))

    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.hash(P)["delay"] == "0"
    assert bench.hash(P)["defa"] == f"child {key('b')} failed"


def test_a_parent_that_is_gone_is_not_made_again(bench: Bench):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    taken = bench.take_one()
    bench.redis.delete(P)

    assert bench.finish(failed(taken)) == ["done"]

    assert not bench.redis.exists(P)


# ---- refusals ---------------------------------------------------------------------------------------------------


def test_a_failed_child_does_not_keep_its_own_parent_from_failing(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.redis.sadd(key("a:dependencies"), "bull:q:x")
    bench.redis.zadd(key("a:unsuccessful"), {"bull:q:y": 1})

    assert bench.finish(failed(taken)) == ["done"]


@pytest.mark.parametrize("spoil", ["hash", "lock", "ats", "active"])
def test_a_refused_failure_leaves_no_trace(bench: Bench, spoil: str):
    bench.add(parent("p", queue="up"), node("a", (P, "fpof")))
    taken = bench.take_one()
    if spoil == "hash":
        bench.redis.delete(key("a"))
    elif spoil == "lock":
        bench.redis.set(key("a:lock"), "other")
    elif spoil == "ats":
        bench.lose_lease(taken)
        bench.redis.hincrby(key("a"), "ats", 1)
    else:
        bench.redis.delete(key("active"))
    before = bench.dump()

    assert bench.finish(failed(taken)) == ["missing" if spoil == "hash" else "stale"]

    assert bench.dump() == before


@pytest.mark.parametrize("policy", ["fpof", "cpof", "idof", "rdof", ""])
def test_a_failure_sent_twice_changes_nothing(bench: Bench, policy: str):
    bench.add(parent("p", queue="up"), node("a", (P, policy)), node("b", (P, policy)))
    outcome = failed(bench.take_one())
    bench.finish(outcome)
    before = bench.dump()

    assert bench.finish(outcome) == ["repeated"]

    assert bench.dump() == before


def test_a_late_failure_is_accepted_while_nobody_started_the_job_since(bench: Bench):
    bench.add_plain("a")
    first = bench.take_one()
    bench.lose_lease(first)
    bench.sweep()
    bench.sweep()

    assert bench.finish(failed(first)) == ["done"]
    assert bench.state_of(key("a")) == "failed"
    assert invariants.violations(bench.redis) == []
