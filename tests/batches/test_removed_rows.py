"""Shows that rows whose jobs were removed run again by the same `fan_out`, as `dry_run` says, and are never missing in silence."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

import flownb as fn
from tests.support import invariants

pytestmark = pytest.mark.usefixtures("connection")

FRAME = pd.DataFrame({"n": range(6)}, index=list("abcdef"))
SQUARES = dict(zip("abcdef", (0, 1, 4, 9, 16, 25), strict=True))


@pytest.fixture(autouse=True)
def _sound_in_the_end(redis):
    yield
    assert [str(violation) for violation in invariants.violations(redis)] == []


def remove_one():
    fn.Queue("square").get_jobs("completed")[0].remove()


REMOVALS = {
    "some are cleaned": lambda: fn.Queue("square").clean(0, limit=1),
    "all are cleaned": lambda: fn.Queue("square").clean(0),
    "the queue is obliterated": lambda: fn.Queue("square").obliterate(),
    "one is removed": remove_one,
}


@pytest.mark.parametrize("rows_per_job", [1, 2])
@pytest.mark.parametrize("how", REMOVALS)
def test_removed_rows_run_again_as_the_dry_run_says(how, rows_per_job, square, runs, capsys):
    def again(**more):
        capsys.readouterr()
        return fn.fan_out(FRAME, square, name="b", rows_per_job=rows_per_job, **more)

    again().wait(timeout=30)
    runs.fresh()
    REMOVALS[how]()

    would = again(dry_run=True)["_would"]
    lost = FRAME["n"][would == "run"].tolist()
    assert lost
    assert set(would) <= {"run", "reuse"}
    assert again().results(timeout=30)["square"].to_dict() == SQUARES
    assert sorted(runs.fresh()) == lost
    said = f"{6 - len(lost)} of 6 rows are there already, {len(lost)} run, {len(lost)} of them anew, as their jobs were removed"
    assert f"batch 'b': {said}\n" in capsys.readouterr().out

    batch = again()
    assert capsys.readouterr().out == "batch 'b': 6 of 6 rows are there already, none runs again\n"
    assert (batch.progress().completed, batch.progress().total) == (7, 7)
    assert runs.fresh() == {}
    assert fn.doctor().empty


@pytest.mark.parametrize("rows_per_job", [1, 2])
def test_values_of_rows_that_were_cleaned_away_stay_with_their_batch(rows_per_job, square, recwarn):
    batch = fn.fan_out(FRAME, square, name="b", rows_per_job=rows_per_job).wait(timeout=30)
    fn.Queue("square").clean(0, limit=2)
    for handle in (batch, fn.attach("b")):
        assert handle.results(timeout=30)["square"].to_dict() == SQUARES
        assert handle.result(timeout=30)["square"].to_dict() == SQUARES
        assert dict(handle.as_completed(timeout=30)) == SQUARES
        table = handle.table()
        assert table["square"].to_dict() == SQUARES
        assert table["_state"].value_counts().to_dict() == {
            "removed": 2 * rows_per_job,
            "completed": 6 - 2 * rows_per_job,
        }
    assert not recwarn.list


def test_an_aggregate_gets_the_values_of_rows_that_were_cleaned_away_before_it_ran(square, until):
    @fn.task
    def total(rows):
        return int(rows["square"].sum())

    fn.Queue("total").pause()
    batch = fn.fan_out(FRAME, square, into=total, name="b")
    until(lambda: batch.progress().completed == 6)
    assert len(fn.Queue("square").clean(0, limit=4)) == 4
    fn.Queue("total").resume()
    assert batch.result(timeout=30) == 55


def test_rows_that_were_removed_before_they_ran_are_warned_of_and_run_by_the_same_call(square, runs, capsys):
    fn.Queue("square").pause()
    batch = fn.fan_out(FRAME, square, name="b", rows_per_job=1)
    assert len(fn.Queue("square").clean(0, limit=2, state="waiting")) == 2
    assert (
        fn.fan_out(FRAME, square, name="b", rows_per_job=1, dry_run=True)["_would"].tolist()
        == ["run"] * 2 + ["join"] * 4
    )
    fn.Queue("square").resume()
    why = "batch 'b': the jobs of 2 rows were removed; the same fan_out again runs them"
    with pytest.warns(UserWarning, match=why) as caught:
        assert batch.results(timeout=30)["square"].isna().sum() == 2
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=why):
        assert len(batch.results(failed="drop")) == 4
    with pytest.warns(UserWarning, match=why):
        batch.result()
    with pytest.raises(fn.FlowFailed, match="2 of 6 rows have no result: the jobs of 2 rows were removed"):
        batch.results(failed="raise")
    capsys.readouterr()
    batch.retry()
    assert capsys.readouterr().out == f"{why}\n"
    assert sorted(runs.fresh()) == [2, 3, 4, 5]

    assert fn.fan_out(FRAME, square, name="b").results(timeout=30)["square"].to_dict() == SQUARES
    assert runs.fresh() == {0: 1, 1: 1}


def test_a_batch_without_any_row_left_says_so_instead_of_a_failure(square):
    fn.Queue("square").pause()
    batch = fn.fan_out([1, 2], square, name="b", rows_per_job=1)
    fn.Queue("square").drain()
    with pytest.raises(fn.FlowFailed, match="none of its 2 rows succeeded; the jobs of 2 rows were removed"):
        batch.result(timeout=30)


def test_rows_removed_from_a_running_batch_run_beside_the_others(runs):
    may_end = threading.Event()

    @fn.task
    def slow(n):
        runs.note(n)
        assert n != 3 or may_end.wait(60)
        return n

    first = fn.fan_out([1, 2, 3], slow, name="b", rows_per_job=1)
    ended = first.as_completed(timeout=30)
    assert sorted(next(ended)[1] for _ in range(2)) == [1, 2]
    fn.Queue("slow").clean(0, limit=1)

    second = fn.fan_out([1, 2, 3], slow, name="b", rows_per_job=1)
    third = fn.fan_out([1, 2, 3], slow, name="b", rows_per_job=1)
    assert second.job.id == third.job.id != first.job.id
    may_end.set()
    for batch in (first, second):
        assert batch.results(timeout=30)["slow"].tolist() == [1, 2, 3]
    assert sorted(runs.fresh().values()) == [1, 1, 2]


def test_a_failed_row_that_was_cleaned_away_cannot_be_retried_but_runs_by_the_same_call(runs, capsys):
    mood = {"bad": True}

    @fn.task
    def moody(n):
        runs.note(n)
        assert not (mood["bad"] and n == 2)
        return n

    batch = fn.fan_out([1, 2], moody, name="b", rows_per_job=1).wait(timeout=30)
    assert len(fn.Queue("moody").clean(0, state="failed")) == 1
    with pytest.warns(UserWarning, match="the job of 1 row was removed; the same fan_out again runs it"):
        batch.results()
    capsys.readouterr()
    batch.retry()
    assert "the job of 1 row was removed; the same fan_out again runs it" in capsys.readouterr().out
    mood["bad"] = False
    assert fn.fan_out([1, 2], moody, name="b").results(timeout=30)["moody"].tolist() == [1, 2]
    assert runs.fresh() == {1: 1, 2: 2}


def test_what_goes_with_a_group_is_warned_of_and_run_again_by_the_same_call(square, runs, recwarn):
    @fn.task
    def total(rows):
        runs.note("total")
        return int(rows["square"].sum())

    def again():
        return fn.fan_out(FRAME.assign(team=list("xxyyzz")), square, by="team", into=total, name="b")

    batch, sums = again(), {"x": 1, "y": 13, "z": 41}
    assert batch.result(timeout=30)["total"].to_dict() == sums
    assert len(fn.Queue("total").clean(0, limit=2)) == 2
    assert batch.result(timeout=30)["total"].to_dict() == sums  # which the root has kept
    assert not recwarn.list
    left = batch.table()["square"].dropna().to_dict()
    assert len(left) == 2
    for handle in (batch, fn.attach("b")):
        with pytest.warns(UserWarning, match="the jobs of 4 rows were removed; the same fan_out again runs"):
            assert handle.results(timeout=30)["square"].dropna().to_dict() == left
        values = dict(handle.as_completed(timeout=30))
        assert {
            label: value for label, value in values.items() if not isinstance(value, fn.FlowFailed)
        } == left
        with pytest.raises(
            fn.FlowFailed, match="4 of 6 rows have no result: the jobs of 4 rows were removed"
        ):
            handle.results(failed="raise")
    runs.fresh()

    assert again().results(timeout=30)["square"].to_dict() == SQUARES
    assert again().result(timeout=30)["total"].to_dict() == sums
    assert runs.fresh().pop("total") == 3
