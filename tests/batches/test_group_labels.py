"""Shows what the labels of groups are: values of their columns, with dtypes and names, in the order that was asked for."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def fan_out():
    @fn.task
    def square(n):
        return {"square": n * n}

    @fn.task
    def total(rows):
        return {"total": int(rows["square"].sum())}

    def run(rows, **how):
        return fn.fan_out(rows, square, into=total, **how)

    return run


@pytest.fixture
def totals(fan_out):
    def run(rows, **how):
        batch = fan_out(rows, **how)
        found = batch.result(timeout=60)
        pd.testing.assert_frame_equal(fn.attach(batch.name).result(timeout=60), found)
        return found

    return run


KEYS = {
    "times": pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-02", None]),
    "zoned": pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-02", None]).tz_localize("Europe/Paris"),
    "durations": pd.to_timedelta([2, 1, 2, None], unit="s"),
    "periods": pd.PeriodIndex(["2024-02", "2024-01", "2024-02", "NaT"], freq="M"),
    "intervals": pd.cut([2.5, 0.5, 2.5, float("nan")], [0, 1, 3]),
    "categories": pd.Categorical(["lo", "hi", "lo", None], categories=["lo", "none", "hi"], ordered=True),
    "nullable": pd.array([2, 1, 2, None], dtype="Int64"),
    "bools": [True, False, True, False],
    "dates": [date(2024, 1, 2), date(2024, 1, 1), date(2024, 1, 2), None],
    "decimals": [Decimal("1.10"), Decimal("0.5"), Decimal("1.10"), None],
    "mixed": ["a", 1, "a", None],
}


@pytest.mark.parametrize("kind", KEYS)
def test_groups_are_those_of_pandas_with_labels_order_and_dtype(totals, kind):
    frame = pd.DataFrame({"n": [1, 2, 3, 4], "k": KEYS[kind]})
    grouped = frame.groupby("k", dropna=False, observed=True)
    expected = grouped["n"].agg(lambda values: int((values**2).sum()))
    found = totals(grouped)
    pd.testing.assert_index_equal(found.index, expected.index, exact=True)
    assert found["total"].tolist() == expected.tolist()


def test_groups_stand_in_order_of_first_appearance_unless_they_are_to_be_sorted(totals):
    frame = pd.DataFrame({"n": [1, 2, 3], "k": ["b", "a", "b"], "day": KEYS["times"][:3]})
    assert totals(frame, by="k")["total"].to_dict() == {"b": 10, "a": 4}
    assert totals(frame, by="k").index.tolist() == ["b", "a"]
    assert totals(frame.groupby("k")).index.tolist() == ["a", "b"]
    assert totals(frame.groupby("k", sort=False)).index.tolist() == ["b", "a"]
    several = totals(frame.groupby(["k", "day"]))
    expected = frame.groupby(["k", "day"]).size()
    pd.testing.assert_index_equal(several.index, expected.index)
    assert several["total"].tolist() == [4, 10]


def test_a_column_named_by_a_number_can_be_grouped_by(totals):
    frame = pd.DataFrame({"n": [1, 2, 3], 0: [7, 8, 7]})
    for by in (0, [0], "0"):
        assert totals(frame, by=by)["total"].to_dict() == {7: 10, 8: 4}


def test_no_rows_make_no_groups_with_the_names_of_their_columns(totals):
    frame = pd.DataFrame({"n": [1], "k": ["a"], "day": KEYS["times"][:1]}).head(0)
    found = totals(frame, by="k")
    assert list(found) == ["total"]
    pd.testing.assert_index_equal(found.index, pd.Index(frame["k"]))
    assert totals(frame.groupby(["k", "day"])).index.names == ["k", "day"]


@pytest.mark.parametrize("value", [[1, 2], (1, 2), {"a": 1}], ids=["list", "tuple", "dict"])
@pytest.mark.parametrize("by", ["k", ["k"], ["n", "k"]], ids=str)
def test_what_is_no_single_value_is_no_group(redis, fan_out, value, by):
    before = redis.dbsize()
    frame = pd.DataFrame({"n": [1, 2], "k": [1, value]}, index=["x", "y"])
    with pytest.raises(fn.FlowError, match=r"row 'y', column 'k': a \w+ is no value to group by.*map\(str\)"):
        fan_out(frame, by=by)
    assert redis.dbsize() == before


def test_values_are_no_name_of_a_column(fan_out):
    frame = pd.DataFrame({"n": [1], "k": ["a"]})
    with pytest.raises(fn.FlowError, match="by: names of columns, not a Series of values"):
        fan_out(frame, by=frame["k"])
