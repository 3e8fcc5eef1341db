"""Shows that a bad network between workers and server costs time and nothing else."""

from __future__ import annotations

import time

import pytest

import flownb as fn


@pytest.mark.parametrize("seed", [1, 2])
def test_requests_that_never_arrive_are_sent_again(scene, seed):
    way = scene.way(request_share=0.05, seed=seed)
    scene.add(300, 0.002)
    scene.worker(url=way.url, options={"lock_duration": 15})
    assert scene.check().again == 0
    assert way.dropped > 1
    assert scene.charged() == 0


def test_connections_that_are_killed_again_and_again_repeat_nothing(scene, ended, until):
    scene.add(400, 0.02)
    for _ in range(2):
        scene.worker(options={"lock_duration": 15})
    until(lambda: ended() > 20)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        scene.client.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.15)  # the fault's own rhythm
    assert scene.check().again == 0
    assert scene.charged() == 0


def test_a_worker_whose_way_swallows_everything_loses_its_jobs_to_another_and_then_works_on(
    scene, until, ended
):
    """No line is cut, so nobody is told: both sides have only their clocks."""
    way = scene.way()
    scene.add(40, 0.3)
    cut_off = scene.worker(url=way.url)
    until(lambda: scene.running() == 4)
    with way.swallows():
        begun = scene.begun()
        scene.worker()
        until(lambda: ended() >= 30, seconds=30)
        assert scene.begun() > begun
    until(lambda: ended() == 40, seconds=30)
    for flow in scene.work.flows:
        flow.wait(timeout=30)
    again = [run for of_key in scene.runs().values() for run in of_key[1:]]
    assert len(again) <= 4 + 4, "what ran behind the way, or had ended and could not be written"
    assert {run.process for run in again} != {cut_off.pid}
    assert scene.work.wrong_values() == []
    assert fn.doctor(connection=scene.connection).empty


def test_a_slow_way_repeats_nothing(scene):
    """A tenth of a second there and back, with a lease of one second."""
    way = scene.way(delay=0.05)
    scene.add(40, 0.05)
    scene.worker(url=way.url, options={"stalled_interval": 5})
    assert scene.check().again == 0
    assert scene.charged() == 0
