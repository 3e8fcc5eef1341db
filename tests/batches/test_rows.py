"""Rows in: what each dtype becomes, what is refused and how, and that ids follow the rows."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flownb.batches import rows as rows_module
from flownb.batches.labels import TEXT_DTYPE
from flownb.batches.results import inputs_frame
from flownb.batches.row_ids import fingerprint, identities
from flownb.batches.rows import Rows, read
from flownb.errors import FlowError


class Colour(enum.Enum):
    RED = "red"


class Tone(str, enum.Enum):  # noqa: UP042 - the older spelling is meant
    WARM = "warm"


@dataclass
class Point:
    x: int
    y: float


BERLIN = dt.timezone(dt.timedelta(hours=2))
NS = "2024-02-29T01:02:03.000000001"

COLUMNS = {
    "ints": (pd.Series([1, -(2**63)]), [1, -(2**63)]),
    "unsigned": (pd.Series([2**64 - 1], dtype="uint64"), [2**64 - 1]),
    "small ints": (pd.Series([-128], dtype="int8"), [-128]),
    "floats": (pd.Series([0.1, np.nan, 1e300, -0.0]), [0.1, None, 1e300, -0.0]),
    "single floats": (pd.Series([0.1], dtype="float32"), [float(np.float32(0.1))]),
    "bools": (pd.Series([True, False]), [True, False]),
    "Int64": (pd.Series([2**62, None], dtype="Int64"), [2**62, None]),
    "Float64": (pd.Series([0.5, None], dtype="Float64"), [0.5, None]),
    "boolean": (pd.Series([True, None], dtype="boolean"), [True, None]),
    "text": (pd.Series(['a "q" \\ \n \0 é 😀', None], dtype=TEXT_DTYPE), ['a "q" \\ \n \0 é 😀', None]),
    "string": (pd.Series(["a", pd.NA], dtype="string"), ["a", None]),
    "objects": (pd.Series(["a", 1, 1.5, True, None, np.nan], dtype=object), ["a", 1, 1.5, True, None, None]),
    "missing": (pd.Series([pd.NA, pd.NaT, None, float("nan")], dtype=object), [None] * 4),
    "big ints": (pd.Series([2**80], dtype=object), [2**80]),
    "numpy scalars": (
        pd.Series(
            [np.int8(3), np.float32(0.5), np.bool_(True), np.str_("x"), np.float64("nan")], dtype=object
        ),
        [3, 0.5, True, "x", None],
    ),
    "numpy times": (
        pd.Series(
            [np.datetime64("2024-01-01"), np.timedelta64(1500, "ms"), np.datetime64("NaT")], dtype=object
        ),
        ["2024-01-01T00:00:00", 1.5, None],
    ),
    "category": (pd.Series(["b", None, "a"], dtype="category"), ["b", None, "a"]),
    "category of times": (
        pd.Series(pd.to_datetime(["2024-01-01"])).astype("category"),
        ["2024-01-01T00:00:00"],
    ),
    "bins": (pd.cut(pd.Series([1, 5]), [0, 2, 6]), ["(0, 2]", "(2, 6]"]),
    "times": (
        pd.Series(pd.to_datetime(["2024-02-29 01:02:03", None, "1900-01-01 00:00:00.25"], format="mixed")),
        ["2024-02-29T01:02:03", None, "1900-01-01T00:00:00.250000"],
    ),
    "nanoseconds": (pd.Series([pd.Timestamp(NS), pd.NaT]), [NS, None]),
    "days": (pd.Series(np.array(["1969-12-31"], dtype="M8[s]")), ["1969-12-31T00:00:00"]),
    "zoned times": (
        pd.Series(pd.to_datetime(["2024-07-01 12:00", None]).tz_localize("Europe/Berlin")),
        ["2024-07-01T12:00:00+02:00", None],
    ),
    "time objects": (
        pd.Series(
            [
                dt.datetime(2024, 7, 1, 12, tzinfo=BERLIN),
                pd.Timestamp(NS),
                dt.date(2024, 1, 2),
                dt.time(1, 2),
            ],
            dtype=object,
        ),
        ["2024-07-01T12:00:00+02:00", NS, "2024-01-02", "01:02:00"],
    ),
    "durations": (pd.Series(pd.to_timedelta([1.5, None], unit="s")), [1.5, None]),
    "duration objects": (
        pd.Series([dt.timedelta(minutes=1), pd.Timedelta(1, "ns")], dtype=object),
        [60.0, 1e-9],
    ),
    "periods": (pd.Series(pd.PeriodIndex(["2024-01", "NaT"], freq="M")), ["2024-01", None]),
    "sparse": (pd.Series(pd.arrays.SparseArray([0, 0, 7])), [0, 0, 7]),
    "decimals": (
        pd.Series([decimal.Decimal("1.10"), decimal.Decimal("NaN")], dtype=object),
        ["1.10", None],
    ),
    "nested": (
        pd.Series([{"a": [1, np.nan, {"b": (np.int64(2), pd.Timestamp("2024-01-01"))}]}, []], dtype=object),
        [{"a": [1, None, {"b": [2, "2024-01-01T00:00:00"]}]}, []],
    ),
    "arrays": (
        pd.Series(
            [np.array([[1.5, np.nan]]), np.array(["2024-01-01"], dtype="M8[ns]"), np.array(3)], dtype=object
        ),
        [[[1.5, None]], ["2024-01-01T00:00:00"], 3],
    ),
    "converted": (
        pd.Series(
            [Colour.RED, Tone.WARM, Point(1, 0.5), pathlib.PurePosixPath("a/b"), uuid.UUID(int=1)],
            dtype=object,
        ),
        ["red", "warm", {"x": 1, "y": 0.5}, "a/b", str(uuid.UUID(int=1))],
    ),
}


def sent(rows: object, *parameters: str, **more: Any) -> list[Any]:
    return [json.loads(text) for text in read(rows, parameters, **more).texts]


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_travels_as_documented(kind: str) -> None:
    column, expected = COLUMNS[kind]
    got = [row["x"] for row in sent(pd.DataFrame({"x": column}), "x")]
    assert got == expected
    assert list(map(type, got)) == list(map(type, expected))


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_row_has_the_same_text_in_any_selection_of_rows(kind: str) -> None:
    column, _ = COLUMNS[kind]
    whole = read(column, ["x"]).texts
    assert [read(column.iloc[at : at + 1], ["x"]).texts[0] for at in range(len(column))] == whole


def test_texts_are_compact_utf8_json_with_sorted_keys() -> None:
    frame = pd.DataFrame({"z": ["é%s"], "a%s": [1.0], "not": [1]})
    rows = read(frame, ["a%s", "z"])
    assert rows.texts == ['{"a%s":1.0,"z":"é%s"}']
    assert rows.columns == ("z", "a%s")


def test_optional_parameters_take_their_columns_when_there_are_such() -> None:
    frame = pd.DataFrame({"a": [1], "b": [2], "c": [3]})
    assert sent(frame, "a", optional=["b", "d"]) == [{"a": 1, "b": 2}]
    assert sent(frame) == [{}]


def test_a_whole_row_keeps_the_order_of_the_columns() -> None:
    rows = read(pd.DataFrame({"z": [1], "a": ["x"]}, index=[7]), [], whole_row=True)
    assert rows.texts == ['{"row":{"z":1,"a":"x"}}']
    assert (rows.columns, rows.whole_row) == (("z", "a"), True)
    assert read(pd.Series([1], name="n"), ["row"], whole_row=True).texts == ['{"row":{"n":1}}']


def test_a_queue_gets_every_column() -> None:
    assert sent(pd.DataFrame({"z": [1], "a": ["x"]}), any_column=True) == [{"z": 1, "a": "x"}]
    assert sent([5], any_column=True) == [{"value": 5}]


def test_the_index_and_the_rows_are_those_given() -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "x"], name="k"))
    rows = read(frame, ["a"])
    pd.testing.assert_index_equal(rows.index, frame.index)
    frame.loc[:, "a"] = 0
    assert rows.texts == ['{"a":1}', '{"a":2}']
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("given_rows", "expected"),
    [
        ([1, "a", None], [1, "a", None]),
        ((1, 2), [1, 2]),
        (iter([1, 2]), [1, 2]),
        (range(2), [0, 1]),
        (np.array([1.5, np.nan]), [1.5, None]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        (pd.Series([1], name="other"), [1]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ([{"id": 1}], [{"id": 1}]),
        ([{"x": 1}, {"x": 2, "y": 3}, {"y": 4}], [1, 2, None]),
    ],
)
def test_single_items_go_to_the_one_parameter(given_rows: object, expected: list[Any]) -> None:
    assert sent(given_rows, "x") == [{"x": value} for value in expected]


def test_dicts_are_read_like_a_table_without_turning_ints_into_floats() -> None:
    assert sent([{"a": 1, "b": 2}, {"b": 3}], "a", "b") == [{"a": 1, "b": 2}, {"a": None, "b": 3}]


def test_a_series_keeps_its_index() -> None:
    series = pd.Series([1, 2], index=pd.date_range("2024-01-01", periods=2))
    pd.testing.assert_index_equal(read(series, ["x"]).index, series.index)


@pytest.mark.parametrize(
    "empty", [[], pd.DataFrame(), pd.DataFrame({"x": []}), pd.Series(dtype=float), iter(())]
)
def test_no_rows_are_fine(empty: object) -> None:
    rows = read(empty, ["x"], by="x")
    assert (rows.texts, len(rows.index), rows.groups) == ([], 0, [])
    assert identities(rows.texts, name="n", task="t", version="1") == []


def test_every_empty_column_is_fine() -> None:
    frame = pd.DataFrame({kind: column.iloc[:0] for kind, (column, _) in COLUMNS.items()})
    assert read(frame, list(frame)).texts == []


def test_columns_not_of_text_get_their_name_as_text() -> None:
    assert sent(pd.DataFrame([[1, 2]], columns=[0, ("a", 1)]), any_column=True) == [{"0": 1, "('a', 1)": 2}]
    assert read(pd.DataFrame({0: [1]}), ["0"], by="0").groups == [(1, [0])]


class TestGroups:
    def test_they_stand_in_order_of_first_appearance(self) -> None:
        frame = pd.DataFrame({"k": ["b", "a", None, "b"], "x": range(4)})
        rows = read(frame, ["x"], by="k")
        assert rows.groups == [("b", [0, 3]), ("a", [1]), (None, [2])]
        assert rows.columns == ("x",)
        assert rows.by == ("k",)

    def test_a_category_is_no_exception(self) -> None:
        frame = pd.DataFrame({"k": pd.Categorical(["b", "a"], categories=["a", "b", "c"]), "x": [1, 2]})
        assert read(frame, ["x"], by="k").groups == [("b", [0]), ("a", [1])]

    def test_several_columns_make_a_list(self) -> None:
        frame = pd.DataFrame({"k": [1, 1, 2], "t": pd.to_datetime(["2024-01-01"] * 3)})
        label = "2024-01-01T00:00:00"
        assert read(frame, ["k"], by=["k", "t"]).groups == [([1, label], [0, 1]), ([2, label], [2])]
        assert read(frame, ["k"], by=["k"]).groups == [([1], [0, 1]), ([2], [2])]


DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
LOOP: dict[str, Any] = {}
LOOP["again"] = LOOP
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


def cell(value: object) -> pd.DataFrame:
    column = np.empty(2, dtype=object)
    column[:] = [None, value]
    return pd.DataFrame({"x": pd.Series(column, index=["fine", "bad"], dtype=object)})


BAD_CELLS = {
    "inf": (np.inf, "inf is no number in JSON", "np.nan) sends null"),
    "decimal inf": (decimal.Decimal("-Infinity"), "-Infinity is no number", "np.nan"),
    "single inf": (np.float32("-inf"), "-inf is no number", "np.nan"),
    "bytes": (b"ab", "bytes do not travel in JSON", "base64.b64encode(value).decode()"),
    "bytearray": (bytearray(b"ab"), "bytearray do not travel", "base64"),
    "memoryview": (memoryview(b"ab"), "memoryview do not travel", "base64"),
    "complex": (1j, "no complex numbers", "[value.real, value.imag]"),
    "unknown": (object(), "a value of type object has no JSON form", "as a dict, or the path of a file"),
    "class": (Point, "a value of type type has no JSON form", "as a dict"),
    "frame": (pd.DataFrame(), "DataFrame has no JSON form", "as a dict"),
    "keys": ({1: 2}, "the dict's key 1 is not text", "str(key)"),
    "inside": ({"a": [0, {"b": b""}]}, "at ['a'][1]['b']: bytes do not travel", "base64"),
    "inside a class": (Point(1, float("inf")), "at ['y']: inf is no number", "np.nan"),
    "deep": (DEEP, "more than 200 levels deep", "flatten it"),
    "loop": (LOOP, "or contains itself", "flatten it"),
    "endless": (ENDLESS, "or contains itself", "flatten it"),
    "surrogate": ("a\ud800", "half a character", '"replace"'),
    "deep surrogate": (["a\ud800"], "half a character", '"replace"'),
    "array": (np.zeros(10_001), "10001 items is more than the 10000", "store it in a file"),
    "months": (np.timedelta64(5, "M"), "no length in seconds", "send days"),
    "digits": (10**5000, "4300 digits", "send it as text"),
}


@pytest.mark.parametrize("kind", BAD_CELLS)
def test_a_cell_without_a_json_form_is_refused_by_name(kind: str) -> None:
    value, what, mend = BAD_CELLS[kind]
    with pytest.raises(FlowError) as refused:
        read(cell(value), ["x"])
    message = str(refused.value)
    assert message.startswith("row 'bad', column 'x': ")
    assert what in message
    assert mend in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1.0, np.inf]),
        pd.Series([1.0, -np.inf], dtype="float32"),
        pd.Series([1.0, np.inf], dtype="Float64"),
        pd.Series([1.0, np.inf], dtype="category"),
        pd.Series([1.0, np.inf], dtype=object),
    ],
    ids=lambda column: str(column.dtype),
)
def test_inf_is_refused_in_every_dtype(column: pd.Series[Any]) -> None:
    with pytest.raises(FlowError, match=r"row \('b', 2\), column 'x': -?inf is no number in JSON"):
        read(column.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])), ["x"])


def test_a_refused_category_is_named_by_its_first_row() -> None:
    with pytest.raises(FlowError, match=r"^row 2, column 'x': inf"):
        read(pd.Series([1.0, 1.0, np.inf, np.inf], dtype="category"), ["x"])


def test_an_unused_category_does_not_matter() -> None:
    column = pd.Series(pd.Categorical([1.0], categories=[np.inf, 1.0]))
    assert sent(column, "x") == [{"x": 1.0}]


TWO = pd.DataFrame({"text": ["a"], "lang": ["b"]})
REFUSALS = {
    "missing column": ((TWO, ["text", "langu"]), {}, "parameter 'langu': no column", "did you mean 'lang'?"),
    "lists columns": ((TWO, ["zzz"]), {}, "(columns: text, lang)", "df.assign"),
    "same name": (
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ["a"]),
        {},
        "column 'a': two columns",
        "duplicated()",
    ),
    "same text": ((pd.DataFrame({1: [1], "1": [2]}), ["1"]), {}, "column '1': as text", "name of column 1"),
    "levels": (
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), ["a"]),
        {},
        "2 levels",
        "join",
    ),
    "by": ((TWO, ["text"]), {"by": "lan"}, "by='lan': no column", "did you mean 'lang'?"),
    "by nothing": ((TWO, ["text"]), {"by": []}, "by=[]", "at least one column"),
    "items for two": (([1], ["a", "b"]), {}, "but the task needs a, b", "list of dicts"),
    "items for none": (([1], []), {}, "no parameter", "give it one"),
    "text": (("abc", ["a"]), {}, "a str is one value", "[value]"),
    "dict": (({"a": [1]}, ["a"]), {}, "a dict is one value", "pd.DataFrame(value)"),
    "set": (({1}, ["a"]), {}, "a set has no order", "sorted(rows)"),
    "number": ((5, ["a"]), {}, "int holds no rows", "give a DataFrame"),
    "matrix": ((np.zeros((2, 2)), ["a"]), {}, "2 dimensions", "give a DataFrame"),
    "column's name": (
        (pd.DataFrame([[1]], columns=pd.Index(["a\ud800"], dtype=object)), []),
        {"any_column": True},
        "half a character",
        "rename",
    ),
    "label": (
        (pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y\ud800"], dtype=object)), ["a"]),
        {},
        r"row 'y\ud800': its label has half a character",
        "rename",
    ),
    "label of levels": (
        (
            pd.DataFrame(
                {"a": [1]}, index=pd.MultiIndex.from_product([pd.Index(["y\ud800"], dtype=object), [1]])
            ),
            ["a"],
        ),
        {},
        r"row ('y\ud800', 1): its label has half a character",
        "rename",
    ),
    "index's name": (
        (pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="n\ud800")), ["a"]),
        {},
        r"index ['n\ud800']: its name has half a character",
        "rename",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_table_that_does_not_fit_is_refused(kind: str) -> None:
    args, more, what, mend = REFUSALS[kind]
    with pytest.raises(FlowError) as refused:
        read(*args, **more)  # type: ignore[arg-type]
    assert what in str(refused.value)
    assert mend in str(refused.value)


def test_a_frame_of_another_library_is_sent_to_pandas() -> None:
    class Frame:
        def to_pandas(self) -> None: ...

    with pytest.raises(FlowError, match=r"give rows\.to_pandas\(\)"):
        read(Frame(), ["x"])


def test_a_huge_row_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MOST_CHARACTERS", 1_000_000)
    with pytest.raises(FlowError, match=r"row 1: its data are 2\.0 MB of JSON, the most is 1 MB"):
        read(["a", "a" * 2_000_000], ["x"])


# -- properties ----------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
nested = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)
moment = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))


def test_a_task_none_of_whose_parameters_is_a_column_is_refused() -> None:
    table = pd.DataFrame({"Text": ["a"], "lang": ["de"]})
    with pytest.raises(FlowError) as refused:
        read(table, [], ["text", "model"])
    assert str(refused.value).startswith(
        "parameter 'text': no column has this name (columns: Text, lang, did you mean 'Text'?), nor that of any other"
    )
    assert read(table, [], ["lang", "model"]).columns == ("lang",)
    assert read(table, []).texts == ["{}"]  # it asks for nothing


ARROW = {
    "int64[pyarrow]": ([1, None], [1, None]),
    "double[pyarrow]": ([0.5, None], [0.5, None]),
    "bool[pyarrow]": ([True, None], [True, None]),
    "string[pyarrow]": (["é", None], ["é", None]),
    "timestamp[us][pyarrow]": (
        [dt.datetime(2024, 2, 29, 1, 2, 3, 250_000), None],
        ["2024-02-29T01:02:03.250000", None],
    ),
    "timestamp[ns, tz=Europe/Paris][pyarrow]": (
        [pd.Timestamp("2024-02-29 01:02:03", tz="Europe/Paris"), None],
        ["2024-02-29T01:02:03+01:00", None],
    ),
    "date32[day][pyarrow]": ([dt.date(2024, 2, 29), None], ["2024-02-29", None]),
    "duration[us][pyarrow]": ([dt.timedelta(seconds=1.5), None], [1.5, None]),
}


@pytest.mark.parametrize("dtype", sorted(ARROW))
def test_arrow_backed_columns_travel_as_others_of_their_kind(dtype: str) -> None:
    values, expected = ARROW[dtype]
    rows = read(pd.DataFrame({"x": pd.Series(values, dtype=dtype)}), ["x"])
    assert [json.loads(text)["x"] for text in rows.texts] == expected


def test_nested_arrow_columns_and_decimals_travel_and_bytes_do_not() -> None:
    import pyarrow as pa

    def column(values: list[Any], kind: Any) -> pd.DataFrame:
        return pd.DataFrame({"x": pd.Series(values, dtype=pd.ArrowDtype(kind))})

    for values, kind, expected in (
        ([[1, 2], None], pa.list_(pa.int64()), ['{"x":[1,2]}', '{"x":null}']),
        ([{"y": 1}, None], pa.struct([("y", pa.int64())]), ['{"x":{"y":1}}', '{"x":null}']),
        ([decimal.Decimal("1.10")], pa.decimal128(5, 2), ['{"x":"1.10"}']),
    ):
        assert read(column(values, kind), ["x"]).texts == expected
    with pytest.raises(FlowError, match="row 0, column 'x': bytes do not travel"):
        read(column([b"a"], pa.binary()), ["x"])


CELLS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "int64": (st.integers(-(2**63), 2**63 - 1), int),
    "float64": (st.floats(allow_infinity=False), lambda value: None if value != value else value),
    "float32": (st.floats(width=32, allow_infinity=False), lambda value: None if value != value else value),
    "bool": (st.booleans(), bool),
    "Int64": (st.none() | st.integers(-(2**63), 2**63 - 1), lambda value: value),
    "boolean": (st.none() | st.booleans(), lambda value: value),
    "str": (st.none() | text, lambda value: value),
    "string": (st.none() | text, lambda value: value),
    "category": (st.none() | text, lambda value: value),
    "object": (nested, lambda value: value),
    "datetime64[us]": (st.none() | moment, lambda value: value and value.isoformat()),
    "datetime64[us, UTC]": (
        st.none() | moment.map(lambda value: value.replace(tzinfo=dt.UTC)),
        lambda value: value and value.replace(tzinfo=None).isoformat() + "Z",
    ),
    "timedelta64[us]": (
        st.none() | st.timedeltas(dt.timedelta(-(10**5)), dt.timedelta(10**5)),
        lambda value: None if value is None else value.total_seconds(),
    ),
}


@st.composite
def frames(draw: st.DrawFn) -> tuple[pd.DataFrame, dict[str, list[Any]]]:
    length = draw(st.integers(0, 6))
    dtypes = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    names = draw(st.lists(text, min_size=len(dtypes), max_size=len(dtypes), unique=True))
    columns, expected = {}, {}
    for name, dtype in zip(names, dtypes, strict=True):
        cells, form = CELLS[dtype]
        values = draw(st.lists(cells, min_size=length, max_size=length))
        made = np.empty(length, dtype=object)
        made[:] = values
        columns[name] = pd.Series(made, dtype=object).astype(TEXT_DTYPE if dtype == "str" else dtype)
        expected[name] = [form(value) for value in values]
    return pd.DataFrame(columns), expected


def without_missing(values: list[Any]) -> list[Any]:
    return [
        None if value is pd.NA or (isinstance(value, float) and value != value) else value for value in values
    ]


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first frame of a process, on a busy machine
@given(frames(), st.booleans())
def test_any_frame_comes_back_as_documented(
    made: tuple[pd.DataFrame, dict[str, list[Any]]], whole: bool
) -> None:
    frame, expected = made
    rows = read(frame, [], whole_row=whole, any_column=not whole)
    back = inputs_frame(rows.texts, rows.columns, rows.index, whole_row=whole)
    assert list(back) == list(frame)
    pd.testing.assert_index_equal(back.index, frame.index)
    for name, values in expected.items():
        assert without_missing(back[name].tolist()) == values


def ids(rows: Rows, **more: str) -> list[str]:
    return identities(rows.texts, **{"name": "n", "task": "t", "version": "1", **more})


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(frames(), st.randoms(use_true_random=False))
def test_ids_are_those_of_the_rows_in_any_order(made: tuple[pd.DataFrame, Any], random: Any) -> None:
    frame, _ = made
    order = list(range(len(frame)))
    random.shuffle(order)
    names = list(frame)
    random.shuffle(names)
    before = ids(read(frame, list(frame)))
    after = ids(read(frame.iloc[order][names], list(frame)))
    assert len(set(before)) == len(frame)
    assert set(before) == set(after)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.data())
def test_a_changed_cell_changes_one_id(values: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    changed = [*values]
    changed[place] = 99
    before, after = ids(read(values, ["x"])), ids(read(changed, ["x"]))
    assert len(set(before) - set(after)) == len(set(after) - set(before)) == 1


def test_an_id_is_a_name_that_is_never_a_number() -> None:
    made = ids(read(range(500), ["x"]))
    assert all(
        len(one) == 17 and one[0] == "r" and set(one[1:]) <= set("abcdefghijklmnopqrstuvwxyz234567")
        for one in made
    )


def test_ids_tell_name_task_and_version_apart() -> None:
    rows = read([1], ["x"])
    made = [
        ids(rows),
        ids(rows, name="m"),
        ids(rows, task="u"),
        ids(rows, version="2"),
        ids(rows, name="n,t", task=""),
    ]
    assert len({one for some in made for one in some}) == 5


def test_ids_stay_the_same_over_releases() -> None:
    rows = read(pd.DataFrame({"b": [1, 1], "a": ["é", "é"]}), ["a", "b"])
    assert ids(rows) == ["raiiq2udddkmdpkyl", "rb74gqas3vra6z6xa"]
    assert fingerprint(ids(rows), "n") == "bh6a4qzuf4hgvmtiphtk"


def test_a_fingerprint_knows_order_and_everything_else() -> None:
    some = [["a", "b"], ["b", "a"], ["ab"], []]
    made = {fingerprint(one) for one in some} | {fingerprint(["b"], "a"), fingerprint(iter(["a", "b"]), "x")}
    assert len(made) == 6
    assert all(len(one) == 20 and one[0] == "b" and one.isalnum() for one in made)
