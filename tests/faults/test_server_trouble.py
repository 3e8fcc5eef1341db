"""Shows that a server that is full, busy, frozen, read-only, away or an hour off costs time, and charges nobody."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
import redis

import flownb as fn
from tests.support import invariants
from tests.support.server import OwnServer


def test_five_kills_of_the_server_in_five_seconds_repeat_fail_and_charge_nothing(scene, until, ended):
    scene.add(300, 0.05)
    for _ in range(2):
        scene.worker(options={"concurrency": 2})
    until(lambda: ended() > 10)
    for _ in range(5):
        scene.server.kill()
        scene.server.start()
        before = ended()
        until(lambda before=before: ended() > before)
    scene.check()
    assert scene.charged() == 0
    assert len(scene.complaints()) <= 20


def test_a_server_that_is_away_for_many_leases_gets_what_has_ended_meanwhile_and_work_goes_on_at_once(
    scene, until, ended
):
    scene.add(24, 0.5)
    scene.worker()
    until(lambda: scene.running() == 4 and ended() > 2)
    scene.server.kill()
    until(lambda: scene.running() == 0)  # they end while nobody can be told
    begun = scene.begun()
    time.sleep(4)  # the fault itself: four leases
    assert scene.begun() <= begun + 4
    scene.server.start()
    until(lambda: scene.begun() > begun, seconds=10)  # a second, where the machine has time for it
    assert scene.check().again == 0
    assert scene.charged() == 0
    assert len(scene.complaints()) <= 5


def test_a_function_whose_own_call_finds_no_server_runs_again_when_it_is_back_and_is_not_charged(
    scene, until, ended
):
    flow = scene.add(10)
    worker = scene.worker(function="sum_after_a_while", options={"lock_duration": 15})
    until(lambda: scene.client.llen("bull:middle:active") == 3)
    scene.server.kill()
    time.sleep(10)  # the fault itself: longer than a client sends again
    scene.server.start()
    flow.wait(timeout=40)
    assert worker.process.poll() is None
    assert scene.check().again == 0


def test_a_server_that_was_frozen_for_many_leases_charges_nothing(scene, until):
    scene.add(40, 0.2)
    scene.worker()
    until(lambda: scene.running() == 4)
    with scene.server.frozen():
        time.sleep(4)  # the fault itself
    runs = _check_repeats(scene, 4)
    assert scene.charged() == 0
    assert runs <= 4


def test_a_server_that_takes_no_writes_for_a_while_is_waited_for(scene, until):
    """As a master that was made a replica; workers complain, once in a while, and go on when it is a master again."""
    scene.add(60, 0.1)
    scene.worker()
    until(lambda: scene.running() == 4)
    scene.client.replicaof("127.0.0.1", 1)
    time.sleep(3)  # the fault itself: three leases
    scene.client.replicaof("NO", "ONE")
    assert _check_repeats(scene, 4) <= 4
    assert scene.charged() == 0
    assert len(scene.complaints()) <= 8


def test_a_server_that_is_busy_with_somebodys_script_is_waited_for(scene, until):
    scene.client.config_set("lua-time-limit", 100)
    scene.add(60, 0.1)
    scene.worker()
    until(lambda: scene.running() == 4)

    def hog():
        with scene.server.client() as client, contextlib.suppress(redis.RedisError):
            client.eval("while true do end", 0)

    hogging = threading.Thread(target=hog)
    hogging.start()
    time.sleep(3)  # the fault itself: three leases
    with scene.server.client() as client:
        until(lambda: _killed(client))
    hogging.join()
    assert _check_repeats(scene, 4) <= 4
    assert scene.charged() == 0
    assert len(scene.complaints()) <= 8


def _killed(client):
    try:
        return client.script_kill()
    except redis.ConnectionError:
        return False


def _check_repeats(scene, most):
    """Check everything but that each run has its kill: here a lease may have run out. Return the number of repeats."""
    for flow in scene.work.flows:
        flow.wait(timeout=60)
    assert scene.work.wrong_values() == []
    assert fn.doctor(connection=scene.connection).empty
    return sum(len(of_key) - 1 for of_key in scene.runs().values())


def test_a_full_disk_is_waited_for_and_named(scene, until, ended):
    scene.client.config_set("appendfsync", "everysec")  # with "always" a server ends when its disk is full
    scene.add(200, 0.02)
    worker = scene.worker(options={"lock_duration": 15})
    until(lambda: ended() > 10)
    scene.server.limit_files(scene.server.log_file().stat().st_size + 4000)
    until(lambda: _refuses_writes(scene.client))
    with pytest.raises(fn.ServerError, match=r"(?i)disk|space|MISCONF|too large"):
        fn.add({"name": "one more", "queueName": "leaf"}, connection=scene.connection)
    time.sleep(1.5)  # the fault itself
    scene.server.limit_files(None)
    assert scene.check().again == 0
    assert worker.process.poll() is None
    assert scene.charged() == 0
    assert len(scene.complaints()) <= 5


def _refuses_writes(client):
    try:
        client.set("filler", "x" * 500)
        return False
    except redis.RedisError:
        return True


def test_a_server_without_memory_refuses_a_flow_whole_and_lets_workers_end_what_is_there(scene, until):
    scene.add(200, 0.01)
    scene.worker()
    scene.client.config_set("maxmemory", scene.client.info("memory")["used_memory"] - 100_000)
    children = [{"name": "c", "queueName": "other", "data": "x" * 1000} for _ in range(100)]
    with pytest.raises(fn.ServerError, match=r"(?i)memory"):
        fn.add({"name": "t", "queueName": "other-top", "children": children}, connection=scene.connection)
    assert not list(scene.client.scan_iter("bull:other*"))
    time.sleep(1)  # the fault itself
    scene.client.config_set("maxmemory", 0)
    assert scene.check().again == 0
    assert scene.charged() == 0


def test_a_server_that_comes_back_empty_is_worked_on_and_whoever_waits_is_told(scene, until):
    flow = scene.add(30, 0.2)
    worker = scene.worker()
    until(lambda: scene.running() == 4)
    scene.server.kill()
    for file in scene.server.log_file().parent.iterdir():
        file.unlink()
    scene.server.start()
    with pytest.raises(fn.FlownbError, match="not on this server"):
        flow.wait(timeout=20)
    scene.work.trees.clear()
    scene.log.unlink()
    queue = fn.Queue("leaf", connection=scene.connection)
    job = queue.add("new", {"key": "9.t.9", "number": 1, "seconds": 0})
    until(lambda: job.get_state() == "completed")
    assert worker.process.poll() is None
    assert fn.doctor(connection=scene.connection).empty


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_a_worker_whose_clock_is_an_hour_off_runs_delayed_jobs_when_they_are_due(scene, until, ahead):
    queue = fn.Queue("leaf", connection=scene.connection)
    scene.worker(clock_ahead=ahead)
    added = time.time()
    job = queue.add("later", {"key": "0.t.0", "number": 1, "seconds": 0}, {"delay": 1000})
    until(lambda: job.get_state() == "completed", seconds=10)
    [[run]] = scene.runs().values()
    assert 0.95 < run.begun - added < 2.0


def test_a_replica_that_had_not_heard_everything_takes_over_and_what_it_has_ends(scene, until, ended):
    """What the old master had not passed on is gone, ends of jobs too; what is there is whole, and runs to its end."""
    with tempfile.TemporaryDirectory(prefix="flownb-replica-") as folder:
        port = _free_port()
        scene.client.config_set("port", port)
        replica = OwnServer(Path(folder), keeps_data=False, settings=("--replicaof", f"127.0.0.1 {port}"))
        client = replica.client()
        try:
            until(lambda: client.info("replication")["master_link_status"] == "up")
            way = scene.way()
            scene.add(100, 0.02)
            worker = scene.worker(url=way.url)
            until(lambda: ended() > 20)
            client.replicaof("NO", "ONE")
            until(lambda: ended() > 60)
            way.server = replica.socket
            scene.server.kill()
            way.cut()
            with fn.Connection(replica.url) as there:
                flow = fn.attach("total:tree-0", connection=there)
                [(_, jobs)] = scene.work.trees
                assert flow.result(timeout=30) == {"sum": sum(job["number"] for job in jobs), "n": 100}
                assert fn.doctor(connection=there).empty
                assert invariants.violations(client) == []
            assert worker.process.poll() is None
        finally:
            client.close()
            replica.kill()


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
