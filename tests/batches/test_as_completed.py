"""Shows `as_completed()`: each row as it ends, once, with its label and its value or what went wrong."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def gates():
    """Make a task whose rows end when their gate is opened; a negative one fails."""
    may_end = {n: threading.Event() for n in range(-4, 4)}

    @fn.task
    def gated(n):
        assert may_end[n].wait(60)
        if n < 0:
            raise ValueError(f"{n} is below 0")
        return n * 10

    yield gated, may_end
    for gate in may_end.values():
        gate.set()


def test_rows_come_as_they_end_and_not_in_their_order(gates):
    gated, may_end = gates
    batch = fn.fan_out(pd.DataFrame({"n": [0, 1, 2, -3]}, index=list("abcd")), gated)
    pairs = batch.as_completed(timeout=60)
    may_end[2].set()
    assert next(pairs) == ("c", 20)
    may_end[-3].set()
    label, failure = next(pairs)
    assert (label, type(failure), str(failure)) == ("d", fn.FlowFailed, "ValueError: -3 is below 0")
    may_end[0].set()
    assert next(pairs) == ("a", 0)
    may_end[1].set()
    assert list(pairs) == [("b", 10)]


def test_rows_that_ended_before_come_too_also_in_another_kernels_handle(gates):
    gated, may_end = gates
    batch = fn.fan_out([0, 1], gated, name="b")
    may_end[0].set()
    assert next(batch.as_completed(timeout=60)) == (0, 0)
    may_end[1].set()
    assert dict(fn.attach("b").as_completed(timeout=60)) == {0: 0, 1: 10}
    assert dict(fn.attach("b").as_completed(timeout=60)) == {0: 0, 1: 10}


def test_it_ends_with_the_last_row_and_does_not_wait_for_what_stands_above():
    may_end = threading.Event()

    @fn.task
    def square(n):
        return n * n

    @fn.task
    def total(rows):
        assert may_end.wait(60)
        return int(rows["square"].sum())

    batch = fn.fan_out([1, 2, 3], square, into=total)
    assert sorted(batch.as_completed(timeout=60)) == [(0, 1), (1, 4), (2, 9)]
    assert batch.state != "completed"
    may_end.set()
    assert batch.result(timeout=60) == 14


def test_of_many_rows_in_groups_each_comes_once():
    @fn.task
    def square(n):
        return n * n

    @fn.task
    def per_group(rows):
        return len(rows)

    frame = pd.DataFrame({"n": range(1200), "group": [n % 7 for n in range(1200)]})
    batch = fn.fan_out(frame, square, by="group", into=per_group)
    assert sorted(batch.as_completed(timeout=120)) == [(n, n * n) for n in range(1200)]


def test_past_the_timeout_it_says_what_it_waits_for(gates):
    gated, _ = gates
    batch = fn.fan_out([1], gated)
    with pytest.raises(TimeoutError, match=r"has not ended after 0.3 s; .*running for"):
        list(batch.as_completed(timeout=0.3))
    with pytest.raises(fn.OptionError, match="timeout"):
        next(batch.as_completed(timeout="soon"))


def test_an_empty_batch_has_no_pairs(gates):
    assert list(fn.fan_out([], gates[0]).as_completed(timeout=20)) == []


def test_a_batch_that_is_removed_meanwhile_is_no_endless_wait(gates):
    gated, may_end = gates
    batch = fn.fan_out([0, 1], gated)
    pairs = batch.as_completed(timeout=60)
    may_end[0].set()
    assert next(pairs) == (0, 0)
    may_end[1].set()
    batch.wait(timeout=60).remove()
    with pytest.raises(fn.JobMissing, match="its data were removed"):
        list(pairs)
