"""clear_jobs, promote_jobs, change_delay, change_priority, remove_child_dependency: done once, refused without a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flownb.errors import FlownbError, JobMissing, ParentMissing
from tests.support import invariants
from tests.support.script_bench import START, Bench, completed, key, node, parent


def sound(bench: Bench) -> None:
    assert [str(violation) for violation in invariants.violations(bench.redis)] == []


def flow(bench: Bench) -> None:
    bench.add(
        parent("top", queue="up"),
        node("a", (key("top", "up"), "fpof")),
        node("b", (key("top", "up"), "fpof"), delay=100),
        node("c", (key("top", "up"), "fpof"), priority=2),
    )


CALLS: dict[str, Callable[[Bench], Any]] = {
    "clear": lambda bench: bench.store.moves.clear("bull:q", "waiting", ["a", "gone"]),
    "promote": lambda bench: bench.store.moves.promote("bull:q", ["b", "a"]),
    "promote in bulk": lambda bench: bench.store.moves.promote("bull:q", ["b"], in_bulk=True),
    "delay": lambda bench: bench.store.moves.change_delay("bull:q", "b", 500),
    "priority": lambda bench: bench.store.moves.change_priority("bull:q", "c", 0, lifo=True),
    "cancel": lambda bench: bench.store.moves.cancel_job(key("a")),
    "dependency": lambda bench: bench.store.moves.remove_child_dependency(key("a"), key("top", "up")),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_call_that_arrives_twice_is_done_once(bench: Bench, what: str):
    flow(bench)

    CALLS[what](bench)
    before = bench.contents()
    CALLS[what](bench)

    assert bench.contents() == before
    sound(bench)


@pytest.mark.parametrize("what", CALLS)
def test_nothing_of_a_damaged_queue_moves(bench: Bench, what: str):
    flow(bench)
    bench.redis.set(key("failed"), "damaged")
    before = bench.dump()

    with pytest.raises(FlownbError, match="than it should"):
        CALLS[what](bench)

    assert bench.dump() == before


def test_cleared_jobs_leave_their_flow_and_the_last_one_releases_its_parent(bench: Bench):
    flow(bench)
    clear = bench.store.moves.clear

    assert clear("bull:q", "waiting", ["a"]).removed == ["a"]
    assert clear("bull:q", "delayed", ["b", "c"]).removed == ["b"]
    assert bench.state_of(key("top", "up")) == "waiting-children"
    assert clear("bull:q", "prioritized", ["c"]).removed == ["c"]

    assert bench.counts() == {"up waiting": 1}
    assert bench.redis.keys("bull:q:[abc]*") == []
    sound(bench)


def test_what_is_more_than_a_leaf_is_named_and_left_alone(bench: Bench):
    bench.add(parent("top"), node("a", (key("top"), "fpof")), node("b", (key("top"), "fpof")), flow="f")
    bench.add(node("root"), flow="g")
    before = bench.contents()

    cleared = bench.store.moves.clear("bull:q", "waiting", ["root"])
    assert cleared == ([], [key("root")], [])
    assert bench.contents() == before

    assert bench.store.moves.clear("bull:q", "waiting", ["a", "b"]) == (["a"], [], [key("top")])
    assert bench.set(key("top:dependencies")) == {key("b")}
    assert bench.store.moves.clear("bull:q", "waiting", ["b"], spared=key("top")).removed == ["b"]
    assert bench.state_of(key("top")) == "waiting"
    sound(bench)


def test_young_jobs_stay_and_the_time_that_counts_is_that_of_their_state(bench: Bench):
    bench.add_plain("old", "begun", "done")
    bench.wait(30)
    bench.take(want=2)
    bench.wait(10)
    clear = bench.store.moves.clear

    assert clear("bull:q", "waiting", ["done"], before=START - 1).removed == []
    assert clear("bull:q", "waiting", ["done"], before=START).removed == ["done"]
    bench.redis.delete(key("old:lock"), key("begun:lock"))
    assert clear("bull:q", "active", ["old", "begun"], before=START + 29).removed == []
    assert clear("bull:q", "active", ["old"], before=START + 30).removed == ["old"]


def test_a_running_job_stays_and_goes_with_its_queue_as_a_whole(bench: Bench):
    bench.add_plain("a")
    taken = bench.take_one()

    assert bench.store.moves.clear("bull:q", "active", ["a"]).removed == []
    assert bench.store.moves.clear("bull:q", "active", ["a"], whole=True).removed == ["a"]
    assert bench.finish(completed(taken)) == ["missing"]
    assert not bench.redis.exists(key("a"), key("a:lock"), key("active"))


def test_a_running_root_waits_again_when_its_queue_goes_and_its_run_counts_no_more(bench: Bench):
    bench.add(node("root"))
    taken = bench.take_one()

    assert bench.store.moves.clear("bull:q", "active", ["root"], whole=True).larger == [key("root")]

    assert bench.list(key("wait")) == ["root"]
    bench.redis.delete(key("root:lock"))
    assert bench.finish(completed(taken)) == ["stale"]
    assert bench.counts() == {"q waiting": 1}
    sound(bench)


def test_a_promoted_job_stands_by_its_priority_unless_many_are_promoted(bench: Bench):
    bench.add(node("a", delay=50, priority=3), flow="f")
    bench.add(node("b", delay=50, priority=3), flow="g")

    assert bench.store.moves.promote("bull:q", ["a"]) == 1
    assert bench.store.moves.promote("bull:q", ["b"], in_bulk=True) == 1

    assert (bench.state_of(key("a")), bench.state_of(key("b"))) == ("prioritized", "waiting")
    assert (bench.counts("f"), bench.counts("g")) == ({"q prioritized": 1}, {"q waiting": 1})
    assert bench.hash(key("a"))["delay"] == "0"
    sound(bench)


def test_a_changed_delay_is_told_and_wakes_in_time(bench: Bench):
    bench.add_plain("a", delay=5000)
    bench.wait(100)

    assert bench.store.moves.change_delay("bull:q", "a", 300)

    assert bench.events(last=1) == [("delayed", "a", str(START + 400))]
    assert bench.zset(key("marker"))["1"] == START + 400
    assert bench.take() == []
    bench.wait(300)
    assert bench.take_one().record.id == "a"


def test_a_changed_priority_moves_between_the_lines_and_the_counts_follow(bench: Bench):
    bench.add(node("a"), flow="f")
    bench.store.moves.change_priority("bull:q", "a", 3)
    assert bench.counts() == {"q prioritized": 1}
    assert bench.zset(key("prioritized")) == {"a": 3 * 2**32 + 1}
    assert bench.hash(key("a"))["priority"] == "3"

    bench.store.moves.change_priority("bull:q", "a", 0)
    assert bench.counts() == {"q waiting": 1}
    assert bench.hash(key("a"))["priority"] == "0"
    sound(bench)


def test_a_child_that_leaves_its_parent_is_a_job_of_its_own(bench: Bench):
    flow(bench)
    for id in ("b", "c"):
        bench.store.moves.remove_child_dependency(key(id), key("top", "up"))

    assert bench.store.moves.remove_child_dependency(key("a"), key("top", "up")) == (True, True)

    assert bench.counts() == {"up waiting": 1}
    assert not {"fl", "parentKey", "parent"} & bench.hash(key("a")).keys()
    assert bench.events("up", last=1) == [("waiting", "top", "waiting-children")]
    sound(bench)


def test_who_is_not_there_is_refused(bench: Bench):
    flow(bench)
    before = bench.dump()
    moves = bench.store.moves

    for call in (
        lambda: moves.change_delay("bull:q", "gone", 5),
        lambda: moves.change_priority("bull:q", "gone", 5),
        lambda: moves.remove_child_dependency(key("gone"), key("top", "up")),
        lambda: moves.cancel_job(key("gone")),
    ):
        with pytest.raises(JobMissing):
            call()
    with pytest.raises(ParentMissing):
        moves.remove_child_dependency(key("a"), key("gone"))
    assert bench.dump() == before


def test_a_child_that_has_ended_stays_its_parents(bench: Bench):
    flow(bench)
    bench.finish(completed(bench.take_one()))

    assert bench.store.moves.remove_child_dependency(key("a"), key("top", "up")) == (False, False)
    sound(bench)


def test_a_cancelled_job_fails_its_parent_and_a_running_one_is_told(bench: Bench):
    flow(bench)
    taken = bench.take_one()

    assert bench.store.moves.cancel_job(key("a")) == "active"
    assert bench.store.jobs.are_cancelled([key("a"), key("b")]) == [True, False]
    assert bench.store.moves.cancel_job(key("b")) == "delayed"

    assert bench.state_of(key("top", "up")) == "failed"
    assert bench.hash(key("top", "up"))["failedReason"] == f"child {key('b')} failed"
    assert bench.hash(key("b"))["why"] == "cancelled"
    assert bench.finish(completed(taken)) == ["done"]
    sound(bench)
