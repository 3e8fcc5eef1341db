"""Loading and calling: names on both sides, refusals as exceptions, the server's trouble in one line."""

from __future__ import annotations

import re

import pytest
from redis import exceptions

from flownb import errors
from flownb.wire.scripts import Script, header, load
from flownb.wire.server_errors import server_errors
from tests.support.script_bench import Bench, key, node

pytestmark = pytest.mark.every_server


def test_a_call_names_every_argument_and_no_other(bench: Bench):
    with pytest.raises(TypeError, match=r"pause_queue\(\) takes \['now'\], not \['later', 'now'\]"):
        load("pause_queue")(bench.redis, ["bull:q"], now=1, later=2)

    assert bench.dump() == {}


def test_a_script_is_loaded_once_and_known_by_its_hash():
    assert load("add_jobs") is load("add_jobs")
    assert len(load("add_jobs").sha) == 40


def test_a_library_file_that_two_others_use_is_loaded_once():
    source = load("finish_and_fetch").source
    assert source.count("-- queue: names") == 1
    assert source.index("-- queue:") < source.index("-- enqueue:") < source.index("--- finish_and_fetch:")


def test_a_header_is_read_tag_by_tag():
    found = header("--- x: a -> b.\n-- @args    now ids\n-- @returns\n-- @use     queue\n-- @use more\n")

    assert (found["args"], found["returns"], found["use"]) == (("now", "ids"), (), ("queue", "more"))


def test_a_server_that_forgot_its_scripts_is_given_them_again(bench: Bench):
    for _ in range(3):
        bench.redis.script_flush()
        bench.add_plain("a")
        bench.sweep()
        bench.store.jobs.read([key("a")])

    assert bench.list(key("wait")) == ["a"]


def test_a_script_error_that_is_no_refusal_is_the_servers(bench: Bench):
    bench.redis.set("bull:flownb:tasks:bull:q", "no hash")

    with pytest.raises(errors.ServerRefused, match="WRONGTYPE"):
        bench.store.kernels.claim("bull:q", "one", {}, seen={})


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        (exceptions.ConnectionError("refused"), errors.ServerUnreachable, "does not answer: refused"),
        (exceptions.TimeoutError("slow"), errors.ServerUnreachable, "does not answer: slow"),
        (exceptions.OutOfMemoryError("x"), errors.ServerRefused, "out of memory"),
        (exceptions.ReadOnlyError("x"), errors.ServerRefused, "read-only replica"),
        (exceptions.ResponseError("MISCONF no disk"), errors.ServerRefused, "is it full"),
        (exceptions.ResponseError("ERR a\nb"), errors.ServerRefused, "^ERR a b$"),
    ],
)
def test_the_servers_trouble_is_told_in_one_line(raised: Exception, kind: type[Exception], says: str):
    with pytest.raises(kind, match=says), server_errors():
        raise raised


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [("replicaof", "127.0.0.1 1", "read-only replica"), ("maxmemory", "1", "out of memory")],
)
def test_every_server_says_in_the_same_words_why_it_takes_no_writes(bench: Bench, setting, value, says):
    if setting == "replicaof":
        restore = ("REPLICAOF", "NO", "ONE")
        bench.redis.execute_command("REPLICAOF", *value.split())
    else:
        restore = ("CONFIG", "SET", setting, "0")
        bench.redis.config_set(setting, value)
    try:
        with pytest.raises(errors.ServerRefused, match=says):
            bench.add_plain("a")
    finally:
        bench.redis.execute_command(*restore)


def test_an_argument_that_is_none_is_absent_in_lua(bench: Bench):
    bench.add(node("a", bind=None))

    assert "bind" not in bench.hash(key("a"))


def test_time_is_the_servers_unless_a_test_says_otherwise(bench: Bench, redis):
    from flownb.wire.store import Store

    before = redis.time()[0]
    Store(redis, "bull").leases.sweep_stalled(["bull:q"], interval=1000, most=1)

    swept = redis.zscore("bull:flownb:served", "bull:q") - 3000
    assert before * 1000 <= swept <= (redis.time()[0] + 1) * 1000


def test_a_script_is_a_frozen_record():
    assert isinstance(load("read_jobs"), Script)
    with pytest.raises(AttributeError):
        load("read_jobs").sha = "x"  # type: ignore[misc]


def test_names_that_only_one_file_of_the_library_uses_stay_inside_it():
    source = load("finish_and_fetch").source
    assert "\nlocal function delay_score(" in source  # of enqueue alone: in its block
    assert not re.search(r"^local [^\n=]*\bdelay_score\b(?!\()", source, re.MULTILINE)
    assert re.search(r"^local [^\n=]*\bput_off\b(?!\()", source, re.MULTILINE)
