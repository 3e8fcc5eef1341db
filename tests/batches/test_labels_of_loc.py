"""Shows that every label that ``df.loc`` finds names its rows, on any index of pandas, also after attach in another process."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flownb as fn
from flownb.batches.row_selection import positions_of
from tests.support.same_index import assert_index

LENGTH = 4
DAYS = pd.to_datetime(["2024-01-01 08:00", "2024-01-01 20:00", "2024-02-01", "2025-01-01"], format="ISO8601")
INDEXES = {
    "numbers from 0": pd.RangeIndex(LENGTH),
    "a range with steps": pd.RangeIndex(10, 50, 10, name="n"),
    "ints that repeat": pd.Index([3, 1, 3, 2]),
    "floats": pd.Index([0.5, 1.0, -1.0, 1e10]),
    "bools": pd.Index([True, False, True, False]),
    "text": pd.Index(["b", "a", "b", ""], name="key"),
    "objects": pd.Index(["b", 1, dt.date(2024, 1, 1), None], dtype=object),
    "nullable": pd.Index([1, None, 3, 1], dtype="Int64"),
    "Arrow": pd.Index(["b", "a", None, "b"], dtype="string[pyarrow]"),
    "times": DAYS,
    "times in reverse": DAYS[::-1],
    "zoned times": DAYS.tz_localize("Europe/Paris"),
    "durations": pd.to_timedelta([1, 2, 2, 3], unit="h"),
    "periods": pd.period_range("2024-01", periods=LENGTH, freq="M"),
    "categories": pd.CategoricalIndex(["b", "a", "b", "c"], categories=["a", "b", "c", "d"]),
    "intervals": pd.IntervalIndex.from_breaks([0, 1, 2, 3, 5]),
    "levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1), ("a", 1)], names=["k", "n"]),
    "levels with times": pd.MultiIndex.from_arrays([list("aabb"), DAYS], names=["k", "t"]),
    "tuples": pd.Index([("a", 1), ("b", 2), ("a", 1), ("c", 3)], tupleize_cols=False),
}
MORE = {
    "times": ["2024-01-01", "2024-01", "2024", dt.datetime(2024, 2, 1), np.datetime64("2025-01-01")],
    "times in reverse": ["2024-02-01", "2025"],
    "zoned times": ["2024-01-01", "2024-01-01 08:00", pd.Timestamp("2024-02-01", tz="Europe/Paris")],
    "durations": ["1h", dt.timedelta(hours=2)],
    "periods": ["2024-01", "2024"],
    "intervals": [0.5, 4, pd.Interval(1, 2)],
    "levels": ["a", ("a",), ("a", 1), "b"],
    "levels with times": ["b", ("a", "2024-01-01 08:00")],
    "ints that repeat": [3.0, np.int64(1), "3", 9],
    "floats": [1],
    "text": [np.str_("a"), "nobody", ["b", "a"]],
}


def found_by_loc(index, label):
    """The positions that ``df.loc[label]`` gives, None where it finds nothing or is no look-up of a label."""
    series = pd.Series(range(len(index)), index=index)
    try:
        found = series.loc[label]
    except (KeyError, TypeError, ValueError, pd.errors.InvalidIndexError, pd.errors.IndexingError):
        return None
    return sorted(np.atleast_1d(found).tolist())


CASES = [
    (kind, label)
    for kind, index in INDEXES.items()
    for label in [*index, *MORE.get(kind, [])]
    if not isinstance(label, list)
]


@pytest.mark.parametrize(("kind", "label"), CASES, ids=[f"{kind}: {label!r}" for kind, label in CASES])
def test_a_label_means_the_rows_that_loc_finds(kind, label):
    expected = found_by_loc(INDEXES[kind], label)
    if expected is None:
        if label not in INDEXES[kind]:  # loc takes a tuple in one level for a path into several
            with pytest.raises(fn.FlowError, match="there is no row"):
                positions_of(INDEXES[kind], label)
        return
    assert sorted(positions_of(INDEXES[kind], label)) == expected


FLAT = [
    st.lists(st.integers(-3, 3), max_size=6).map(lambda values: pd.Index(values, dtype="int64")),
    st.lists(st.sampled_from("abc"), max_size=6).map(lambda values: pd.Index(values, dtype="str")),
    st.lists(st.sampled_from([0.5, 1.0, 2.0]), max_size=6).map(
        lambda values: pd.Index(values, dtype="float64")
    ),
    st.lists(st.sampled_from(list(DAYS)), max_size=6).map(pd.DatetimeIndex),
    st.lists(st.sampled_from("abc"), max_size=6).map(
        lambda values: pd.CategoricalIndex(values, categories=list("abcd"))
    ),
    st.lists(st.none() | st.integers(0, 3), max_size=6).map(lambda values: pd.Index(values, dtype="Int64")),
]
LABELS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from("abcd"),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from(["2024-01-01", "2024-02"]),
    st.sampled_from(list(DAYS)),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(FLAT), LABELS)
def test_any_label_of_any_index_means_what_loc_finds(index, label):
    expected = found_by_loc(index, label)
    if expected:
        assert sorted(positions_of(index, label)) == expected
    else:
        with pytest.raises(fn.FlowError, match="there is no row"):
            positions_of(index, label)


ELSEWHERE = """
import json, sys
import flownb as fn
fn.connect(path=sys.argv[1])
batch = fn.attach("b")
print(json.dumps([[str(label) for label in batch.results().index], batch.results()["half"].isna().tolist()]))
"""


@pytest.mark.parametrize("kind", INDEXES)
def test_rows_on_any_index_come_back_and_are_retried_by_their_labels(connection, server_folder, kind):
    index = INDEXES[kind]
    mended = []

    @fn.task
    def half(n):
        if n == 2 and not mended:
            raise ValueError("not yet")
        return n / 2

    frame = pd.DataFrame({"n": range(LENGTH)}, index=index)
    batch = fn.fan_out(frame, half, name="b").wait(timeout=60)
    attached = fn.attach("b")
    for results in (batch.results(), attached.results()):
        assert_index(results.index, index)
        assert results["half"].isna().tolist() == [False, False, True, False]
    assert batch.results(failed="drop").index.equals(index[[0, 1, 3]])
    with pytest.raises(fn.FlowFailed, match="1 of 4 rows have no result: ValueError"):
        batch.results(failed="raise")
    if kind in ("times", "levels", "zoned times"):  # a process takes a second
        told = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, str(server_folder)], capture_output=True, text=True, check=True
        )
        labels, missing = json.loads(told.stdout.strip().splitlines()[-1])
        assert (labels, missing) == ([str(label) for label in index], [False, False, True, False])
    mended.append(True)
    assert attached.retry(rows=[index[2]]).results(timeout=60)["half"].tolist() == [0.0, 0.5, 1.0, 1.5]
