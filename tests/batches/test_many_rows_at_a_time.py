"""Shows tasks that take many rows at a time: what a call gets, what it may return, and that a bad row fails alone."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import numpy as np
import pandas as pd
import pytest

import flownb as fn
from flownb.tasks.task import MOST_ROWS_A_CALL
from flownb.wire.many_rows import MOST_ROWS
from flownb.worker.middleware import Middleware
from flownb.worker.overdue_rows import after_overdue_call
from flownb.worker.task_worker import TaskWorker

pytestmark = pytest.mark.usefixtures("connection")

FRAME = pd.DataFrame(
    {"n": range(20), "word": list("abcdefghijklmnopqrst")}, index=[f"r{i}" for i in range(20)]
)


class Calls:
    """The calls of a task: the values of `n` that each was given."""

    def __init__(self):
        self.noting = threading.Lock()
        self.made = []

    def note(self, n):
        with self.noting:
            self.made.append(n.tolist())

    def fresh(self):
        """Return the calls since the last time, in the order of their rows and sizes, and forget them."""
        with self.noting:
            made, self.made = self.made, []
        return sorted(made, key=lambda call: (call[0], -len(call)))


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def mood():
    """Give the rows whose call fails, and what it raises."""
    return {}


@pytest.fixture
def twice(calls, mood):
    @fn.task(batch_size=8, attempts=2)
    def twice(n):
        calls.note(n)
        for bad, error in mood.items():
            if (n == bad).any():
                raise error
        return n * 2

    return twice


# ---- what a call gets --------------------------------------------------------------------------------------------


def test_a_call_gets_series_on_the_labels_of_its_rows(calls):
    seen = []

    @fn.task(batch_size=8)
    def look(n, word):
        seen.append((n, word))
        return n

    assert fn.fan_out(FRAME, look).results(timeout=30)["look"].tolist() == list(range(20))
    assert sorted(len(n) for n, _ in seen) == [4, 8, 8]
    for n, word in seen:
        rows = FRAME.loc[n.index]
        pd.testing.assert_series_equal(n, rows["n"])
        pd.testing.assert_series_equal(word, rows["word"], check_dtype=False)
        assert word.index.equals(rows.index)


def test_one_parameter_rows_gets_a_dataframe():
    @fn.task(batch_size=8)
    def shouted(rows):
        assert isinstance(rows, pd.DataFrame)
        assert rows.columns.tolist() == ["n", "word"]
        return rows["word"].str.upper() + rows["n"].astype(str)

    found = fn.fan_out(FRAME, shouted).results(timeout=30)["shouted"]
    assert found.tolist() == (FRAME["word"].str.upper() + FRAME["n"].astype(str)).tolist()


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(100, 140, 2, name="number"),
        pd.date_range("2024-01-01", periods=20, tz="Europe/Paris", name="day"),
        pd.MultiIndex.from_product([["a", "b"], range(10)], names=["shop", "n"]),
        pd.CategoricalIndex(list("ab") * 10),
        pd.Index(["same"] * 20),
    ],
    ids=lambda index: type(index).__name__,
)
@pytest.mark.parametrize("by", [None, "odd"])
def test_labels_of_any_index_arrive_as_they_are(index, by):
    frame = FRAME.assign(odd=FRAME["n"] % 2).set_axis(index)
    seen = []

    @fn.task(batch_size=4)
    def look(n):
        seen.append(n)
        return n

    @fn.task
    def all_of(rows):
        return len(rows)

    fn.fan_out(frame, look, by=by, into=by and all_of).wait(timeout=30)
    assert sorted(value for n in seen for value in n) == list(range(20))
    for n in seen:
        expected = index.take(n.tolist())
        assert n.index.equals(expected)
        assert n.index.names == expected.names
        assert n.index.dtype == expected.dtype


def test_missing_values_come_as_pandas_has_them():
    frame = pd.DataFrame(
        {"x": [1.5, None, 2.0], "n": pd.array([1, None, 3], dtype="Int64"), "word": ["a", None, "b"]}
    ).assign(items=[[1], [2, 3], None])
    seen = {}

    @fn.task(batch_size=3)
    def look(x, n, word, items):
        seen.update(x=x, n=n, word=word, items=items)
        return [0, 0, 0]

    fn.fan_out(frame, look).wait(timeout=30)
    assert (seen["x"].dtype, seen["n"].dtype) == ("float64", "Int64")
    assert seen["x"].isna().tolist() == seen["n"].isna().tolist() == seen["word"].isna().tolist()
    assert seen["items"].tolist() == [[1], [2, 3], None]


def test_iterators_and_their_numbers():
    @fn.task(batch_size=4)
    def look(n):
        return [f"{label}:{value}" for label, value in n.items()]

    found = fn.fan_out(({"n": n * 10} for n in range(10)), look, name="read").results(timeout=30)["look"]
    assert found.tolist() == [f"{n}:{n * 10}" for n in range(10)]


def test_a_job_of_another_program_is_a_call_with_one_row(twice):
    fn.fan_out(FRAME.head(1), twice).wait(timeout=30)
    assert fn.Queue("twice").add("twice", {"n": 21}).wait_until_finished(timeout=30) == 42
    assert fn.add(twice.node(4)).result(timeout=30) == 8


# ---- what a call may return --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        pd.Series.to_numpy,
        pd.Series.copy,
        lambda n: n[::-1],
        lambda n: pd.Index(n),
        lambda n: n.array,
        lambda n: [{"value": value} for value in n],
        lambda n: n.to_frame("value"),
        lambda n: n.to_frame("value")[::-1],
    ],
    ids=[
        "list",
        "tuple",
        "ndarray",
        "Series",
        "reversed",
        "Index",
        "array",
        "dicts",
        "DataFrame",
        "reversed frame",
    ],
)
def test_whatever_has_a_value_a_row_may_be_returned(form):
    @fn.task(batch_size=8)
    def value(n):
        return form(n)

    found = fn.fan_out(FRAME, value).results(timeout=30)
    assert found.index.equals(FRAME.index)
    assert found["value"].tolist() == FRAME["n"].tolist()


def test_rows_of_an_array_are_values():
    @fn.task(batch_size=8)
    def vector(n):
        return np.outer(n, [1.0, 2.0])

    found = fn.fan_out(FRAME.head(3), vector).results(timeout=30)["vector"]
    assert found.tolist() == [[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([1, 2], "task fit returned 2 values for 4 rows"),
        (np.arange(5), "task fit returned 5 values for 4 rows"),
        (None, "task fit returned None for 4 rows"),
        (7, "task fit returned one int for 4 rows"),
        ("text", "task fit returned one str for 4 rows"),
        ({"n": [1, 2, 3, 4]}, "pd.DataFrame(value)"),
        (
            pd.Series([1, 2, 3, 4]),
            "on other labels than those of its rows (0, 1, 2, ... instead of r0, r1, r2, ...)",
        ),
    ],
)
def test_what_is_not_one_value_a_row_fails_at_once(returned, said):
    called = []

    @fn.task(batch_size=4, attempts=3)
    def fit(n):
        called.append(len(n))
        return returned

    failures = fn.fan_out(FRAME.head(4), fit).wait(timeout=30).failures
    assert called == [4]
    assert failures.index.tolist() == ["r0", "r1", "r2", "r3"]
    assert failures["message"].str.contains(said, regex=False).all()


def test_a_value_that_has_no_form_fails_its_row_alone():
    @fn.task(batch_size=4)
    def odd(n):
        return [threading.Lock() if value == 2 else value for value in n]

    batch = fn.fan_out(FRAME.head(4), odd).wait(timeout=30)
    assert batch.failures.index.tolist() == ["r2"]
    assert batch.results()["odd"].dropna().tolist() == [0, 1, 3]


# ---- errors ------------------------------------------------------------------------------------------------------


def test_a_failed_call_is_tried_again_whole_and_then_halved(twice, calls, mood):
    mood[5] = ValueError("five")
    batch = fn.fan_out(FRAME, twice).wait(timeout=30)
    whole = list(range(8))
    assert calls.fresh() == [
        whole,
        whole,
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [4, 5],
        [4],
        [5],
        [6, 7],
        *_rest_of_calls(),
    ]
    assert batch.failures[["error", "message", "attempts"]].to_dict("index") == {
        "r5": {"error": "ValueError", "message": "five", "attempts": 2}
    }
    assert batch.results(failed="drop")["twice"].tolist() == [2 * n for n in range(20) if n != 5]
    assert "raise error" in batch.failures.loc["r5", "traceback"]


def _rest_of_calls():
    return [list(range(8, 16)), list(range(16, 20))]


def test_what_is_not_worth_an_attempt_is_halved_at_once(twice, calls, mood):
    mood[1] = fn.UnrecoverableError("never")
    batch = fn.fan_out(FRAME.head(4), twice).wait(timeout=30)
    assert calls.fresh() == [[0, 1, 2, 3], [0, 1], [0], [1], [2, 3]]
    assert batch.failures["attempts"].tolist() == [1]


def test_retry_runs_the_bad_row_alone(twice, calls, mood):
    mood[5] = ValueError("five")
    batch = fn.fan_out(FRAME, twice, name="b").wait(timeout=30)
    calls.fresh()
    mood.clear()
    assert batch.retry().results(timeout=30)["twice"].tolist() == [2 * n for n in range(20)]
    assert calls.fresh() == [[5]]
    assert fn.fan_out(FRAME, twice, name="b").results(timeout=30)["twice"].tolist() == [
        2 * n for n in range(20)
    ]
    assert calls.fresh() == []


def test_row_errors_fail_their_rows_and_keep_the_rest(calls):
    @fn.task(batch_size=10)
    def careful(n):
        calls.note(n)
        if bad := {label: ValueError(f"{value} is odd") for label, value in n.items() if value % 5 == 3}:
            raise fn.RowErrors(bad)
        return n

    batch = fn.fan_out(FRAME, careful).wait(timeout=30)
    assert batch.failures["message"].to_dict() == {f"r{n}": f"{n} is odd" for n in (3, 8, 13, 18)}
    assert batch.results(failed="drop")["careful"].tolist() == [n for n in range(20) if n % 5 != 3]
    assert [len(call) for call in calls.fresh()] == [10, 8, 10, 8]


def test_row_errors_with_values_take_one_call_and_retry_the_bad_rows_together(calls):
    @fn.task(batch_size=10, attempts=2)
    def careful(n):
        calls.note(n)
        bad = n[n % 5 == 3]
        if len(n) == 10:
            raise fn.RowErrors({label: TimeoutError() for label in bad.index}, values=n.drop(bad.index))
        return n

    batch = fn.fan_out(FRAME, careful, rows_per_job=20)
    assert batch.results(timeout=30)["careful"].tolist() == list(range(20))
    assert calls.fresh() == [list(range(10)), [3, 8, 13, 18], list(range(10, 20))]
    assert batch.table()["_attempts"].tolist() == [2 if n % 5 == 3 else 1 for n in range(20)]


def test_row_errors_of_other_rows_fail_the_call_at_once(calls):
    @fn.task(batch_size=4, attempts=3)
    def careless(n):
        calls.note(n)
        raise fn.RowErrors({"r99": ValueError()})

    failures = fn.fan_out(FRAME.head(4), careless).wait(timeout=30).failures
    assert calls.fresh() == [[0, 1, 2, 3]]
    assert failures["message"].str.contains("'r99', no label of its rows").all()


def test_row_errors_are_checked_where_they_are_raised():
    for wrong in ({}, {"r1": "text"}, ["r1"], None):
        with pytest.raises(fn.OptionError, match="exceptions by the rows' labels"):
            fn.RowErrors(wrong)
    assert str(fn.RowErrors({"a": ValueError()})) == "1 of the rows of a call failed"


@pytest.mark.parametrize(
    "raised", [fn.RateLimitError("0.01"), fn.RowErrors({"r2": fn.RateLimitError("0.01")})]
)
def test_a_limit_of_the_service_halves_and_charges_nothing(calls, raised):
    @fn.task(batch_size=8)
    def ask(n):
        calls.note(n)
        if len(calls.made) == 1:
            raise raised
        return n

    batch = fn.fan_out(FRAME.head(8), ask)
    assert batch.results(timeout=30)["ask"].tolist() == list(range(8))
    assert calls.fresh() == [list(range(8))] * 2
    assert set(batch.table()["_attempts"]) == {1}


def test_what_a_function_does_to_its_rows_does_not_reach_the_halves(calls):
    seen = []

    @fn.task(batch_size=4)
    def spoil(items):
        seen.append([list(each) for each in items])
        for each in items:
            each.append("spoilt")
        if [3, "spoilt"] in items.tolist():
            raise ValueError
        return [0] * len(items)

    fn.fan_out([{"items": [n]} for n in range(4)], spoil).wait(timeout=30)
    assert seen == [[[0], [1], [2], [3]], [[0], [1]], [[2], [3]], [[2]], [[3]]]


# ---- where and how calls run -------------------------------------------------------------------------------------


def test_async_functions_take_many_rows_too(calls):
    @fn.task(batch_size=8, attempts=1)
    async def later(n):
        await asyncio.sleep(0)
        calls.note(n)
        if (n == 2).any():
            raise ValueError
        return n

    batch = fn.fan_out(FRAME, later).wait(timeout=30)
    assert batch.failures.index.tolist() == ["r2"]
    assert len(batch.results(failed="drop")) == 19
    assert fn.add(later.node(7)).result(timeout=30) == 7


def test_in_processes_a_bad_row_fails_alone_and_a_crash_fails_its_call():
    @fn.task(batch_size=4)
    def somewhere(n):
        import os

        if (n == 6).any():
            raise ValueError("six")
        if (n == 13).any():
            os._exit(3)
        print("rows", n.tolist())
        return [os.getpid()] * len(n)

    with fn.workers(2, executor="processes"):
        batch = fn.fan_out(FRAME, somewhere, rows_per_job=20).wait(timeout=120)
    assert batch.failures["error"].to_dict() == {
        "r6": "ValueError",
        **dict.fromkeys(["r12", "r13", "r14", "r15"], "JobCrashed"),
    }
    found = batch.results(failed="drop")["somewhere"]
    assert len(found) == 15
    assert os.getpid() not in found.tolist()
    assert "rows [0, 1, 2, 3]" in batch.logs(rows="r0")["line"].tolist()


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_timeout_is_a_calls_and_the_row_that_hangs_fails_alone(executor):
    @fn.task(batch_size=8, timeout=3)  # seconds, of which a process that is new needs one
    def hang(n):
        import time

        if (n == 3).any():
            time.sleep(60)
        return n

    with fn.workers(2, executor=executor):
        batch = fn.fan_out(FRAME.head(16), hang).wait(timeout=120)
    assert batch.failures["error"].to_dict() == {"r3": "JobTimeout"}
    assert batch.results(failed="drop")["hang"].tolist() == [n for n in range(16) if n != 3]
    progress = batch.progress()
    assert (progress.completed, progress.failed, progress.total) == (16, 1, 17)


def test_a_row_that_hangs_in_a_later_step_has_had_all_its_attempts():
    @fn.task
    def pre(n):
        return {"y": n}

    @fn.task(batch_size=4, timeout=0.3, attempts=2)
    def ask(y):
        if (y == 5).any():
            time.sleep(20)
        if (y == 9).any():
            raise ValueError("nine")
        return y * 10

    with fn.workers(4):
        batch = fn.fan_out(FRAME.head(12), [pre, ask]).wait(timeout=60)
        assert batch.failures[["step", "error", "attempts"]].to_dict("index") == {
            "r5": {"step": "ask", "error": "JobTimeout", "attempts": 2},
            "r9": {"step": "ask", "error": "ValueError", "attempts": 2},
        }
        assert batch.table()["_attempts"].tolist()[4:] == [2] * 8


class OpenRuns(Middleware):
    """Knows how many runs the slots have begun and not ended."""

    def __init__(self):
        self.change = threading.Condition()
        self.open = 0

    def before_run(self, taken):
        self._add(1)

    def after_run(self, taken, outcome, seconds):
        self._add(-1)

    def _add(self, runs):
        with self.change:
            self.open += runs
            self.change.notify_all()

    def wait_until_none(self):
        with self.change:
            assert self.change.wait_for(lambda: self.open == 0, 30)


def test_a_process_that_is_killed_past_its_timeout_fails_no_row_as_crashed(monkeypatch):
    runs = OpenRuns()

    def late(*given):
        """The slot sees that its process is dead, and ends its run, before the worker looks at the rows."""
        runs.wait_until_none()
        return after_overdue_call(*given)

    monkeypatch.setattr("flownb.worker.runners.after_overdue_call", late)
    monkeypatch.setattr(TaskWorker, "_middleware", (*TaskWorker._middleware, lambda: runs))

    @fn.task(batch_size=4, timeout=3)
    def hang(n):
        import time

        if (n == 1).any():
            time.sleep(60)
        return n

    with fn.workers(1, executor="processes"):
        batch = fn.fan_out(FRAME.head(4), hang).wait(timeout=120)
    assert batch.failures["error"].to_dict() == {"r1": "JobTimeout"}
    assert batch.results(failed="drop")["hang"].tolist() == [0, 2, 3]


def test_a_slow_call_delegates_whole_calls(calls):
    release = threading.Event()

    @fn.task(batch_size=8)
    def slow(n):
        calls.note(n)
        if n.iloc[0] == 0:
            assert release.wait(30)
        return n

    batch = fn.fan_out(pd.DataFrame({"n": range(64)}), slow, rows_per_job=64)
    deadline = time.monotonic() + 30
    while batch.progress().completed < 56 and time.monotonic() < deadline:
        time.sleep(0.02)
    release.set()
    assert batch.results(timeout=30)["slow"].tolist() == list(range(64))
    assert calls.fresh() == [list(range(n, n + 8)) for n in range(0, 64, 8)]


def test_progress_counts_rows_and_results_of_aggregates_have_them_all(twice, mood):
    mood[5] = ValueError("five")

    @fn.task
    def total(rows):
        return int(rows["twice"].sum())

    batch = fn.fan_out(FRAME, twice, into=total).wait(timeout=30)
    assert batch.result() == sum(2 * n for n in range(20) if n != 5)
    progress = batch.progress()
    assert (progress.completed, progress.failed) == (20, 1)  # and the root


def test_debug_calls_with_one_row_on_its_label(twice, calls, mood):
    batch = fn.fan_out(FRAME, twice).wait(timeout=30)
    calls.fresh()
    assert batch.debug("r7") == 14
    assert calls.fresh() == [[7]]
    mood[7] = ValueError("seven")
    with pytest.raises(ValueError, match="seven"):
        batch.debug("r7")


def test_plain_calls_are_plain(twice):
    assert twice(FRAME["n"]).tolist() == [2 * n for n in range(20)]


def test_a_batch_goes_on_after_a_task_has_become_one_of_many_rows(calls, mood):
    @fn.task
    def grown(n):
        if n >= 10:
            raise ValueError
        return n

    fn.fan_out(FRAME, grown, name="grown").wait(timeout=30)

    @fn.task(batch_size=4)
    def grown(n):
        calls.note(n)
        return n

    assert fn.fan_out(FRAME, grown, name="grown").results(timeout=30)["grown"].tolist() == list(range(20))
    assert [row for call in calls.fresh() for row in call] == list(range(10, 20))


# ---- options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, 501, True, "32", 2.5])
def test_a_batch_size_is_a_small_number(wrong):
    with pytest.raises(fn.OptionError, match=r"task sized.batch_size"):

        @fn.task(batch_size=wrong)
        def sized(n):
            return n


def test_a_call_takes_as_many_rows_as_a_job_may_hold():
    assert MOST_ROWS_A_CALL == MOST_ROWS


def test_jobs_hold_whole_calls(twice):
    with pytest.raises(
        fn.OptionError, match=r"rows_per_job=12: the task takes 8 rows at a time .* multiple of 8"
    ):
        fn.fan_out(FRAME, twice, rows_per_job=12)
    with pytest.raises(fn.OptionError, match="a job holds the rows of one call"):
        fn.fan_out(FRAME, twice, rows_per_job=16, timeout="1min")
    with pytest.raises(fn.OptionError, match="batch_size: it belongs to the task"):
        fn.fan_out(FRAME, twice, batch_size=4)


@pytest.mark.parametrize("options", [{"timeout": "1min"}, {"limiter": "1000/s"}])
def test_where_jobs_are_counted_each_makes_one_call(twice, calls, options):
    batch = fn.fan_out(FRAME, twice, **options).wait(timeout=30)
    assert (batch.jobs()["queue"] == "twice").sum() == 3
    assert [len(call) for call in calls.fresh()] == [8, 8, 4]
