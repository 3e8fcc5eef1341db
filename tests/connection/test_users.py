"""Shows that users of a shared server with the rights of docs/security.md can do their whole work, and nothing beyond."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pandas as pd
import pytest
import redis

import flownb as fn
from tests.support.programs import OLD_SERVERS, old_server
from tests.support.server import OwnServer

PAGE = Path(__file__).resolve().parents[2] / "docs/security.md"
RULES = re.findall(r"^ACL SETUSER .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(params=["newest", *OLD_SERVERS])
def server(request):
    """Give a server of each kind."""
    program = None if request.param == "newest" else old_server(request.param)
    with tempfile.TemporaryDirectory(prefix="flownb-users-") as folder:  # a short path, for the socket
        made = OwnServer(Path(folder), program=program)
        yield made
        made.kill()


@pytest.fixture
def users(server):
    """Give a connection for each user of docs/security.md."""
    with redis.Redis(unix_socket_path=server.socket, protocol=2) as admin:
        for rule in RULES:
            admin.execute_command(*rule.split())
    made = {
        name: fn.Connection(f"unix://{name}:{name}-secret@{server.socket}", read_only=name == "looker")
        for name in ("looker", "producer", "worker")
    }
    yield made
    for connection in made.values():
        connection.close()


def test_three_rules_are_told():
    assert [rule.split()[2] for rule in RULES] == ["looker", "producer", "worker"]


def test_a_producer_a_worker_and_a_looker_do_their_whole_work(users, until):
    producer, worker, looker = users["producer"], users["worker"], users["looker"]

    def work(job):
        job.log("begun")
        job.update_progress(50)
        if job.name == "shaky" and job.attempts_made == 0:
            raise ValueError("once")
        if job.name == "grows":
            return sum(job.add_children([{"name": "more", "queueName": "work", "data": n} for n in (1, 2)]))
        return sum(v or 0 for v in job.get_children_values().values()) or 1

    shared = fn.Node("shared", "work")
    tree = fn.Node(
        "total",
        "work",
        children=[
            fn.Node("left", "work", children=[shared]),
            fn.Node("right", "work", children=[shared], opts={"delay": 50, "priority": 3}),
            fn.Node("shaky", "work", opts={"attempts": 2, "backoff": 10}),
            fn.Node("grows", "work"),
        ],
    )
    heard = []
    with fn.QueueEvents("work", connection=looker).on("completed", heard.append):
        flow = fn.add(tree, name="whole", connection=producer)
        with fn.Worker(
            "work", work, concurrency=4, connection=worker, lock_duration="2s", stalled_interval="0.3s"
        ):
            assert flow.result(timeout=60) == 5
            rows = fn.fan_out(pd.DataFrame({"x": range(50)}), "work", name="rows", connection=producer)
            assert len(rows.results(timeout=60)) == 50
        until(lambda: len(heard) > 50)
    steer(producer)
    look(looker)


def steer(producer):
    """What a producer does beside adding."""
    queue = fn.Queue("later", connection=producer)
    queue.pause()
    queue.resume()
    job = queue.add("n", {"x": 1}, {"delay": 60_000})
    job.update_data({"x": 2})
    job.remove()
    flow = fn.add(
        {"name": "n", "queueName": "later", "opts": {"jobId": "a"}}, name="later", connection=producer
    )
    flow.pause().resume().cancel().retry()
    assert flow.state == "waiting"
    again = {"name": "n", "queueName": "later", "opts": {"jobId": "a"}}
    fn.add(again, if_exists="rerun", connection=producer).remove()
    assert fn.doctor(fix=True, connection=producer).empty


def look(looker):
    """What a looker does, and what it cannot do."""
    assert set(fn.flows(connection=looker)["name"]) == {"whole", "rows"}
    flow = fn.attach("whole", connection=looker)
    assert flow.progress().fraction == 1.0
    assert len(flow.jobs()) == 8
    assert "whole" in flow.to_html()
    assert flow.explain().empty
    assert not flow.timeline().empty
    assert flow.job.get_logs()
    assert flow.draw().source
    assert len(fn.attach("rows", connection=looker).table()) == 50
    assert fn.doctor(connection=looker).empty
    with pytest.raises(fn.ReadOnly):
        flow.remove()


def test_each_user_may_no_more_than_that(users):
    for name, connection in users.items():
        client = connection.client()
        refused = [
            "SET elsewhere 1",
            "GET elsewhere",
            "KEYS *",
            "FLUSHALL",
            "CONFIG GET *",
            "ACL LIST",
            "SHUTDOWN",
        ]
        refused += {
            "looker": ["SET bull:a 1", "EVAL return 0"],
            "producer": ["RPOP bull:q:wait", "ZPOPMIN bull:q:p"],
        }.get(name, [])
        for command in refused:
            words = ["EVAL", "return 1", "0"] if command.startswith("EVAL") else command.split()
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)


def test_a_producer_takes_no_job(users):
    fn.Queue("q", connection=users["producer"]).add("n")
    with fn.Worker("q", lambda job: 1, connection=users["producer"]), pytest.raises(TimeoutError):
        fn.attach(fn.Queue("q", connection=users["looker"]).get_jobs("waiting")[0]).wait(timeout=1)
    assert fn.Queue("q", connection=users["looker"]).get_job_counts()["waiting"] == 1
