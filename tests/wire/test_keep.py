"""finish_and_fetch with `keep`, and claim_auto_remove: what is removed after an end, at once or later."""

from __future__ import annotations

import pytest

from flownb.wire.job_rows import FlowRecord
from flownb.wire.outcomes import Retention
from tests.support.script_bench import START, Bench, completed, failed, key, node, parent

TIDY = "bull:flownb:tidy"


def keep(outcome, count=None, age=None, limit=1000):
    return outcome._replace(retention=Retention(count, age, limit))


def end(bench: Bench, *ids: str, **rule):
    for id in ids:
        bench.add_plain(id)
        bench.finish(keep(completed(bench.take_one()), **rule))


def test_a_job_that_is_not_kept_leaves_no_key_and_is_told_as_completed(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()
    bench.redis.rpush(key("a:logs"), "row")

    assert bench.finish(keep(completed(taken), count=0)) == ["done"]

    assert bench.contents(but=()).keys() == {key(word) for word in ("events", "id", "marker", "meta")}
    assert bench.event_fields()[-1]["event"] == "completed"


@pytest.mark.parametrize("end_of", [completed, failed])
def test_a_job_that_is_not_kept_takes_no_other_with_it(bench: Bench, end_of):
    for id in "abc":
        bench.add_plain(id)
        bench.finish(end_of(bench.take_one()))
    bench.wait(5000)

    bench.add_plain("d")
    bench.finish(keep(end_of(bench.take_one()), count=0, age=1000))

    kept = [bench.zset(key(word)).keys() for word in ("completed", "failed")]
    assert {"a", "b", "c"} in kept
    assert bench.redis.exists(key("a"), key("b"), key("c"), key("d")) == 3


def test_sent_again_it_is_missing_and_nothing_changes(bench: Bench):
    bench.add_plain("a")
    outcome = keep(completed(bench.take_one()), count=0)
    bench.finish(outcome)
    before = bench.dump()

    assert bench.finish(outcome) == ["missing"]

    assert bench.dump() == before


def test_a_count_keeps_the_newest(bench: Bench):
    for id in "abcd":
        bench.wait(1)
        end(bench, id, count=2)

    assert bench.zset(key("completed")).keys() == {"c", "d"}
    assert not bench.redis.exists(key("a"), key("b"))


def test_an_age_removes_what_is_older_at_most_so_many(bench: Bench):
    for id in "abc":
        bench.wait(1)
        end(bench, id)
    bench.wait(5000)
    end(bench, "d", age=1000, limit=2)
    assert bench.zset(key("completed")).keys() == {"a", "d"}
    end(bench, "e", age=1000.5)
    assert bench.zset(key("completed")).keys() == {"d", "e"}


def test_a_rule_without_parts_keeps_all(bench: Bench):
    end(bench, "a", "b")
    assert bench.zset(key("completed")).keys() == {"a", "b"}


def test_failures_have_a_set_of_their_own(bench: Bench):
    end(bench, "good")
    bench.add_plain("bad")
    bench.finish(keep(failed(bench.take_one()), count=0))

    assert bench.zset(key("completed")).keys() == {"good"}
    assert not bench.redis.exists(key("bad"), key("failed"))


@pytest.mark.parametrize("policy", ["", "fpof"])
def test_a_failed_child_that_is_not_kept_fails_or_releases_its_parent_as_in_bullmq(bench: Bench, policy: str):
    bench.add(parent("p", queue="up"), node("c", (key("p", "up"), policy)), flow=None, bullmq=True)

    bench.finish(keep(failed(bench.take_one()), count=0))

    assert bench.list(key("wait", "up")) == ["p"]
    assert bench.hash(key("p", "up")).get("defa") == (f"child {key('c')} failed" if policy else None)
    assert bench.redis.exists(key("p:unsuccessful", "up")) == (policy == "fpof")


def test_a_job_of_a_flow_is_never_removed_so(bench: Bench):
    bench.add(node("a"))
    bench.finish(keep(completed(bench.take_one()), count=0))
    bench.wait(5000)
    end(bench, "b", count=0, age=1)

    assert bench.zset(key("completed")).keys() == {"a"}
    assert bench.redis.exists(key("a"))


def ended(bench: Bench, flow: str, *, tidy: bool = True):
    fields = {"root": key(flow), **({"tidy": "root"} if tidy else {})}
    bench.add(node(flow), flow=flow, record=FlowRecord(id=flow, fields=fields, is_stored=True))
    bench.finish(completed(bench.take_one()))


def test_a_flow_is_due_ten_seconds_after_its_end_if_it_asks_for_it(bench: Bench):
    ended(bench, "f")
    ended(bench, "g", tidy=False)
    assert bench.zset(TIDY) == {"f": START + 10_000}


def test_what_is_due_is_one_callers_for_a_minute(bench: Bench):
    for flow in "fgh":
        ended(bench, flow)
    due = dict.fromkeys("fg", 0)
    bench.redis.zadd(TIDY, due)

    flows, now = bench.store.due_removals.claim_due()

    assert flows == ["f", "g"]
    assert bench.store.due_removals.claim_due()[0] == []
    bench.redis.zadd(TIDY, due)
    assert bench.store.due_removals.claim_due(most=1)[0] == ["f"]
    assert all(score - now >= 60_000 for flow, score in bench.zset(TIDY).items() if flow == "f")


def test_a_flow_that_goes_on_is_looked_at_again_and_one_that_is_gone_is_forgotten(bench: Bench):
    ended(bench, "f")
    bench.redis.hdel("bull:flownb:flow:f", "ended")
    bench.redis.hdel(key("f"), "finishedOn")
    bench.redis.zadd(TIDY, {"f": 0, "gone": 0})

    flows, now = bench.store.due_removals.claim_due()

    assert flows == []
    assert {flow: score - now >= 60_000 for flow, score in bench.zset(TIDY).items()} == {"f": True}
