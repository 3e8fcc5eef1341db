"""Shows `fan_out`: one job a row, results on the rows' own index, failed rows missing, errors before any write."""

from __future__ import annotations

import threading
import time

import pandas as pd
import pytest

import flownb as fn
from flownb.api import waiting
from flownb.tasks import registry

pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def square():
    @fn.task
    def square(n):
        if n < 0:
            raise ValueError(f"{n} is below 0")
        return n * n

    return square


INDEXES = {
    "default": None,
    "text": ["a", "b", "c", "d"],
    "numbers": [40, 30, 20, 10],
    "duplicates": ["x", "x", "y", "x"],
    "several levels": pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["letter", "number"]),
    "times": pd.date_range("2024-01-01", periods=4, freq="D", tz="Europe/Berlin"),
    "a slice": pd.RangeIndex(10, 50, 10),
    "with a name": pd.Index([1.5, 2.5, 3.5, 4.5], name="x"),
    "missing labels": ["a", None, "b", "c"],
}


@pytest.mark.parametrize("index", INDEXES)
def test_results_stand_on_the_rows_own_index_and_after_attach_too(square, index):
    frame = pd.DataFrame({"n": [1, 2, 3, 4], "other": list("abcd")}, index=INDEXES[index])
    batch = fn.fan_out(frame, square, name="b")
    expected = pd.DataFrame({"square": pd.array([1, 4, 9, 16], dtype="Int64")}, index=frame.index)
    pd.testing.assert_frame_equal(batch.results(timeout=20), expected)
    pd.testing.assert_frame_equal(fn.attach("b").results(timeout=20), expected, check_freq=False)


def test_failed_rows_are_missing_from_the_results_and_listed_with_their_reason(square):
    frame = pd.DataFrame({"n": [1, -2, 3, -4]}, index=list("abcd"))
    batch = fn.fan_out(frame, square)
    results = batch.results(timeout=20)
    assert results["square"].to_dict() == {"a": 1, "b": None, "c": 9, "d": None}
    assert results["square"].dtype == "Int64"
    failures = batch.failures
    assert list(failures.columns) == ["error", "message", "kind", "attempts", "seconds", "traceback"]
    assert failures["message"].to_dict() == {"b": "-2 is below 0", "d": "-4 is below 0"}
    assert set(failures["error"]) == {"ValueError"}
    assert failures.groupby("kind").size().to_dict() == {"ValueError: <n> is below <n>": 2}
    assert all("in square" in trace for trace in failures["traceback"])
    assert batch.state == "completed"
    assert batch.job.returnvalue == {"completed": 2, "failed": 2}
    assert repr(batch).endswith("4 rows, 2 completed, 2 failed)")


@pytest.mark.parametrize("index", [list("aabb"), range(4), [3, 2, 1, 0]])
@pytest.mark.parametrize("rows_per_job", [1, 3])
def test_a_column_of_the_results_fits_the_frame_whatever_failed(square, index, rows_per_job):
    frame = pd.DataFrame({"n": [1, -2, 3, -4]}, index=index)
    batch = fn.fan_out(frame, square, rows_per_job=rows_per_job)
    for results in (batch.results(timeout=20), batch.result(), fn.attach(batch.name).results()):
        pd.testing.assert_index_equal(results.index, frame.index, exact="equiv")
        frame["y"] = results["square"]
        assert frame["y"].fillna(0).tolist() == [1, 0, 9, 0]


def test_rows_that_were_cancelled_are_missing_from_the_results(square):
    batch = fn.fan_out([{"n": 1}, {"n": 2}], "served-by-nobody").cancel()
    assert batch.results(timeout=20)["served-by-nobody"].isna().tolist() == [True, True]


def test_a_row_that_returns_nothing_has_succeeded():
    @fn.task
    def nothing(n):
        return {} if n else None

    batch = fn.fan_out([0, 1], nothing)
    assert batch.result(timeout=20).shape == (2, 0)
    assert batch.results(failed="raise").shape == (2, 0)


def test_rows_without_a_result_can_be_left_out_or_be_an_error(square):
    frame = pd.DataFrame({"n": [1, -2, 3, -40]}, index=list("aabb"))
    batch = fn.fan_out(frame, square)
    left = batch.results(timeout=20, failed="drop")
    assert (list(left.index), left["square"].tolist()) == (["a", "b"], [1, 9])
    with pytest.raises(
        fn.FlowFailed, match=r"2 of 4 rows have no result: ValueError: <n> is below <n> \(2\)"
    ):
        batch.results(failed="raise")
    with pytest.raises(fn.OptionError, match="failed: 'missing', 'drop' or 'raise', not 'keep'"):
        batch.results(failed="keep")


def test_the_table_has_the_rows_the_results_and_how_they_ended(square):
    frame = pd.DataFrame({"n": [1, -2], "other": ["x", "y"]}, index=["a", "b"])
    batch = fn.fan_out(frame, square, name="b").wait(timeout=20)
    table = batch.table()
    assert list(table.columns) == [
        "n",
        "other",
        "square",
        "_state",
        "_error",
        "_attempts",
        "_seconds",
        "_version",
    ]
    assert table["_state"].to_dict() == {"a": "completed", "b": "failed"}
    assert table["_error"].fillna("").to_dict() == {"a": "", "b": "ValueError: -2 is below 0"}
    assert table["_attempts"].tolist() == [1, 1]
    assert (table["_seconds"] >= 0).all()
    attached = fn.attach("b").table()
    assert list(attached.columns) == ["n", "square", "_state", "_error", "_attempts", "_seconds", "_version"]
    pd.testing.assert_frame_equal(attached, table[list(attached.columns)], check_dtype=False)


def test_the_table_never_waits():
    batch = fn.fan_out(pd.DataFrame({"n": [1, 2]}), "served-by-nobody")
    assert batch.table()["_state"].tolist() == ["waiting", "waiting"]
    assert batch.failures.empty
    with pytest.raises(TimeoutError, match="no worker serves queue 'served-by-nobody'; start one: Worker"):
        batch.results(timeout=0.2)


def test_a_dict_becomes_columns_and_a_row_parameter_receives_the_whole_row():
    @fn.task
    def split(row):
        return {"total": row["a"] + row["b"], "names": ",".join(row)}

    frame = pd.DataFrame({"b": [1, 2], "a": [10, 20]})
    results = fn.fan_out(frame, split).results(timeout=20)
    assert results.to_dict("list") == {"total": [11, 22], "names": ["b,a", "b,a"]}


def test_lists_series_and_iterators_are_rows_too(square):
    for rows in (
        [1, 2, 3],
        pd.Series([1, 2, 3], name="whatever"),
        (n for n in (1, 2, 3)),
        [{"n": n} for n in (1, 2, 3)],
    ):
        assert fn.fan_out(rows, square).results(timeout=20)["square"].tolist() == [1, 4, 9]


def test_only_columns_that_are_parameters_travel_and_defaults_fill_the_others(redis):
    @fn.task
    def work(n, factor=10, *, bonus=0):
        return n * factor + bonus

    frame = pd.DataFrame({"n": [1, 2], "bonus": [5, 6], "private": ["x", "y"]})
    batch = fn.fan_out(frame, work)
    assert batch.results(timeout=20)["work"].tolist() == [15, 26]
    assert [job.data for job in reversed(fn.Queue("work").get_jobs("completed"))] in (
        [{"bonus": 5, "n": 1}, {"bonus": 6, "n": 2}],
        [{"bonus": 6, "n": 2}, {"bonus": 5, "n": 1}],
    )


def test_options_of_the_call_stand_above_the_tasks():
    runs = []

    @fn.task(attempts=5)
    def bad(n):
        runs.append(n)
        raise ValueError

    batch = fn.fan_out([1], bad, attempts=2).wait(timeout=20)
    assert len(runs) == 2
    assert batch.failures["attempts"].tolist() == [2]


def test_a_queues_name_stands_for_whoever_serves_it():
    batch = fn.fan_out(pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "node-queue")
    with fn.Worker("node-queue", lambda job: job.data):
        results = batch.results(timeout=20)
    assert results["a"].tolist() == [1, 2]
    assert results["b"].fillna("-").tolist() == ["x", "-"]


@pytest.mark.parametrize(
    "frame", [pd.DataFrame({"n": []}), pd.DataFrame(), []], ids=["columns", "nothing", "list"]
)
def test_an_empty_frame_is_an_empty_batch(square, frame):
    batch = fn.fan_out(frame, square)
    assert batch.results(timeout=20).empty
    assert len(batch.result(timeout=20)) == 0
    assert batch.table().empty
    assert batch.failures.empty
    assert batch.state == "completed"


def test_the_result_raises_when_no_row_succeeded(square):
    batch = fn.fan_out([-1, -2], square)
    with pytest.raises(
        fn.FlowFailed, match="none of its 2 rows succeeded; the first failed with ValueError: -1 is below 0"
    ):
        batch.result(timeout=20)
    assert batch.results(timeout=20)["square"].isna().tolist() == [True, True]
    assert batch.results(failed="drop").empty


@pytest.mark.parametrize("rows_per_job", [1, 3])
def test_every_view_counts_rows_as_rows_whether_they_share_jobs_or_not(square, rows_per_job):
    @fn.task
    def part(rows):
        return len(rows)

    @fn.task
    def whole(rows):
        return len(rows)

    frame = pd.DataFrame({"n": range(6), "half": list("aaabbb")})
    options = {"by": "half", "into": [part, whole], "rows_per_job": rows_per_job}
    batch = fn.fan_out(frame, square, **options).wait(timeout=20)
    assert repr(batch).endswith(": 6 rows and 3 jobs, 9 completed)")
    assert "6 rows and 3 jobs · " in batch.to_html()
    assert "6 rows and 3 jobs, 9 completed" in str(batch)


def test_rows_that_must_succeed_fail_the_batch(square):
    batch = fn.fan_out([1, -2], square, failParentOnFailure=True)
    batch.wait(timeout=20)
    assert batch.state == "failed"


def test_a_frame_changed_after_the_call_changes_nothing(square):
    frame = pd.DataFrame({"n": [1, 2]})
    batch = fn.fan_out(frame, square)
    frame["n"] = 0
    assert batch.results(timeout=20)["square"].tolist() == [1, 4]
    assert batch.table()["n"].tolist() == [1, 2]


@fn.task
def pair(text, lang): ...


@fn.task
def total(rows): ...


@fn.task
def asks(job, text): ...


@fn.task
def asks_of_all(job, **cells): ...


@fn.task
def asks_above(rows, job): ...


for made in (pair, total, asks, asks_of_all, asks_above):
    registry._by_queue.pop(made.queue)


def plain(n): ...


@pytest.mark.parametrize(
    ("rows", "task", "options", "says"),
    [
        (pd.DataFrame({"txt": [1], "lang": [2]}), pair, {}, "parameter 'text': no column has this name"),
        (pd.DataFrame({"text": [1], "lang": [b"x"]}, index=["k"]), pair, {}, "row 'k', column 'lang'"),
        (pd.DataFrame({"text": [1, 2], "lang": [1.0, float("inf")]}), pair, {}, "row 1, column 'lang'"),
        (pd.DataFrame([[1, 2]], columns=["text", "text"]), pair, {}, "two columns have this name"),
        ([1, 2], pair, {}, "single items fill one parameter"),
        ({"a": 1}, pair, {}, "rows: a dict is one value"),
        ("text", pair, {}, "rows: a str is one value"),
        ({1, 2}, pair, {}, "rows: a set has no order"),
        ([1], plain, {}, "make it a task first: @flownb.task above plain"),
        ([1], lambda n: n, {}, "task: a lambda has no name; write it with def"),
        ([1], "a:b", {}, "must not hold a colon"),
        ([{"text": 1, "lang": 2}], pair, {"attemps": 3}, "did you mean 'attempts'"),
        ([{"text": 1, "lang": 2}], pair, {"if_exists": "maybe"}, "if_exists"),
        ([{"text": 1, "lang": 2}], pair, {"by": "lang"}, "groups need a task to go into"),
        (
            [{"text": 1, "lang": 2}],
            pair,
            {"into": total, "by": "country"},
            "by='country': no column has this name",
        ),
        ([{"text": 1, "lang": 2}], pair, {"into": plain}, "into: make it a task first"),
        ([{"text": 1, "lang": 2}], pair, {"into": pair}, "nothing fills the parameter 'lang' of task pair"),
        ([pd.DataFrame({"text": [1], "lang": [2]})], pair, {}, "each is a DataFrame; give pd.concat(frames)"),
        ([{"text": 1, "lang": 2}], pair, {"name": "a\nb"}, "control characters"),
        ([{"text": 1, "lang": 2}], pair, {"name": ""}, "name must have"),
        ([{"text": 1, "lang": 2}], pair, {"name": ["b"]}, "name must be text, not list"),
        ([{"text": 1, "lang": 2}], pair, {"name": b"b"}, "name must be text, not bytes"),
        ([{"text": 1, "lang": 2}], pair, {"dry_run": "no"}, "dry_run: True or False, not 'no'"),
        (
            [{"text": 1, "lang": 2}],
            pair,
            {"limiter": "5/s", "rows_per_job": 9},
            "has a limiter, and that counts jobs",
        ),
        ([{"text": 1, "lang": 2}], pair, {"limiter": 5}, "fan_out.limiter: write '5/s'"),
        ([{"text": 1, "lang": 2}], pair, {"version": 2}, "belongs to the task: @flownb.task(version=...)"),
        ([{"text": 1, "lang": 2}], pair, {"retry_on": OSError}, "to the task: @flownb.task(retry_on=...)"),
        ([{"text": 1, "lang": 2}], pair, {"concurrency": 0}, "fan_out.concurrency: a whole number from 1"),
        ([{"text": 1, "lang": 2}], pair, {"backoff": max}, "fan_out.backoff: a function belongs to the task"),
        ([{"text": 1, "lang": 2}], pair, {"attempts": "3"}, "fan_out.attempts: a whole number"),
        ([{"text": 1, "lang": 2}], pair, {"rows_per_job": 2.0}, 'rows_per_job: "auto" or a whole number'),
        ([{"text": 1, "lang": 2}], pair, {"into": "total"}, "into: a task, or a list of tasks"),
        ([{"text": 1, "lang": 2}], pair, {"connection": "redis://x"}, "connection: make one first"),
        (
            pd.DataFrame({"text": [1], "job": ["cook"]}),
            asks,
            {},
            "receives the Job, not the cell; rename the",
        ),
        ([{"text": 1, "job": "cook"}], asks_of_all, {}, "column 'job': the task's parameter of this name"),
        (iter([{"text": 1, "job": "cook"}]), asks, {"name": "piecewise"}, "column 'job': the task's"),
        (
            pd.DataFrame({"text": [1], "lang": [2], "job": ["cook"]}),
            pair,
            {"into": asks_above, "by": "job"},
            "the parameter 'job' of task asks_above receives the Job, not the value of by=",
        ),
        (pair, pd.DataFrame({"text": [1], "lang": [2]}), {}, "task: a task (a function with @flownb.task"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_before_anything_is_written(redis, rows, task, options, says):
    with pytest.raises((fn.FlowError, fn.OptionError)) as refusal:
        fn.fan_out(rows, task, **options)
    assert says in str(refusal.value)
    assert redis.dbsize() == 0


def test_a_task_that_takes_any_argument_receives_every_column():
    @fn.task
    def names(n, **others):
        return [n, others]

    frame = pd.DataFrame({"a": [1, 2], "n": [3, 4], "b": ["x", "y"]})
    results = fn.fan_out(frame, names).results(timeout=20)
    assert results["names"].tolist() == [[3, {"a": 1, "b": "x"}], [4, {"a": 2, "b": "y"}]]
    assert fn.fan_out([5], names).results(timeout=20)["names"].tolist() == [[5, {}]]
    with pytest.raises(fn.FlowError, match="parameter 'n': no column has this name"):
        fn.fan_out(frame[["a"]], names)


def test_a_column_named_job_stands_in_the_whole_row_beside_the_job():
    @fn.task
    def whole(row, job):
        return [row["job"], job.name]

    @fn.task
    def others(n, **cells):
        return cells

    frame = pd.DataFrame({"n": [1], "job": ["cook"]})
    assert fn.fan_out(frame, whole).results(timeout=20)["whole"].tolist() == [["cook", "whole"]]
    assert fn.fan_out(frame, others).results(timeout=20)["job"].tolist() == ["cook"]


def test_a_removed_batch_has_no_table(square):
    batch = fn.fan_out([1, 2], square).wait(timeout=20)
    batch.remove()
    with pytest.raises(fn.JobMissing, match="its data were removed"):
        batch.table()


def test_what_cannot_be_attached_or_retried_is_said(square):
    batch = fn.fan_out([2, -1], square).wait(timeout=20)
    with pytest.raises(fn.OptionError, match="error: one error's name, kind or class, not"):
        batch.retry(error=(ValueError, KeyError))
    with pytest.raises(fn.FlowError, match=r"attach: a flow's name, .* not int"):
        fn.attach(5)


@pytest.mark.parametrize("option", ["removeOnComplete", "remove_on_fail"])
def test_rows_that_would_be_removed_with_their_results_are_refused(redis, option):
    with pytest.raises(fn.OptionError, match="would take the rows' results and errors away"):
        fn.fan_out([1, 2], "rows", **{option: True})
    assert redis.dbsize() == 0


def test_who_waits_hears_of_the_end_that_this_kernel_has_written(monkeypatch):
    """However seldom the server is asked: a long batch is asked after four times a second."""
    monkeypatch.setattr(waiting, "pause_after", lambda waited: 25.0)
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_SECONDS", 25.0)
    may_end = threading.Event()

    @fn.task
    def gated(n):
        may_end.wait(20)
        return n

    batch = fn.fan_out([1], gated)
    threading.Timer(0.5, may_end.set).start()  # by then the server was asked
    began = time.monotonic()
    assert batch.results(timeout=60)["gated"].tolist() == [1]
    assert time.monotonic() - began < 20


def test_await_of_a_batch_gives_its_results(in_loop):
    @fn.task
    async def double(n):
        return 2 * n

    async def main():
        return await fn.fan_out([1, 2, 3], double)

    assert in_loop(main())["double"].tolist() == [2, 4, 6]
