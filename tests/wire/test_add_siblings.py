"""add_siblings: jobs in which rows of a running job go on stand below each of its parents from the start on."""

from __future__ import annotations

import pytest

from flownb.errors import Cancelled, JobMissing
from flownb.wire.job_rows import FlowRecord, JobRow
from flownb.wire.store.job_records import Taken
from tests.support import invariants
from tests.support.script_bench import Bench, base, completed, key, node, parent

OLD, NEW = key("old", "roots"), key("new", "roots")
LATER = key("row-0-1-0", "later")


def add(bench: Bench, flow: str) -> None:
    """Add a flow of the row alone; the second one shares it."""
    record = FlowRecord(id=flow, fields={"name": flow, "root": key(flow, "roots")}, is_stored=True)
    nodes = parent(flow, queue="roots"), node("row", (key(flow, "roots"), "idof"))
    bench.add(*nodes, flow=flow, record=record)


def go_on(bench: Bench) -> int:
    job = JobRow(1, "row-0-1-0", "later", "{}", 1, 1)
    about = {"jobs": [job], "opts": "{}", "piece": 2_000_000_000, "packed": b"x"}
    return bench.store.jobs.add_siblings(base("later"), key("row"), **about)


@pytest.fixture
def row(bench: Bench) -> Taken:
    """A row of two flows that runs."""
    add(bench, "old")
    add(bench, "new")
    return bench.take_one()


def test_each_parent_waits_for_it_and_each_flow_counts_it(bench: Bench, row: Taken):
    assert go_on(bench) == 1

    for root, flow in (OLD, "old"), (NEW, "new"):
        assert LATER in bench.set(f"{root}:dependencies")
        assert bench.hash(f"bull:flownb:children:{root}")["2000000000"] == "x"
        assert bench.counts(flow)["later waiting"] == 1
    assert bench.hash(LATER)["fl"] == "old"
    bench.finish(completed(row), completed(bench.take_one("later")), queues=("q", "later"))
    assert bench.counts("old")["later completed"] == bench.counts("new")["later completed"] == 1
    assert invariants.violations(bench.redis) == []


def test_a_second_call_adds_nothing(bench: Bench, row: Taken):
    go_on(bench)
    before = bench.contents()

    assert go_on(bench) == 0
    assert bench.contents() == before


def test_it_is_not_held_for_a_paused_flow_while_another_one_needs_it(bench: Bench, row: Taken):
    bench.store.flows.pause(base("roots"), "old")
    go_on(bench)

    assert bench.take_one("later").record.key == LATER


def test_a_flow_that_was_cancelled_does_not_get_it(bench: Bench, row: Taken):
    bench.store.flows.cancel(base("roots"), "old")

    assert go_on(bench) == 1
    assert bench.hash(LATER)["fl"] == "new"
    assert bench.hash(LATER)["parentKey"] == NEW
    assert bench.take_one("later").record.key == LATER
    assert invariants.violations(bench.redis) == []


def test_a_row_that_no_flow_needs_goes_on_nowhere(bench: Bench, row: Taken):
    bench.store.flows.cancel(base("roots"), "old")
    bench.store.flows.cancel(base("roots"), "new")
    before = bench.contents()

    with pytest.raises(Cancelled):
        go_on(bench)
    assert bench.contents() == before


def test_without_a_parent_it_is_refused(bench: Bench):
    bench.add_plain("row")

    with pytest.raises(JobMissing):
        go_on(bench)


def test_the_rows_of_a_pilot_keep_their_pass(bench: Bench, row: Taken):
    bench.redis.hset("bull:flownb:pilot:old", key("row"), "1")
    go_on(bench)

    assert bench.hash("bull:flownb:pilot:old") == {key("row"): "1", LATER: "1"}
    assert not bench.hash("bull:flownb:pilot:new")


def test_a_job_that_was_set_aside_is_back_in_line_when_a_flow_that_goes_on_needs_it(bench: Bench):
    add(bench, "old")
    bench.store.flows.pause(base("roots"), "old")
    assert not bench.take("q")
    assert bench.list("bull:q:paused") == ["row"]
    add(bench, "new")

    assert bench.list("bull:q:paused") == []
    assert bench.take_one().record.key == key("row")
    assert invariants.violations(bench.redis) == []
