"""A row that runs a batch of its own and waits for it: where the slots of such rows are all there are, it is told so."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

import flownb as fn
from flownb.api.waits_in_slots import stuck_among

LOOKS_SECONDS = 5  # in which several looks at who waits are made


@fn.task
def half(n):
    return n / 2


@fn.task
def halves(name):
    return fn.fan_out([2, 4], half, name=name).results(timeout=60)["half"].sum()


@fn.task
async def half_in_loop(n):
    return n / 2


@fn.task
async def halves_in_loop(name):
    found = fn.fan_out([2, 4], half_in_loop, name=name)
    await found
    return found.results()["half_in_loop"].sum()


@pytest.fixture(autouse=True)
def _known(connection):
    from flownb.tasks import registry

    for task in (half, halves, half_in_loop, halves_in_loop, patient):
        registry.register(task)


@pytest.mark.parametrize("task", [halves, halves_in_loop])
def test_rows_that_wait_for_each_others_slots_are_told_so_and_one_of_them_frees_the_others(task):
    with fn.workers(2):
        batch = fn.fan_out(["a", "b"], task, name="outer").wait(timeout=30)
    assert batch.failures["error"].tolist() == ["FlowStuck"]
    message = batch.failures["message"].iloc[0]
    assert "cannot end: its jobs wait for a slot, and all 2 slots of this process" in message
    assert "job.add_children([...])" in message
    assert batch.results(failed="drop")[task.name].tolist() == [3.0]
    with fn.workers(2):
        batch.retry()
        assert batch.results(timeout=30)[task.name].tolist() == [3.0, 3.0]


def test_with_a_slot_that_is_free_nobody_is_told_anything():
    with fn.workers(3):
        batch = fn.fan_out(["a", "b"], halves, name="outer")
        assert batch.results(timeout=30)["halves"].tolist() == [3.0, 3.0]


@fn.task
def patient(name):
    return fn.fan_out([2, 4], half, name=name).results(timeout=LOOKS_SECONDS)["half"].sum()


def test_where_another_programs_worker_serves_the_queue_too_it_may_be_busy_now(connection, until):
    pytest.importorskip("bullmq")
    from tests.support.bullmq_peer import Peer

    other, done = Peer(connection), threading.Event()
    try:
        other.work("half", lambda job: asyncio.to_thread(done.wait, 60))
        fn.Queue("half").add("busy")
        until(lambda: fn.Queue("half").get_job_counts()["active"] == 1)
        with fn.workers(2):
            batch = fn.fan_out(["a", "b"], patient, name="outer").wait(timeout=30)
            assert batch.failures["error"].tolist() == ["TimeoutError", "TimeoutError"]
            for name in ("a", "b"):
                fn.attach(name).cancel()
    finally:
        done.set()
        other.close()


# ---- which waits are in each other's way ------------------------------------------------------------------


class Stub(SimpleNamespace):
    """Like itself alone."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def lane(width):
    return Stub(width=width, bases=[])


def waits(lane, number):
    return [Stub(job=Stub(lane=lane, abandoned=False)) for _ in range(number)]


def test_waits_are_stuck_where_they_hold_all_slots_that_they_need():
    one, two = lane(2), lane(1)
    first, second, third = [*waits(one, 2), *waits(two, 1)]
    assert stuck_among({first: [one], second: [one]}) == {first, second}
    assert stuck_among({first: [one]}) == set(), "a slot is free"
    assert stuck_among({first: [one], second: None}) == set(), "one of them will end"
    assert stuck_among({first: [two], second: [two], third: [one]}) == {first, second, third}, "in a circle"
    assert stuck_among({first: [two], second: [two], third: None}) == set()
    assert stuck_among({first: [one, two], second: [one]}) == set(), "a further worker's slot is free"
    first.job.abandoned = True
    assert stuck_among({first: [one], second: [one]}) == set(), "its slot was given to another job"


def test_a_job_that_waits_for_two_flows_goes_on_with_either():
    one = lane(1)
    first = waits(one, 1)[0]
    both = [first, Stub(job=first.job)]
    assert stuck_among({both[0]: [one], both[1]: None}) == set()
    assert stuck_among({both[0]: [one], both[1]: [one]}) == set(both)
