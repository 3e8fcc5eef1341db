"""Shows what a Connection promises beside reaching the server: prefix, reading only, fitness, closing, default."""

from __future__ import annotations

import sys

import pytest
import redis

import flownb as fn
from flownb import Queue, Worker
from flownb.connection import Connection, connect, current
from flownb.errors import OptionError, ReadOnly, ServerError, ServerRefused, ServerUnreachable


@pytest.fixture
def _fresh_default(monkeypatch):
    module = sys.modules["flownb.connection.connect"]  # the name is a function's
    monkeypatch.setattr(module, "_default", None)
    monkeypatch.setattr(module, "_refusal", None)
    yield
    current().close()


@fn.task(queue="doubled")
def doubled(x):
    return 2 * x


def allow(port, *rules):
    """Make a user joe who may do this."""
    with redis.Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", "joe", "on", "nopass", "~*", *rules)


@pytest.mark.parametrize(
    "prefix", ["bull", "acme", "a:b", "{bull}", "{bull}:custom", "acme:{bull}", "ümlaut", "a-b.c_d"]
)
def test_a_prefix_that_makes_good_keys_is_taken(folder, prefix):
    with Connection(path=folder, prefix=prefix) as connection:
        assert connection.prefix == prefix


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        " ",
        "a b",
        "a\n",
        "a\x00",
        "a*",
        "a?",
        "[a]",
        "a\\",
        "{",
        "{}",
        "{a",
        "a}",
        "{a}b",
        "a{b}",
        "{a}:{b}",
        "{}:a",
        "{{a}}",
        None,
        5,
    ],
)
def test_a_prefix_that_makes_bad_keys_is_refused(prefix, tmp_path):
    with pytest.raises(OptionError, match="prefix") as caught:
        Connection(path=tmp_path / ".flownb", prefix=prefix)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / ".flownb").exists()


def test_the_repr_shows_neither_folder_nor_password(folder):
    with Connection(path=folder) as connection:
        assert repr(connection) == "Connection(embedded)"
    with Connection(path=folder, prefix="acme", read_only=True) as connection:
        assert repr(connection) == "Connection(embedded, prefix='acme', read_only=True)"


def test_read_only_refuses_to_write(folder):
    with Connection(path=folder, read_only=True) as connection:
        with pytest.raises(ReadOnly, match="read_only=True"):
            connection.ensure_writable()
        assert connection.client().dbsize() == 0


def test_a_server_that_evicts_is_refused_until_it_is_told_not_to(tcp_server):
    url = f"redis://127.0.0.1:{tcp_server('--maxmemory-policy', 'allkeys-lru')}"
    with Connection(url, read_only=True):
        pass  # to read it is good enough
    with Connection(url) as connection:
        with pytest.raises(ServerRefused, match="CONFIG SET maxmemory-policy noeviction"):
            connection.ensure_writable()
        connection.client().config_set("maxmemory-policy", "noeviction")
        connection.ensure_writable()


def test_a_fit_server_is_asked_only_once(folder):
    with Connection(path=folder) as connection:
        connection.ensure_writable()
        asked = connection.client().info("commandstats")["cmdstat_info"]["calls"]
        connection.ensure_writable()
        assert connection.client().info("commandstats")["cmdstat_info"]["calls"] == asked + 1


def test_a_user_who_may_not_run_scripts_is_refused(tcp_server):
    port = tcp_server()
    allow(port, "+@all", "-@scripting")
    with (
        Connection(f"redis://joe:any@127.0.0.1:{port}") as connection,
        pytest.raises(ServerRefused, match=r"\+@scripting"),
    ):
        connection.ensure_writable()


def test_a_user_who_may_not_ask_for_the_settings_is_taken(tcp_server):
    port = tcp_server()
    allow(port, "+@all", "-info", "-config")
    with Connection(f"redis://joe:any@127.0.0.1:{port}") as connection:
        connection.ensure_writable()


def test_closing_calls_back_in_reverse_order_while_clients_work(folder, caplog):
    calls = []
    connection = Connection(path=folder)
    connection.on_close(lambda: calls.append("first added"))
    connection.on_close(lambda: 1 / 0)
    connection.on_close(lambda: calls.append(connection.client().ping()))
    connection.close()
    assert calls == [True, "first added"]
    assert "ZeroDivisionError" in caplog.text
    assert connection.closed


def test_closing_twice_is_closing_once(folder):
    calls = []
    connection = Connection(path=folder)
    connection.on_close(lambda: calls.append(1))
    connection.close()
    connection.close()
    assert calls == [1]
    with pytest.raises(OptionError, match="closed"):
        connection.client()


@pytest.mark.usefixtures("_fresh_default")
def test_the_default_is_made_at_first_use_and_again_after_closing(tmp_path, monkeypatch, watch):
    monkeypatch.chdir(tmp_path)
    first = current()
    assert current() is first
    first.close()
    second = current()
    assert second is not first
    assert second.client().ping()
    second.close()
    watch.gone(tmp_path / ".flownb")


@pytest.mark.usefixtures("_fresh_default")
def test_connect_sets_the_default_and_closes_the_old_one(tmp_path, watch):
    first = connect(path=tmp_path / "a" / ".flownb")
    second = connect(path=tmp_path / "b" / ".flownb", prefix="acme")
    assert first.closed
    assert current() is second
    second.close()
    for name in "ab":
        watch.gone(tmp_path / name / ".flownb")
    connect(path=tmp_path / "a" / ".flownb")


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (["redis://localhost:1"], ServerUnreachable, "no server at redis://localhost:1/0: start it"),
        (["localhost:6379"], ServerUnreachable, "does not begin with redis://"),
        (["redis://host", "x"], OptionError, "not both"),
        ([{"host": "localhost"}], OptionError, "pass a URL or a redis.Redis client"),
    ],
)
@pytest.mark.parametrize("has_default", [False, True])
@pytest.mark.usefixtures("_fresh_default")
def test_after_a_connect_that_failed_every_use_raises_what_it_said(
    tmp_path, monkeypatch, wrong, error, said, has_default
):
    monkeypatch.chdir(tmp_path)
    before = connect(path=tmp_path / "before" / ".flownb") if has_default else None
    queue = Queue("q") if has_default else None
    with pytest.raises(error, match=said):
        connect(wrong[0], path=wrong[1] if wrong[1:] else None)
    uses = [
        lambda: Queue("q").add("j"),
        lambda: fn.add({"name": "t", "queueName": "q"}),
        lambda: fn.fan_out([1], doubled),
        lambda: Worker("q", print).start(),
        lambda: fn.workers().start(),
        fn.flows,
        fn.doctor,
        lambda: fn.attach("x"),
    ]
    for use in uses:
        with pytest.raises(error, match=f"{said}.*; nothing is sent anywhere until a connect"):
            use()
    assert not (tmp_path / ".flownb").exists()
    if before is not None:
        assert queue.get_job_counts()["waiting"] == 0  # a handle of the old one goes on
        assert list(before.client().scan_iter("*:q:*")) == []
    now = connect(path=tmp_path / "after" / ".flownb")
    assert current() is now
    assert before is None or before.closed
    Queue("q").add("j")


@pytest.mark.usefixtures("_fresh_default")
def test_a_connect_that_was_interrupted_has_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def interrupt(address):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flownb.connection.address.knock", interrupt)
        with pytest.raises(KeyboardInterrupt):
            connect("redis://localhost:1")
    with pytest.raises(ServerError, match=r"^connect\(\) ended with KeyboardInterrupt; nothing is sent"):
        fn.flows()
    assert not (tmp_path / ".flownb").exists()
    connect(path=tmp_path / ".flownb")


@pytest.mark.parametrize(
    "write", [lambda c: Worker("q", print, connection=c).start(), lambda c: Queue("q", connection=c).pause()]
)
def test_a_read_only_replica_is_refused_before_anything_is_started_on_it(tcp_server, write):
    port = tcp_server("--replicaof", "127.0.0.1", "1")
    with Connection(f"redis://127.0.0.1:{port}") as connection:
        with pytest.raises(ServerRefused, match="read-only replica: connect to its primary"):
            write(connection)
        connection.client().config_set("replica-read-only", "no")
        connection.ensure_writable()
