"""Rows in CSV and Parquet files: as a whole the same as when they are read first, whatever stands in which piece."""

from __future__ import annotations

import pathlib

import pandas as pd
import polars as pl
import pytest

import flownb as fn
from flownb.batches import arrow_frames, row_files
from flownb.batches.row_files import pieces_of_files
from flownb.errors import FlowError


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(row_files, "ROWS_A_PIECE", 2)
    monkeypatch.setattr(arrow_frames, "ROWS_A_PIECE", 2)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def double(connection):
    @fn.task
    def double(n):
        return None if n is None else 2 * n

    return double


PARQUET = pl.DataFrame({"id": ["a", "b", "c"], "n": [1, None, 3]})


@pytest.mark.parametrize("name", [None, "with a name"])
@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_rows_of_a_parquet_file_come_back_as_pandas_on_their_key(write, double, name, kind):
    path = kind(write("rows.parquet", PARQUET))
    batch = fn.fan_out(path, double, key="id", name=name)
    results = batch.results(timeout=60)
    expected = pd.DataFrame(
        {"double": pd.array([2, None, 6], dtype="Int64")}, index=pd.Index(["a", "b", "c"], name="id")
    )
    pd.testing.assert_frame_equal(results, expected, check_index_type=False)
    pd.testing.assert_frame_equal(fn.attach(batch.name).results(), results)


def test_a_pattern_names_several_files_in_the_order_of_their_names(write, double):
    write("part/2.parquet", PARQUET.with_columns(n=pl.lit(7)))
    write("part/1.parquet", PARQUET)
    write("part/3.parquet", PARQUET.clear())
    assert fn.fan_out("part/*.parquet", double, name="b").results(timeout=60)["double"].tolist() == [
        2,
        pd.NA,
        6,
        14,
        14,
        14,
    ]


CSV = "id,n,share,ok,day,nothing\n007,1,1,true,2024-01-01,\n8,2,2,false,2024-01-02,\nx9,,3.5,true,,\n"


def test_a_column_of_csv_has_one_type_whatever_stands_in_a_piece(write):
    """In the first piece alone `id` would be a number, without its zeros, and `share` whole."""
    found = pd.concat(pieces_of_files(write("rows.csv", CSV)), ignore_index=True)
    assert found["id"].tolist() == ["007", "8", "x9"]
    assert found["n"].tolist() == [1, 2, pd.NA]
    assert found["share"].tolist() == [1.0, 2.0, 3.5]
    assert found["ok"].tolist() == [True, False, True]
    assert found["nothing"].isna().all()
    whole = pd.read_csv("rows.csv", dtype_backend="numpy_nullable")
    assert found.drop(columns="nothing").dtypes.equals(whole.drop(columns="nothing").dtypes)


def test_rows_of_a_csv_file_run_as_those_of_the_frame_do(write, double):
    path = write("rows.csv.gz", "")
    pd.DataFrame({"id": ["é", "b", "c"], "n": [1, 2, 3]}).to_csv(path, index=False)
    results = fn.fan_out("rows.csv.gz", double, name="b", key="id").results(timeout=60)
    assert results.loc["é", "double"] == 2
    assert results["double"].tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.csv", b"a,b\n1,2\n\xff\xfe,3\n", "bad.csv: pandas cannot read it: 'utf-8' codec"),
        ("empty.csv", "", "empty.csv: pandas cannot read it: No columns"),
        (
            "wide.csv",
            "a,b\n1,2,3\n1,2,3\n",
            "wide.csv: its lines have more fields than its first line has names",
        ),
        ("ragged.csv", "a,b\n1,2\n1,2,3\n", "ragged.csv: pandas cannot read it: Error tokenizing data"),
        ("bad.parquet", "no table", "bad.parquet: pyarrow cannot read it: "),
    ],
)
def test_a_file_that_is_no_table_is_named(write, double, name, content, message):
    path = write(name, content)
    with pytest.raises(FlowError) as refused:
        fn.fan_out(path, double)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("nowhere.csv", "rows: there is no file nowhere.csv in /"),
        ("none/*.parquet", r"rows: there is no file none/\*.parquet in /"),
        ("a\0*.csv", "rows: there is no file"),
        ("s3://bucket/rows.parquet", r"is no path here; open it with its library"),
        (
            pathlib.Path("rows.xlsx"),
            "rows: rows.xlsx is no .csv or .parquet; read it, and give the DataFrame",
        ),
        ("rows.xlsx", r"a str is one value, not rows; put it in a list: \[value\]"),
    ],
)
def test_a_path_that_names_no_rows_is_refused(double, rows, message):
    with pytest.raises(FlowError, match=message):
        fn.fan_out(rows, double)


def test_a_folder_is_refused_with_the_pattern_of_its_files(tmp_path, double):
    folder = tmp_path / "pq"
    (folder / "deep").mkdir(parents=True)
    for given in (str(folder), folder, f"{folder}/"):
        with pytest.raises(
            FlowError, match=r"rows: .*/pq/? is a folder; and no \.parquet or \.csv file is in it"
        ):
            fn.fan_out(given, double)
    for file, pattern in (("deep/a.csv", "**/*.csv"), ("b.csv", "*.csv"), ("c.parquet", "*.parquet")):
        (folder / file).write_text("n\n1\n")
        with pytest.raises(FlowError) as refused:
            fn.fan_out(str(folder), double)
        assert str(refused.value) == f"rows: {folder} is a folder; name the files in it: '{folder}/{pattern}'"
    spark = tmp_path / "rows.parquet"
    spark.mkdir()
    with pytest.raises(FlowError, match=r"rows\.parquet is a folder"):
        fn.fan_out(str(spark), double)


def test_a_file_without_rows_is_an_empty_batch(write, double):
    assert len(fn.fan_out(write("rows.csv", "id,n\n"), double, name="c").results(timeout=60)) == 0
    assert len(fn.fan_out(write("rows.parquet", PARQUET.clear()), double, name="p").results(timeout=60)) == 0
