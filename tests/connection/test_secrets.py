"""Shows that a password is seen nowhere: not in a traceback with local variables, a repr, a warning, a log, or a message."""

from __future__ import annotations

import io
import logging
import socket
import sys
import warnings

import pytest
from rich.console import Console
from rich.traceback import Traceback

import flownb as fn


def secret():
    """The password; not a variable, for those of the test's own frames are shown too."""
    return "-".join(("s3cr3t", "w0rd"))


def shows_it(text):
    return secret() in text


def verbose(call):
    """The failure of a call as rich and IPython show it with all local variables."""
    try:
        call()
    except Exception as error:
        out = io.StringIO()
        trace = Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True, locals_max_string=10_000
        )
        Console(file=out, width=10_000).print(trace)
        from IPython.core.ultratb import VerboseTB

        shown = VerboseTB()
        return out.getvalue() + shown.text(*sys.exc_info())
    pytest.fail("it connected")


def url_of(kind):
    address = f"user:{secret()}@127.0.0.1"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "nobody there": f"redis://{address}:{port}/0",
        "no port": f"redis://{address}:abc/0",
        "no number": f"redis://{address}/x",
        "white space": f"redis://{address} name",
        "odd option": f"redis://{address}?db=x",
        "no socket": f"unix://:{secret()}@/nowhere/at/all",
    }[kind]


@pytest.mark.parametrize(
    "kind", ["nobody there", "no port", "no number", "white space", "odd option", "no socket"]
)
@pytest.mark.parametrize("connect", [fn.Connection, fn.connect])
def test_no_frame_of_a_failed_connection_holds_the_password(kind, connect, monkeypatch):
    given = [url_of(kind)]  # the caller's own variables are the caller's
    assert not shows_it(verbose(lambda: connect(given.pop())))
    monkeypatch.setenv("FLOWNB_URL", url_of(kind))
    assert not shows_it(verbose(connect))
    monkeypatch.delenv("FLOWNB_URL")
    fn.connection.connect.__globals__["_refusal"] = None


def test_a_refused_password_is_in_no_frame(tcp_server, monkeypatch):
    port = tcp_server(password="right")
    monkeypatch.setenv("FLOWNB_PASSWORD", secret())
    assert not shows_it(verbose(lambda: fn.Connection(f"redis://127.0.0.1:{port}")))


def test_what_is_shown_of_a_connection_is_without_its_password(tcp_server, caplog):
    port = tcp_server(password=secret())
    with (
        caplog.at_level(logging.DEBUG),
        warnings.catch_warnings(record=True) as warned,
        fn.Connection(f"redis://:{secret()}@127.0.0.1:{port}") as connection,
    ):
        warnings.simplefilter("always")
        flow = fn.add({"name": "n", "queueName": "q"}, connection=connection)
        shown = [
            repr(connection),
            str(connection),
            repr(flow),
            str(flow),
            repr(connection.client()),
            flow.to_html(),
        ]
        with fn.Worker("q", lambda job: 1, connection=connection) as worker:
            flow.wait(timeout=30)
            shown += [repr(worker), repr(flow._repr_mimebundle_())]
    assert not shows_it("".join([*shown, caplog.text, *(str(one.message) for one in warned)]))


HOSTILE = "odd\x1b]0;owned\x07\x1b[31m\u202e"


def test_names_and_errors_of_other_programs_do_not_steer_a_terminal(connection):
    def fail(job):
        raise ValueError(HOSTILE)

    flow = fn.add({"name": "n", "queueName": "q"}, name="report")
    with fn.Worker("q", fail):
        flow.wait(timeout=30)
    client = connection.client()
    client.hset(f"bull:q:{flow.job.id}", "name", HOSTILE)  # as another program might have
    (record,) = client.scan_iter("bull:flownb:flow:*")
    client.hset(record, "name", HOSTILE)
    flow = fn.attach(f"q:{flow.job.id}")
    for table in (fn.flows(), flow.jobs(), flow.timeline(), flow.explain(), fn.doctor("q")):
        text = table.to_string() + repr(table)
        assert all(c.isprintable() or c == "\n" for c in text)
    assert "odd\\x1b]0;owned" in fn.flows()["name"].iloc[0]


def test_errors_of_rows_do_not_steer_a_terminal(connection):
    @fn.task
    def odd(x):
        raise ValueError(HOSTILE)

    failures = fn.fan_out([1], odd).wait(timeout=30).failures
    assert all(c.isprintable() or c == "\n" for c in failures.to_string())
    assert "odd\\x1b]0;owned" in failures["message"].iloc[0]
    assert "\n" in failures["traceback"].iloc[0]
