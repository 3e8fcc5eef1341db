"""Shows which URLs and clients lead to a server, and that every way to fail is one line without the password."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
import redis

from flownb.connection import Connection
from flownb.connection.address import address_from_url
from flownb.errors import FlownbError, OptionError, ServerRefused, ServerUnreachable

SECRET = "s3cr%40t"  # as a URL spells s3cr@t


def failure_of(*arguments, **options):
    """The one line with which a connection fails."""
    with pytest.raises(FlownbError) as caught:
        Connection(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "s3cr" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def test_a_url_with_a_password_connects(tcp_server):
    port = tcp_server(password="s3cr@t")
    with Connection(f"redis://:{SECRET}@127.0.0.1:{port}/3") as connection:
        connection.client().set("a", b"\xff")
        assert connection.client().get("a") == b"\xff"
        assert not connection.embedded
        assert connection.path is None
        assert connection.client().client_info()["db"] == 3
        assert repr(connection) == f"Connection('redis://127.0.0.1:{port}/3')"


def test_the_password_may_come_from_the_environment(tcp_server, monkeypatch):
    port = tcp_server(password="s3cr@t")
    monkeypatch.setenv("FLOWNB_PASSWORD", "s3cr@t")
    with Connection(f"redis://127.0.0.1:{port}") as connection:
        assert connection.client().ping()


def test_flownb_url_is_the_default_and_redis_url_is_not(tcp_server, monkeypatch, tmp_path, watch):
    port = tcp_server()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}")
    with Connection() as connection:
        assert connection.embedded
    watch.gone(tmp_path / ".flownb")
    monkeypatch.setenv("FLOWNB_URL", f"redis://127.0.0.1:{port}")
    with Connection() as connection:
        assert repr(connection) == f"Connection('redis://127.0.0.1:{port}/0')"
    with Connection(path=tmp_path / ".flownb") as connection:
        assert connection.embedded
    watch.gone(tmp_path / ".flownb")


def test_a_unix_socket_is_a_url_too(folder):
    with Connection(path=folder) as embedded:
        address = embedded.address()
        url = f"unix://:{address['password']}@{address['unix_socket_path']}?db=2"
        with Connection(url) as connection:
            assert connection.client().client_info()["db"] == 2
            assert repr(connection) == "Connection('unix socket')"


def test_a_redis_client_gives_its_address_and_bytes_come_back(tcp_server):
    port = tcp_server(password="s3cr@t")
    with redis.Redis(port=port, password="s3cr@t", db=4, decode_responses=True) as given:
        with Connection(given) as connection:
            connection.client().set("a", "ä")
            assert connection.client().get("a") == "ä".encode()
        assert given.get("a") == "ä"  # flownb closed its own clients only


def test_the_address_takes_another_process_there(tcp_server, folder):
    port = tcp_server(password="s3cr@t")
    for connection in (Connection(f"redis://:{SECRET}@127.0.0.1:{port}/5"), Connection(path=folder)):
        with connection:
            connection.client().set("a", 1)
            address = json.loads(json.dumps(connection.address()))
            with Connection.client_from_address(address) as client:
                assert client.get("a") == b"1"


def test_each_client_waits_and_resends_as_its_use_wants(folder):
    with Connection(path=folder) as connection:
        assert connection.client() is connection.client()
        blocking, worker = connection.blocking_client(), connection.worker_client()
        assert blocking is not connection.blocking_client()
        for client in (blocking, worker):
            assert client.connection_pool.connection_kwargs["retry"].get_retries() == 0
            assert client.ping()
            client.close()
        assert connection.client().connection_pool.connection_kwargs["retry"].get_retries() > 0
        assert connection.client().connection_pool.connection_kwargs["socket_timeout"] < 10
        assert blocking.connection_pool.connection_kwargs["socket_timeout"] > 10


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        (f"http://user:{SECRET}@host", "does not begin with redis://"),
        (f"host:{SECRET}", "does not begin with redis://"),
        (f"redis://user:{SECRET}@host:99999", "no valid host and port"),
        (f"redis://user:{SECRET}@host:abc", "no valid host and port"),
        (f"redis://user:{SECRET}@host:0", "no valid host and port"),
        (f"redis://user:{SECRET}@", "names no host"),
        (f"redis://user:{SECRET}@host/x", "number of a database"),
        (f"redis://user:{SECRET}@host?db=x", "Invalid value for 'db'"),
        (f"redis://user:{SECRET}@host name", "white space"),
        (f"redis://user:{SECRET}@[::1", "no valid host and port"),
        ("unix://", "names no socket"),
        ("", "does not begin with redis://"),
    ],
)
def test_a_bad_url_is_told_without_its_password(url, hint, monkeypatch):
    error = failure_of(url)
    assert isinstance(error, ServerUnreachable)
    assert hint in str(error)
    assert str(error).startswith("the URL")
    if url:
        monkeypatch.setenv("FLOWNB_URL", url)
        assert str(failure_of()).startswith("FLOWNB_URL")


def test_an_ipv6_host_keeps_its_brackets():
    assert address_from_url("redis://[::1]:7000/1") == {"url": "redis://[::1]:7000/1"}


def test_no_server_is_told_with_the_place_to_look():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"redis://user:{SECRET}@127.0.0.1:{free.getsockname()[1]}/0"
        error = failure_of(url)
    assert isinstance(error, ServerUnreachable)
    assert str(error).startswith("no server at redis://127.0.0.1:")


def test_a_server_that_says_nothing_is_told_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        error = failure_of(f"redis://127.0.0.1:{silent.getsockname()[1]}")
    assert "did not answer" in str(error)
    assert time.monotonic() - began < 10


def test_a_wrong_and_a_missing_password_are_told(tcp_server):
    port = tcp_server(password="right")
    wrong = failure_of(f"redis://:{SECRET}@127.0.0.1:{port}")
    assert isinstance(wrong, ServerRefused)
    assert "refused the user name or password" in str(wrong)
    missing = failure_of(f"redis://127.0.0.1:{port}")
    assert isinstance(missing, ServerRefused)
    assert "set FLOWNB_PASSWORD" in str(missing)


def test_a_password_that_the_server_does_not_want_is_told(tcp_server):
    assert isinstance(failure_of(f"redis://joe:{SECRET}@127.0.0.1:{tcp_server()}"), ServerRefused)


def test_tls_to_a_server_without_it_is_told(tcp_server):
    error = failure_of(f"rediss://:{SECRET}@127.0.0.1:{tcp_server()}")
    assert isinstance(error, ServerUnreachable)
    assert "write redis://" in str(error)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_a_certificate_nobody_vouches_for_is_refused(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out certificate.pem"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake_hands() -> None:
            line, _ = listener.accept()
            with line, contextlib.suppress(OSError), context.wrap_socket(line, server_side=True):
                pass

        thread = threading.Thread(target=shake_hands)
        thread.start()
        error = failure_of(f"rediss://:{SECRET}@127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert isinstance(error, ServerUnreachable)
    assert "ssl_ca_certs=FILE" in str(error)


def test_a_database_that_is_not_there_is_told(tcp_server):
    assert "no database of that number" in str(failure_of(f"redis://127.0.0.1:{tcp_server()}/99"))


def test_a_user_who_may_nothing_is_told(tcp_server):
    port = tcp_server()
    with redis.Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", "joe", "on", ">s3cr@t", "~*", "-@all")
    error = failure_of(f"redis://joe:{SECRET}@127.0.0.1:{port}")
    assert isinstance(error, ServerRefused)
    assert "ACL SETUSER" in str(error)


@pytest.mark.parametrize("given", [5, object(), redis.asyncio.Redis()])
def test_what_is_no_url_and_no_client_is_refused(given):
    assert isinstance(failure_of(given), OptionError)


def test_a_url_and_a_path_together_are_refused(folder):
    assert isinstance(failure_of("redis://127.0.0.1", path=folder), OptionError)
