"""Shows that a listener outlives what goes wrong: in its functions, in the stream, on the server."""

from __future__ import annotations

import logging

import pytest

import flownb as fn
from tests.support.event_listeners import listening, threads


def test_what_a_function_raises_is_told_once_and_stops_nothing(until, caplog):
    caplog.set_level(logging.WARNING, logger="flownb.events")
    heard = []

    def broken(event):
        raise SystemExit("mine")

    events = fn.QueueEvents("q").on("added", broken).on("added", heard.append)
    with events:
        fn.Queue("q").add_bulk([{"name": "j"}] * 10)
        until(lambda: len(heard) == 10)
    assert [record.getMessage() for record in caplog.records] == [
        "a function for 'added' events failed with SystemExit; its next failures are not told"
    ]


def test_entries_nobody_can_read_are_told_as_they_are(redis, until, caplog):
    """One `completed` that holds no JSON ends BullMQ's own listener for good."""
    caplog.set_level(logging.WARNING, logger="flownb.events")
    deep = "[" * 100_000
    planted = [
        {"event": "completed", "jobId": "a", "returnvalue": "{broken", "prev": "active"},
        {"event": "progress", "jobId": "a", "data": "undefined"},
        {"event": "completed", "jobId": "b", "returnvalue": deep},
        {"event": "completed", "jobId": "c"},
        {"event": "delayed", "jobId": "a", "delay": "soon"},
        {"event": "delayed", "jobId": "a", "delay": "9" * 40},
        {"event": "cleaned", "count": "many"},
        {"event": "mine", "anything": b"\xff\x00"},
        {"no": "event"},
        {"event": "completed", "jobId": "d", "returnvalue": "1"},
    ]
    with fn.QueueEvents("q") as events:
        loop = iter(events)
        for fields in planted:
            redis.xadd("bull:q:events", fields)
        heard = [next(loop) for _ in planted]
    assert [event.data for event in heard] == [
        {"returnvalue": "{broken"},
        {"progress": "undefined"},
        {"returnvalue": deep},
        *({}, {}, {}),
        {"count": "many"},
        {"anything": "\udcff\x00"},
        {"no": "event"},
        {"returnvalue": 1},
    ]
    assert [event.delay for event in heard] == [None] * 10
    assert [event.name for event in heard][-3:] == ["mine", "", "completed"]
    assert len(caplog.records) == 1
    assert "holds no JSON" in caplog.text


def test_a_stream_that_is_trimmed_or_removed_goes_on(redis, until):
    heard = []
    with listening("q", heard):
        redis.xadd("bull:q:events", {"event": "paused"})
        until(lambda: len(heard) == 1)
        redis.xtrim("bull:q:events", maxlen=0, approximate=False)
        redis.xadd("bull:q:events", {"event": "resumed"})
        until(lambda: len(heard) == 2)
        until(
            lambda: redis.time()[1] // 1000 != int(heard[1].id.split("-")[0]) % 1000
        )  # ids of a ms start anew
        redis.delete("bull:q:events")
        redis.xadd("bull:q:events", {"event": "drained"})
        until(lambda: len(heard) == 3)
    assert [event.name for event in heard] == ["paused", "resumed", "drained"]


def test_a_server_that_dies_and_comes_back_is_listened_to_again(own_server, until, caplog):
    caplog.set_level(logging.WARNING, logger="flownb.events")
    heard = []
    with fn.Connection(own_server.url) as connection:
        queue = fn.Queue("q", connection=connection)
        with listening("q", heard, connection=connection) as events:
            first = queue.add("first")
            until(lambda: len(heard) == 2)
            own_server.kill()
            until(lambda: events._reader._failures >= 3)
            own_server.start()
            second = queue.add("second")  # perhaps before the listener is back
            until(lambda: len(heard) == 4)
        assert [event.job_id for event in heard] == [first.id] * 2 + [second.id] * 2
    assert len(caplog.records) == 1
    assert "the server does not answer" in caplog.text


def test_a_stream_that_is_behind_after_a_failover_is_gone_on_with(own_server, until):
    heard = []
    with (
        fn.Connection(own_server.url) as connection,
        listening("q", heard, connection=connection, last_event_id="0") as events,
    ):
        client = connection.client()
        client.xadd("bull:q:events", {"event": "paused"}, id="9999999999999-0")
        until(lambda: len(heard) == 1)
        client.delete("bull:q:events")
        client.xadd("bull:q:events", {"event": "cleaned", "count": "1"}, id="5-0")
        own_server.kill()
        own_server.start()
        until(lambda: events._reader._position == "5-0")
        client.xadd("bull:q:events", {"event": "resumed"}, id="6-0")
        until(lambda: len(heard) == 2)
    assert [event.name for event in heard] == ["paused", "resumed"]


def test_a_server_that_is_away_at_the_start_is_an_error_and_starts_nothing(own_server):
    with fn.Connection(own_server.url) as connection:
        own_server.kill()
        events = fn.QueueEvents("q", connection=connection)
        with pytest.raises(fn.ServerUnreachable):
            iter(events)
        assert not events.running
        assert not threads()
        own_server.start()
