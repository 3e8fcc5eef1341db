"""Failed rows as a table, and kinds of errors."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flownb.batches.failures import Failure, failures
from flownb.batches.labels import TEXT_DTYPE
from flownb.wire.error_kinds import kind_of, type_and_message

TEXT = str(pd.array([], dtype=TEXT_DTYPE).dtype)
KINDS = {
    "row 17 has no 'price'": "row <n> has no <q>",
    'no column "a 1" or `b`': "no column <q> or <q>",
    "can't and won't do 3 things": "can't and won't do <n> things",
    "-1.5e-07 is less than 1,000.25": "<n> is less than <n>",
    "took 30s, 12ms": "took <n>s, <n>ms",
    "user 3f2b8c1e-0d4a-4b5c-9e6f-7a8b9c0d1e2f": "user <id>",
    "object at 0x7f3a2b": "object at <id>",
    "commit deadbeef0 of 1234567890": "commit <id> of <n>",
    "open /var/data/a.csv: no": "open <path>: no",
    "open ./a/b.txt, ~/c and C:\\x\\y.": "open <path>, ... and <path>.",
    "read data/2024/a.parquet": "read <path>",
    "GET https://host:80/a?b=1 gave 503": "GET <url> gave <n>",
    "true and/or false": "true and/or false",
    "bad value\nwith details 1": "bad value",
    "  \n": "",
    "utf8 col_1 sha256": "utf8 col_1 sha256",
    "request req_011CQ8xYZabc9def7 failed": "request <id> failed",
    "InternalServerErrorHandler500": "InternalServerErrorHandler500",
    "['origin', 'dest'] not in index": "[<q>, ...] not in index",
    "shapes (3, 4) and (5,6,7)": "shapes (<n>, ...) and (<n>)",
    "Pool(host='a.com', port=443): url: /v1/17 (by E('<C at 0x7f>: no'))": "Pool(host=<q>, port=<n>): "
    "url: <path> (by E(<q>))",
}


@pytest.mark.parametrize("message", KINDS)
def test_particulars_are_folded(message: str) -> None:
    template = KINDS[message]
    assert kind_of(None, message) == template
    assert kind_of("E", message) == ("E: " + template if template else "E")


def test_a_kind_may_have_no_message() -> None:
    assert kind_of("KeyError", None) == "KeyError"
    assert kind_of(None, None) == ""


@given(st.text())
@example("0''")
@example("''0")
@example("1,'2',''0")
def test_a_kind_of_a_kind_is_itself(message: str) -> None:
    once = kind_of(None, message)
    assert kind_of(None, once) == once or len(once) >= 300


@given(st.integers(), st.integers())
def test_numbers_make_no_difference(one: int, other: int) -> None:
    assert kind_of("E", f"row {one} of 7") == kind_of("E", f"row {other} of 7")


LETTERS = st.sampled_from("abcxyz")
PARTICULARS = {
    "quotes": st.text(st.characters(exclude_characters="'", exclude_categories=("Cc", "Zl", "Zp"))).map(
        lambda text: f"'{text}'"
    ),
    "ids": st.uuids().map(str),
    "hex": st.integers(2**32, 2**160).map(hex),
    "request ids": st.text("abXY09", min_size=24, max_size=24).map(lambda text: f"req_a1b2{text}"),
    "paths": st.lists(st.text("abc-_09", min_size=1), min_size=1, max_size=5).map(
        lambda parts: "/" + "/".join(parts) + ".csv"
    ),
    "numbers": st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)).map(str),
    "lists of numbers": st.lists(st.integers(0), min_size=2, max_size=30).map(str),
}


@pytest.mark.parametrize("sort", PARTICULARS)
@given(data=st.data())
def test_what_differs_from_row_to_row_makes_no_other_kind(sort: str, data: st.DataObject) -> None:
    one, other = data.draw(PARTICULARS[sort]), data.draw(PARTICULARS[sort])
    if len(one) < 200 and len(other) < 200:  # a longer message is cut
        assert kind_of("E", f"no place for {one} here") == kind_of("E", f"no place for {other} here")


@given(st.text(LETTERS, min_size=1), st.text(LETTERS, min_size=1))
def test_other_words_are_another_kind(one: str, other: str) -> None:
    assert (kind_of("E", f"no {one} here") == kind_of("E", f"no {other} here")) == (one == other)


@pytest.mark.parametrize(
    ("reason", "trace", "error", "message"),
    [
        ("KeyError: 'a'", "Traceback (most recent call last): ...", "KeyError", "'a'"),
        ("KeyError", None, "KeyError", ""),
        ("pkg.errors.Bad: a: b", None, "pkg.errors.Bad", "a: b"),
        ("no route: 7", "TypeError: no route: 7\n    at f (a.js:1:2)", "TypeError", "no route: 7"),
        ("no route: 7", None, None, "no route: 7"),
        ("job stalled more than allowable limit", None, None, "job stalled more than allowable limit"),
        (None, None, None, ""),
    ],
)
def test_the_type_is_told_from_the_message(reason, trace, error, message) -> None:
    assert type_and_message(reason, trace) == (error, message)


@pytest.mark.parametrize("piece", ["a/", "'", "-1,", "0a", "../", "x-/", "1.", "ab:/"])
def test_no_message_takes_long(piece: str) -> None:
    start = time.perf_counter()
    kind_of("E", piece * 100_000)
    assert time.perf_counter() - start < 5  # milliseconds; a pattern that goes back over it takes minutes


def test_the_table_stands_on_the_rows_labels() -> None:
    records = [
        Failure(("a", 1), "ValueError", "no 'x'", 3, 0.25, "Traceback"),
        (("b", 2), None, "lost", None, None, None),
    ]
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])
    made = failures(records, index)
    assert list(made) == ["error", "message", "kind", "attempts", "seconds", "traceback"]
    assert made.dtypes.astype(str).tolist() == [TEXT, TEXT, TEXT, "Int64", "Float64", TEXT]
    pd.testing.assert_index_equal(made.index, index)
    assert made["kind"].tolist() == ["ValueError: no <q>", "lost"]
    assert made["attempts"].tolist() == [3, pd.NA]
    assert failures(records).index.tolist() == [("a", 1), ("b", 2)]


def test_no_failures_make_an_empty_table() -> None:
    made = failures([])
    assert made.shape == (0, 6)
    assert made.groupby("kind").size().empty
