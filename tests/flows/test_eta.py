"""Shows that the range of the time left is honest, and what it says before, during and after a flow."""

from __future__ import annotations

import math
import statistics
import threading
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import flownb as fn
from flownb.state.eta import estimate
from flownb.wire.records import FlowCounts
from flownb.wire.store.throughput import Throughput
from tests.support.simulated_flows import KINDS, Simulated

BATCHES = range(100)


@cache
def ranges(share):
    """Return, for each simulated batch, the range after this share of it and the time it still took."""
    found = []
    for seed in BATCHES:
        batch = Simulated(seed)
        moment = batch.after(share)
        found.append((*(estimate(*batch.told(moment)).left or (-1, -1)), batch.took - moment.at))
    return found


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97])
def test_the_true_end_lies_in_the_range_at_least_80_times_in_100(share):
    assert sum(low <= left <= high for low, high, left in ranges(share)) >= 80


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_batch_is_left_to_luck(kind):
    inside = [
        low <= left <= high
        for share in (0.05, 0.25, 0.5, 0.75, 0.9)
        for seed, (low, high, left) in zip(BATCHES, ranges(share), strict=True)
        if KINDS[seed % len(KINDS)] == kind
    ]
    assert sum(inside) >= 0.7 * len(inside)


@pytest.mark.parametrize(("share", "widest"), [(0.05, 4.5), (0.5, 3)])
def test_the_range_is_narrow_enough_to_be_of_use(share, widest):
    assert statistics.median(high / low for low, high, _ in ranges(share)) <= widest


def at(*told, **more):
    """Return the range of `estimate_at`."""
    return estimate_at(*told, **more).left


def estimate_at(ended, left, *, active=0, every=1.0, ago=0.0, run=1.0, extra=(), paused=False):
    """Return the estimate when jobs of one queue ended so often, the last of them so long ago."""
    ends = [ago + every * n for n in range(ended)][::-1]
    states = {"completed": ended, "active": active, "waiting": left - active}
    pace = Throughput(ended=ended, ends=[*extra, *ends], runs=[run] * ended, due=0)
    return estimate(FlowCounts(by_stage={"rows": states}, paused=paused), {"rows": pace})


def test_of_a_paused_flow_it_is_what_is_left_once_it_goes_on_however_long_ago_it_was_paused():
    assert at(20, 100, ago=3600.0) is None
    assert at(20, 100, ago=3600.0, paused=True) == at(20, 100, paused=True)
    low, high = at(20, 100, paused=True)
    assert low < 100 < high < 300


def test_nothing_is_claimed_before_two_jobs_have_ended():
    assert at(0, 10, active=1) is None
    assert at(1, 10, active=1) is None
    assert at(2, 10, active=1) is not None


def test_rows_that_began_together_and_end_together_are_no_faster_than_their_runs_are_long():
    assert 70 < estimate_at(4, 100, active=4, every=0.0004, run=0.05).rate("rows") <= 80
    shared = Throughput(ended=4, ends=[0.003, 0.002, 0.001, 0.0], runs=[0.5] * 4, due=0)
    counts = FlowCounts(by_stage={"rows": {"completed": 40, "active": 40, "waiting": 60}})
    assert 70 < estimate(counts, {"rows": shared.of_rows(10)}).rate("rows") <= 80


def test_nothing_is_claimed_while_nobody_works():
    assert at(20, 10, ago=3) is not None
    assert at(20, 10, ago=3600) is None
    assert at(20, 10, ago=3600, active=1) is not None


def test_a_night_without_workers_does_not_count():
    low, high = at(20, 20, active=1, extra=[12 * 3600.0])
    assert 10 < low < 20 < high < 40


@given(
    ends=st.lists(st.integers(0, 5_000) | st.integers(0, 3), max_size=30),
    runs=st.lists(st.integers(0, 100), max_size=5),
    left=st.integers(0, 3),
)
@example(ends=[900, 3, 3, 3], runs=[1], left=2)  # a long pause, then all in one millisecond
def test_whenever_jobs_ended_the_range_is_a_range_or_none_is_told(ends, runs, left):
    rows = Throughput(
        ended=len(ends),
        ends=[end / 1000 for end in sorted(ends)[::-1]],
        runs=[run / 1000 for run in runs],
        due=0,
    )
    counts = FlowCounts(by_stage={"rows": {"completed": len(ends), "active": left, "waiting": left}})
    found = estimate(counts, {"rows": rows}).left
    assert found is None or 0 <= found[0] <= found[1] < math.inf


def test_a_job_that_hangs_widens_the_range():
    assert at(20, 1, active=1, ago=600)[1] > 600


def test_where_all_that_runs_hangs_the_range_is_narrow_all_the_same_and_there_is_no_rate():
    found = estimate_at(900, 100, active=4, every=0.01, run=0.03, ago=30)
    assert found.rate("rows") == 0
    assert 0 < found.left[1] <= 5 * found.left[0]


def test_what_stands_still_for_long_at_its_pace_says_since_when():
    assert estimate_at(20, 10, active=1, ago=7).stopped is None  # 3 runs and 5 times the pace are 8 s
    assert estimate_at(20, 10, active=1, ago=9).stopped == -9_000
    assert estimate_at(20, 10, ago=9).stopped == -9_000
    assert estimate_at(900, 10, active=1, every=0.001, run=0.01, ago=4).stopped is None  # no blink of an eye
    assert estimate_at(20, 10, active=1, ago=3600, paused=True).stopped is None
    assert estimate_at(1, 10, active=1, ago=3600).stopped is None  # nobody knows its pace
    assert estimate_at(20, 0, ago=3600).stopped is None  # all has ended


def test_where_many_rows_end_at_once_these_are_one_end():
    jobs = Throughput(ended=5, ends=[60.0, 50.0, 40.0, 30.0, 20.0], runs=[10.0] * 5, due=0)
    counts = FlowCounts(by_stage={"rows": {"completed": 500, "active": 100, "waiting": 400}})
    assert estimate(counts, {"rows": jobs.of_rows(100)}).stopped is None
    assert estimate(counts, {"rows": jobs}).stopped is None
    later = Throughput(ended=5, ends=[140.0, 130.0, 120.0, 110.0, 100.0], runs=[10.0] * 5, due=0)
    assert estimate(counts, {"rows": later.of_rows(100)}).stopped == -100_000


@given(ended=st.integers(3, 300), left=st.integers(1, 1000), every=st.floats(0.01, 5))
def test_what_is_left_divided_by_the_rate_lies_in_the_range(ended, left, every):
    found = estimate_at(ended, left, active=1, every=every, run=every)
    low, high = found.left
    assert low <= left / found.rate("rows") <= high
    assert found.rate(None) == found.rate("rows")


def test_a_running_flow_tells_a_range_also_to_a_handle_that_was_not_there(until):
    may_go_on = threading.Semaphore(0)

    def work(job):
        assert may_go_on.acquire(timeout=60)

    rows = [{"name": f"row-{n}", "queueName": "rows", "data": {"n": n}} for n in range(20)]
    flow = fn.add({"name": "sum", "queueName": "sums", "children": rows}, name="timed")
    assert flow.progress().eta is None
    with fn.Worker("rows", work), fn.Worker("sums", lambda job: None):
        for n in range(10):
            may_go_on.release()
            until(lambda n=n: flow.progress().completed > n)
        low, high = flow.progress().eta
        assert 0 <= low < high
        other = fn.attach("timed").progress()
        assert 0 <= other.eta[0] < other.eta[1]
        may_go_on.release(10)
        flow.wait(timeout=60)
    assert flow.progress().eta == (0.0, 0.0)
    assert other.eta is other.eta  # it belongs to the moment of the counts


def test_jobs_that_failed_tell_the_pace_too(until):
    rows = [
        {"name": f"row-{n}", "queueName": "rows", "data": {"n": n}, "opts": {"failParentOnFailure": False}}
        for n in range(12)
    ]
    flow = fn.add({"name": "sum", "queueName": "sums", "children": rows})
    may_go_on = threading.Event()

    def work(job):
        assert job.data["n"] < 8 or may_go_on.wait(60)
        raise ValueError(job.data["n"])

    with fn.Worker("rows", work):
        until(lambda: flow.progress().failed == 8)
        assert flow.progress().eta is not None
        may_go_on.set()
