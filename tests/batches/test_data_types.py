"""Shows how every type travels: the same JSON in a cell and as what a task returns, as docs/data-types.md says it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys

import pandas as pd
import pytest

import flownb as fn
from flownb.batches.labels import TEXT_DTYPE
from tests.support.data_types import COLUMNS, PAGE, REFUSED, VALUES, Named, Point, made_by, page_with, tables

pytestmark = pytest.mark.usefixtures("connection")


def test_the_page_says_what_is_proved_here():
    page = PAGE.read_text(encoding="utf-8")
    assert page_with(tables(), page) == page, "docs/data-types.md is stale: make fmt"


def test_a_value_has_the_same_json_in_a_cell_and_as_what_a_task_returns():
    @fn.task
    def back(code, value):
        return [made_by(code)]

    frame = pd.DataFrame({"code": [code for _, code, _ in VALUES]})
    frame["value"] = pd.Series([made_by(code) for code in frame["code"]], dtype=object)
    batch = fn.fan_out(frame, back).wait(timeout=60)
    assert batch.failures.empty
    table = fn.attach(batch.name).table()
    for (kind, _, text), came, went in zip(VALUES, table["value"], table["back"], strict=True):
        expected = json.loads(text)
        assert (None if came is pd.NA else came) == expected, kind
        assert went == [expected], kind


def test_a_value_has_the_same_json_for_aggregates_and_from_them():
    @fn.task
    def back(code, value):
        return [made_by(code)]

    @fn.task
    def seen(rows):
        cells = zip(rows["value"], rows["back"], strict=True)
        return [[None if came is pd.NA else came, went] for came, went in cells] + [
            [made_by(c)] for c in rows["code"]
        ]

    frame = pd.DataFrame({"code": [code for _, code, _ in VALUES]})
    frame["value"] = pd.Series([made_by(code) for code in frame["code"]], dtype=object)
    expected = [json.loads(text) for *_, text in VALUES]
    result = fn.fan_out(frame, back, into=seen).result(timeout=60)
    assert result == [[one, [one]] for one in expected] + [[one] for one in expected]


def test_debug_calls_with_what_the_job_holds():
    @fn.task
    def same(value):
        return value

    values = pd.Series([made_by(code) for _, code, _ in VALUES], dtype=object)
    batch = fn.fan_out(pd.DataFrame({"value": values}), same).wait(timeout=60)
    for position, (kind, _, text) in enumerate(VALUES):
        assert batch.debug(position) == json.loads(text), kind


def test_a_value_passes_from_task_to_task():
    @fn.task
    def first(code):
        return [made_by(code)]

    @fn.task
    def then(value):
        return value

    with fn.workers():
        flows = [fn.add(fn.chain(first.node(code), then)) for _, code, _ in VALUES]
        for flow, (kind, _, text) in zip(flows, VALUES, strict=True):
            assert flow.result(timeout=60) == [json.loads(text)], kind


ANOTHER_KERNEL = """
import json, sys, flownb as fn
fn.connect(path=sys.argv[1])
table = fn.attach("values").table()
print(json.dumps([table["value"].astype(object).where(table["value"].notna(), None).tolist(), table["back"].tolist()]))
"""


def test_another_process_reads_the_same(server_folder):
    @fn.task
    def back(code, value):
        return [made_by(code)]

    frame = pd.DataFrame({"code": [code for _, code, _ in VALUES]})
    frame["value"] = pd.Series([made_by(code) for code in frame["code"]], dtype=object)
    fn.fan_out(frame, back, name="values").wait(timeout=60)
    command = [sys.executable, "-c", ANOTHER_KERNEL, str(server_folder)]
    came, went = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    expected = [json.loads(text) for *_, text in VALUES]
    assert came == expected
    assert went == [[one] for one in expected]


@pytest.mark.parametrize(("kind", "code", "text"), VALUES, ids=[kind for kind, *_ in VALUES])
def test_a_returned_value_stands_in_its_column_or_its_fields_do(kind, code, text):
    @fn.task
    def back(code):
        return made_by(code)

    found = fn.fan_out([code], back).results(timeout=60)
    expected = json.loads(text)
    if isinstance(expected, dict):
        cells = {name: found[name].iloc[0] for name in found}
        assert {name: None if cell is pd.NA else cell for name, cell in cells.items()} == expected
    elif expected is None:
        assert found["back"].isna().all()
    else:
        assert found["back"][0] == expected


@pytest.mark.parametrize(("dtype", "code", "text", "comes_back"), COLUMNS, ids=[case[0] for case in COLUMNS])
def test_a_column_travels_and_comes_back_as_the_page_says(dtype, code, text, comes_back):
    @fn.task
    def whole(x):
        return {"whole": x}

    batch = fn.fan_out(pd.DataFrame({"x": made_by(code)}), whole).wait(timeout=60)
    table = fn.attach(batch.name).table()
    assert [
        None if missing else value for value, missing in zip(table["x"], table["x"].isna(), strict=True)
    ] == json.loads(text)
    assert str(table["x"].dtype) == (
        str(pd.Series([""], dtype=TEXT_DTYPE).dtype) if comes_back == "str" else comes_back
    )
    assert table["whole"].tolist() == table["x"].tolist() or table["x"].isna().any()
    assert table["whole"].dtype == table["x"].dtype


GOES_TO_A_FILE = ("bytes, bytearray, memoryview", "a DataFrame in a cell")  # where it is returned


@pytest.mark.parametrize(("kind", "code", "instead"), REFUSED, ids=[kind for kind, *_ in REFUSED])
def test_what_has_no_json_form_is_refused_in_both_directions(redis, kind, code, instead):
    @fn.task
    def back(value):
        return made_by(code)

    with pytest.raises(fn.FlowError, match="row 0, column 'value'"):
        fn.fan_out(pd.DataFrame({"value": pd.Series([made_by(code)], dtype=object)}), back)
    assert redis.dbsize() == 0
    batch = fn.fan_out([1], back).wait(timeout=60)
    failures = batch.failures
    if kind in GOES_TO_A_FILE:
        assert isinstance(batch.results()["back"][0], fn.File)
        return
    assert failures["error"].tolist() == ["UnrecoverableError"]
    assert "the returned value" in failures["message"][0]


# ---- rows of other kinds --------------------------------------------------------------------------------


@pytest.fixture
def joined():
    @fn.task
    def joined(x, y):
        return f"{x}-{y}"

    return joined


def test_named_tuples_of_a_frame_are_rows_with_its_columns(joined):
    frame = pd.DataFrame({"x": [1, 2], "y": ["a", "b"]})
    assert fn.fan_out(list(frame.itertuples()), joined).results(timeout=60)["joined"].tolist() == [
        "1-a",
        "2-b",
    ]
    streamed = fn.fan_out(frame.itertuples(index=False), joined, name="tuples").results(timeout=60)
    assert streamed["joined"].tolist() == ["1-a", "2-b"]


def test_records_are_rows_with_their_fields_or_the_one_argument():
    @fn.task
    def size(x, tags):
        return x + len(tags)

    @fn.task
    def whole(point):
        return point["x"]

    points = [Point(1, {"a"}), Point(2, {"b", "c"})]
    assert fn.fan_out(points, size).results(timeout=60)["size"].tolist() == [2, 4]
    assert fn.fan_out(points, whole).results(timeout=60)["whole"].tolist() == [1, 2]


WAYS = ["read first", "as they come", "all at once"]


@pytest.mark.parametrize(
    ("row_factory", "how"),
    [*((sqlite3.Row, how) for how in WAYS), *((None, how) for how in WAYS[:2])],  # bare tuples have no names
)
def test_a_cursor_gives_rows_with_the_names_of_its_columns(joined, row_factory, how):
    database = sqlite3.connect(":memory:")
    database.row_factory = row_factory
    database.execute("create table t (x int, y text)")
    database.executemany("insert into t values (?, ?)", [(n, str(n)) for n in range(700)])
    cursor = database.execute("select * from t order by x")
    if how == "all at once":
        cursor = cursor.fetchall()
    batch = fn.fan_out(cursor, joined, **({"name": "rows"} if how == "as they come" else {}))
    assert batch.results(timeout=60)["joined"].tolist() == [f"{n}-{n}" for n in range(700)]


def test_a_cursor_without_rows_and_columns_of_one_name_are_refused(redis, joined):
    database = sqlite3.connect(":memory:")
    with pytest.raises(fn.FlowError, match="execute a SELECT"):
        fn.fan_out(database.execute("create table t (x int)"), joined)
    with pytest.raises(fn.FlowError, match="two columns have this name"):
        fn.fan_out(database.execute("select 1 as x, 2 as x"), joined)
    assert redis.dbsize() == 0


@pytest.mark.parametrize("pairs", [pd.DataFrame.iterrows, pd.DataFrame.items], ids=["iterrows", "items"])
@pytest.mark.parametrize("name", [None, "streamed"])
def test_pairs_of_a_label_and_a_series_are_refused(redis, pairs, name):
    @fn.task
    def one(pair):
        return pair

    with pytest.raises(fn.FlowError, match="give df itself"):
        fn.fan_out(pairs(pd.DataFrame({"x": [1, 2]})), one, name=name)
    stored = [
        key for key in redis.scan_iter() if b":flownb:tasks:" not in key
    ]  # whose kernel it is may be noted
    assert stored == []


def test_items_of_a_grouped_column_are_rows():
    @fn.task
    def double(x):
        return 2 * x

    @fn.task
    def total(rows):
        return int(rows["double"].sum())

    frame = pd.DataFrame({"k": ["b", "a", "b"], "x": [1, 2, 3]})
    found = fn.fan_out(frame.groupby("k")["x"], double, into=total).result(timeout=60)
    assert found["total"].to_dict() == {"a": 4, "b": 8}


def test_a_frame_of_named_tuples_keeps_their_fields(joined):
    frame = pd.DataFrame({"pair": pd.Series([Named(1, "a")], dtype=object)})

    @fn.task
    def y_of(pair):
        return pair["y"]

    assert fn.fan_out(frame, y_of).results(timeout=60)["y_of"].tolist() == ["a"]
