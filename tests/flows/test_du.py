"""`du`: what each flow takes of the server's memory and of files."""

from __future__ import annotations

import pandas as pd
import pytest

import flownb as fn
from flownb.errors import ServerRefused

CHARACTERS = 20_000


def test_sizes_are_near_what_the_server_holds(connection, redis):
    fn.add({"name": "small", "queueName": "q"})
    children = [
        {"name": f"row-{n}", "queueName": "q", "data": "x" * CHARACTERS, "opts": {"jobId": f"j{n}"}}
        for n in range(200)
    ]
    fn.add({"name": "wide", "queueName": "q", "children": children, "opts": {"jobId": "jw"}})
    jobs = sum(redis.memory_usage(key, samples=0) for key in redis.keys("*:q:j*"))

    found = fn.du()

    assert found["name"].tolist() == ["wide", "small"]
    assert found["jobs"].tolist() == [201, 1]
    assert found["server"][0] == pytest.approx(jobs, rel=0.1)
    assert found["files"].tolist() == [0, 0]


def test_files_are_counted_with_the_newest_flow_of_a_name(connection, tmp_path):
    @fn.task
    def raw(n):
        return bytes(n)

    with fn.workers(2):
        fn.fan_out(pd.DataFrame({"n": [1000]}), raw, name="own").wait(timeout=60)
        fn.fan_out(pd.DataFrame({"n": [1000, 2000]}), raw, name="own").wait(timeout=60)
        fn.fan_out(pd.DataFrame({"n": [5000]}), raw, name="mine", files=tmp_path).wait(timeout=60)
    found = fn.du()
    assert sorted(zip(found["name"], found["files"], strict=True)) == [
        ("mine", 5000),
        ("own", 0),
        ("own", 3000),
    ]


def test_nothing_is_a_frame_of_nothing(connection):
    assert fn.du().columns.tolist() == ["flow", "name", "state", "jobs", "server", "files"]
    assert fn.du().empty


def test_a_reader_sees_the_same(connection):
    fn.add({"name": "one", "queueName": "q", "children": [{"name": "c", "queueName": "q"}]})
    with fn.Connection(connection.client(), read_only=True) as reader:
        assert fn.du(connection=reader).equals(fn.du())


def test_a_user_who_may_not_ask_is_told_so(own_server):
    with own_server.client() as client:
        client.acl_setuser("blind", enabled=True, passwords=["+x"], commands=["+@all", "-memory"], keys=["*"])
    connection = fn.connect(own_server.url)
    fn.add({"name": "one", "queueName": "q"})
    with (
        fn.Connection(f"unix://blind:x@{own_server.socket}") as blind,
        pytest.raises(ServerRefused, match="MEMORY USAGE"),
    ):
        fn.du(connection=blind)
    connection.close()
