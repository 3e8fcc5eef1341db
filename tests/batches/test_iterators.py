"""Shows that an iterator's rows run as they come, and that nothing of it is kept or lost."""

from __future__ import annotations

import re
import threading
import tracemalloc

import pandas as pd
import pytest

import flownb as fn
from tests.support.same_index import assert_index

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def ran():
    return []


@pytest.fixture
def square(ran):
    @fn.task
    def square(n):
        ran.append(n)
        return n * n

    return square


@pytest.mark.parametrize("size", ["auto", 1, 100])
def test_first_rows_run_before_the_iterator_ends(square, ran, until, size):
    def numbers():
        yield from range(600)
        until(lambda: len(ran) >= 500)
        yield from range(600, 700)

    batch = fn.fan_out(numbers(), square, name="b", rows_per_job=size)
    results = batch.results(timeout=60)
    assert results["square"].tolist() == [n * n for n in range(700)]
    assert results.index.equals(pd.RangeIndex(700))
    assert sorted(ran) == list(range(700))
    assert batch.progress().total == 701
    assert batch.progress().fraction == 1.0


def test_a_slow_iterator_does_not_hold_up_what_has_come(square, ran, until):
    def numbers():
        for n in range(3):
            threading.Event().wait(0.3)  # longer than rows wait for each other
            yield n
            if n < 2:
                continue
            until(lambda: len(ran) >= 2)

    assert len(fn.fan_out(numbers(), square, name="b").results(timeout=60)) == 3


def test_what_stands_above_waits_for_the_last_row(square):
    @fn.task
    def total(rows):
        return [len(rows), int(rows["square"].sum())]

    batch = fn.fan_out(({"n": n} for n in range(1200)), square, name="b", into=total)
    assert batch.result(timeout=60) == [1200, sum(n * n for n in range(1200))]


def test_a_handle_got_while_rows_still_come_has_those_that_come_later(square, ran, until):
    """Another kernel's: the handle is there before the last rows are."""
    met, early, completed = threading.Event(), {}, []

    def numbers():
        yield from range(600)
        until(lambda: len(ran) >= 500)
        batch = early["batch"] = fn.attach("b")
        early["table"], early["names"] = batch.table(), [node.name for node in batch._stored.snapshot().nodes]
        threading.Thread(target=lambda: completed.extend(batch.as_completed(timeout=60))).start()
        met.set()
        yield from range(600, 700)

    batch = fn.fan_out(numbers(), square, name="b", rows_per_job=1)
    assert met.is_set()
    assert 500 <= len(early["table"]) <= 600
    assert early["names"][0] == "b"
    assert early["batch"].results(timeout=60).equals(batch.results(timeout=60))
    assert len(early["batch"].table()) == 700
    until(lambda: len(completed) == 700)
    assert [label for label, _ in sorted(completed)] == list(range(700))


@pytest.mark.parametrize(
    "how", [{}, {"rows_per_job": 1}, {"rows_per_job": 10}, {"key": "n"}, {"files": "files"}], ids=str
)
def test_every_look_at_rows_that_still_come_has_those_that_came(square, ran, until, tmp_path, how):
    """Another kernel's: the first piece is small, and what was known of it does not hold for those behind it."""
    seen = {}

    def numbers():
        yield from ({"n": n} for n in range(3))
        threading.Event().wait(0.3)  # longer than rows wait for each other
        yield from ({"n": n} for n in range(3, 504))
        batch = fn.attach("b")
        until(lambda: len(ran) == 504 and batch.progress().completed == 504)
        seen["progress"] = batch.progress().total
        seen["table"] = batch.table()["square"].tolist()
        seen["row"] = batch.row(400).value
        seen["rows"] = batch.estimate().loc["rows", "likely"]
        seen["lines"] = len(batch.failures), len(batch.logs())
        seen["page"] = "504 rows" in batch.to_html()
        seen["export"] = len(pd.read_parquet(batch.export(tmp_path / "export") / "rows.parquet"))
        yield from ({"n": n} for n in range(504, 600))

    if "files" in how:
        how = {"files": tmp_path / "files"}
    batch = fn.fan_out(numbers(), square, name="b", **how)
    squares = [n * n for n in range(600)]
    assert seen == {
        "progress": 505,
        "table": squares[:504],
        "row": 160000,
        "rows": 504,
        "lines": (0, 0),
        "page": True,
        "export": 504,
    }
    assert batch.results(timeout=60)["square"].tolist() == squares


def test_the_same_iterator_again_runs_new_rows_alone(square, ran, capsys):
    fn.fan_out(iter([n % 500 for n in range(1000)]), square, name="b").wait(timeout=60)
    ran.clear()
    capsys.readouterr()
    batch = fn.fan_out(iter([n % 500 for n in range(1003)]), square, name="b")
    assert batch.results(timeout=60)["square"].tolist() == [(n % 500) ** 2 for n in range(1003)]
    assert sorted(ran) == [0, 1, 2]
    assert "batch 'b': 1,000 of 1,003 rows are there already, 3 run" in capsys.readouterr().out
    assert batch.progress().completed == 1004


def test_rows_that_another_kernel_has_stored_while_this_one_reads_run_once(square, ran, connection):
    others = []

    def numbers():
        for n in range(1400):
            if n in (200, 700):  # in the first piece, and in the next one
                others.append(fn.fan_out(iter(range(n - 100, n + 300)), square, name="b"))
            yield n

    batch = fn.fan_out(numbers(), square, name="b")
    assert batch.results(timeout=60)["square"].tolist() == [n * n for n in range(1400)]
    for other, start in zip(others, (100, 600), strict=True):
        assert other.results(timeout=60)["square"].tolist() == [n * n for n in range(start, start + 400)]
    assert sorted(ran) == list(range(1400))
    assert batch.progress().total == batch.progress().completed == 1401
    assert fn.doctor().empty


@pytest.mark.parametrize(("come", "others_come"), [(iter, iter), (iter, list), (list, iter), (list, list)])
def test_rows_that_another_kernel_stores_at_the_same_moment_run_once(
    square, ran, before_storing, come, others_come
):
    others = []
    before_storing(lambda: others.append(fn.fan_out(others_come(range(100, 300)), square, name="b")))

    batch = fn.fan_out(come(range(200)), square, name="b")
    assert batch.results(timeout=60)["square"].tolist() == [n * n for n in range(200)]
    assert others[0].results(timeout=60)["square"].tolist() == [n * n for n in range(100, 300)]
    assert sorted(ran) == list(range(300))


@pytest.mark.parametrize("size", [1, 50])
def test_an_iterator_that_breaks_leaves_the_rows_before_it(square, ran, size):
    def numbers(breaks):
        for n in range(800):
            if breaks and n == 730:
                raise OSError("the disk is gone")
            yield n

    with pytest.raises(OSError, match="the disk is gone") as error:
        fn.fan_out(numbers(True), square, name="b", rows_per_job=size)
    assert "batch 'b' has the 730 rows before" in error.value.__notes__[0]
    assert len(fn.attach("b").results(timeout=60, partial=True)) == 730
    assert len(fn.fan_out(numbers(False), square, name="b", rows_per_job=size).results(timeout=60)) == 800
    assert sorted(ran) == list(range(800))


def test_an_iterator_that_breaks_leaves_a_batch_that_nobody_takes_for_a_whole_one(square, ran):
    @fn.task
    def total(rows):
        ran.append("total")
        return int(rows["square"].sum())

    def numbers(last):
        yield from range(50)
        if last == 50:
            raise ConnectionError("the database is gone")
        yield from range(50, last)

    with pytest.raises(ConnectionError):
        fn.fan_out(numbers(50), square, name="b", into=total)
    attached = fn.attach("b")
    said = "reading its rows raised ConnectionError: the database is gone"
    for ask in (
        attached.wait,
        attached.result,
        attached.results,
        lambda timeout: list(attached.as_completed(timeout)),
    ):
        with pytest.raises(fn.FlowStuck, match=f"{said}, and it has only the 50 rows before"):
            ask(timeout=60)
    assert "total" not in ran
    assert attached.results(timeout=60, partial=True)["square"].tolist() == [n * n for n in range(50)]
    assert attached.state == "waiting-children"
    assert attached.progress().fraction < 1
    assert attached.explain().loc[0, "why"] == f"half stored: {said}"
    assert fn.flows().loc[0, ["state", "why"]].tolist() == [
        "waiting-children",
        f"half stored: {said}",
    ]
    assert f"half stored: {said}" in attached.to_html()
    again = fn.fan_out(numbers(80), square, name="b", into=total)
    assert again.result(timeout=60) == sum(n * n for n in range(80))
    assert len([n for n in ran if n != "total"]) == 80
    assert fn.attach("b").explain().empty
    assert fn.doctor().empty


class Odd(Exception):
    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "words"), [(KeyboardInterrupt(), "KeyboardInterrupt"), (Odd(), "Odd: <exception str() failed>")]
)
def test_what_an_iterator_raises_is_told_whatever_it_is(square, error, words):
    def numbers():
        yield from range(500)  # are stored at once
        raise error

    with pytest.raises(type(error)):
        fn.fan_out(numbers(), square, name="b")
    with pytest.raises(
        fn.FlowStuck, match=f"raised [a-z_.]*{re.escape(words)}, and it has only the 500 rows"
    ):
        fn.attach("b").wait(timeout=60)


def test_a_bad_item_says_which_one_it_is(square):
    with pytest.raises(fn.FlowError, match="row 620, column 'n': bytes do not travel"):
        fn.fan_out((b"x" if n == 620 else n for n in range(800)), square, name="b")


def test_another_handle_finds_its_table(square):
    fn.fan_out(iter(range(900)), square, name="b").wait(timeout=60)
    table = fn.attach("b").table()
    assert table["n"].tolist() == list(range(900))
    assert table["_state"].eq("completed").all()


def test_items_that_were_sent_are_not_kept_here():
    def texts():
        for n in range(6000):
            yield f"{n:06}" * 2000

    tracemalloc.start()
    fn.fan_out(texts(), "elsewhere", name="b", rows_per_job=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 36_000_000  # of 72 MB


def test_without_a_name_it_is_read_first(square):
    first = fn.fan_out(iter(range(700)), square).wait(timeout=60)
    assert fn.fan_out(iter(range(700)), square).name == first.name


def test_no_items_are_an_empty_batch(square):
    assert fn.fan_out(iter([]), square, name="b").wait(timeout=60).results().empty


def test_groups_stand_for_the_frame_and_its_columns(square):
    @fn.task
    def count(rows):
        return len(rows)

    frame = pd.DataFrame({"n": range(6), "team": ["x", "y", None, "x", "y", "x"], "year": [1, 1, 1, 1, 2, 1]})
    found = fn.fan_out(frame.groupby("team"), square, into=count).result(timeout=60)
    assert found["count"].to_dict() == {"x": 3, "y": 2}
    found = fn.fan_out(frame.groupby(["team", "year"]), square, into=count).result(timeout=60)
    assert found["count"].to_dict() == {("x", 1): 3, ("y", 1): 1, ("y", 2): 1}
    found = fn.fan_out(frame.groupby(lambda label: label % 2), square, into=count).result(timeout=60)
    assert found["count"].to_dict() == {0: 3, 1: 3}
    with pytest.raises(fn.FlowError, match="give into="):
        fn.fan_out(frame.groupby("team"), square)
    with pytest.raises(fn.FlowError, match="leave by= out"):
        fn.fan_out(frame.groupby("team"), square, by="team", into=count)


DAYS = pd.to_datetime(["2024-01-01 08:00", "2024-01-01 09:00", "2024-01-02 08:00", "2024-01-02 09:00"])
DERIVED = {
    "a grouper with a frequency": lambda frame: pd.Grouper(key="day", freq="D"),
    "dates": lambda frame: frame["day"].dt.date,
    "rounded times": lambda frame: frame["day"].dt.floor("D"),
    "bins": lambda frame: pd.cut(frame["n"], 2),
    "a remainder": lambda frame: frame["n"] % 2,
    "another column under this name": lambda frame: frame["n"].rename("day"),
    "one of two": lambda frame: ["team", frame["n"] % 2],
    "an array": lambda frame: (frame["n"] % 2).to_numpy(),
    "a grouper that keeps rows without a group": lambda frame: pd.Grouper(key="team", dropna=False),
}


@pytest.mark.parametrize("by", DERIVED)
def test_rows_grouped_by_what_only_bears_the_name_of_a_column_are_grouped_by_what_it_is(by, square):
    @fn.task
    def total(rows):
        return int(rows["square"].sum())

    frame = pd.DataFrame({"n": [1, 2, 3, 4], "day": DAYS, "team": ["x", "y", "x", None]})
    grouped = frame.groupby(DERIVED[by](frame))
    found = fn.fan_out(grouped, square, into=total).result(timeout=60)
    expected = grouped["n"].agg(lambda values: int((values**2).sum()))
    assert found["total"].tolist() == expected.tolist()
    assert_index(found.index, expected.index)


def test_rows_grouped_by_a_level_of_the_index_with_the_name_of_a_column_are_grouped_by_the_level(square):
    @fn.task
    def count(rows):
        return len(rows)

    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index([0, 0], name="n"))
    assert fn.fan_out(frame.groupby(level="n"), square, into=count).result(timeout=60)["count"].to_dict() == {
        0: 2
    }


@pytest.mark.parametrize("by", ["team", ["team"], "the column itself", "a grouper of it"])
def test_every_way_to_group_by_a_column_gives_its_groups(by, square):
    @fn.task
    def total(rows):
        return int(rows["square"].sum())

    frame = pd.DataFrame({"n": [1, 2, 3], "team": ["x", "y", "x"]})
    key = {"the column itself": frame["team"], "a grouper of it": pd.Grouper(key="team")}.get(str(by), by)
    found = fn.fan_out(frame.groupby(key), square, into=total).result(timeout=60)
    assert found["total"].to_dict() == {"x": 10, "y": 4}
