"""Any index goes to the server and comes back."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flownb as fn
from flownb.batches.labels import TEXT_DTYPE, index_from_json, index_to_json, labels
from flownb.errors import FlowError


def there_and_back(index: pd.Index[Any], chunk: int = 2) -> pd.Index[Any]:
    spec, chunks = index_to_json(index)
    stored = [json.dumps(chunks(at, at + chunk), allow_nan=False) for at in range(0, len(index), chunk)]
    every = [label for text in stored for label in json.loads(text)]
    return index_from_json(json.loads(json.dumps(spec, allow_nan=False)), every)


def assert_same(back: pd.Index[Any], index: pd.Index[Any]) -> None:
    """Equal with dtype and names; the level of a MultiIndex may be a range and come back as ints."""
    assert list(back.names) == list(index.names)
    exact = "equiv" if isinstance(index, pd.MultiIndex) else True
    nameless = [None] * index.nlevels
    pd.testing.assert_index_equal(back.set_names(nameless), index.set_names(nameless), exact=exact)


TIMES = pd.to_datetime(["2024-03-31 00:30", None, "1800-01-01 00:00:00.123456"], format="mixed")
INDEXES: dict[str, pd.Index[Any]] = {
    "range": pd.RangeIndex(5, 50, 7, name="n"),
    "empty range": pd.RangeIndex(0),
    "ints": pd.Index([3, 3, -1]),
    "unsigned": pd.Index([2**64 - 1], dtype="uint64"),
    "small": pd.Index([1], dtype="int8"),
    "floats": pd.Index([0.1, np.nan, np.inf, -np.inf]),
    "single": pd.Index([0.1], dtype="float32"),
    "bools": pd.Index([True, False, True]),
    "text": pd.Index(["a", None, "é", "a"], dtype=TEXT_DTYPE),
    "string": pd.Index(["a", pd.NA], dtype="string"),
    "Int64": pd.Index([2**62 + 1, None], dtype="Int64"),
    "Float64": pd.Index([0.5, None, np.inf], dtype="Float64"),
    "boolean": pd.Index([True, None], dtype="boolean"),
    "times": TIMES,
    "nanoseconds": pd.DatetimeIndex(["2024-01-01T00:00:00.000000001"]),
    "seconds": pd.DatetimeIndex(["2024-01-01"]).as_unit("s"),
    "zoned": TIMES.tz_localize("UTC").tz_convert("Europe/Berlin"),
    "zoneinfo": pd.DatetimeIndex(["2024-10-27 00:30", "2024-10-27 01:30"], tz="UTC").tz_convert(
        zoneinfo.ZoneInfo("Europe/Paris")
    ),
    "offset": pd.DatetimeIndex(["2024-01-01"], tz=dt.timezone(dt.timedelta(hours=-3))),
    "durations": pd.to_timedelta([1, None], unit="s"),
    "periods": pd.PeriodIndex(["2024Q1", "NaT"], freq="Q"),
    "category": pd.CategoricalIndex(["b", None, "a"], categories=["b", "a", "c"], ordered=True),
    "category of ints": pd.CategoricalIndex([2, 1], categories=pd.RangeIndex(4)),
    "intervals": pd.IntervalIndex.from_breaks([0, 1, 2], closed="left"),
    "float intervals": pd.IntervalIndex.from_tuples([(0.0, 1.0), np.nan]),
    "time intervals": pd.interval_range(pd.Timestamp("2024-01-01"), periods=2),
    "mixed": pd.Index(["a", 1, 1.5, None, True, np.nan, pd.NaT, pd.NA, -np.inf], dtype=object),
    "objects": pd.Index(
        [
            dt.date(2024, 1, 1),
            decimal.Decimal("1.10"),
            pd.Timestamp("2024-01-01"),
            dt.datetime(2024, 1, 1),
            dt.time(1),
            pd.Timedelta(1),
        ],
        dtype=object,
    ),
    "tuples": pd.Index([("a", 1), ("b", dt.date(2024, 1, 1))], tupleize_cols=False),
    "named": pd.Index([1], name=("a", 1)),
    "multi": pd.MultiIndex.from_arrays(
        [["a", "a", "b"], TIMES, pd.Categorical(["x", None, "x"]), pd.array([1, None, 1], dtype="Int64")],
        names=["k", None, "c", 3],
    ),
    "multi of ranges": pd.MultiIndex.from_product([pd.RangeIndex(2), pd.RangeIndex(3)]),
    "names that are numbers": pd.MultiIndex.from_arrays([["a"], [1]], names=[1, 0]),
    "levels of which rows have none": pd.MultiIndex.from_arrays(
        [["a", None, "b", "a"], [2, None, 1, 2], [True, False, None, True], TIMES[[0, 1, 2, 0]]],
        names=["k", "n", "b", "t"],
    ),
    "a level of which no row has any": pd.MultiIndex(levels=[[1, 2], ["a"]], codes=[[-1, -1], [0, 0]]),
    "string of python": pd.Index(["a", pd.NA], dtype="string[python]"),
    "string of Arrow": pd.Index(["a", pd.NA], dtype="string[pyarrow]"),
    "one level": pd.MultiIndex.from_arrays([[1, 2]]),
    "empty": pd.Index([], dtype=TEXT_DTYPE, name="k"),
    "empty multi": pd.MultiIndex.from_arrays(
        [pd.Index([], dtype="int64"), pd.DatetimeIndex([])], names=["a", "b"]
    ),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_comes_back(kind: str) -> None:
    index = INDEXES[kind]
    back = there_and_back(index)
    assert_same(back, index)
    assert list(map(type, back)) == list(map(type, index))


ARROW: dict[str, tuple[pa.DataType, list[Any]]] = {
    "decimal": (pa.decimal128(7, 3), [decimal.Decimal("1.5")]),
    "large decimal": (pa.decimal256(50, 3), [decimal.Decimal("1.5")]),
    "int": (pa.int8(), [1]),
    "unsigned": (pa.uint64(), [2**64 - 1]),
    "half": (pa.float16(), [np.float16(1.5)]),
    "float": (pa.float64(), [0.1]),
    "bool": (pa.bool_(), [True, False]),
    "text": (pa.string(), ["a"]),
    "large text": (pa.large_string(), ["a"]),
    "date": (pa.date32(), [dt.date(2024, 1, 1)]),
    "date in ms": (pa.date64(), [dt.date(2024, 1, 1)]),
    "seconds": (pa.timestamp("s"), [dt.datetime(2024, 1, 1)]),
    "nanoseconds": (pa.timestamp("ns"), [pd.Timestamp(1)]),
    "duration": (pa.duration("us"), [dt.timedelta(1, 2, 3)]),
    "nanoseconds of duration": (pa.duration("ns"), [pd.Timedelta(1)]),
    "time": (pa.time32("s"), [dt.time(1)]),
    "precise time": (pa.time64("us"), [dt.time(1, 2, 3, 4)]),
    "nothing": (pa.null(), []),
    "zone": (pa.timestamp("us", "Europe/Paris"), [dt.datetime(1800, 1, 1, tzinfo=dt.UTC)]),
    "zone and hour twice": (pa.timestamp("s", "Europe/Paris"), [dt.datetime(2024, 10, 27, 1, tzinfo=dt.UTC)]),
    "offset": (pa.timestamp("ns", "+05:30"), [pd.Timestamp(1, tz="UTC")]),
    "before all years": (pa.timestamp("s"), [-(10**14)]),
    "bytes": (pa.binary(), [b"a", b""]),
    "bytes of one length": (pa.binary(2), [b"ab"]),
    "large bytes": (pa.large_binary(), [b"a"]),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a", "b", "a"]),
    "dictionary of times": (
        pa.dictionary(pa.int32(), pa.timestamp("us", "UTC")),
        [pd.Timestamp(1000, tz="UTC")],
    ),
}


def arrow_index(kind: str) -> pd.Index[Any]:
    of, values = ARROW[kind]
    if pa.types.is_dictionary(of):
        array = pa.array([*values, None], of.value_type).dictionary_encode().cast(of)
    else:
        array = pa.array([*values, None], of)
    return pd.Index(pd.arrays.ArrowExtensionArray(array))


@pytest.mark.parametrize("kind", ARROW)
def test_an_index_of_arrow_comes_back(kind: str) -> None:
    index = arrow_index(kind)
    for some in (index, index[:0]):
        back = there_and_back(some)
        assert_same(back, some)
    if kind in ("nothing", "half", "before all years") or "dictionary" in kind:
        return  # pandas makes no categories of these
    category = pd.CategoricalIndex(pd.Categorical.from_codes([0, -1], categories=index.dropna()[:1]))
    for outer in (category, pd.MultiIndex.from_arrays([index, index])):
        assert_same(there_and_back(outer), outer)


ODD: dict[str, tuple[pa.DataType, Any]] = {
    "list": (pa.list_(pa.int64()), [1]),
    "dict": (pa.struct([("a", pa.int64())]), {"a": 1}),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_index_of_arrow_that_changes_can_still_be_read(kind: str) -> None:
    of, value = ODD[kind]
    index = pd.Index(pd.array([value, None], dtype=pd.ArrowDtype(of)))
    back = there_and_back(index)
    assert str(back[0]) == str(index[0])
    assert back.isna().tolist() == [False, True]


@given(st.lists(st.none() | st.decimals(-9999, 9999, places=3)), st.integers(8, 70), st.integers(1, 7))
def test_any_index_of_arrow_decimals_comes_back(values: list[Any], precision: int, chunk: int) -> None:
    of = pa.decimal128(precision, 3) if precision <= 38 else pa.decimal256(precision, 3)
    index = pd.Index(pd.array(values, dtype=pd.ArrowDtype(of)))
    assert_same(there_and_back(index, chunk), index)


def test_a_range_is_whole_in_its_spec() -> None:
    spec, chunk = index_to_json(pd.RangeIndex(10**9))
    assert chunk(0, 10**9) == []
    assert len(json.dumps(spec)) < 120


def test_labels_without_a_json_form_become_text_and_the_spec_says_so() -> None:
    index = pd.Index([frozenset({1}), "a", b"c", (1, 1j)], dtype=object, tupleize_cols=False)
    spec, _ = index_to_json(index)
    assert spec["as_text"] == ["frozenset", "tuple"]
    assert there_and_back(index).tolist() == ["frozenset({1})", "a", b"c", "(1, 1j)"]


def test_a_zone_without_a_name_becomes_utc_and_the_spec_says_so() -> None:
    class Nameless(dt.tzinfo):
        def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(hours=1)

        def dst(self, when: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(0)

        def tzname(self, when: dt.datetime | None) -> str:
            return "?"

    index = pd.DatetimeIndex(["2024-01-01 12:00"]).tz_localize(Nameless())
    assert index_to_json(index)[0]["as_utc"] is True
    back = there_and_back(index)
    assert (back == index).all()
    assert str(back[0]) == "2024-01-01 11:00:00+00:00"


@pytest.mark.parametrize("kind", ["multi", "intervals", "times", "category", "text"])
def test_the_rows_of_a_group_come_with_their_part_of_any_index(connection: Any, kind: str) -> None:
    index = INDEXES[kind]

    @fn.task
    def same(n: int) -> int:
        return n

    @fn.task
    def labels_of(rows: pd.DataFrame) -> list[str]:
        return [str(label) for label in rows.index]

    frame = pd.DataFrame({"n": range(len(index)), "half": [n % 2 for n in range(len(index))]}, index=index)
    found = fn.fan_out(frame, same, by="half", into=labels_of).result(timeout=60)
    expected = [[str(label) for label in part.index] for _, part in frame.groupby("half")]
    assert found["labels_of"].tolist() == expected


def test_missing_labels_are_noticed() -> None:
    spec, _ = index_to_json(pd.Index(["a", "b"]))
    with pytest.raises(FlowError, match="index: 1 labels are stored, 2 rows were declared"):
        index_from_json(spec, ["a"])


def test_labels_may_be_asked_for_past_the_end() -> None:
    assert labels(pd.Index(["a", "b"]), 1, 99) == ["b"]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
FLAT: list[st.SearchStrategy[pd.Index[Any]]] = [
    st.lists(st.integers(-(2**63), 2**63 - 1)).map(lambda values: pd.Index(values, dtype="int64")),
    st.lists(st.floats()).map(lambda values: pd.Index(values, dtype="float64")),
    st.lists(st.none() | text).map(lambda values: pd.Index(values, dtype=TEXT_DTYPE)),
    st.lists(st.none() | st.booleans()).map(lambda values: pd.Index(values, dtype="boolean")),
    st.lists(st.none() | st.integers(0, 9)).map(lambda values: pd.Index(values, dtype="Int64")),
    st.lists(st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))).map(pd.DatetimeIndex),
    st.lists(st.none() | st.sampled_from("abc")).map(pd.CategoricalIndex),
    st.lists(st.none() | st.integers(-(2**62), 2**62)).map(
        lambda values: pd.Index(
            pd.arrays.ArrowExtensionArray(
                pa.array(values, pa.int64()).cast(pa.timestamp("us", "Europe/Paris"))
            )
        )
    ),
    st.lists(st.none() | text | st.integers() | st.floats() | st.booleans() | st.dates()).map(
        lambda values: pd.Index(values, dtype=object)
    ),
]
flat = st.one_of(FLAT)
names = st.none() | text | st.integers() | st.tuples(text, st.integers())


@st.composite
def multi(draw: st.DrawFn) -> pd.MultiIndex:
    parts = draw(st.lists(flat, min_size=1, max_size=3))
    length = min(map(len, parts))
    return pd.MultiIndex.from_arrays([part[:length] for part in parts], names=[draw(names) for _ in parts])


@given(flat, names, st.integers(1, 7))
def test_any_flat_index_comes_back(index: pd.Index[Any], name: Any, chunk: int) -> None:
    index = index.rename(name)
    assert_same(there_and_back(index, chunk), index)


@given(multi(), st.integers(1, 7))
def test_any_multi_index_comes_back(index: pd.MultiIndex, chunk: int) -> None:
    assert_same(there_and_back(index, chunk), index)
