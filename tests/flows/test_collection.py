"""Shows that planning many jobs lets Python's garbage collector rest, and leaves it as it was."""

from __future__ import annotations

import gc
import threading

import pytest

from flownb.adding.collection import NoCollection
from flownb.adding.plan import plan
from flownb.errors import FlowError

CHILDREN = 10_000


def tree() -> dict:
    children = [{"name": "c", "queueName": "cs", "data": {"index": i}} for i in range(CHILDREN)]
    return {"name": "top", "queueName": "tops", "children": children}


@pytest.fixture
def collections():
    """List the generations of the collections that this thread sets off."""
    found: list[int] = []
    mine = threading.get_ident()

    def note(phase: str, about: dict[str, int]) -> None:
        if phase == "start" and threading.get_ident() == mine:
            found.append(about["generation"])

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


def test_a_large_plan_is_made_without_a_collection(collections):
    many = tree()
    collections.clear()

    made = plan(many, prefix="bull")

    assert collections == []
    assert len(made.jobs) == CHILDREN + 1
    assert gc.isenabled()
    kept = [[] for _ in range(2 * gc.get_threshold()[0])]
    assert collections, "it goes on afterwards"
    assert len(kept) > 0


def test_a_refused_tree_leaves_the_collector_on():
    with pytest.raises(FlowError):
        plan({"name": "top"}, prefix="bull")

    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        plan(tree(), prefix="bull")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_program_has_frozen_stays_frozen():
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        plan(tree(), prefix="bull")
        assert gc.get_freeze_count() >= frozen * 0.9  # some of it was freed
    finally:
        gc.unfreeze()


def test_the_last_of_several_threads_lets_it_collect_again():
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with NoCollection():
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=stay)
    other.start()
    assert entered.wait(60)
    with NoCollection():
        pass
    is_collecting = gc.isenabled()
    leave.set()
    other.join()

    assert not is_collecting
    assert gc.isenabled()
