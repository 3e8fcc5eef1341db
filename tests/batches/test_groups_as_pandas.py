"""Shows that rows are grouped as pandas groups them, whatever it can group by, or refused by name before anything is written."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import flownb as fn
from tests.support.same_index import assert_index

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def as_pandas():
    """Compare what `fan_out` makes of groups with what pandas has, in this kernel and after attach."""

    @fn.task
    def double(n):
        return {"double": 2 * n}

    @fn.task
    def doubles(rows):
        return {"doubles": rows["double"].tolist()}

    def compare(rows, grouped, **how):
        batch = fn.fan_out(rows, double, into=doubles, rows_per_job=1, **how)
        found = batch.result(timeout=60)
        sizes = rows.size() if hasattr(rows, "ngroups") else grouped.size()
        if isinstance(sizes, pd.DataFrame):  # as_index=False
            sizes = sizes.set_index(list(sizes.columns[:-1]))["size"]
        labels = sizes.index
        assert found.index.names == labels.names
        for level in range(labels.nlevels):
            assert_index(found.index.get_level_values(level), labels.get_level_values(level))
        of_labels = {
            repr(label): part["n"] if isinstance(part, pd.DataFrame) else part for label, part in grouped
        }
        parts = list(of_labels.values())
        if len(parts) < len(labels):  # of several keys pandas 2 leaves out those without rows here
            parts = [of_labels.get(repr(label), []) for label in labels]
        assert found["doubles"].tolist() == [[2 * n for n in part] for part in parts]
        pd.testing.assert_frame_equal(fn.attach(batch.name).result(timeout=60), found)
        return found

    return compare


TIMES = st.sampled_from(
    list(pd.to_datetime(["2024-01-01 08:00", "2024-01-01 23:59:59.5", "2024-01-03", None], format="ISO8601"))
)
VALUES = {
    "str": st.sampled_from(["b", "a", "é", "", None]),
    "object": st.sampled_from(["b", 1, 1.0, True, None, float("nan")]),
    "int64": st.integers(-2, 2),
    "float64": st.sampled_from([0.0, -0.0, 1.5, float("nan"), -1e300]),
    "bool": st.booleans(),
    "Int64": st.none() | st.integers(0, 2),
    "Float64": st.none() | st.sampled_from([0.5, 1.5]),
    "boolean": st.none() | st.booleans(),
    "category": st.none() | st.sampled_from("ab"),
    "int64[pyarrow]": st.none() | st.integers(0, 2),
    "string[pyarrow]": st.none() | st.sampled_from("ab"),
    "datetime64[ns]": TIMES,
    "datetime64[us, Europe/Paris]": TIMES,
    "timedelta64[ns]": st.sampled_from(list(pd.to_timedelta([0, 1, None], unit="h"))),
    "period[M]": st.sampled_from(list(pd.PeriodIndex(["2024-02", "2024-01", "NaT"], freq="M"))),
    "dates": st.none() | st.dates(dt.date(2024, 1, 1), dt.date(2024, 1, 3)),
    "decimals": st.none() | st.sampled_from([Decimal("0.5"), Decimal("1.10")]),
    "intervals": st.sampled_from(list(pd.cut([0.5, 2.5, float("nan")], [0, 1, 3]))),
}


def column_of(values, dtype):
    if dtype == "category":
        return pd.Series(pd.Categorical(values, categories=["none", "b", "a"], ordered=True))
    if dtype == "intervals":
        return pd.Series(pd.arrays.IntervalArray(values))
    if dtype.startswith("datetime") and "," in dtype:
        return pd.Series(pd.DatetimeIndex(values).tz_localize("UTC").tz_convert("Europe/Paris").as_unit("us"))
    return pd.Series(values, dtype="object" if dtype in ("dates", "decimals") else dtype)


@st.composite
def frames(draw):
    """Few rows with the columns n, k and j to group by, and a time t; labels that repeat."""
    length = draw(st.integers(0, 6))

    def some(of):
        return draw(st.lists(of, min_size=length, max_size=length))

    columns = {"n": pd.Series(range(length), dtype="int64")}
    for name in "kj":
        dtype = draw(st.sampled_from(sorted(VALUES)))
        columns[name] = column_of(some(VALUES[dtype]), dtype)
        note(f"{name}: {dtype}")
    columns["t"] = pd.Series(some(TIMES), dtype="datetime64[ns]")
    frame = pd.DataFrame(columns)
    return frame.set_axis(pd.Index(some(st.sampled_from("pq")), name="label", dtype=object))


KEYS = {
    "a column": lambda frame: "k",
    "a list of one": lambda frame: ["k"],
    "two columns": lambda frame: ["k", "j"],
    "a Series": lambda frame: frame["k"],
    "a Series of another name": lambda frame: frame["k"].rename("other"),
    "an expression": lambda frame: frame["n"] % 2,
    "two expressions": lambda frame: [frame["n"] % 2, frame["n"] % 3],
    "values": lambda frame: np.array(frame["n"] % 2),
    "a function of labels": lambda frame: lambda label: label < "q",
    "a dict of labels": lambda frame: {"p": "one"},
    "bins": lambda frame: pd.cut(frame["n"], [-1, 1, 3, 99]),
    "bins with names": lambda frame: pd.cut(frame["n"], [-1, 1, 3, 99], labels=["lo", "mid", "hi"]),
    "a Grouper of a column": lambda frame: pd.Grouper(key="k"),
    "days": lambda frame: pd.Grouper(key="t", freq="D"),
    "a column and days": lambda frame: ["k", pd.Grouper(key="t", freq="D")],
    "dates of times": lambda frame: frame["t"].dt.date,
    "hours of times": lambda frame: [frame["t"].dt.floor("h"), "k"],
    "a level": lambda frame: pd.Grouper(level="label"),
    "a level's name": lambda frame: ["label", "k"],
}
FLAGS = st.fixed_dictionaries(
    {"sort": st.booleans(), "observed": st.booleans(), "dropna": st.booleans(), "as_index": st.booleans()}
)
PATIENT = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PATIENT
@given(frames(), st.sampled_from(sorted(KEYS)), FLAGS, st.sampled_from(["frame", "columns", "series"]))
def test_groups_of_a_groupby_are_those_of_pandas(as_pandas, frame, key, flags, chosen):
    note(f"{key}: {flags}")
    try:
        grouped = frame.groupby(KEYS[key](frame), **flags)
        labelled = (
            grouped if flags["as_index"] else frame.groupby(KEYS[key](frame), **flags | {"as_index": True})
        )
        sizes, _ = labelled.size(), grouped.size()
    except (TypeError, ValueError, NotImplementedError):
        return  # pandas itself cannot
    assert len(sizes) == sum(1 for _ in labelled) or pd.__version__ < "3"  # 2 leaves groups without rows out
    narrow = {"frame": lambda g: g, "columns": lambda g: g[["n"]], "series": lambda g: g["n"]}[chosen]
    try:
        rows = narrow(grouped)
    except ValueError:  # as_index=False of one column
        rows = grouped
    as_pandas(rows, labelled)


@PATIENT
@given(frames(), st.sampled_from(["k", ["k"], ["k", "j"], ["t", "k"], "label", ["label", "k"]]))
def test_groups_of_by_are_those_of_pandas_in_order_of_first_appearance(as_pandas, frame, by):
    grouped = frame.groupby(by, sort=False, dropna=False, observed=True)
    as_pandas(frame, grouped, by=by)


DAYS = pd.DataFrame(
    {
        "n": [1, 2, 3, 4],
        "day": pd.to_datetime(["2024-01-01 08:00", "2024-01-01 09:00", "2024-01-04 08:00", None]),
        "size": pd.Categorical(["s", "l", "s", None], categories=["s", "m", "l"]),
    }
)


def test_groups_without_rows_are_there_with_the_columns_of_the_others(as_pandas):
    days = as_pandas(*[DAYS.groupby(pd.Grouper(key="day", freq="D"))] * 2)
    assert days["doubles"].tolist() == [[2, 4], [], [], [6]]
    sizes = as_pandas(*[DAYS.groupby(["size", "day"], observed=False)] * 2)
    assert len(sizes) == 9
    assert sizes["doubles"].map(len).sum() == 3
    assert as_pandas(*[DAYS.head(0).groupby("size", observed=False)] * 2)["doubles"].tolist() == [[], [], []]


def test_a_task_above_groups_sees_those_without_rows_too():
    @fn.task
    def half(n):
        return {"half": n / 2}

    @fn.task
    def total(rows, day):
        return {"total": float(rows["half"].sum()), "day": day}

    @fn.task
    def mean(days):
        return [days["total"].mean(), days["day"].tolist()]

    grouped = DAYS.groupby(pd.Grouper(key="day", freq="D"))
    value = fn.fan_out(grouped, half, into=[total, mean], name="days").result(timeout=60)
    assert value == [(grouped["n"].sum() / 2).mean(), [f"2024-01-0{day}T00:00:00" for day in (1, 2, 3, 4)]]
    assert fn.attach("days").progress().total == 3 + 4 + 1
    assert fn.attach("days").retry().result(timeout=60) == value


def test_groups_by_a_derived_key_keep_the_column_of_that_name():
    @fn.task
    def seen(n, day):
        return str(day)

    @fn.task
    def both(rows, day):
        return f"{day}: {', '.join(rows['seen'])}"

    grouped = DAYS.dropna().groupby(DAYS["day"].dt.date)
    found = fn.fan_out(grouped, seen, into=both).result(timeout=60)
    assert found["both"].tolist() == [
        "2024-01-01: 2024-01-01T08:00:00, 2024-01-01T09:00:00",
        "2024-01-04: 2024-01-04T08:00:00",
    ]


def test_keys_without_a_name_fill_the_parameters_that_reset_index_names():
    @fn.task
    def same(n):
        return n

    @fn.task
    def one(rows, index):
        return f"{index}: {len(rows)}"

    @fn.task
    def two(rows, level_0, level_1):
        return f"{level_0} {level_1}: {len(rows)}"

    frame = DAYS[["n"]]
    found = fn.fan_out(frame.groupby(lambda label: label % 2), same, into=one).result(timeout=60)
    assert found["one"].to_dict() == {0: "0: 2", 1: "1: 2"}
    assert found.index.name is None
    values = [np.array([1, 1, 2, 2]), np.array(list("abab"))]
    found = fn.fan_out(frame.groupby(values), same, into=two).result(timeout=60)
    assert found["two"].tolist() == ["1 a: 1", "1 b: 1", "2 a: 1", "2 b: 1"]


REFUSED = {
    "resampled": (lambda: DAYS.dropna().resample("D", on="day"), r"group by time: df.groupby\(pd.Grouper"),
    "rolling": (lambda: DAYS.rolling(2), "the windows of a Rolling share rows"),
    "expanding groups": (
        lambda: DAYS.groupby("size").expanding(),
        "the windows of a ExpandingGroup[bB]y share",
    ),
    "weighted": (lambda: DAYS[["n"]].ewm(com=1), "the windows of a ExponentialMovingWindow share rows"),
    "too many groups": (
        lambda: DAYS.groupby(pd.Grouper(key="day", freq="s")),
        "259,198 of the 259,201 groups have no rows, more than the 10,000",
    ),
    "infinite labels": (
        lambda: DAYS.assign(f=[np.inf, 1, 1, 1]).groupby("f"),
        "row 0, column 'f': inf is no number in JSON",
    ),
    "bytes": (lambda: DAYS.assign(b=[b"x"] * 4).groupby("b"), "row 0, column 'b': bytes do not travel"),
    "tuples": (
        lambda: DAYS.assign(p=pd.Series([(1, 2)] * 4)).groupby("p"),
        r"row 0, column 'p': a \w+ is no value to group by",
    ),
    "grouped twice": (lambda: DAYS.groupby("size"), "the rows are grouped already"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_grouped_is_refused_by_name_before_anything_is_written(redis, as_pandas, kind):
    make, why = REFUSED[kind]
    with pytest.raises(fn.FlowError, match=why):
        as_pandas(make(), None, **({"by": "n"} if kind == "grouped twice" else {}))
    assert redis.dbsize() == 0


@pytest.mark.parametrize(
    "by", [lambda label: label, pd.Grouper(key="day"), {"a": 1}, DAYS["n"], [DAYS["n"] % 2]], ids=type
)
def test_what_is_no_name_belongs_into_groupby(redis, as_pandas, by):
    with pytest.raises(fn.FlowError, match=r"by: names of columns, not .* or df.groupby\(\.\.\.\) itself"):
        as_pandas(DAYS, None, by=by)
    assert redis.dbsize() == 0
