"""Shows what a worker without work asks of the server, and that it misses nothing for that."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict

import pytest

import flownb as fn
from flownb.wire.lease_records import FetchingWorker
from flownb.wire.store import Store
from flownb.worker import blocker as blockers_module
from flownb.worker import keeper_rounds
from flownb.worker.blocker import SLEEP_SECONDS, Blocker
from flownb.worker.held_page import HeldPage
from flownb.worker.keeper_rounds import WatchedQueue, keep

QUICK = {"lock_duration": 1, "stalled_interval": 0.2}  # an idle worker looks once a second
LONG_MS = 1_200_000  # of a lease


def commands(redis) -> dict[str, int]:
    """The calls of each command since the last reset, those of this test left out."""
    found = {
        name.removeprefix("cmdstat_"): about["calls"] for name, about in redis.info("commandstats").items()
    }
    return {name: calls for name, calls in found.items() if name not in ("info", "config|resetstat")}


def test_an_idle_worker_asks_for_all_in_one_call(connection, redis, until):
    # Its leases are long: the keeper of a worker that a loaded machine keeps from looking would ask for them.
    with fn.Worker("q", print, lock_duration=600, stalled_interval=0.2):
        first = until(lambda: redis.zscore("bull:flownb:served", "bull:q"))
        until(lambda: redis.zscore("bull:flownb:served", "bull:q") > first)
        redis.config_resetstat()
        until(lambda: commands(redis).get("evalsha", 0) >= 4)
        found = commands(redis)

    calls = found.pop("evalsha")
    assert [found.pop(name) for name in ("time", "exists", "zadd")] == [calls] * 3, "a sweep is four commands"
    assert found.pop("bzpopmin", 0) <= 2, "one a lane, and it lasts"
    assert not found


def test_several_queues_cost_no_more(connection, redis, until):
    with fn.Worker([f"q{i}" for i in range(20)], print, **QUICK):
        first = until(lambda: redis.zscore("bull:flownb:served", "bull:q19"))
        until(lambda: redis.zscore("bull:flownb:served", "bull:q19") > first)
        redis.config_resetstat()
        until(lambda: commands(redis).get("evalsha", 0) >= 2)
        found = commands(redis)

    assert [found[name] for name in ("time", "exists", "zadd")] == [found["evalsha"]] * 3


def test_a_job_without_a_marker_is_found_by_the_next_sweep(connection, redis, until):
    with fn.Worker("q", lambda job: 7, **QUICK):
        first = until(lambda: redis.zscore("bull:flownb:served", "bull:q"))
        until(lambda: redis.zscore("bull:flownb:served", "bull:q") > first)
        with redis.pipeline() as pipe:  # as a producer that knows no markers
            pipe.hset("bull:q:old", mapping={"name": "old", "data": "{}", "opts": "{}", "timestamp": 1})
            pipe.lpush("bull:q:wait", "old")
            pipe.execute()

        until(lambda: redis.hget("bull:q:old", "returnvalue") == b"7")


def test_the_job_of_a_worker_that_died_elsewhere_comes_back_to_an_idle_one(connection, redis, until):
    store = Store(redis, "bull")
    with fn.Worker("q", lambda job: "rescued", **QUICK) as idle:
        first = until(lambda: redis.zscore("bull:flownb:served", "bull:q"))
        until(lambda: redis.zscore("bull:flownb:served", "bull:q") > first)
        idle.pause()
        job = fn.Queue("q").add("lost")
        lost = FetchingWorker(token="lost:1", lock_ms=1000)
        turn = store.leases.finish_and_fetch(["bull:q"], outcomes=[], want=1, worker=lost)
        assert [one.record.id for one in turn.taken] == [job.id]
        idle.resume()

        assert job.wait_until_finished(timeout=60) == "rescued"


def test_the_sign_of_an_idle_worker_comes_back_without_a_command_before(connection, redis, until):
    def signs() -> list[str]:
        return [client["id"] for client in redis.client_list() if client["name"] == "bull:cQ=="]

    with fn.Worker("q", print, **QUICK):
        (broken,) = until(signs)
        redis.client_kill_filter(_id=broken)
        until(lambda: signs() not in ([], [broken]))


@pytest.fixture
def keeper():
    """Start a keeper of leases as a thread; give its page, and what tells it of a queue. It ends with the test."""
    page = HeldPage()
    end, pipe = os.pipe()
    thread = threading.Thread(target=keep, args=(end, page))
    thread.start()

    def watch(connection, queue: str, token: str, lock_ms: int) -> None:
        watched = WatchedQueue(f"bull:{queue}", "bull", token, lock_ms, 3)
        line = json.dumps({"watch": asdict(watched), "address": connection.address()})
        os.write(pipe, line.encode() + b"\n")

    yield page, watch
    os.close(pipe)
    thread.join(60)


def test_the_keeper_asks_only_for_workers_that_may_hold_jobs(connection, redis, until, keeper):
    page, watch = keeper
    for token in (
        "idle:",
        "hogged:",
    ):  # each holds a job of which the page says nothing, as after its function's end
        queue = token[:-1]
        fn.Queue(queue).add("j")
        worker = FetchingWorker(token=f"{token}1", lock_ms=LONG_MS)
        Store(redis, "bull").leases.finish_and_fetch([f"bull:{queue}"], outcomes=[], want=1, worker=worker)
        page.add_worker(token)
    (idle, hogged) = (next(redis.scan_iter(f"bull:{queue}:*:lock")) for queue in ("idle", "hogged"))
    watch(connection, "idle", "idle:", LONG_MS // 2)  # it has looked at its jobs within a quarter of that
    watch(connection, "hogged", "hogged:", 1000)  # it has not

    for _ in range(3):  # rounds, each of which looks at both
        until(lambda: 0 < redis.pttl(hogged) <= 1000)
        redis.pexpire(hogged, LONG_MS)

    assert redis.pttl(idle) > LONG_MS // 2
    page.add_job("bull:idle:x", "idle:1", 1, None)
    until(lambda: redis.pttl(idle) <= LONG_MS // 2)


def test_the_keeper_tells_once_of_what_began_untold_and_asks_nothing_for_other_jobs(
    connection, redis, monkeypatch
):
    """A worker in which nothing waits looks seldom, however long its job runs."""
    monkeypatch.setattr(keeper_rounds, "HELD_UP_SECONDS", 0)
    jobs = fn.Queue("q").add_bulk([{"name": "told"}, {"name": "ahead"}])
    page, token = HeldPage(), "w:1"
    worker = page.add_worker("w:")
    fetching = FetchingWorker(token=token, lock_ms=LONG_MS, free=1)
    turn = Store(redis, "bull").leases.finish_and_fetch(["bull:q"], outcomes=[], want=2, worker=fetching)
    keeping = keeper_rounds._Keeping(page, None)
    watched = WatchedQueue("bull:q", "bull", "w:", LONG_MS, 3)
    keeping.obey({"watch": asdict(watched), "address": connection.address()})

    asked = []
    for taken in turn.taken:
        entry = page.add_job(taken.record.key, token, worker, None, is_ahead=taken.is_ahead)
        page.begin(entry, worker, elsewhere=False)
        redis.config_resetstat()
        for _ in range(2):
            keeping.relieve()
            asked.append(commands(redis).get("evalsha", 0))

    assert [job.get_state() for job in jobs] == ["active", "active"]
    assert asked[:2] == [0, 0], "its beginning was told when it was taken"
    assert asked[2] == asked[3] > 0
    keeping.obey({"forget": "w:"})


def test_a_blocker_is_interrupted_though_another_one_takes_its_marker(connection, redis, until):
    def asleep() -> int:
        return sum(client["cmd"] == "bzpopmin" and "b" in client["flags"] for client in redis.client_list())

    woken = {name: threading.Event() for name in ("first", "second")}
    blockers = {name: Blocker(name, connection, event.set) for name, event in woken.items()}
    for n, blocker in enumerate(blockers.values(), 1):
        blocker.start()
        blocker.arm(["bull:q"])
        until(lambda n=n: asleep() == n)

    blockers["second"].interrupt()

    assert woken["second"].wait(SLEEP_SECONDS / 2)
    for blocker in blockers.values():
        blocker.close()


class NotedLine:
    """A socket that notes which threads close it."""

    def __init__(self, line) -> None:
        self._line = line
        self.closed_by: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._line, name)

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)
        self._line.close()


def test_a_connection_on_which_a_thread_waits_is_closed_by_that_thread(connection, redis, until):
    # Its number might be another connection's before the thread has begun to wait, and it would wait on that one.
    woken = threading.Event()
    blocker = Blocker("b", connection, woken.set)
    blocker.start()
    blocker.arm(["bull:q"])
    until(
        lambda: any(client["cmd"] == "bzpopmin" and "b" in client["flags"] for client in redis.client_list())
    )
    (sleeping,) = until(
        lambda: [one for one in blocker._client.connection_pool._in_use_connections if one._reader]
    )
    line = sleeping._sock = NotedLine(sleeping._sock)

    sleeping.disconnect()  # as `interrupt` does

    assert woken.wait(60)
    until(lambda: line.closed_by)
    assert line.closed_by == ["flownb-b-blocker"]
    blocker.close()


def test_a_blocker_sleeps_on_where_nothing_came(connection, redis, until, monkeypatch):
    monkeypatch.setattr(blockers_module, "SLEEP_SECONDS", 0.05)
    woken = threading.Event()
    blocker = Blocker("brief", connection, woken.set)
    blocker.start()
    redis.config_resetstat()
    blocker.arm(["bull:q"])
    until(lambda: commands(redis).get("bzpopmin", 0) >= 3)
    assert not woken.is_set()
    redis.zadd("bull:q:marker", {"0": 0})
    assert woken.wait(60)
    blocker.close()
