"""Rows out: values become columns on the rows' labels, and nothing hides anything."""

from __future__ import annotations

import doctest
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flownb.batches import failures as failures_module
from flownb.batches import input_table, row_ids
from flownb.batches import results as results_module
from flownb.batches import rows as rows_module
from flownb.batches.labels import TEXT_DTYPE
from flownb.batches.results import inputs_frame, of_values, table, values_frame
from flownb.batches.value_columns import NOTHING

TEXT = str(pd.array([], dtype=TEXT_DTYPE).dtype)


@pytest.mark.parametrize("module", [rows_module, input_table, row_ids, results_module, failures_module])
def test_examples_are_true(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def frame_of(*values: Any) -> pd.DataFrame:
    texts = [None if value is ... else json.dumps(value) for value in values]
    return values_frame(texts, pd.RangeIndex(len(texts)), "f")


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, 2], "Int64", [1, 2]),
        ([1, None, ...], "Int64", [1, pd.NA, pd.NA]),
        ([2**63 - 1], "Int64", [2**63 - 1]),
        ([2**63, 1, None], "object", [2**63, 1, pd.NA]),
        ([0.5, None], "Float64", [0.5, pd.NA]),
        ([1, 0.5], "Float64", [1.0, 0.5]),
        ([2**53 + 1, 0.5], "object", [2**53 + 1, 0.5]),
        ([True, None], "boolean", [True, pd.NA]),
        (["a", "é\0"], TEXT, ["a", "é\0"]),
        ([[1], [], None], "object", [[1], [], pd.NA]),
        ([[1, 2], [3, 4]], "object", [[1, 2], [3, 4]]),
        ([1, "a", True], "object", [1, "a", True]),
        ([True, 1], "object", [True, 1]),
        ([None, ...], "object", [pd.NA, pd.NA]),
        ([], "object", []),
        (["\ud800"], None, ["\ud800"]),
    ],
)
def test_a_scalar_has_one_column_of_the_dtype_that_holds_it(
    values: Any, dtype: str | None, expected: Any
) -> None:
    frame = frame_of(*values)
    assert list(frame) == ["f"]
    assert dtype in (None, str(frame["f"].dtype))
    got = frame["f"].tolist()
    assert all(one is two if two is pd.NA else one == two for one, two in zip(got, expected, strict=True))
    assert list(map(type, got)) == list(map(type, expected))


def test_missing_text_is_pandas_own() -> None:
    assert frame_of("a", None)["f"].isna().tolist() == [False, True]
    assert str(frame_of("a", ...)["f"].dtype) == TEXT


def test_dicts_become_columns_in_order_of_first_appearance() -> None:
    frame = frame_of({"b": 1}, ..., {"a": "x", "b": 2, "c": {"d": [1]}}, {})
    assert list(frame) == ["b", "a", "c"]
    assert frame.dtypes.astype(str).tolist() == ["Int64", TEXT, "object"]
    assert frame["c"][2] == {"d": [1]}
    assert frame["b"].isna().tolist() == [False, True, False, True]


def test_a_scalar_among_dicts_has_the_tasks_column() -> None:
    frame = frame_of({"a": 1}, 5, None, {"f": 6})
    assert list(frame) == ["a", "f"]
    assert frame["f"].tolist() == [pd.NA, 5, pd.NA, 6]
    assert list(frame_of({"a": 1}, None)) == ["a"]


@pytest.mark.parametrize("text", ["undefined", "", "[1", "1,2", "[" * 100_000])
def test_a_text_that_is_no_json_is_a_string(text: str) -> None:
    assert values_frame([text, "1"], pd.RangeIndex(2), "f")["f"].tolist() == [text, 1]


def test_other_writers_json_is_read() -> None:
    assert values_frame([" 1 ", "NaN", "2.5\n"], pd.RangeIndex(3), "f")["f"].tolist() == [1.0, pd.NA, 2.5]


def test_a_key_that_is_no_utf8_is_spelled_out() -> None:
    assert list(frame_of({"a\ud800": 1})) == ["a\\ud800"]


def test_a_frame_stands_on_the_given_index_whatever_it_is() -> None:
    for index in (pd.Index(["x", "x"]), pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])):
        pd.testing.assert_index_equal(values_frame(["1", "2"], index, "f").index, index)


def test_a_row_without_a_value_is_missing_on_its_own_label() -> None:
    index = pd.Index(["a", "b", "b"], name="k")
    frame = of_values([NOTHING, None, {"n": 1}], index, "f")
    pd.testing.assert_index_equal(frame.index, index)
    assert frame["n"].tolist() == [pd.NA, pd.NA, 1]
    assert of_values([NOTHING] * 3, index, "f").shape == (3, 1)
    assert of_values([], index[:0], "f").shape == (0, 1)


class TestTable:
    def made(self, base: pd.DataFrame, *texts: str | None) -> pd.DataFrame:
        n = len(base)
        return table(base, texts, ["completed"] * n, [None] * n, [1] * n, [0.5] * n, "f")

    def test_it_is_inputs_results_and_status_on_the_same_index(self) -> None:
        base = pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "a"], name="k"))
        made = table(base, ["1", None], ["completed", "failed"], [None, "E: m"], [1, None], [0.5, None], "f")
        assert list(made) == ["x", "f", "_state", "_error", "_attempts", "_seconds"]
        assert made.dtypes.astype(str).tolist() == ["int64", "Int64", TEXT, TEXT, "Int64", "Float64"]
        pd.testing.assert_index_equal(made.index, base.index)
        assert made["_error"].isna().tolist() == [True, False]

    def test_nothing_is_overwritten(self) -> None:
        base = pd.DataFrame({"x": [1], "x_result": [2], "_state": [3], 0: [4]})
        made = self.made(
            base, '{"x": 10, "_state": 11, "0": 12, "_error": 13, "x_result_result": 14, "y": 15}'
        )
        assert not made.columns.duplicated().any()
        assert made[list(base)].iloc[0].tolist() == [1, 2, 3, 4]
        assert made["_state_result"].iloc[0] == "completed"
        assert set(map(str, made)) >= {"y", "0_result", "_state_result_result", "_error_result", "_error"}
        assert {10, 11, 12, 13, 14, 15} <= set(made.iloc[0].tolist())

    def test_a_key_that_hides_nothing_keeps_its_name(self) -> None:
        made = self.made(pd.DataFrame({"x": [1]}), '{"x": 2, "x_result": 3}')
        assert made.iloc[0][["x", "x_result", "x_result_result"]].tolist() == [1, 3, 2]

    def test_columns_made_of_a_frame_of_no_rows_have_their_dtypes(self) -> None:
        made = self.made(pd.DataFrame({"x": pd.Series([], dtype="int64")}))
        assert made.dtypes.astype(str).tolist() == ["int64", "object", TEXT, TEXT, "Int64", "Float64"]

    def test_the_base_is_left_alone(self) -> None:
        base = pd.DataFrame({"x": [1]}, index=["a"])
        self.made(base, "1")
        pd.testing.assert_frame_equal(base, pd.DataFrame({"x": [1]}, index=["a"]))


def test_inputs_come_back_by_column() -> None:
    frame = inputs_frame(['{"a": 1}', '{"b": "x", "a": null}', "7"], ["b", "a", "c"], pd.Index([3, 4, 5]))
    assert list(frame) == ["b", "a", "c"]
    assert frame.dtypes.astype(str).tolist() == [TEXT, "Int64", "object"]
    assert frame.index.tolist() == [3, 4, 5]
    whole = inputs_frame(['{"row": {"a": 1}}', '{"row": 3}'], ["a"], pd.RangeIndex(2), whole_row=True)
    assert whole["a"].tolist() == [1, pd.NA]


json_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(json_value, max_size=6))
def test_no_value_is_lost(values: list[Any]) -> None:
    frame = frame_of(*values)
    for place, value in enumerate(values):
        for key, cell in (value if isinstance(value, dict) else {"f": value}).items():
            if cell is not None:
                assert frame[key].iloc[place] == cell
        if value is None:
            assert all(cell is pd.NA or cell is np.nan for cell in frame.iloc[place].tolist())
