"""Shows how long calls and waits take when the server is lost: on a half-open network, and while it is away."""

from __future__ import annotations

import threading
import time

import pytest

import flownb as fn
from tests.support.half_open_proxy import HalfOpenProxy

NO_TIMEOUT_SECONDS = 10.0  # that a call without a timeout may take
LATE_SECONDS = 4.0  # that a wait may outlive its timeout by: a tenth, where the machine has time for it


@pytest.fixture
def way(own_server):
    """Give a way to the server that may become half open."""
    proxy = HalfOpenProxy(own_server.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def far(way):
    """Give a connection over that way."""
    with fn.Connection(way.url) as connection:
        yield connection


@fn.task(queue="c")
def double(x):
    return 2 * x


def flow_and_batch(connection):
    flow = fn.add({"name": "t", "queueName": "t"}, connection=connection)
    batch = fn.fan_out([1, 2], double, name="b", connection=connection)
    flow.progress(), batch.progress()
    return flow, batch


def waits(flow, batch):
    return [
        lambda timeout: flow.wait(timeout=timeout),
        lambda timeout: flow.result(timeout=timeout),
        lambda timeout: batch.wait(timeout=timeout),
        lambda timeout: batch.results(timeout=timeout),
        lambda timeout: list(batch.as_completed(timeout=timeout)),
    ]


@pytest.mark.serial
def test_no_wait_outlives_its_timeout_on_a_half_open_network(far, way):
    flow, batch = flow_and_batch(far)
    way.swallows = True
    for timeout in (0, 1.5):
        for wait in waits(flow, batch):
            started = time.monotonic()
            with pytest.raises(TimeoutError, match=r"has not ended after .* the server does not answer"):
                wait(timeout)
            assert timeout <= time.monotonic() - started < timeout + LATE_SECONDS


@pytest.mark.serial
def test_no_wait_for_one_job_does_either(far, way):
    job = fn.Queue("c", connection=far).add("j")
    way.swallows = True
    for timeout in (0, 1.5):
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"has not ended after .* the server does not answer"):
            job.wait_until_finished(timeout)
        assert timeout <= time.monotonic() - started < timeout + LATE_SECONDS


@pytest.mark.serial
def test_no_call_takes_ten_seconds_on_a_half_open_network(far, way):
    flow, batch = flow_and_batch(far)
    queue = fn.Queue("c", connection=far)
    calls = [
        flow.progress,
        flow.jobs,
        flow.explain,
        flow.cancel,
        flow.wait,
        batch.results,
        lambda: next(batch.as_completed()),
        lambda: queue.add("j"),
        queue.get_job_counts,
        queue.get_workers,
        lambda: fn.flows(connection=far),
        lambda: fn.doctor(connection=far),
        lambda: fn.add({"name": "x", "queueName": "t"}, connection=far),
        lambda: fn.Connection(way.url),
    ]
    took = {}
    way.swallows = True

    def call(i):
        started = time.monotonic()
        try:
            calls[i]()
        except fn.ServerError as error:
            took[i] = time.monotonic() - started, str(error)

    threads = [threading.Thread(target=call, args=[i]) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(took) == list(range(len(calls)))
    assert max(seconds for seconds, _ in took.values()) < NO_TIMEOUT_SECONDS, took


@pytest.mark.serial
def test_a_connection_that_has_died_is_replaced_within_the_call(far, way):
    queue = fn.Queue("c", connection=far)
    queue.add("j", 1)
    way.swallows = True
    threading.Timer(1.0, setattr, [way, "swallows", False]).start()  # new connections work again
    started = time.monotonic()
    queue.add("j", 2)
    assert time.monotonic() - started < NO_TIMEOUT_SECONDS
    assert queue.get_job_counts()["waiting"] == 2


def test_a_wait_with_a_timeout_outlasts_the_servers_absence(own_server):
    with fn.Connection(own_server.url) as connection:
        flow, batch = flow_and_batch(connection)
        ends = []
        waiting = [
            threading.Thread(target=lambda wait=wait: ends.append(wait(60))) for wait in waits(flow, batch)
        ]
        for thread in waiting:
            thread.start()
        own_server.kill()
        waiting[0].join(8)  # longer than a call is sent again
        assert all(thread.is_alive() for thread in waiting)
        own_server.start()
        with fn.Worker(["t", "c"], lambda job: 7, connection=connection):
            for thread in waiting:
                thread.join(50)
        assert len(ends) == 5


def test_a_wait_that_ends_while_the_server_is_away_says_so(own_server):
    with fn.Connection(own_server.url) as connection:
        flow, batch = flow_and_batch(connection)
        own_server.kill()
        for handle in (flow, batch):
            started = time.monotonic()
            with pytest.raises(TimeoutError, match="has not ended after 1 s; the server does not answer"):
                handle.wait(timeout=1)
            assert time.monotonic() - started < 3
        own_server.start()
