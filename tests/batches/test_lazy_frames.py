"""Lazy frames are read piece by piece: what has come runs, and next to nothing of it is kept."""

from __future__ import annotations

import collections
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import flownb as fn
from flownb.api.job import store_of
from flownb.batches import arrow_frames, iterators, labels
from flownb.batches.earlier_rows import RowLocations
from flownb.batches.located_rows import LocatedRows
from flownb.batches.row_counts import RowCounts
from flownb.batches.row_files import pieces_of_files
from flownb.state.shape import Declared
from flownb.steering import remove
from flownb.wire import child_list
from flownb.wire.child_list import ChildList, ChildRows


@pytest.fixture
def ran():
    return []


@pytest.fixture
def square(connection, ran):
    @fn.task
    def square(n):
        ran.append(n)
        return {"square": n * n}

    return square


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(arrow_frames, "ROWS_A_PIECE", 100)
    monkeypatch.setattr(iterators, "ROWS_A_PIECE", 100)


def reader(batches):
    """Return an Arrow reader of what a generator yields."""
    schema = pa.schema([("id", pa.dictionary(pa.int8(), pa.string())), ("n", pa.int64())])
    made = (pa.record_batch({name: batch[name] for name in schema.names}, schema=schema) for batch in batches)
    return pa.RecordBatchReader.from_batches(schema, made)


def test_first_rows_run_before_the_last_ones_are_read(square, ran, until):
    def batches():
        yield {"id": ["a"] * 50, "n": range(50)}
        until(lambda: len(ran) == 50)
        yield {"id": ["b"] * 20, "n": range(50, 70)}

    results = fn.fan_out(reader(batches()), square, name="b", key="id").results(timeout=60)
    assert results["id"].to_pylist() == ["a"] * 50 + ["b"] * 20  # though each piece has categories of its own
    assert results["square"].to_pylist() == [n * n for n in range(70)]


@pytest.mark.parametrize("rows_per_job", ["auto", 1, 30])
def test_pieces_are_one_batch(square, small_pieces, ran, rows_per_job):
    rows = pl.DataFrame({"id": [f"row {n}" for n in range(250)], "n": range(250)})
    batch = fn.fan_out(rows.lazy(), square, name="b", key="id", rows_per_job=rows_per_job)
    expected = rows.select("id", square=pl.col("n") * pl.col("n"))
    assert_frame_equal(batch.results(timeout=60), expected)
    assert_frame_equal(fn.attach("b").results(), expected)
    assert batch.debug("row 249") == {"square": 249**2}
    assert sorted(ran) == sorted([*range(250), 249])


def test_the_same_frame_again_runs_nothing_and_new_rows_alone(square, small_pieces, ran, capsys):
    rows = pl.DataFrame({"n": [n % 120 for n in range(250)]})
    fn.fan_out(rows.lazy(), square, name="b").wait(timeout=60)
    fn.fan_out(rows.lazy(), square, name="b").wait(timeout=60)
    assert len(ran) == 250
    batch = fn.fan_out(pl.concat([rows, pl.DataFrame({"n": [500]})]).lazy(), square, name="b")
    assert batch.results(timeout=60)["square"].to_list() == [n * n for n in [*rows["n"], 500]]
    assert ran[250:] == [500]
    assert "batch 'b': 250 of 251 rows are there already, 1 run" in capsys.readouterr().out
    eager = fn.fan_out(rows, square, name="b")
    assert len(eager.results(timeout=60)) == 250
    assert len(ran) == 251


def test_a_frame_that_breaks_leaves_the_rows_before(square, ran):
    def batches(breaks):
        yield {"id": ["a"] * 50, "n": range(50)}
        if breaks:
            raise OSError("the disk is gone")
        yield {"id": ["b"] * 20, "n": range(50, 70)}

    with pytest.raises(OSError, match="the disk is gone") as error:
        fn.fan_out(reader(batches(True)), square, name="b", key="id")
    assert "batch 'b' has the 50 rows before" in error.value.__notes__[0]
    assert len(fn.fan_out(reader(batches(False)), square, name="b", key="id").results(timeout=60)) == 70
    assert sorted(ran) == list(range(70))


KILLED = """
import os, sys, polars as pl, flownb as fn
fn.connect(path=sys.argv[1])
@fn.task
def square(n):
    if n == 150 and sys.argv[2] == "dies": os._exit(9)
    return {"square": n * n}
rows = pl.DataFrame({"id": range(300), "n": range(300)})
rows.write_parquet("rows.parquet")
found = fn.fan_out(pl.scan_parquet("rows.parquet"), square, key="id", name="b").results(timeout=60)
assert found.equals(rows.select("id", square=pl.col("n") ** 2)), found
"""


def test_a_kernel_that_died_is_gone_on_with_by_the_same_call(tmp_path):
    def run(how):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "data"), how]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert run("dies").returncode == 9
    again = run("lives")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("rows", [{"m": [1]}, {"n": [b"x"]}], ids=["no column", "no JSON"])
def test_what_is_wrong_with_a_lazy_frame_is_said_before_anything_is_written(square, redis, rows):
    with pytest.raises(fn.FlowError, match="'n'"):
        fn.fan_out(pl.LazyFrame(rows), square, name="b", limiter="5/s")
    assert redis.dbsize() == 0


def test_labels_of_an_iterator_are_of_one_type(square):
    items = ({"id": n if n < 500 else str(n), "n": n} for n in range(600))
    with pytest.raises(
        fn.FlowError, match="key=id: from row 500 on the labels are of another type than before"
    ):
        fn.fan_out(items, square, name="b", key="id")
    results = fn.fan_out(({"id": n, "n": n} for n in range(600)), square, name="c", key="id").results(
        timeout=60
    )
    assert results.index.equals(pd.Index(range(600), name="id"))
    assert results.loc[599, "square"] == 599**2


def test_what_is_remembered_of_a_row_are_some_bytes():
    """A dict of what has come would hold some hundred bytes a row."""
    counts = RowCounts()
    tracemalloc.start()
    try:
        for start in range(0, 100_000, 10_000):
            counts.note(list(map(str, range(start, start + 10_000))))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000 * 16


def test_what_was_read_of_a_parquet_file_is_not_held(tmp_path):
    """Pyarrow would keep every part of the file that it has read until all of it is."""
    path = tmp_path / "rows.parquet"
    with pa.parquet.ParquetWriter(path, pa.schema([("x", pa.float64())])) as file:
        for part in range(20):
            file.write_table(pa.table({"x": np.random.default_rng(part).random(20_000)}))
    before, most = pa.total_allocated_bytes(), 0
    for piece in pieces_of_files(path):
        assert len(piece) <= 10_000
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < path.stat().st_size / 4


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=20), max_size=12))
def test_equal_rows_are_counted_as_a_dict_counts_them(pieces):
    counts, expected = RowCounts(), collections.Counter()
    for texts in pieces:
        before = []
        for text in texts:
            before.append(expected[text])
            expected[text] += 1
        assert counts.note(texts) == before


@given(st.lists(st.lists(st.integers(0, 40).map(str), min_size=1, max_size=9), max_size=9))
def test_rows_are_found_as_in_a_dict(jobs):
    packed = {f"bull:q:m{n}": zlib.compress(",".join(ids).encode()) for n, ids in enumerate(jobs)}
    expected = {id: (f"bull:q:m{n}", at) for n, ids in enumerate(jobs) for at, id in enumerate(ids)}
    wanted = list(map(str, range(50)))
    assert RowLocations(packed).find(wanted) == [expected.get(id) for id in wanted]


def test_the_jobs_below_a_parent_are_read_without_their_rows(connection, redis):
    """Whoever looks at the tree, as `wait` does after some seconds, unpacks one piece of the rows at a time."""
    store, root, rows = store_of(connection)[1], "bull:flownb-batch:b1", 5_000
    for number in range(40):
        first = number * rows
        held = ChildRows(list(range(first, first + rows)), list(range(rows)), [rows])
        packed = child_list.pack(["bull:q"], [f"m{number}"], held)
        redis.hset(f"bull:flownb:children:{root}", str(number), packed)
    keys = [f"bull:q:m{number}" for number in range(40)]
    tracemalloc.start()
    try:
        assert Declared(store, root).children(root) == keys
        assert list(remove._children_by_parent(store, root)) == [(root, keys)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 40 * rows * 12


# ---- results --------------------------------------------------------------------------------------------


def test_where_the_rows_are_takes_some_bytes_a_row():
    """Lists of labels, positions and places would hold some hundred bytes a row."""
    spec = {"index": labels.without_length(labels.index_to_json(pd.Index([0], name="id"))[0])}
    pieces = [
        ("root", ChildList([f"job {n}"], list(range(500 * n, 500 * n + 500)), list(range(500)), [500]))
        for n in range(200)
    ]
    tracemalloc.start()
    try:
        located = LocatedRows(spec, pieces)
        assert len(located.index) == len(located) == 100_000
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000 * 24


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_rows_are_where_their_positions_say(jobs, random, has_indexes):
    """Whatever the order of the jobs, and however many rows each of them holds."""
    sizes = [size if shares else 1 for size, shares in jobs]
    positions = list(range(sum(sizes)))
    random.shuffle(positions)
    expected, pieces, start = {}, [], 0
    for job, (size, (_, shares)) in enumerate(zip(sizes, jobs, strict=True)):
        at = positions[start : start + size]
        start += size
        indexes = [within if shares else None for within in range(size)]
        if has_indexes or not shares:
            random.shuffle(indexes)
        counts = [size] if shares or has_indexes else None
        piece = ChildList([f"j{job}"], at, [f"row {n}" for n in at], counts, indexes if counts else None)
        pieces.append(("root", piece))
        expected |= {n: (f"j{job}", within) for n, within in zip(at, indexes, strict=True)}
    spec = {"index": labels.without_length(labels.index_to_json(pd.Index(["a"], dtype="str"))[0])}
    located = LocatedRows(spec, pieces)
    order = sorted(expected)
    assert located.locations() == [expected[n] for n in order]
    assert located.locations([*order[1:2], *order[:1]]) == [expected[n] for n in [*order[1:2], *order[:1]]]
    assert located.index.tolist() == [f"row {n}" for n in order]
    flat = [
        (key, None if at < 0 else at)
        for some in located.jobs(2, most_rows=5)
        for key, within in some
        for at in within
    ]
    places = range(len(flat)) if located.order is None else located.order
    assert [flat[at] for at in places] == [expected[n] for n in order]
