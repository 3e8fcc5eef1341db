"""What rows returned becomes the same columns whether it comes at once or piece by piece, and takes little memory."""

from __future__ import annotations

import doctest
import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flownb.batches import typed_columns, value_columns
from flownb.batches.value_columns import NOTHING, ValueColumns


@pytest.mark.parametrize("module", [typed_columns, value_columns])
def test_examples_are_true(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.fixture(scope="module", autouse=True)
def pieces_are_packed_at_once():
    """Each piece is packed by itself, however few rows it has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_columns, "ROWS_TOGETHER", 1)
        yield


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -7, 2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**70]),
    st.sampled_from([0.0, 1.0, -2.5, 1e300]),
    st.sampled_from(["", "a", "1", "\ud800"]),
    st.just([1, "a"]),
)
VALUES = st.one_of(
    st.just(NOTHING),
    SCALARS,
    st.dictionaries(st.sampled_from(["f", "a", "b", "c"]), SCALARS, max_size=3),
)
OF_ONE_KIND = [st.integers(-3, 3), st.floats(-2, 2), st.booleans(), st.text("ab", max_size=2), VALUES]


def of(pieces: list[list[Any]], order: list[int] | None = None) -> ValueColumns:
    made = ValueColumns("f", None if order is None else np.array(order, dtype=np.int64))
    for piece in pieces:
        made.add(piece)
    return made


def at_once(values: list[Any]) -> pd.DataFrame:
    return of([values]).frame(pd.RangeIndex(len(values)))


def assert_same(frame: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(frame, expected)
    for name in expected:  # 1, 1.0 and True are equal, and not the same
        assert list(map(type, frame[name])) == list(map(type, expected[name]))


@given(st.lists(st.sampled_from(OF_ONE_KIND).flatmap(lambda kind: st.lists(kind, max_size=4)), max_size=5))
def test_pieces_are_the_same_columns_as_all_rows_at_once(pieces):
    values = [value for piece in pieces for value in piece]
    found = of(pieces)
    assert found.there.tolist() == [value is not NOTHING for value in values]
    assert_same(found.frame(pd.RangeIndex(len(values))), at_once(values))


@given(
    st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_columns_appear_in_the_order_of_the_frame_s_rows(pieces, random):
    added = [value for piece in pieces for value in piece]
    order = list(range(len(added)))
    random.shuffle(order)
    in_order = [added[at] for at in order]
    found = of(pieces, order)
    assert found.there.tolist() == [value is not NOTHING for value in in_order]
    assert_same(found.frame(pd.RangeIndex(len(added))), at_once(in_order))


def test_a_column_stands_where_its_first_row_in_the_frame_has_it():
    found = of([[1, {"late": 1, "a": 2}], [{"early": 3, "a": 4}, None]], order=[2, 3, 1, 0])
    assert list(found.frame(pd.RangeIndex(4))) == ["early", "a", "late", "f"]


@given(st.lists(st.lists(VALUES, max_size=4), max_size=4), st.booleans())
def test_rows_can_be_left_out(pieces, is_reversed):
    added = [value for piece in pieces for value in piece]
    order = list(range(len(added)))[::-1] if is_reversed else None
    values = added[::-1] if is_reversed else added
    found = of(pieces, order)
    rows = np.flatnonzero(found.there)
    kept = found.frame(pd.RangeIndex(len(rows)), rows)
    expected = at_once(values).iloc[rows].reset_index(drop=True)
    assert sorted(kept) == sorted(expected)
    assert_same(kept[list(expected)], expected)


@pytest.mark.parametrize(
    ("value", "most_bytes"),
    [
        (lambda n: n / 7, 12),
        (lambda n: n, 12),
        (lambda n: {"x": n, "y": n / 7}, 24),
        (lambda n: n / 7 if n % 9 else n, 13),
    ],
)
def test_numbers_of_many_rows_are_held_as_arrays(value, most_bytes):
    """A Python float alone takes 24 bytes, and 8 more in a list."""
    pieces, rows = 20, 10_000
    tracemalloc.start()
    try:
        found = ValueColumns("f")
        before = tracemalloc.get_traced_memory()[0]
        for start in range(0, pieces * rows, rows):
            found.add([value(n) for n in range(start, start + rows)])
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held / (pieces * rows) < most_bytes
    assert len(found.frame(pd.RangeIndex(pieces * rows))) == pieces * rows


def test_a_column_of_objects_is_put_together_once():
    """Its cells are there already: eight bytes each refer to them, and no second copy does."""
    rows = 100_000
    found = of(
        [[n / 7 if n % 1000 else [n] for n in range(start, start + 1000)] for start in range(0, rows, 1000)]
    )
    tracemalloc.start()
    try:
        found.frame(pd.RangeIndex(rows))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < rows * 12
