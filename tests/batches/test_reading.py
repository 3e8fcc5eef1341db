"""Shows what can be asked about the rows of a stored batch, row by row."""

from __future__ import annotations

import pandas as pd
import pytest

import flownb as fn
from flownb.batches.stored_rows import StoredRows

pytestmark = pytest.mark.usefixtures("connection")


def stored(batch):
    return StoredRows.below(batch._stored.store, batch._stored.root, batch._stored.spec)


FRAME = pd.DataFrame({"n": [4, 3, 8]}, index=["a", "b", "a"])


@pytest.fixture
def half(connection):
    @fn.task
    def half(n):
        if n % 2:
            raise ValueError(f"{n} is odd")
        return n // 2

    return half


@pytest.fixture
def batch(half):
    return fn.fan_out(FRAME, half, name="halves").wait(timeout=30)


def test_each_row_tells_its_end(batch):
    first, second, third = stored(batch).read()
    assert (first.state, first.value, first.error, first.attempts) == ("completed", "2", None, 1)
    assert (second.state, second.value, second.error) == ("failed", None, "ValueError: 3 is odd")
    assert third.value == "4"
    assert first.seconds >= 0


def test_inputs_and_tracebacks_come_when_they_are_asked_for(batch):
    rows = stored(batch)
    assert rows.read()[1].data == "{}"
    assert rows.read()[1].traceback is None
    [failed] = rows.read([1], inputs=True, traces=True)
    assert failed.data == '{"n":3}'
    assert "is odd" in failed.traceback


def test_values_and_labels_stand_in_the_rows_order_also_below_aggregates(half, batch):
    @fn.task
    def count(rows):
        return len(rows)

    frame = FRAME.assign(team=["x", "y", "x"])
    grouped = fn.fan_out(frame, half, name="teams", by="team", into=count).wait(timeout=30)
    for each in (batch, grouped):
        rows = stored(each)
        values = rows.values()
        assert values.there.tolist() == [True, False, True]
        assert values.frame(rows.index)["half"].tolist() == [2, pd.NA, 4]
        assert rows.index.equals(FRAME.index)


def test_a_row_whose_job_was_removed_says_so(batch, redis):
    redis.delete(stored(batch).key(0))
    assert stored(batch).read()[0].state == "removed"
