"""Rows that come as a frame of polars, Arrow, DuckDB or another library: the kind that came in comes out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sqlite3
import subprocess
import sys
from decimal import Decimal

import duckdb
import narwhals
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pydantic
import pytest
from polars.testing import assert_frame_equal

import flownb as fn
from flownb.batches import frame_kinds
from flownb.batches.arrow_frames import opened
from flownb.batches.columns import fragments_of
from flownb.errors import FlowError, OptionError

ROWS = pl.DataFrame(
    {"id": ["b", "a", "b"], "n": pl.Series([1, None, 3], dtype=pl.UInt8), "text": ["x", "y", "z"]}
)
TABLE = pl.DataFrame(
    {"id": ["b", "a", "b"], "n": pl.Series([1, None, 3], dtype=pl.UInt8), "double": [2, None, 6]}
)


class GivesAStream:
    """A frame of a library that flownb has never heard of."""

    def __init__(self, frame):
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self._frame.__arrow_c_stream__(requested_schema)


@dataclasses.dataclass
class Record:
    id: str
    n: int | None
    text: str


class Model(pydantic.BaseModel):
    id: str
    n: int | None
    text: str


def cursor():
    database = sqlite3.connect(":memory:")
    database.execute("create table rows (id text, n int, text text)")
    database.executemany("insert into rows values (?, ?, ?)", ROWS.rows())
    return database.execute("select * from rows")


#: what a user has, how it is made of `ROWS`, and the kind of frame that comes back
GIVEN = {
    "polars": (lambda: ROWS, "polars"),
    "polars, lazy": (lambda: ROWS.lazy(), "polars"),
    "narwhals": (lambda: narwhals.from_native(ROWS), "polars"),
    "narwhals, lazy": (lambda: narwhals.from_native(ROWS.lazy()), "polars"),
    "Arrow table": (lambda: ROWS.to_arrow(), "arrow"),
    "Arrow batch": (lambda: ROWS.to_arrow().to_batches()[0], "arrow"),
    "Arrow reader": (lambda: ROWS.to_arrow().to_reader(), "arrow"),
    "Arrow dataset": (lambda: pa.dataset.dataset(ROWS.to_arrow()), "arrow"),
    "DuckDB relation": (lambda: duckdb.from_arrow(ROWS.to_arrow()), "arrow"),
    "Arrow's C stream": (lambda: GivesAStream(ROWS), "arrow"),
    "pandas": (lambda: ROWS.to_pandas(use_pyarrow_extension_array=True), "pandas"),
    "list of dicts": (lambda: ROWS.to_dicts(), "pandas"),
    "dataclasses": (lambda: [Record(**row) for row in ROWS.to_dicts()], "pandas"),
    "named tuples": (lambda: list(ROWS.to_pandas(use_pyarrow_extension_array=True).itertuples()), "pandas"),
    "pydantic's models": (lambda: [Model(**row) for row in ROWS.to_dicts()], "pandas"),
    "cursor": (lambda: cursor(), "pandas"),
    "iterator of dicts": (lambda: iter(ROWS.to_dicts()), "pandas"),
}
TYPES = {"polars": pl.DataFrame, "arrow": pa.Table, "pandas": pd.DataFrame}


@pytest.fixture
def double(connection):
    @fn.task
    def double(n):
        return {"double": None if n is None else 2 * n}

    return double


@pytest.fixture(params=GIVEN)
def given(request):
    return GIVEN[request.param]


def in_polars(frame, columns):
    """Return a frame of any kind as polars, in these columns."""
    if isinstance(frame, pd.DataFrame):
        frame = frame_kinds.as_kind(frame, "polars", with_labels="id" in columns)
    return pl.DataFrame(frame).select(columns)


def test_rows_come_back_in_their_kind_and_order(given, double):
    make, kind = given
    results = fn.fan_out(make(), double).results(timeout=60)
    assert type(results) is TYPES[kind]
    assert_frame_equal(in_polars(results, ["double"]), TABLE.select("double"))
    assert list(pl.DataFrame(results).columns if kind != "pandas" else results.columns) == ["double"]


def test_the_column_of_key_comes_back_in_front(given, double):
    make, kind = given
    batch = fn.fan_out(make(), double, key="id", name="keyed")
    results = batch.results(timeout=60)
    assert_frame_equal(in_polars(results, ["id", "double"]), TABLE.select("id", "double"))
    if kind == "pandas":
        assert results.index.name == "id"
        assert list(results.columns) == ["double"]
    assert [label for label, _ in batch.as_completed(timeout=60)].count("b") == 2


def test_a_table_has_the_columns_that_came(given, double):
    make, kind = given
    batch = fn.fan_out(make(), double, key="id", name="keyed").wait(timeout=60)
    table = batch.table()
    assert type(table) is TYPES[kind]
    assert_frame_equal(
        in_polars(table, ["id", "n", "double"]).cast({"n": pl.Int64}), TABLE.cast({"n": pl.Int64})
    )
    assert in_polars(table, ["_state"])["_state"].to_list() == ["completed"] * 3


def test_a_handle_of_another_kernel_gives_the_same(given, double):
    make, kind = given
    made = fn.fan_out(make(), double, key="id", name="keyed")
    there = fn.attach("keyed")
    results = there.results(timeout=60)
    assert type(results) is TYPES[kind]
    assert_frame_equal(in_polars(results, ["id", "double"]), in_polars(made.results(), ["id", "double"]))
    assert_frame_equal(
        in_polars(there.table(), ["id", "n", "double"]), TABLE.cast({"n": pl.Int64}), check_dtypes=False
    )


def test_an_aggregate_gets_the_kind_that_came_in(given, double):
    make, kind = given

    @fn.task
    def seen(rows):
        return [type(rows).__name__, str(pl.DataFrame(rows)["double"].drop_nulls().to_list())]

    result = fn.fan_out(make(), double, into=seen, key="id", name="seen").result(timeout=60)
    assert result == [TYPES[kind].__name__, "[2, 6]"]


def test_groups_come_back_in_their_kind(double):
    @fn.task
    def total(rows):
        return sum(filter(None, rows["double"]))

    result = fn.fan_out(ROWS, double, by="id", into=total).result(timeout=60)
    assert_frame_equal(result, pl.DataFrame({"id": ["b", "a"], "total": [8, 0]}))


@pytest.mark.parametrize("frame", ["pandas", "polars", "arrow"])
def test_another_kind_may_be_asked_for(double, frame):
    results = fn.fan_out(ROWS, double, key="id").results(timeout=60, frame=frame)
    assert type(results) is TYPES[frame]
    assert_frame_equal(in_polars(results, ["id", "double"]), TABLE.select("id", "double"))


def test_an_index_of_pandas_becomes_columns_unless_it_only_counts(double):
    frame = ROWS.to_pandas()
    assert fn.fan_out(frame, double).results(timeout=60, frame="polars").columns == ["double"]
    frame.index = pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)], names=["shop", None])
    results = fn.fan_out(frame, double).results(timeout=60, frame="arrow")
    assert results.column_names == ["shop", "level_1", "double"]


def test_several_columns_may_be_the_key(double):
    batch = fn.fan_out(ROWS, double, key=["id", "text"])
    assert batch.results(timeout=60).columns == ["id", "text", "double"]
    assert batch.results(frame="pandas").index.names == ["id", "text"]
    assert batch.debug(("b", "z")) == {"double": 6}


def test_the_key_may_be_a_parameter_too(connection):
    @fn.task
    def named(id, n):
        return f"{id}{n}"

    assert fn.fan_out(ROWS, named, key="id").results(timeout=60)["named"].to_list() == ["b1", "aNone", "b3"]
    table = fn.attach(fn.fan_out(ROWS, named, key="id").name).table()
    assert table.columns[:3] == ["id", "n", "named"]


def test_a_failed_row_is_found_by_its_key(connection):
    @fn.task
    def inverse(n):
        return 1 / n

    rows = pl.DataFrame({"id": [7, 8], "n": [0, 4]})
    batch = fn.fan_out(rows, inverse, key="id").wait(timeout=60)
    assert batch.failures.index.tolist() == [7]
    assert batch.results()["inverse"].to_list() == [None, 0.25]
    batch.retry(rows=[7]).wait(timeout=60)
    with pytest.raises(ZeroDivisionError):
        batch.debug(7)


def test_later_changes_of_the_callers_frame_do_not_reach_the_table(double):
    rows = ROWS.clone()
    batch = fn.fan_out(rows, double, key="id").wait(timeout=60)
    rows[0, "text"] = "changed"
    assert batch.table()["text"].to_list() == ["x", "y", "z"]


def test_a_dry_run_shows_the_callers_rows(double):
    would = fn.fan_out(ROWS, double, dry_run=True)
    assert_frame_equal(would, ROWS.with_columns(pl.lit("run").alias("_would")))
    lazy = fn.fan_out(ROWS.lazy(), double, key="id", dry_run=True)
    assert lazy.columns == ["id", "n", "text", "_would"]


def test_the_same_rows_in_another_kind_run_nothing_twice(double, capsys):
    fn.fan_out(ROWS, double, name="one").wait(timeout=60)
    fn.fan_out(ROWS.to_arrow(), double, name="one").wait(timeout=60)
    fn.fan_out(ROWS.to_dicts(), double, name="one").wait(timeout=60)
    assert capsys.readouterr().out.count("3 of 3 rows are there already, none runs again") == 2


@pytest.mark.parametrize(
    ("rows", "key", "message"),
    [
        (ROWS, "idd", "key='idd': no column has this name (columns: id, n, text, did you mean 'id'?)"),
        (ROWS.to_dicts(), ["id", "m"], "key='m': no column has this name"),
        ([{"n": 1, "id": [1]}], "id", "key='id': row 0 has a list there, which is no label; give text"),
        ([1, 2], "id", "key='id': no column has this name"),
    ],
)
def test_a_key_that_is_none_is_refused(double, rows, key, message):
    with pytest.raises(FlowError) as refused:
        fn.fan_out(rows, double, key=key)
    assert message in str(refused.value)


@pytest.mark.parametrize("key", [5, [], ["id", "id"], [5], pl.col("id"), b"id", {"id": 1}])
def test_what_is_no_name_of_a_column_is_refused_as_key(double, key):
    with pytest.raises(OptionError, match="key: "):
        fn.fan_out(ROWS, double, key=key)


def test_a_kind_that_there_is_not_is_refused(double):
    with pytest.raises(OptionError, match="frame"):
        fn.fan_out(ROWS, double).results(timeout=60, frame="excel")


# ---- types ----------------------------------------------------------------------------------------------

TIME = dt.datetime(2024, 2, 29, 1, 2, 3, 250000)
#: a column of polars, and the JSON of its first cell
COLUMNS = {
    "Int8": (pl.Series([1, None], dtype=pl.Int8), "1"),
    "UInt64": (pl.Series([2**64 - 1, None], dtype=pl.UInt64), "18446744073709551615"),
    "Int128": (pl.Series([2**100, None], dtype=pl.Int128), str(2**100)),
    "Float64": (pl.Series([0.1, None]), "0.1"),
    "Boolean": (pl.Series([True, None]), "true"),
    "String": (pl.Series(["é", None]), '"é"'),
    "Categorical": (pl.Series(["a", None], dtype=pl.Categorical), '"a"'),
    "Date": (pl.Series([TIME.date(), None]), '"2024-02-29"'),
    "Time": (pl.Series([TIME.time(), None]), '"01:02:03.250000"'),
    "Datetime": (pl.Series([TIME, None]), '"2024-02-29T01:02:03.250000"'),
    "Datetime in ns": (
        pl.Series([1_000_000_001, None], dtype=pl.Int64).cast(pl.Datetime("ns")),
        '"1970-01-01T00:00:01.000000001"',
    ),
    "Datetime with a zone": (
        pl.Series([TIME, None]).dt.replace_time_zone("Europe/Paris"),
        '"2024-02-29T01:02:03.250000+01:00"',
    ),
    "Duration": (pl.Series([dt.timedelta(minutes=1.5), None]), "90.0"),
    "Decimal": (pl.Series([Decimal("0.10"), None], dtype=pl.Decimal(10, 2)), '"0.10"'),
    "List": (pl.Series([[1, None], None]), "[1,null]"),
    "List of Int128": (pl.Series([[2**100], None], dtype=pl.List(pl.Int128)), f"[{2**100}]"),
    "List of times": (pl.Series([[TIME], None]), '["2024-02-29T01:02:03.250000"]'),
    "Array": (pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)), "[1,2]"),
    "Struct": (pl.Series([{"a": 1, "b": None}, None]), '{"a":1,"b":null}'),
    "Null": (pl.Series([None, None]), "null"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_travels_exactly(name):
    column, text = COLUMNS[name]
    rows = opened(pl.DataFrame({"c": column})).rows
    assert fragments_of(rows["c"]) == [text, "null"]


@pytest.mark.parametrize(
    "name",
    [name for name in COLUMNS if not name.startswith("List") and name not in ("Array", "Struct", "Null")],
)
def test_a_key_comes_back_with_its_dtype_in_another_kernel(double, name):
    column, _ = COLUMNS[name]
    rows = pl.DataFrame({"k": column, "n": [1, 2]})
    fn.fan_out(rows, double, key="k", name="typed").wait(timeout=60)
    assert_frame_equal(fn.attach("typed").results().select("k"), rows.select("k"))


@pytest.mark.parametrize(
    ("values", "of_polars", "texts"),
    [
        ([1, None], pl.Int64, None),
        ([1.5, 2], pl.Float64, None),
        (["a", None], pl.String, None),
        ([True, None], pl.Boolean, None),
        ([[1], [2, None]], pl.List(pl.Int64), None),
        ([{"a": 1}] * 200 + [{"b": [2]}], pl.Struct({"a": pl.Int64, "b": pl.List(pl.Int64)}), None),
        ([None, None], pl.Null, None),
        ([1, "a"], pl.String, ["1", '"a"']),
        ([[1], 2], pl.String, ["[1]", "2"]),
        ([[1], ["a"]], pl.String, ["[1]", '["a"]']),
        ([{"a": 1}, 3], pl.String, ['{"a": 1}', "3"]),
        ([True, 1], pl.String, ["true", "1"]),
        ([2**53 + 1, 0.5], pl.String, ["9007199254740993", "0.5"]),
    ],
)
def test_results_get_the_type_that_holds_them_all_or_stand_as_json(connection, values, of_polars, texts):
    @fn.task
    def value(at):
        return {"value": values[at]}

    batch = fn.fan_out(pl.DataFrame({"at": range(len(values))}), value)
    found = batch.results(timeout=60)["value"]
    assert found.dtype == of_polars
    arrow = batch.results(frame="arrow")["value"].to_pylist()
    if texts is not None:
        assert found.to_list() == arrow == texts
    else:
        assert [_with_keys(cell) for cell in found.to_list()] == [_with_keys(cell) for cell in arrow]
        assert [_with_keys(cell) for cell in arrow] == [_with_keys(cell) for cell in values]


def test_ints_beyond_63_bits_have_a_type_where_there_is_one_and_may_be_rows_again(connection):
    values = [2**64 - 1, 2**100]

    @fn.task
    def large(at):
        return {"wide": values[at], "unsigned": values[0] - at}

    batch = fn.fan_out(pl.DataFrame({"at": [0, 1]}), large)
    found = batch.results(timeout=60)
    assert found.dtypes == [pl.Int128, pl.UInt64]
    arrow = batch.results(frame="arrow")
    assert arrow["unsigned"].type == pa.uint64()
    assert arrow["unsigned"].to_pylist() == [2**64 - 1, 2**64 - 2]
    assert arrow["wide"].to_pylist() == list(map(str, values))  # Arrow has no such int

    @fn.task
    def again(wide):
        return wide

    assert fn.fan_out(found, again).results(timeout=60)["again"].to_list() == values


def _with_keys(cell):
    return {key: item for key, item in cell.items() if item is not None} if isinstance(cell, dict) else cell


def test_no_rows_keep_their_columns(double):
    results = fn.fan_out(ROWS.clear(), double, key="id").results(timeout=60)
    assert type(results) is pl.DataFrame
    assert results.shape[0] == 0
    assert results.columns[0] == "id"
    lazy = fn.fan_out(ROWS.clear().lazy(), double).results(timeout=60)
    assert len(lazy) == 0


def test_an_empty_list_may_have_a_key(double):
    assert len(fn.fan_out([], double, key="id").results(timeout=60)) == 0


def test_a_series_and_an_array_fill_the_one_parameter(double):
    assert fn.fan_out(ROWS["n"], double).results(timeout=60)["double"].to_list() == [2, None, 6]
    assert fn.fan_out(pa.array([1, 2]), double).results(timeout=60)["double"].to_pylist() == [2, 4]


@pytest.mark.parametrize(
    ("values", "of_polars"),
    [
        (["b", None, "a"], pl.Categorical),
        ([3, None, 1], pl.Int64),
        ([1.5, None, 2.0], pl.Float64),
        (pd.to_datetime(["2024-01-01", None, "2024-01-02"]), pl.Datetime),
    ],
)
def test_categories_of_pandas_come_back_in_polars_with_what_is_missing(double, values, of_polars):
    rows = pd.DataFrame({"n": [1, 2, 3]}, index=pd.CategoricalIndex(values, name="k"))
    column = fn.fan_out(rows, double).results(timeout=60, frame="polars")["k"]
    assert column.dtype == of_polars
    assert column.to_list() == [None if pd.isna(value) else value for value in values]


def test_categories_of_no_common_type_come_back_as_json_texts(double):
    rows = pd.DataFrame({"n": [1, 2, 3]}, index=pd.CategoricalIndex(["b", 1, None], name="k"))
    batch = fn.fan_out(rows, double)
    assert batch.results(timeout=60, frame="polars")["k"].to_list() == ['"b"', "1", None]
    assert batch.results(frame="arrow")["k"].to_pylist() == ['"b"', "1", None]


# ---- what is not installed ------------------------------------------------------------------------------

WITHOUT_PYARROW = """
import sys
class NoPyarrow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pyarrow": raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, NoPyarrow())
import datetime as dt, duckdb, polars as pl, flownb as fn
fn.connect(path=sys.argv[1])
@fn.task
def double(n): return {"double": 2 * n}
rows = pl.DataFrame({"id": ["a", "b"], "n": [1, 2], "at": pl.Series([1, 2], dtype=pl.Datetime("ns", "Europe/Paris"))})
for given in (rows, rows.lazy(), duckdb.sql("select * from (values ('a', 1), ('b', 2)) t(id, n)")):
    batch = fn.fan_out(given, double, key="id", name="b")
    assert batch.results(timeout=30).rows() == [("a", 2), ("b", 4)], batch.results()
    assert batch.table()["_state"].to_list() == ["completed"] * 2
    try:
        batch.results(frame="arrow")
    except fn.FlowError as error:
        print(error)
"""


def test_polars_and_duckdb_need_no_pyarrow(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYARROW, str(tmp_path / "data")], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("needs pyarrow, which is not installed here: pip install pyarrow") == 3


def test_a_reader_without_pyarrow_and_polars_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(FlowError, match="pip install pyarrow"):
        opened(GivesAStream(ROWS))


@pytest.mark.parametrize("kind", ["polars", "arrow"])
def test_a_value_in_a_file_is_a_struct_that_makes_the_file_again(kind, tmp_path):
    @fn.task
    def halves(n):
        return {"half": pd.DataFrame({"half": [n / 2]}), "deep": {"in": [b"\xff"]}} if n else None

    frame = pl.DataFrame({"n": [3, 0]})
    batch = fn.fan_out(frame if kind == "polars" else frame.to_arrow(), halves)
    found = pl.DataFrame(batch.results(timeout=60))
    assert found["half"][1] is None
    assert fn.File(**found["half"][0]).load()["half"].tolist() == [1.5]
    assert fn.File(**found["deep"][0]["in"][0]).load() == b"\xff"
    kept = pl.read_parquet(batch.export(tmp_path / "export") / "rows.parquet")
    assert fn.File(**kept["half"][0]).load()["half"].tolist() == [1.5]


def test_what_a_duckdb_relation_has_come_to_is_queried_by_its_name_on_any_connection(connection):
    """A relation of ours would be of one connection, and could be combined with none of another."""
    own = duckdb.connect()
    own.execute("create table planes as select * from (values ('a', 1), ('b', 2)) t(id, n)")

    @fn.task
    def tripled(n):
        return 3 * n

    out = fn.fan_out(own.sql("select * from planes"), tripled, key="id", name="tripled").results(timeout=60)
    joined = "select planes.id, n, tripled from planes join out using (id) order by id"
    assert own.sql(joined).fetchall() == [("a", 1, 3), ("b", 2, 6)]
    assert duckdb.connect().sql("select sum(tripled) from out").fetchall() == [(9,)]
    assert out.num_rows == 2
