"""The codec: values to JSON text and back; what JSON cannot hold is refused with its place and the way to mend it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flownb.errors import FlowError
from flownb.wire import child_list, codec
from flownb.wire.codec import decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: object
    y: int = 2


@settings(derandomize=True)
@given(value=JSON)
def test_json_comes_back_as_it_was(value):
    text = encode(value, "data")

    assert decode(text) == value
    assert json.loads(text) == value
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("value", [None, "text", 0, 1.5, True, [], [1], {}, {"a": None}, 2**63, -(10**40)])
def test_any_json_value_is_data(value):
    assert decode(encode(value, "data")) == value


def test_the_text_is_compact_and_keeps_letters():
    assert encode({"b": [1, "é/"], "a": {}}, "data") == '{"b":[1,"é/"],"a":{}}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.datetime(2024, 2, 29, 1, 2, 3), '"2024-02-29T01:02:03"'),
        (datetime.date(2024, 2, 29), '"2024-02-29"'),
        (datetime.time(1, 2), '"01:02:00"'),
        (datetime.timedelta(minutes=1.5), "90.0"),
        (decimal.Decimal("0.10"), '"0.10"'),
        (pathlib.PurePosixPath("a/b"), '"a/b"'),
        (uuid.UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (Colour.RED, '"red"'),
        (Point(1), '{"x":1,"y":2}'),
        ((1, 2), "[1,2]"),
        (np.int64(7), "7"),
        (np.float64(0.5), "0.5"),
        (np.bool_(True), "true"),
        (np.array([[1, 2]]), "[[1,2]]"),
        (pd.Timestamp("2024-01-01T00:00:00Z"), '"2024-01-01T00:00:00Z"'),
    ],
)
def test_well_known_types_have_a_json_form(value, text: str):
    assert encode(value, "data") == text
    assert encode({"deep": [value]}, "data") == f'{{"deep":[{text}]}}'


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, np.float64("nan"), pd.NaT, pd.NA, [1, math.nan], Point(math.nan)]
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(
        FlowError, match=r"^root\.data\.x(\[1\]|\.x)?: NaN and infinity are not JSON; use None"
    ):
        encode({"x": value}, "root.data")


@pytest.mark.parametrize("value", [math.nan, np.float64("nan"), pd.NaT, pd.NA])
def test_a_missing_number_in_a_result_is_null(value):
    assert encode({"x": [value, 1]}, "value", nan="null") == '{"x":[null,1]}'
    assert encode(value, "value", nan="null") == "null"


def test_an_array_with_a_missing_number_is_a_list_with_null():
    assert encode(np.array([1.0, math.nan]), "value", nan="null") == "[1.0,null]"


@pytest.mark.parametrize("value", [math.inf, -math.inf, [math.inf, math.nan]])
def test_infinity_is_refused_in_results_too(value):
    with pytest.raises(FlowError, match="infinity"):
        encode(value, "value", nan="null")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"x", "a bytes is not JSON; use base64"),
        (bytearray(b"x"), "a bytearray is not JSON; use base64"),
        (memoryview(b"x"), "a memoryview is not JSON"),
        (1j, "a complex is not JSON"),
        (object(), "an object is not JSON"),
        (Point, "a type is not JSON"),
        (pd.DataFrame(), r"a DataFrame is not JSON; use .to_dict.*, fan out over its rows"),
        (lambda: 1, "a function is not JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_a_hint(value, says: str):
    with pytest.raises(FlowError, match=says) as caught:
        encode({"x": value}, "root/children[3].data")
    assert str(caught.value).startswith("root/children[3].data.x: ")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("key", [1, None, 1.5, True, (1, 2), Colour.RED])
def test_a_key_that_is_not_text_is_refused_with_its_place(key):
    with pytest.raises(FlowError, match=r"data\.a\[1\]: the key .* is \w+, JSON keys are text"):
        encode({"a": [0, {key: 1}]}, "data")


def test_a_key_that_is_text_of_a_class_of_its_own_is_its_text():
    class Size(enum.StrEnum):
        SMALL = "s"

    class Shape(str, enum.Enum):  # noqa: UP042
        ROUND = "o"

    value = {Size.SMALL: 1, Shape.ROUND: {np.str_("é"): float("nan")}, "plain": [{Size.SMALL: 2}]}
    assert encode(value, "data", nan="null") == '{"s":1,"o":{"é":null},"plain":[{"s":2}]}'


def test_keys_that_would_collide_are_refused():
    with pytest.raises(FlowError, match="the key 1 is int"):
        encode({"1": 1, 1: 2}, "data")


def test_keys_inside_a_dataclass_are_looked_at_too():
    with pytest.raises(FlowError, match="the key 1 is int"):
        encode({"p": Point({"1": 1, 1: 2})}, "data")


def test_a_circle_is_refused():
    circle: list = [1]
    circle.append({"again": circle})

    with pytest.raises(FlowError, match="nested more than 500 levels deep, or in a circle"):
        encode(circle, "data")


def test_a_circle_through_a_dataclass_is_refused():
    point = Point(None)
    point.x = point

    with pytest.raises(FlowError, match="circle"):
        encode(point, "data")


@pytest.mark.parametrize(("depth", "fits"), [(100, True), (499, True), (900, False), (100_000, False)])
def test_depth_has_a_limit_and_never_a_recursion_error(depth: int, fits: bool):
    value: object = 1
    for _ in range(depth):
        value = [value]

    if fits:
        assert encode(value, "data").count("[") == depth
    else:
        with pytest.raises(FlowError, match="nested more than 500 levels"):
            encode(value, "data")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_half_a_character_is_refused(text: str):
    for value in (text, {"x": text}, {text: 1}):
        with pytest.raises(FlowError, match="lone surrogate"):
            encode(value, "data")


@pytest.mark.parametrize("letter", ["x", "é", "🎈"])
def test_size_is_counted_in_bytes(letter: str):
    fitting = 998 // len(letter.encode())

    assert encode(letter * fitting, "data", most=1000)
    with pytest.raises(FlowError, match=r"bytes of JSON, more than the 1,000 allowed; store it in a file"):
        encode(letter * (fitting + 1), "data", most=1000)


def test_the_value_itself_is_never_in_the_message():
    with pytest.raises(FlowError) as caught:
        encode({"password": "hunter2", "x": 1j}, "data")
    assert "hunter2" not in str(caught.value)


# ---- packed children --------------------------------------------------------------------------------------------


def test_children_of_one_queue_come_back_in_order():
    packed = child_list.pack(["bull:q"] * 3, ["a", "b", "c"])

    assert child_list.unpack(packed) == child_list.ChildList(["bull:q:a", "bull:q:b", "bull:q:c"])


def test_children_of_several_queues_come_back_in_order_with_their_rows():
    rows = child_list.ChildRows([4, 5, 6], ["i", None, [1, 2]])
    packed = child_list.pack(["x:q", "bull:w", "x:q"], ["a", "b", "c"], rows)

    found = child_list.unpack(packed)

    assert found.keys == ["x:q:a", "bull:w:b", "x:q:c"]
    assert (found.positions, found.labels) == ([4, 5, 6], ["i", None, [1, 2]])


def test_five_thousand_children_pack_small():
    ids = [f"0123456789abcdef-{i}" for i in range(5000)]

    packed = child_list.pack(["bull:q"] * 5000, ids)

    assert len(packed) < 5000 * 6
    assert child_list.unpack(packed).keys[-1] == "bull:q:0123456789abcdef-4999"


def test_no_children_pack_to_none():
    assert child_list.unpack(child_list.pack([], [])).keys == []


def test_many_texts_are_read_at_once_and_one_that_is_no_json_is_told():
    texts = {"a": "1", "b": '{"x":[1,2]}', "c": "null", "d": '"é"'}
    assert codec.decode_each(texts) == {"a": 1, "b": {"x": [1, 2]}, "c": None, "d": "é"}
    assert codec.decode_each({}) == {}
    for broken in ("1,2", "[1", ""):
        with pytest.raises(json.JSONDecodeError):
            codec.decode_each({"a": "1", "b": broken})
