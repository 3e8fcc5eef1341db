"""What binds a queue's workers together, and what is told of them: flownb's handle beside Node's on the same settings."""

from __future__ import annotations

import json
import threading

import pytest

import flownb as fn
from tests.support.peers.beside import dump, told


@pytest.fixture(scope="module")
def node6(start_peer):
    return start_peer("node6")


CALLS = [
    ("setGlobalConcurrency", [4], lambda q: q.set_global_concurrency(4)),
    ("getGlobalConcurrency", [], lambda q: q.get_global_concurrency()),
    ("removeGlobalConcurrency", [], lambda q: q.remove_global_concurrency()),
    ("getGlobalConcurrency", [], lambda q: q.get_global_concurrency()),
    ("setGlobalRateLimit", [3, 5000], lambda q: q.set_global_rate_limit(3, "5s")),
    ("getGlobalRateLimit", [], lambda q: q.get_global_rate_limit()),
    ("removeGlobalRateLimit", [], lambda q: q.remove_global_rate_limit()),
    ("getGlobalRateLimit", [], lambda q: q.get_global_rate_limit()),
    ("getRateLimitTtl", [], lambda q: q.get_rate_limit_ttl()),
    ("getRateLimitTtl", [5], lambda q: q.get_rate_limit_ttl(5)),
]


def test_settings_are_stored_and_read_as_by_node(node6, redis, connection):
    for method, args, ours in CALLS:
        theirs = node6.ask("call", queue="node-line", method=method, args=args)
        mine = ours(fn.Queue("ours-line"))

        assert mine is None if method.startswith(("set", "remove")) else mine == theirs, method
        stored = [dump(redis, who).get("bull:line:meta", {}) for who in ("ours", "node")]
        assert stored[0] == {name: value for name, value in stored[1].items() if name != "opts.maxLenEvents"}


@pytest.mark.parametrize("begun", [2, 5, 9007199254740991])
@pytest.mark.parametrize("most", [None, 3, 5])
def test_the_time_until_the_next_may_begin_is_what_node_says(begun, most, node6, redis, connection):
    redis.set("bull:ours-line:limiter", begun, px=60_000)

    theirs = node6.ask("call", queue="ours-line", method="getRateLimitTtl", args=[most] if most else [])
    mine = fn.Queue("ours-line").get_rate_limit_ttl(most)

    assert abs(mine - theirs) < 10_000
    assert (mine > 0) == (theirs > 0)


def test_the_limit_of_the_queue_is_what_is_asked_for(node6, redis, connection):
    queue = fn.Queue("ours-line")
    queue.set_global_rate_limit(2, 60)
    redis.set("bull:ours-line:limiter", 1, px=60_000)

    theirs = node6.ask("call", queue="ours-line", method="getRateLimitTtl")

    assert (queue.get_rate_limit_ttl() > 0) == (theirs > 0)


def test_jobs_are_counted_by_priority_as_by_node(node6, connection):
    queue = fn.Queue("ours-line")
    queue.add_bulk([{"name": "a", "opts": {"priority": n % 3}} for n in range(7)])

    theirs = node6.ask("call", queue="ours-line", method="getCountsPerPriority", args=[[0, 1, 2, 9]])

    assert queue.get_counts_per_priority([0, 1, 2, 9]) == {int(name): n for name, n in theirs.items()}


def test_workers_of_any_client_are_listed_as_by_node(start_peer, node6, connection, until):
    queue = fn.Queue("ours-line")
    other = start_peer("node6")
    other.ask("work", queue="ours-line", name="mailer")

    with fn.Worker("ours-line", print):
        until(lambda: len(queue.get_workers()) == 2)
        theirs = node6.ask("call", queue="ours-line", method="getWorkers")
        mine = queue.get_workers()

    assert sorted((one["name"], one["rawname"], one["addr"]) for one in mine) == sorted(
        (one["name"], one["rawname"], one["addr"]) for one in theirs
    )
    assert told(len(mine), "ours") == 2
    other.ask("stop")
    until(lambda: queue.get_workers() == [])


def test_workers_obey_the_concurrency_of_their_queue(node6, connection, until):
    queue, running, most, lock = fn.Queue("ours-line"), 0, 0, threading.Lock()
    go_on = threading.Event()
    queue.set_global_concurrency(2)

    def work(job):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go_on.wait(20)
        with lock:
            running -= 1

    jobs = queue.add_bulk([{"name": "a"}] * 6)
    with fn.Worker("ours-line", work, concurrency=6):
        until(lambda: running == 2)
        assert node6.ask("call", queue="ours-line", method="isMaxed")
        go_on.set()
        until(lambda: queue.get_job_counts()["completed"] == len(jobs))
    assert most == 2


def test_nodes_workers_obey_a_tasks_limit_of_calls_beside_flownbs_own(start_peer, redis, connection):
    @fn.task(queue="provider", limiter=("5/s", "1000 tokens/s"), weight={"tokens": 10})
    def ask(**row):
        return row["n"]

    other = start_peer("node6")
    fn.Queue("provider").pause()  # nobody begins before both are there
    batch = fn.fan_out([{"n": n, "do": "value", "value": n} for n in range(14)], ask)
    other.ask("work", queue="provider", concurrency=4)
    with fn.workers(4):
        fn.Queue("provider").resume()
        batch.wait(timeout=60)
    other.ask("stop")

    assert {json.loads(run)["by"] for run in redis.lrange("test:runs", 0, -1)}  # Node's had some of them
    events = redis.xrange("bull:provider:events")
    began = [int(id.split(b"-")[0]) for id, event in events if event[b"event"] == b"active"]
    assert len(began) == 14
    assert began[5] - began[0] >= 998  # 2 ms are for two clock readings
    assert began[10] - began[5] >= 998
