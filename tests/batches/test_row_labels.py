"""Shows that a label given to `retry` or `debug` means the rows that ``df.loc`` finds."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

import flownb as fn
from flownb.batches.row_selection import chosen

pytestmark = pytest.mark.usefixtures("connection")

HOURS = pd.DatetimeIndex(["2024-01-01 08:00", "2024-01-02 08:00", "2024-01-02 20:00", "2024-02-01 08:00"])


@pytest.fixture
def failed():
    """A batch over an index, all of whose rows have failed and would now succeed."""
    mended = threading.Event()

    @fn.task
    def same(n):
        if not mended.is_set():
            raise ValueError(n)
        return n

    def run(index):
        batch = fn.fan_out(pd.DataFrame({"n": range(len(index))}, index=index), same).wait(timeout=20)
        mended.set()
        return batch

    return run


def rows_retried(batch, rows):
    batch.retry(rows=rows)
    return batch.results(timeout=20, failed="drop")["same"].tolist()


LEVELS = pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("a", 2)], names=["k", "n"])
FOUND = {
    "a day in a list": (HOURS.normalize(), ["2024-01-02"], [1, 2]),
    "a day": (HOURS, "2024-01-02", [1, 2]),
    "a day in a list of times of day": (HOURS, ["2024-01-02"], [1, 2]),
    "a month": (HOURS, "2024-01", [0, 1, 2]),
    "a time as text": (HOURS.tz_localize("UTC"), ["2024-01-02T08:00:00Z"], [1]),
    "a time": (HOURS, pd.Timestamp("2024-02-01 08:00"), [3]),
    "a period": (pd.period_range("2024-01", periods=3, freq="M"), "2024-02", [1]),
    "a duration": (pd.to_timedelta(["1h", "2h"]), ["2h"], [1]),
    "a point in an interval": (pd.IntervalIndex.from_breaks([0, 1, 2]), 1.5, [1]),
    "a level": (LEVELS, "a", [0, 2]),
    "a level in a list": (LEVELS, ["a"], [0, 2]),
    "a label of several levels": (LEVELS, ("a", 2), [2]),
    "a tuple on one level": (pd.Index([("a", 1), ("b", 2)], tupleize_cols=False), [("b", 2)], [1]),
    "a label that repeats": (pd.Index(["x", "y", "x"]), "x", [0, 2]),
    "a category": (pd.CategoricalIndex(["x", "y", "x"]), ["x"], [0, 2]),
    "a whole float": (pd.RangeIndex(3), [2.0], [2]),
    "bools that are labels": (pd.Index([True, False]), [False], [1]),
    "labels of another index": (pd.Index(["x", "y"]), pd.Index(["y"]), [1]),
}


@pytest.mark.parametrize("kind", FOUND)
def test_a_label_means_the_rows_that_loc_finds(kind):
    index, rows, expected = FOUND[kind]
    everything = range(len(index))
    table = pd.DataFrame({"error": "E", "kind": "E"}, index=index)
    assert chosen(table, everything, index, error=None, rows=rows) == expected


@pytest.mark.parametrize("kind", ["a day in a list", "a day", "a level", "a category"])
def test_the_rows_that_loc_finds_run_again(failed, kind):
    index, rows, expected = FOUND[kind]
    assert rows_retried(failed(index), rows) == expected


def test_a_day_whose_rows_are_done_has_not_failed(failed):
    batch = failed(HOURS)
    assert rows_retried(batch, "2024-01-02") == [1, 2]
    with pytest.raises(fn.FlowError, match="row '2024-01-02' has not failed"):
        batch.retry(rows="2024-01-02")
    assert rows_retried(batch, "2024-01") == [0, 1, 2]


def test_debug_finds_a_row_by_its_day(failed):
    assert failed(HOURS).debug("2024-02-01") == 3


def test_what_is_no_label_is_told_from_one(failed, capsys):
    batch = failed(pd.Index(["x", "y"]))
    mask = batch.failures["error"] == "ValueError"
    for rows in (mask, mask.tolist(), mask.to_numpy()):
        with pytest.raises(fn.FlowError, match=r"a boolean mask is no list of labels.*rows=df.index\[mask\]"):
            batch.retry(rows=rows)
    with pytest.raises(fn.FlowError, match=r"a DataFrame is no list of labels.*rows=frame.index"):
        batch.retry(rows=batch.failures)
    for rows in (["z"], [["x"]], 7, None.__class__, slice("x", "y")):
        with pytest.raises(fn.FlowError, match="there is no row"):
            batch.retry(rows=rows)
    capsys.readouterr()
    batch.retry(rows=[])
    assert capsys.readouterr().out.endswith(": no row is named, nothing runs again\n")
    assert len(batch.failures) == 2
    assert rows_retried(batch, batch.failures.index[mask]) == [0, 1]
