"""Shows what the user of an embedded server may do: all that flownb and BullMQ's clients need, and nothing beyond."""

from __future__ import annotations

import json
import os
import signal

import pytest
import redis

import flownb as fn
from flownb.connection import Connection, server_files
from tests.support.server import client_for_all

BEYOND = """
    REPLICAOF 127.0.0.1 1; SLAVEOF NO ONE; ACL LIST; ACL SETUSER default +@all; ACL GETUSER default; CONFIG GET *;
    CONFIG SET dir /tmp; CONFIG REWRITE; CONFIG RESETSTAT; MODULE LOAD /tmp/x.so; MODULE LIST; SHUTDOWN NOSAVE; DEBUG SLEEP 0;
    KEYS *; FLUSHALL; FLUSHDB; SWAPDB 0 1; SORT a; MONITOR; SAVE; BGSAVE; BGREWRITEAOF; SLOWLOG GET; LATENCY DOCTOR;
    CLIENT KILL TYPE normal; CLIENT PAUSE 1; CLIENT NO-EVICT on; MIGRATE 127.0.0.1 1 a 0 1; RESTORE a 0 x; SYNC; PSYNC ? -1;
    FUNCTION LIST; FUNCTION FLUSH; SCRIPT FLUSH; SCRIPT KILL; PUBLISH a b; SUBSCRIBE a; CLUSTER RESET; FAILOVER; ROLE
"""
REFUSED = "permission|not allowed"


@pytest.mark.parametrize("command", [" ".join(one.split()) for one in BEYOND.split(";")])
def test_what_is_beyond_a_users_work_is_refused(connection, command):
    with pytest.raises(redis.exceptions.ResponseError, match=REFUSED):
        connection.client().execute_command(*command.split())


@pytest.mark.parametrize("command", ["CONFIG GET maxmemory", "KEYS *", "FLUSHALL", "ACL WHOAMI"])
def test_a_script_may_no_more_than_who_runs_it(connection, command):
    words = ", ".join(f"'{word}'" for word in command.split())
    with pytest.raises(redis.exceptions.ResponseError, match=REFUSED):
        connection.client().eval(f"return redis.call({words})", 0)


def test_what_bullmqs_clients_ask_for_is_there(connection):
    client = connection.client()
    with connection.worker_client() as named:
        named.client_setname("bull:cQ==")
        assert "bull:cQ==" in [one["name"] for one in client.client_list()]
    assert client.info()["redis_version"]
    assert client.script_exists(client.script_load("return 1")) == [True]
    client.xadd("stream", {"a": 1})
    assert client.xread({"stream": "0"}, block=1)
    with client.pipeline(transaction=True) as pipe:
        pipe.set("a", 1).bzpopmin("b", timeout=0.01)
        assert pipe.execute()[0]


def test_the_supervisor_has_a_user_of_its_own_whose_password_stays_in_the_folder(tmp_path, watch):
    with Connection(path=tmp_path / ".flownb") as connection:
        link = json.loads((connection.path / server_files.LINK_FILE).read_text())
        assert sorted(connection.address()) == ["password", "unix_socket_path"]
        assert link["admin_password"] not in json.dumps(connection.address())
        assert link["admin_password"] != link["password"]
        with client_for_all(connection) as admin:
            assert admin.acl_whoami() == server_files.ADMIN
    watch.gone(tmp_path / ".flownb")  # it could stop the server, with rights that its users have not


def test_the_rights_are_the_same_after_the_server_was_restarted(tmp_path, until, watch):
    with Connection(path=tmp_path / ".flownb") as connection, client_for_all(connection) as admin:
        before = admin.acl_getuser("default")
        pid = watch.link(connection.path)["server_pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: watch.link(connection.path)["server_pid"] != pid)
        until(lambda: _answer(admin) == before)
        assert fn.add({"name": "n", "queueName": "q"}, connection=connection).state == "waiting"
    watch.gone(tmp_path / ".flownb")


def _answer(admin):
    try:
        return admin.acl_getuser("default")
    except redis.exceptions.RedisError:
        return None
