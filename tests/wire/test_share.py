"""finish_and_fetch for a worker of several queues: those that have jobs get equal shares of its slots."""

from __future__ import annotations

import pytest

from flownb.wire.lease_records import FetchingWorker, QueueShare
from tests.support import invariants
from tests.support.script_bench import Bench, base

QUEUES = ("a", "b", "c")


def fetch(bench: Bench, want: int, held: dict[str, int], *, free: int | None = None, short: str = "") -> str:
    """Return of which queues so many jobs come, in order."""
    bench.calls += 1
    worker = FetchingWorker(
        token=f"w:{bench.calls}",
        lock_ms=30_000,
        shares=[QueueShare(held.get(queue, 0), queue in short) for queue in QUEUES],
        free=want if free is None else free,
    )
    bases = [base(queue) for queue in QUEUES]
    turn = bench.store.leases.finish_and_fetch(bases, outcomes=[], want=want, worker=worker)
    return "".join(taken.record.queue for taken in turn.taken)


def add(bench: Bench, **counts: int) -> None:
    for queue, count in counts.items():
        bench.add_plain(*(f"{queue}{n}" for n in range(count)), queue=queue)


@pytest.mark.parametrize(
    ("waiting", "want", "held", "come"),
    [
        ({"a": 9, "b": 9}, 4, {}, "aabb"),
        ({"a": 9, "b": 9, "c": 9}, 3, {}, "abc"),
        ({"a": 9, "b": 9}, 1, {"a": 3}, "b"),
        ({"a": 9, "b": 9}, 2, {"a": 1, "b": 3}, "aa"),
        ({"a": 9, "b": 9}, 5, {"a": 1, "b": 3}, "aaabb"[:3] + "ab"),
        ({"a": 1, "b": 9}, 6, {}, "abbbbb"),  # what one leaves the others share
        ({"a": 1, "b": 9, "c": 9}, 7, {}, "abbbccc"),
        ({"b": 9}, 4, {"b": 9}, "bbbb"),
        ({"a": 9}, 0, {}, ""),
        ({}, 4, {}, ""),
    ],
)
def test_each_queue_that_has_jobs_gets_its_share(bench: Bench, waiting, want, held, come):
    add(bench, **waiting)

    assert sorted(fetch(bench, want, held)) == sorted(come)
    assert invariants.violations(bench.redis) == []


def test_only_short_jobs_are_taken_ahead(bench: Bench):
    add(bench, a=9, b=9)

    assert sorted(fetch(bench, 6, {}, free=2, short="b")) == sorted("ab" + "bbbb")
    assert fetch(bench, 6, {"a": 1, "b": 5}, free=0, short="") == ""


def test_a_queue_that_may_start_nothing_leaves_its_share_to_the_others(bench: Bench):
    add(bench, a=9, b=9)
    bench.redis.hset("bull:a:meta", "concurrency", 1)
    bench.redis.hset("bull:c:meta", "paused", 1)

    assert sorted(fetch(bench, 6, {})) == sorted("abbbbb")
