"""The independent checker: a clean scene has no violation, and each planted damage is named by its rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from tests.support import invariants
from tests.support.script_bench import START, Bench, completed, failed, key, node, parent, returned

P = key("p", "up")


@pytest.fixture
def scene(bench: Bench) -> Redis:
    """A flow with a job in every state, one shared, one ended flow, one batch of BullMQ's keys."""
    bench.add(
        parent("p", queue="up"),
        parent("m", (P, "fpof"), queue="up"),
        *(node(id, (P, "idof")) for id in ("done", "broken", "runs", "waits", "last")),
        node("ranked", (P, "idof"), priority=2),
        node("due", (P, "idof"), delay=900),
        node("shared", (P, "fpof"), (key("m", "up"), "idof")),
    )
    done, broken, runs = bench.take(want=3)
    bench.finish(completed(done, '{"v":1}'), failed(broken, "boom"))
    bench.finish(returned(bench.take_one()))
    assert bench.get(f"{runs.record.key}:lock")
    bench.add(node("solo", queue="w"), flow="g")
    bench.finish(completed(bench.take_one("w")))
    bench.redis.hset("bull:q:metrics:completed", "count", "1")
    bench.redis.set("bull:q:de:x", "1")
    return bench.redis


def test_a_clean_scene_has_no_violation(scene: Redis):
    assert invariants.violations(scene) == []
    assert invariants.stuck(scene) == []
    assert invariants.violations(scene, "another") == []


Damage = Callable[[Redis], object]
DAMAGES: list[tuple[str, str, Damage]] = [
    ("I1", "an id in two places", lambda r: r.zadd(key("delayed"), {"waits": (START + 9) * 4096})),
    ("I1", "an ended job in line", lambda r: r.rpush(key("wait"), "done")),
    ("I2", "an id twice in line", lambda r: r.rpush(key("wait"), "waits")),
    ("I3", "a hash that is gone", lambda r: r.delete(key("waits"))),
    ("I3", "a gutted hash", lambda r: r.hdel(key("waits"), "data")),
    ("I4", "a job in no place", lambda r: r.lrem(key("wait"), 1, "waits")),
    ("I4", "an unknown hash", lambda r: r.hset(key("new"), "name", "n")),
    ("I5", "a counter below an id", lambda r: (r.hset(key("99"), mapping=JOB), r.lpush(key("wait"), "99"))),
    ("I6", "a lock on a waiting job", lambda r: r.set(key("waits:lock"), "t")),
    ("I9", "an end without a time", lambda r: r.hdel(key("done"), "finishedOn")),
    ("I9", "an end of a waiting job", lambda r: r.hset(key("waits"), "finishedOn", "1")),
    ("I9", "a value that is no JSON", lambda r: r.hset(key("done"), "returnvalue", "{")),
    ("I9", "a failure without a reason", lambda r: r.hdel(key("broken"), "failedReason")),
    ("I10", "an end at another time", lambda r: r.zadd(key("completed"), {"done": 5})),
    ("I10", "another rank", lambda r: r.zadd(key("prioritized"), {"ranked": 5})),
    ("I10", "due before its time", lambda r: r.zadd(key("delayed"), {"due": START * 4096})),
    ("I11", "more attempts made than started", lambda r: r.hset(key("done"), "atm", "7")),
    ("I11", "an ended job to be failed", lambda r: r.hset(key("done"), "defa", "x")),
    ("I12", "ended before it began", lambda r: r.hset(key("done"), "processedOn", START * 2)),
    ("I13", "a queue key of another type", lambda r: (r.delete(key("stalled")), r.set(key("stalled"), "x"))),
    ("I20", "a child in two groups", lambda r: r.hset(f"{P}:processed", key("waits"), "1")),
    ("I22", "a parent that waits for nothing", lambda r: r.delete(f"{P}:dependencies")),
    ("I23", "a parent before its children", lambda r: (r.zrem(key("waiting-children", "up"), "p"), r.rpush(key("wait", "up"), "p"))),
    ("I24", "an awaited child that completed", lambda r: r.sadd(f"{P}:dependencies", key("done"))),
    ("I24", "an awaited child that failed", lambda r: (r.hdel(f"{P}:failed", key("broken")), r.sadd(f"{P}:dependencies", key("broken")))),
    ("I25", "another value", lambda r: r.hset(f"{P}:processed", key("done"), "2")),
    ("I25", "a lost value", lambda r: r.hdel(f"{P}:processed", key("done"))),
    ("I25", "a value of a job that runs", lambda r: r.hset(f"{P}:processed", key("runs"), "2")),
    ("I25", "another reason", lambda r: r.hset(f"{P}:failed", key("broken"), "x")),
    ("I26", "another parent", lambda r: r.hset(key("waits"), "parentKey", "bull:up:x")),
    ("C1", "a lost count", lambda r: r.hincrby("bull:flownb:counts:f", "waiting@bull:q", 1)),
    ("C1", "counts that are gone", lambda r: r.delete("bull:flownb:counts:g")),
    ("C2", "an end that was not told", lambda r: r.hdel("bull:flownb:flow:g", "ended")),
    ("C2", "an end too early", lambda r: r.hset("bull:flownb:flow:f", "ended", "completed")),
    ("C3", "an amount that no account has", lambda r: r.hset(key("done"), "spent", "1:usd:5")),
]  # fmt: skip
JOB = {"name": "n", "data": "{}", "opts": "{}", "timestamp": START, "priority": 0}


@pytest.mark.parametrize(("rule", "what", "damage"), DAMAGES, ids=[f"{d[0]}-{d[1]}" for d in DAMAGES])
def test_a_damage_is_named_by_its_rule(scene: Redis, rule: str, what: str, damage: Damage):
    damage(scene)

    assert rule in {violation.rule for violation in invariants.violations(scene)}


def test_a_parent_that_waits_for_a_missing_child_is_stuck(scene: Redis):
    scene.delete(key("waits"))

    assert [str(one) for one in invariants.stuck(scene)] == [
        f"I24 {P}: waits for {key('waits')}, which is missing"
    ]


def test_counts_may_be_left_out(scene: Redis):
    scene.delete("bull:flownb:counts:f", "bull:flownb:counts:g")

    assert invariants.violations(scene, counts=False) == []


def test_each_rule_of_the_page_is_tried():
    named = {
        word
        for line in (invariants.__doc__ or "").splitlines()
        for word in line.split()
        if word[1:].isdigit()
    }

    assert {rule for rule, _, _ in DAMAGES} == named
