"""Shows that workers and waiters say so when the server has come back empty."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path

import pytest

import flownb as fn
from tests.support.server import OwnServer

SAID = "the server has lost its data"


@pytest.fixture
def forgetful():
    """Give a server that keeps no data."""
    with tempfile.TemporaryDirectory(prefix="flownb-forgets-") as folder:
        server = OwnServer(Path(folder), keeps_data=False)
        yield server
        server.kill()


def lose_by_restart(server, client):
    server.kill()
    server.start()


def lose_by_flush(server, client):
    client.flushall()


@pytest.mark.parametrize("lose", [lose_by_restart, lose_by_flush])
def test_workers_and_waiters_say_that_the_server_came_back_empty(forgetful, until, caplog, lose):
    with fn.Connection(forgetful.url) as connection:
        client = connection.client()
        flow = fn.add({"name": "t", "queueName": "t"}, connection=connection)
        said, waiting = [], threading.Event()

        def wait():
            waiting.set()
            with pytest.raises(fn.JobMissing) as error:
                flow.wait(timeout=30)
            said.append(str(error.value))

        with (
            caplog.at_level(logging.WARNING, "flownb.worker"),
            fn.Worker("q", lambda job: 1, connection=connection, stalled_interval=0.2),
        ):
            first = until(lambda: client.zscore("bull:flownb:served", "bull:q"))
            until(
                lambda: client.zscore("bull:flownb:served", "bull:q") > first
            )  # the worker has seen the first
            thread = threading.Thread(target=wait)
            thread.start()
            waiting.wait(10)
            lose(forgetful, client)
            thread.join(30)
            until(lambda: SAID in caplog.text)
            fn.Queue("q", connection=connection).add("j")  # and it goes on
            until(lambda: fn.Queue("q", connection=connection).get_job_counts()["completed"] == 1)
        assert (
            "the server holds no flow any more: this was its last one, or it came back without its data"
            in said[0]
        )
        assert caplog.text.count(SAID) == 1


def test_a_server_that_comes_back_with_its_data_has_lost_nothing(own_server, until, caplog):
    with (
        fn.Connection(own_server.url) as connection,
        caplog.at_level(logging.WARNING, "flownb.worker"),
        fn.Worker("q", lambda job: 1, connection=connection, stalled_interval=0.2),
    ):
        until(lambda: connection.client().zscore("bull:flownb:served", "bull:q"))
        own_server.kill()
        own_server.start()
        fn.Queue("q", connection=connection).add("j")
        until(lambda: fn.Queue("q", connection=connection).get_job_counts()["completed"] == 1)
        before = connection.client().zscore("bull:flownb:served", "bull:q")
        until(lambda: connection.client().zscore("bull:flownb:served", "bull:q") > before)
    assert SAID not in caplog.text
