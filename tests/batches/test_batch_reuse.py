"""Shows that the same name and rows run nothing twice: only new, changed and failed rows run again."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

import flownb as fn

pytestmark = pytest.mark.usefixtures("connection")


def test_the_same_rows_again_run_nothing(square, runs, capsys):
    frame = pd.DataFrame({"n": range(1000)})
    first = fn.fan_out(frame, square, name="b").results(timeout=30)
    assert len(runs.fresh()) == 1000
    capsys.readouterr()
    again = fn.fan_out(frame, square, name="b")
    pd.testing.assert_frame_equal(again.results(timeout=20), first)
    assert runs.fresh() == {}
    assert capsys.readouterr().out == "batch 'b': 1,000 of 1,000 rows are there already, none runs again\n"


def test_three_changed_rows_of_a_thousand_are_three_runs(square, runs, capsys):
    frame = pd.DataFrame({"n": range(1000)})
    fn.fan_out(frame, square, name="b").wait(timeout=30)
    runs.fresh()
    capsys.readouterr()
    frame.loc[[5, 500, 999], "n"] = [5000, 5001, 5002]
    results = fn.fan_out(frame, square, name="b").results(timeout=20)
    assert runs.fresh() == {5000: 1, 5001: 1, 5002: 1}
    assert results["square"].tolist() == [n * n for n in frame["n"]]
    assert "997 of 1,000 rows are there already, 3 run" in capsys.readouterr().out


def test_a_sorted_frame_a_subset_and_another_index_run_nothing(square, runs):
    frame = pd.DataFrame({"n": range(100)})
    fn.fan_out(frame, square, name="b").wait(timeout=20)
    runs.fresh()
    for other in (
        frame[::-1],
        frame.head(10),
        frame.sample(frac=1, random_state=1),
        frame.set_axis(frame["n"] + 7),
    ):
        results = fn.fan_out(other, square, name="b").results(timeout=20)
        assert results["square"].tolist() == [n * n for n in other["n"]]
        assert list(results.index) == list(other.index)
    assert runs.fresh() == {}


def test_a_pilot_is_kept_when_all_rows_follow(square, runs):
    frame = pd.DataFrame({"n": range(60)})
    fn.fan_out(frame.head(20), square, name="b").wait(timeout=20)
    assert len(runs.fresh()) == 20
    fn.fan_out(frame, square, name="b").wait(timeout=20)
    assert sorted(runs.fresh()) == list(range(20, 60))


def test_equal_rows_are_rows_of_their_own(square, runs):
    fn.fan_out([7, 7, 7], square, name="b").wait(timeout=20)
    assert runs.fresh() == {7: 3}
    fn.fan_out([7, 7, 7, 7], square, name="b").wait(timeout=20)
    assert runs.fresh() == {7: 1}


def test_another_name_another_version_and_rerun_run_all(square, runs):
    fn.fan_out([1, 2], square, name="b").wait(timeout=20)
    runs.fresh()
    fn.fan_out([1, 2], square, name="other").wait(timeout=20)
    assert runs.fresh() == {1: 1, 2: 1}
    fn.fan_out([1, 2], square, name="b", if_exists="rerun").wait(timeout=20)
    assert runs.fresh() == {1: 1, 2: 1}
    fn.fan_out([1, 2], square, name="b").wait(timeout=20)
    assert runs.fresh() == {}

    @fn.task(queue="square", version="2")
    def square(n):
        runs.note(n)
        return -n

    assert fn.fan_out([1, 2], square, name="b").results(timeout=20)["square"].tolist() == [-1, -2]
    assert runs.fresh() == {1: 1, 2: 1}


def test_without_a_name_the_same_cell_twice_is_the_same_batch(square, runs):
    first = fn.fan_out([1, 2, 3], square)
    first.wait(timeout=20)
    second = fn.fan_out([1, 2, 3], square)
    assert second.name == first.name
    assert second.name.startswith("square-")
    second.wait(timeout=20)
    assert runs.fresh() == {1: 1, 2: 1, 3: 1}


def test_a_batch_that_still_runs_is_joined(runs):
    may_end = threading.Event()

    @fn.task
    def slow(n):
        runs.note(n)
        assert may_end.wait(20)
        return n

    first = fn.fan_out([1, 2, 3], slow, name="b")
    second = fn.fan_out([1, 2, 3], slow, name="b")
    assert second.job.id == first.job.id
    may_end.set()
    assert second.results(timeout=20)["slow"].tolist() == [1, 2, 3]
    assert runs.fresh() == {1: 1, 2: 1, 3: 1}


@pytest.fixture
def moody(runs):
    """Make a task whose rows 3 and 4 fail while `mood["bad"]`; 4 says that no other run can mend it."""
    mood = {"bad": True}

    @fn.task
    def moody(n):
        runs.note(n)
        if mood["bad"] and n == 3:
            raise TimeoutError("later")
        if mood["bad"] and n == 4:
            raise fn.UnrecoverableError("never")
        return n

    return moody, mood


def test_failed_rows_run_again_but_not_those_that_no_run_can_mend(moody, runs):
    task, mood = moody
    first = fn.fan_out([1, 2, 3, 4], task, name="b")
    assert first.results(timeout=20, failed="drop")["moody"].tolist() == [1, 2]
    assert runs.fresh() == {1: 1, 2: 1, 3: 1, 4: 1}
    mood["bad"] = False
    second = fn.fan_out([1, 2, 3, 4], task, name="b")
    assert second.results(timeout=20, failed="drop")["moody"].tolist() == [1, 2, 3]
    assert runs.fresh() == {3: 1}
    assert second.failures["error"].tolist() == ["UnrecoverableError"]
    fn.fan_out([1, 2, 3, 4], task, name="b").wait(timeout=20)
    assert runs.fresh() == {}


def test_the_line_of_what_is_kept_says_how_many_failed_and_whether_they_run_again(moody, capsys):
    def said(rows):
        capsys.readouterr()
        fn.fan_out(rows, task, name="b").wait(timeout=20)
        return capsys.readouterr().out.splitlines()[0].replace("batch 'b': ", "")

    task, mood = moody
    fn.fan_out([1, 2, 3, 4], task, name="b").wait(timeout=20)
    stays = "1 failed for good and stays failed: batch.retry() runs it"
    again = "1 run, 1 of them once more after a failure"
    assert said([1, 2, 3, 4]) == f"2 of 4 rows are there already, {again}, {stays}"
    mood["bad"] = False
    assert said(iter([1, 2, 3, 4])) == f"2 of 4 rows are there already, {again}, {stays}"
    assert said([1, 2, 3, 4]) == f"3 of 4 rows are there already, none runs again, {stays}"
    assert said([4, 5]) == f"0 of 2 rows are there already, 1 run, {stays}"
    fn.attach("b").retry().wait(timeout=20)
    assert said([1, 2, 3, 4]) == "4 of 4 rows are there already, none runs again"


def test_a_batch_that_goes_on_says_how_many_of_its_rows_have_failed(runs, until, capsys):
    may_end = threading.Event()

    @fn.task
    def slow(n):
        assert n == 1 or may_end.wait(20)
        assert n != 1
        return n

    first = fn.fan_out([1, 2, 3], slow, name="b")
    until(lambda: first.progress().failed == 1)
    capsys.readouterr()
    fn.fan_out([1, 2, 3], slow, name="b")
    assert capsys.readouterr().out == (
        "batch 'b' goes on: 0 of 3 rows are done already, 1 have failed: batch.retry() runs them, or this call "
        "again once the others are done\n"
    )
    may_end.set()
    assert first.results(timeout=20, failed="drop")["slow"].tolist() == [2, 3]


def test_a_failed_row_that_fails_again_is_failed_again(moody, runs):
    task, _ = moody
    for _ in range(3):
        batch = fn.fan_out([1, 3], task, name="b")
        batch.wait(timeout=20)
        assert batch.failures["message"].tolist() == ["later"]
        assert runs.fresh().get(3) == 1


def test_the_aggregate_runs_again_only_when_a_row_has_changed(square, runs):
    totals = []

    @fn.task
    def total(rows):
        totals.append(len(rows))
        return int(rows["square"].sum())

    for rows, expected in (([1, 2], 5), ([1, 2], 5), ([1, 3], 10)):
        assert fn.fan_out(rows, square, into=total, name="b").result(timeout=20) == expected
    assert totals == [2, 2]
    assert runs.fresh() == {1: 1, 2: 1, 3: 1}


EDITED = (
    "batch 'b': score was edited since some of its rows ran; {} rows are kept as they are: "
    'if_exists="rerun", or another version= on the task, runs them again\n'
)


def test_an_edited_function_is_announced_with_the_rows_that_are_kept_until_all_ran_it(capsys):
    def said():
        return capsys.readouterr().out.partition("was edited")[1:]

    @fn.task
    def score(n):
        return n

    fn.fan_out([1, 2, 3], score, name="b").wait(timeout=20)

    @fn.task
    def score(n):
        """Say more, do the same."""
        # and a comment
        return n

    fn.fan_out([1, 2, 3], score, name="b").wait(timeout=20)
    assert said() == ("", "")

    @fn.task
    def score(n):
        return -n

    capsys.readouterr()
    more = fn.fan_out([1, 2, 3, 4], score, name="b")
    assert more.results(timeout=20)["score"].tolist() == [1, 2, 3, -4]
    assert capsys.readouterr().out.endswith(EDITED.format(3))
    fn.fan_out([1, 2, 3, 4], score, name="b")
    assert capsys.readouterr().out.endswith(EDITED.format(4))
    for options in ({"if_exists": "rerun"}, {}):
        again = fn.fan_out([1, 2, 3, 4], score, name="b", **options)
        assert again.results(timeout=20)["score"].tolist() == [-1, -2, -3, -4]
        assert said() == ("", "")

    @fn.task(version="2")
    def score(n):
        return n * 100

    assert fn.fan_out([1], score, name="b").results(timeout=20)["score"].tolist() == [100]
    fn.fan_out([1], score, name="b").wait(timeout=20)
    assert said() == ("", "")


def test_rows_that_none_of_the_earlier_ones_are_kept_of_make_no_announcement(capsys):
    for change in (0, 1):

        @fn.task
        def score(n, change=change):
            return n + change

        for _ in range(2):
            fn.fan_out([10 * change, 10 * change + 1], score, name="b").wait(timeout=20)
    assert "edited" not in capsys.readouterr().out


@pytest.mark.parametrize("has_steps", [False, True])
def test_an_edited_function_of_an_earlier_version_is_announced(capsys, has_steps):
    @fn.task
    def page(n):
        return n

    def add(factor, rows, **options):
        @fn.task(**options)
        def score(n):
            return n * factor

        batch = fn.fan_out(rows, [page, score] if has_steps else score, name="b")
        return batch.results(timeout=20)["score"].tolist(), capsys.readouterr().out

    add(2, [1, 2])
    add(3, [1, 2], version="2")
    values, said = add(4, [1, 2])
    assert values == [2, 4]
    assert "score has changed (factor: 2 -> 4) since some of its rows ran; 2 rows are kept" in said
    values, said = add(4, [1, 2, 3])
    assert values == [2, 4, 12]
    assert "(factor: 2 -> 4)" in said
    add(3, [1, 2], version="2")
    values, said = add(2, [1, 2, 3])  # as the first ones ran, but not the last one
    assert values == [2, 4, 12]
    assert "(factor: 4 -> 2)" in said
    assert "has changed" not in add(3, [2, 1], version="2")[1]


def test_a_function_is_compared_with_the_rows_that_are_kept_not_with_others_of_the_name(capsys):
    def add(factor, rows):
        values = fn.fan_out(rows, scaled_by(factor), name="b").results(timeout=20)["scaled"].tolist()
        return values, capsys.readouterr().out

    add(2, [1, 2])
    add(3, [8, 9])
    values, said = add(3, [1, 2, 8])
    assert values == [2, 4, 24]
    assert "scaled has changed (factor: 2 -> 3)" in said
    assert "has changed" not in add(3, [8, 9, 10])[1]


def test_an_edit_is_announced_also_where_the_last_rows_of_an_iterator_are_new(capsys):
    def add(factor, rows):
        return fn.fan_out(iter(range(rows)), scaled_by(factor), name="b").wait(timeout=30)

    add(2, 500)
    capsys.readouterr()
    add(10, 600)  # read in two pieces, of which the second has no row that is kept
    assert (
        "scaled has changed (factor: 2 -> 10) since some of its rows ran; 500 rows" in capsys.readouterr().out
    )


def test_rows_that_failed_by_another_function_and_ran_again_make_no_announcement(capsys):
    def add(factor):
        @fn.task
        def inverse(n):
            return n / factor

        return fn.fan_out([1, 2], inverse, name="b").wait(timeout=20)

    assert add(0).progress().failed == 2
    for _ in range(2):
        assert add(1).results()["inverse"].tolist() == [1, 2]
    assert "has changed" not in capsys.readouterr().out


def test_an_edit_is_announced_also_where_the_batch_was_removed_that_ran_the_rows(capsys):
    def add(factor, rows):
        return fn.fan_out(rows, scaled_by(factor), name="b").wait(timeout=20)

    first = add(2, [1, 2])
    add(2, [1, 2, 3])
    first.remove()
    capsys.readouterr()
    add(10, [1, 2, 4])
    assert "scaled has changed (factor: 2 -> 10)" in capsys.readouterr().out


def scaled_by(factor):
    @fn.task
    def scaled(n):
        return n * factor

    return scaled


def test_another_value_that_the_function_uses_is_announced_under_a_name_and_rows_are_kept(capsys):
    fn.fan_out([1, 2], scaled_by(2), name="b").wait(timeout=20)
    capsys.readouterr()
    kept = fn.fan_out([1, 2], scaled_by(10), name="b").results(timeout=20)
    assert kept["scaled"].tolist() == [2, 4]
    assert (
        "batch 'b': scaled has changed (factor: 2 -> 10) since some of its rows ran; 2 rows are kept as they are: "
        'if_exists="rerun"' in capsys.readouterr().out
    )


def test_without_a_name_another_value_that_the_function_uses_is_another_batch(capsys):
    first = fn.fan_out([1, 2], scaled_by(2))
    assert first.results(timeout=20)["scaled"].tolist() == [2, 4]
    capsys.readouterr()
    second = fn.fan_out([1, 2], scaled_by(10))
    assert second.results(timeout=20)["scaled"].tolist() == [10, 20]
    said = (
        f"batch {second.name!r}: other code, same rows (factor: 2 -> 10): 2 done as {first.name!r}; "
        f"name={first.name!r} keeps them\n"
    )
    assert said in capsys.readouterr().out
    for factor, name in ((10, second.name), (2, first.name)):
        again = fn.fan_out([1, 2], scaled_by(factor))
        assert again.name == name
        assert again.results(timeout=20)["scaled"].tolist() == [factor, 2 * factor]
    assert fn.fan_out([1, 2], scaled_by(10), name=first.name).results(timeout=20)["scaled"].tolist() == [2, 4]
