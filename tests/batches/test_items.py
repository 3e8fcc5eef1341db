"""Shows that a task which yields gives each row several results, on a level of the index more, and nothing half."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flownb as fn
from flownb.batches.items import lines_of
from tests.batches.test_index import INDEXES
from tests.support.same_index import assert_index

pytestmark = pytest.mark.usefixtures("connection")

ROOT = str(Path(fn.__file__).parents[1])
FRAME = pd.DataFrame({"text": ["a bb", "", "bad", "ccc"], "size": [1, 2, 3, 4]}, index=list("wxyz"))
BOTH_WAYS = pytest.mark.parametrize("rows_per_job", [1, 3, "auto"])


@pytest.fixture
def words(runs):
    @fn.task
    def words(text):
        runs.note(text)
        for number, word in enumerate(text.split()):
            yield {"word": word, "number": number}
            if word == "bad":
                raise ValueError("no more of it")

    return words


def lines(frame):
    """What a frame has, line by line, None where something is missing."""
    whole = frame.reset_index()
    return whole.astype(object).where(whole.notna(), None).values.tolist()


# ---- results -----------------------------------------------------------------------------------------------


@BOTH_WAYS
def test_each_item_has_a_line_and_a_failure_keeps_none(words, runs, rows_per_job):
    batch = fn.fan_out(FRAME, words, rows_per_job=rows_per_job).wait(timeout=60)
    found = batch.results()
    assert found.index.names == [None, "item"]
    assert found["number"].dtype == "Int64"
    assert found.index.get_level_values("item").dtype == "Int64"
    done = [["w", 0, "a", 0], ["w", 1, "bb", 1], ["z", 0, "ccc", 0]]
    assert lines(found) == [*done[:2], ["y", None, None, None], done[2]]  # x has none, so no line
    assert lines(batch.results(failed="drop")) == done
    with pytest.raises(fn.FlowFailed, match="1 of 4 rows have no result"):
        batch.results(failed="raise")
    assert batch.failures.index.tolist() == ["y"]
    assert found.equals(batch.result())
    assert found.equals(fn.attach(batch.name).results())
    assert runs == {"a bb": 1, "": 1, "bad": 1, "ccc": 1}
    assert (batch.progress().completed, batch.progress().failed) == (4, 1)  # rows, not items
    assert fn.doctor().empty


@BOTH_WAYS
def test_the_table_says_of_each_row_how_it_stands(words, rows_per_job):
    batch = fn.fan_out(FRAME, words, rows_per_job=rows_per_job).wait(timeout=60)
    for table in (batch.table(), fn.attach(batch.name).table()):
        columns = [name for name in ("text", "word", "_state") if name in table]
        assert lines(table[columns]) == [
            ["w", 0, "a bb", "a", "completed"],
            ["w", 1, "a bb", "bb", "completed"],
            ["x", None, "", None, "completed"],
            ["y", None, "bad", None, "failed"],
            ["z", 0, "ccc", "ccc", "completed"],
        ]
    assert batch.table().loc["w", "size"].tolist() == [1, 1]


def test_a_row_is_shown_whole(words, tmp_path):
    batch = fn.fan_out(FRAME, words).wait(timeout=60)
    items = [{"word": "a", "number": 0}, {"word": "bb", "number": 1}]
    assert batch.row("w").value == items
    assert batch.row("x").value == []
    assert batch.debug("w") == items
    with pytest.raises(ValueError, match="no more of it"):
        batch.debug("y")
    ends = dict(batch.as_completed(timeout=60))
    assert (ends["w"], ends["x"]) == (items, [])
    assert isinstance(ends["y"], fn.FlowFailed)
    exported = pd.read_parquet(batch.export(tmp_path / "out") / "rows.parquet")
    assert exported["word"].dropna().tolist() == ["a", "bb", "ccc"]
    assert exported["item"].dropna().tolist() == [0, 1, 0]
    page = batch.to_html()
    assert "item" in page
    assert "bb" in page


@BOTH_WAYS
def test_a_retry_gives_all_items_of_the_row(runs, rows_per_job):
    @fn.task
    def halves(n):
        yield n / 2
        if n == 3 and runs.note(n) == 1:
            raise ValueError(n)
        yield n / 2

    batch = fn.fan_out([2, 3], halves, rows_per_job=rows_per_job).wait(timeout=60)
    assert batch.results(failed="drop")["halves"].tolist() == [1, 1]
    assert batch.retry().results(timeout=60)["halves"].tolist() == [1, 1, 1.5, 1.5]
    assert runs == {3: 2}


def test_an_attempt_that_fails_leaves_nothing_behind(runs):
    @fn.task(attempts=3)
    def count(n):
        yield "first"
        if runs.note(n) < 3:
            raise ValueError(n)

    batch = fn.fan_out([1], count)
    assert batch.results(timeout=60)["count"].tolist() == ["first"]
    assert batch.table()["_attempts"].tolist() == [3]


@BOTH_WAYS
def test_an_item_that_is_no_json_is_named(rows_per_job):
    @fn.task
    def odd(n):
        yield 1
        yield {"a": [n, object()]}

    batch = fn.fan_out([1, 2, 3], odd, rows_per_job=rows_per_job).wait(timeout=60)
    assert batch.failures["message"].str.startswith("item 1.a[1]: an object is not JSON").all()
    assert batch.results()["odd"].isna().tolist() == [True] * 3


def test_plain_items_and_missing_ones():
    @fn.task
    def parts(n):
        yield from [None, n, [n]]

    found = fn.fan_out(pd.Series([7], index=["a"]), parts).results(timeout=60)
    assert lines(found) == [["a", 0, None], ["a", 1, 7], ["a", 2, [7]]]


@pytest.mark.parametrize("n", [0, 3])
def test_no_items_at_all(n):
    @fn.task
    def nothing(x):
        yield from []

    batch = fn.fan_out(list(range(n)), nothing).wait(timeout=60)
    assert len(batch.results()) == 0
    assert batch.results().index.names == [None, "item"]
    assert len(batch.table()) == n


def test_items_of_rows_that_wait_are_missing():
    @fn.task
    def twice(n):
        yield n
        yield n

    batch = fn.fan_out([1, 2, 3], twice, pilot=1, name="pilot").wait(timeout=60)
    found = batch.results(partial=True)
    assert sorted(found["twice"].isna().tolist()) == [False, False, True, True]
    batch.resume()
    assert batch.results(timeout=60)["twice"].tolist() == [1, 1, 2, 2, 3, 3]


# ---- where it runs -------------------------------------------------------------------------------------------


def test_async_generators():
    @fn.task
    async def words(text):
        for word in text.split():
            yield word
        if text == "bad":
            raise ValueError(text)

    batch = fn.fan_out(FRAME, words).wait(timeout=60)
    assert lines(batch.results()) == [["w", 0, "a"], ["w", 1, "bb"], ["y", None, None], ["z", 0, "ccc"]]
    assert batch.debug("w") == ["a", "bb"]
    assert lines(
        fn.fan_out(FRAME, words, rows_per_job=2, name="shared").results(timeout=60, failed="drop")
    ) == [
        ["w", 0, "a"],
        ["w", 1, "bb"],
        ["z", 0, "ccc"],
    ]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_what_is_loaded_once_is_there_for_all_items(kind):
    def load():
        return 10

    if kind == "plain":

        @fn.task(setup={"model": load})
        def scores(n, model):
            yield n * model
            yield n + model

    else:

        @fn.task(setup={"model": load})
        async def scores(n, model):
            yield n * model
            yield n + model

    batch = fn.fan_out([1, 2], scores)
    assert batch.results(timeout=60)["scores"].tolist() == [10, 11, 20, 12]


@pytest.mark.parametrize("rows_per_job", [1, 3])
def test_in_processes(rows_per_job):
    @fn.task
    def letters(text):
        import os

        if text == "die":
            os._exit(3)
        yield from text

    @fn.task
    async def later(text):
        for letter in text:
            yield letter

    rows = ["ab", "die", "c"]
    with fn.workers(2, executor="processes"):
        batch = fn.fan_out(rows, letters, rows_per_job=rows_per_job).wait(timeout=120)
        also = fn.fan_out(["xy"], later).results(timeout=120)
    assert lines(batch.results()) == [[0, 0, "a"], [0, 1, "b"], [1, None, None], [2, 0, "c"]]
    assert batch.failures["error"].tolist() == ["JobCrashed"]
    assert also["later"].tolist() == ["x", "y"]


def test_for_another_kernel(words, connection):
    fn.fan_out(FRAME, words, name="told").wait(timeout=60)
    program = (
        f"import flownb as fn; fn.connect(path={str(connection.path)!r}); batch = fn.attach('told');"
        "print(batch.results()['word'].dropna().tolist(), len(batch.table()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env={"PYTHONPATH": ROOT}
    )
    assert found.stdout == "['a', 'bb', 'ccc'] 5\n", found.stderr


def test_in_a_tree_the_value_is_the_list(words):
    @fn.task
    def count(words):
        return len(words)

    assert fn.add(count.node(words.node("a b c"))).result(timeout=60) == 3


def test_large_items_and_files(tmp_path):
    @fn.task
    def frames(n):
        for i in range(n):
            yield pd.DataFrame({"x": [i]})

    @fn.task
    def texts(n):
        for i in range(n):
            yield str(i) * 300_000

    batch = fn.fan_out([2], frames)
    assert [file.load()["x"].tolist() for file in batch.results(timeout=60)["frames"]] == [[0], [1]]
    assert [len(text) for text in fn.fan_out([2], texts).results(timeout=60)["texts"]] == [300_000] * 2
    for size in (1, 2):
        batch = fn.fan_out([1, 2], texts, files=tmp_path / "files", rows_per_job=size, name=f"by {size}")
        assert [len(file.load()) for file in batch.results(timeout=60)["texts"]] == [300_000] * 3


@BOTH_WAYS
def test_many_small_items_stand_in_a_file_together(tmp_path, rows_per_job):
    @fn.task
    def numbers(n):
        if n % 2:
            yield b"first"
        yield from range(n)

    @fn.task
    def double(n):
        return 2 * n

    @fn.task
    def more(double):
        yield from range(double)

    how = {"files": tmp_path / "files", "rows_per_job": rows_per_job}
    for attached in (False, True):
        batch = fn.fan_out([60_000, 60_001], numbers, **how).wait(timeout=60)
        found = (fn.attach(batch.name) if attached else batch).results()["numbers"]
        assert found[0].tolist() == list(range(60_000))
        assert found[1].iloc[0].load() == b"first"
        assert found[1].iloc[1:].tolist() == list(range(60_001))
    assert len(batch.table()) == len(found)
    assert batch.row(0).value == list(range(60_000))
    found = fn.fan_out([30_000, 1], [double, more], **how).results(timeout=60)
    assert found["more"].tolist() == [*range(60_000), 0, 1]
    assert fn.doctor().empty


# ---- groups, steps, equal rows -------------------------------------------------------------------------------


def test_aggregates_see_the_items(words):
    @fn.task
    def longest(rows):
        assert rows.index.names[-1] == "item"
        return {"longest": rows["word"].dropna().map(len).max(), "lines": len(rows)}

    frame = FRAME.assign(group=list("ppqq"))
    found = fn.fan_out(frame, words, by="group", into=longest).result(timeout=60)
    assert lines(found) == [["p", 2, 3], ["q", 3, 2]]


def test_aggregates_of_polars_see_which_row_an_item_is_of(words):
    polars = pytest.importorskip("polars")

    @fn.task
    def seen(rows):
        return [rows.columns[:3], rows["row"].to_list()]

    assert fn.fan_out(polars.from_pandas(FRAME), words, into=seen).result(timeout=60) == [
        ["row", "item", "text"],
        [0, 0, 1, 2, 3],
    ]


@BOTH_WAYS
def test_the_last_step_may_yield(runs, rows_per_job):
    broken = [True]

    @fn.task
    def upper(text):
        runs.note(text)
        return text.upper()

    @fn.task
    def letters(upper):
        yield from upper.replace(" ", "")
        if broken[0] and upper == "BAD":
            raise ValueError(upper)

    batch = fn.fan_out(FRAME, [upper, letters], rows_per_job=rows_per_job).wait(timeout=60)
    assert lines(batch.results(failed="drop")) == [
        *(["w", n, "A BB", letter] for n, letter in enumerate("ABB")),
        *(["z", n, "CCC", "C"] for n in range(3)),
    ]
    table = batch.table()
    assert lines(table[["upper", "letters", "_state"]].loc[["x", "y"]]) == [
        ["x", None, "", None, "completed"],
        ["y", None, "BAD", None, "failed"],
    ]
    assert batch.failures["step"].tolist() == ["letters"]
    assert batch.row("w").value == {"upper": "A BB", "letters": ["A", "B", "B"]}
    assert batch.debug("z") == {"upper": "CCC", "letters": ["C"] * 3}
    broken[0] = False
    found = batch.retry(step="letters").results(timeout=60)
    assert found.loc["y", "letters"].tolist() == ["B", "A", "D"]
    assert runs["bad"] == 1


@pytest.mark.parametrize("unique", [False, True])
def test_a_last_step_with_jobs_of_its_own_may_yield(runs, unique):
    @fn.task(queue="first", concurrency=2)
    def upper(text):
        runs.note(text)
        return text.upper()

    @fn.task(queue="second", concurrency=2)
    def letters(upper):
        runs.note(upper)
        yield from upper
        if upper == "BAD":
            raise ValueError(upper)

    rows = pd.Series(["ab", "bad", "ab", ""], index=list("pqrs"), name="text")
    batch = fn.fan_out(rows, [upper, letters], unique=unique).wait(timeout=60)
    for handle in (batch, fn.attach(batch.name)):
        assert lines(handle.results(failed="drop")) == [
            ["p", 0, "AB", "A"],
            ["p", 1, "AB", "B"],
            ["r", 0, "AB", "A"],
            ["r", 1, "AB", "B"],
        ]
        assert handle.table()["_state"].tolist() == ["completed", "completed", "failed", *["completed"] * 3]
    assert batch.failures["step"].to_dict() == {"q": "letters"}
    assert runs["ab"] == runs["AB"] == (1 if unique else 2)
    assert batch.row("r").value == {"upper": "AB", "letters": ["A", "B"]}
    assert dict(batch.as_completed(timeout=60))["p"] == {"upper": "AB", "letters": ["A", "B"]}
    batch.retry(step="letters").wait(timeout=60)
    assert (runs["bad"], runs["BAD"]) == (1, 2)


def test_no_other_step_may(words):
    @fn.task
    def size(words):
        return len(words)

    with pytest.raises(fn.FlowError, match="step 'words' yields, which only the last one may"):
        fn.fan_out(FRAME, [words, size])
    assert fn.flows().empty


def test_equal_rows_have_the_same_items(words, runs):
    batch = fn.fan_out(pd.Series(["a b", "c", "a b"], index=list("pqr")), words, unique=True)
    assert lines(batch.results(timeout=60)[["word"]]) == [
        ["p", 0, "a"],
        ["p", 1, "b"],
        ["q", 0, "c"],
        ["r", 0, "a"],
        ["r", 1, "b"],
    ]
    assert set(runs.values()) == {1}


# ---- the same name again --------------------------------------------------------------------------------------


def test_the_same_name_keeps_rows_and_a_task_that_yields_by_now_runs_them(runs):
    def batch_of(yields):
        if yields:

            @fn.task
            def parts(n):
                runs.note(n)
                yield from [n, n]

        else:

            @fn.task
            def parts(n):
                runs.note(n)
                return [n, n]

        return fn.fan_out([1, 2], parts, name="parts")

    assert batch_of(False).results(timeout=60)["parts"].tolist() == [[1, 1], [2, 2]]
    assert batch_of(True).results(timeout=60)["parts"].tolist() == [1, 1, 2, 2]
    assert runs.fresh() == {1: 2, 2: 2}
    assert batch_of(True).results(timeout=60)["parts"].tolist() == [1, 1, 2, 2]
    assert runs.fresh() == {}


def test_rows_from_an_iterator(words):
    batch = fn.fan_out(iter(["a b", "c"]), words, name="iterated")
    assert lines(batch.results(timeout=60)[["word"]]) == [[0, 0, "a"], [0, 1, "b"], [1, 0, "c"]]


# ---- other frames, any index ------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_of_other_libraries_say_which_row_an_item_is_of(words, library):
    pytest.importorskip(library)
    if library == "polars":
        import polars

        rows = polars.from_pandas(FRAME)
        columns = {"results": ["row", "item", "word", "number"], "key": ["size", "item", "word", "number"]}
    else:
        import pyarrow

        rows = pyarrow.Table.from_pandas(FRAME, preserve_index=False)
        columns = {"results": ["row", "item", "word", "number"], "key": ["size", "item", "word", "number"]}

    def names(frame):
        return list(getattr(frame, "column_names", None) or frame.columns)

    batch = fn.fan_out(rows, words)
    found = batch.results(timeout=60)
    assert names(found) == columns["results"]
    assert _listed(found["row"]) == [0, 0, 2, 3]
    assert _listed(found["word"]) == ["a", "bb", None, "ccc"]
    table = batch.table()
    assert names(table)[:5] == ["row", "item", "text", "size", "word"]
    assert _listed(table["row"]) == [0, 0, 1, 2, 3]
    keyed = fn.fan_out(rows, words, key="size").results(timeout=60)
    assert names(keyed) == columns["key"]
    assert _listed(keyed["size"]) == [1, 1, 3, 4]
    assert names(fn.fan_out(FRAME, words).results(timeout=60, frame="arrow"))[:2] == ["index", "item"]


def _listed(column):
    return column.to_list() if hasattr(column, "to_list") else column.to_pylist()


@pytest.mark.parametrize(
    "kind", sorted(set(INDEXES) - {"mixed", "one level"})
)  # 1 and True are one in a level
def test_any_index_gets_a_level_more(kind):
    index = INDEXES[kind]
    spread = lines_of([[0] * (row % 3) for row in range(len(index))], "task")
    found = spread.labels(index)
    assert found.nlevels == index.nlevels + 1
    assert found.get_level_values(-1).tolist() == spread.numbers.tolist()
    assert_index(found.droplevel(-1), index.take(spread.rows))


def test_a_level_of_that_name_is_there_already():
    index = pd.Index(["a"], name="item")
    assert lines_of([[1]], "task").labels(index).names == ["item", "item_result"]


# ---- beside pandas ---------------------------------------------------------------------------------------------

ITEMS = st.none() | st.integers(-5, 5) | st.sampled_from(["a", "é"]) | st.lists(st.integers(0, 1), max_size=2)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.lists(ITEMS, max_size=4), st.booleans()), max_size=8),
    rows_per_job=st.sampled_from([1, 3, "auto"]),
)
def test_results_are_those_of_a_plain_loop(connection, rows, rows_per_job):
    @fn.task
    def parts(items, fails):
        yield from json.loads(items)
        if fails:
            raise ValueError(items)

    frame = pd.DataFrame(
        {"items": [json.dumps(items) for _, items, _ in rows], "fails": [fails for *_, fails in rows]},
        index=pd.Index([label for label, *_ in rows], dtype="str"),
    )
    expected, table = [], []
    for label, items, fails in rows:
        of_row = [[label, None, None]] if fails else [[label, n, item] for n, item in enumerate(items)]
        expected += of_row
        state = "failed" if fails else "completed"
        table += [[*line, state] for line in of_row or [[label, None, None]]]
    batch = fn.fan_out(frame, parts, rows_per_job=rows_per_job, if_exists="rerun")
    found = batch.results(timeout=60)
    assert _plain(found["parts"]) == expected
    whole = batch.table()
    assert [
        [*line, state] for line, state in zip(_plain(whole["parts"]), whole["_state"], strict=True)
    ] == table


def _plain(column):
    """The lines of a column: label, item and value."""
    numbers = column.index.get_level_values("item")
    labels = column.index.get_level_values(0)
    return [
        [label, None if number is pd.NA else number, None if value is pd.NA or value != value else value]
        for label, number, value in zip(labels, numbers, column.astype(object), strict=True)
    ]
