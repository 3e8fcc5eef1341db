"""BullMQ's own clients see that flownb's workers serve a queue, and that they are gone."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.worker.task_worker import TaskWorker


@pytest.mark.parametrize("peer", ["node6", "node5"])
def test_node_counts_each_worker_on_each_of_its_queues(peer, peers, connection, until):
    def seen():
        return [len(peers[peer].ask("workers", queue=queue)) for queue in ("one", "Zwei & drei", "none")]

    with fn.Worker(["one", "Zwei & drei"], print), fn.Worker("one", print):
        until(lambda: seen() == [2, 1, 0])
    until(lambda: seen() == [0, 0, 0])


def test_a_sign_that_broke_is_there_again_after_the_next_sweep(peers, connection, until):
    def seen():
        return peers["node6"].ask("workers", queue="one")

    with fn.Worker("one", print, stalled_interval=0.1):
        until(lambda: seen() == ["bull:b25l"])
        for client in connection.client().client_list():
            if client["name"] == "bull:b25l":
                connection.client().client_kill_filter(_id=client["id"])
        until(lambda: seen() == ["bull:b25l"])


def test_a_server_that_lets_nobody_name_connections_is_worked_on(peers, connection, until):
    admin = connection.client()
    admin.acl_setuser(
        "nameless", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-client"]
    )
    try:
        import redis

        pool = {**connection.address(), "username": "nameless", "password": "any"}
        with (
            fn.Connection(redis.Redis(**pool)) as nameless,
            fn.Worker("one", lambda job: 7, connection=nameless, stalled_interval=0.1),
        ):
            assert fn.add({"name": "a", "queueName": "one"}).result(timeout=30) == 7
        assert peers["node6"].ask("workers", queue="one") == []
    finally:
        admin.acl_deluser("nameless")


def test_a_queue_that_comes_later_is_seen_before_the_next_sweep(peers, connection, until):
    def seen(queue):
        return peers["node6"].ask("workers", queue=queue)

    fn.task(lambda: 1, queue="comes-first")
    with TaskWorker(stalled_interval="10m"):
        until(lambda: seen("comes-first"))
        fn.task(lambda: 2, queue="comes-later")
        until(lambda: seen("comes-later"))
