"""Shows what is kept of rows with steps: over another version, an edit, a step more, a retry, a kill, a crash, a new kernel."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import flownb as fn
from flownb.wire import many_rows

FRAME = pd.DataFrame({"n": range(5), "m": [7] * 5}, index=list("abcde"))


@pytest.fixture
def first(connection, runs):
    @fn.task
    def first(n):
        runs.note("first")
        return {"a": n + 1}

    return first


def second_of(runs, version="1", plus=0, fails=()):
    @fn.task(version=version)
    def second(a):
        runs.note("second")
        if a in fails:
            raise ValueError("bad")
        return a * 10 + plus

    return second


@pytest.fixture
def third(connection, runs):
    @fn.task
    def third(second):
        runs.note("third")
        return second + 1

    return third


def test_the_same_steps_again_run_nothing(first, third, runs):
    steps = [first, second_of(runs), third]
    batch = fn.fan_out(FRAME, steps, name="b").wait(timeout=30)
    assert runs.fresh() == {"first": 5, "second": 5, "third": 5}
    again = fn.fan_out(FRAME.iloc[::-1], steps, name="b")
    assert again.results(timeout=30)["third"].tolist() == batch.results()["third"].tolist()[::-1]
    assert not runs.fresh()


def test_another_version_runs_from_its_step_on(first, third, runs, capsys):
    fn.fan_out(FRAME, [first, second_of(runs), third], name="b").wait(timeout=30)
    runs.fresh()
    steps = [first, second_of(runs, "2", plus=1), third]
    would = fn.fan_out(FRAME, steps, name="b", dry_run=True)
    assert would["_would"].tolist() == ["run"] * 5
    assert would["_step"].tolist() == ["second"] * 5
    batch = fn.fan_out(FRAME, steps, name="b")
    assert "5 rows run from second on, as first is done" in capsys.readouterr().out
    assert batch.results(timeout=30)["third"].tolist() == [12, 22, 32, 42, 52]
    assert batch.results()["a"].tolist() == [1, 2, 3, 4, 5]
    assert runs.fresh() == {"second": 5, "third": 5}
    assert set(batch.progress().stages["completed"]) == {5, 1}


def test_the_version_before_again_has_its_rows(first, third, runs):
    before = [first, second_of(runs), third]
    fn.fan_out(FRAME, before, name="b").wait(timeout=30)
    fn.fan_out(FRAME, [first, second_of(runs, "2"), third], name="b").wait(timeout=30)
    runs.fresh()
    fn.fan_out(FRAME, [first, second_of(runs), third], name="b").wait(timeout=30)
    assert not runs.fresh()


def test_an_edited_step_is_announced_and_its_rows_are_kept_until_a_rerun(first, third, runs, capsys):
    fn.fan_out(FRAME, [first, second_of(runs), third], name="b").wait(timeout=30)
    runs.fresh()

    @fn.task
    def second(a):
        runs.note("second")
        return a * 10 + 5 - 4

    fn.fan_out(FRAME, [first, second, third], name="b").wait(timeout=30)
    said = capsys.readouterr().out
    assert "second was edited since some of its rows ran; 5 rows are kept" in said
    assert "runs them again from second on" in said
    assert not runs.fresh()
    batch = fn.fan_out(FRAME, [first, second, third], name="b", if_exists="rerun").wait(timeout=30)
    assert runs.fresh() == {"second": 5, "third": 5}
    assert batch.results()["third"].tolist() == [12, 22, 32, 42, 52]
    fn.fan_out(FRAME, [first, second, third], name="b").wait(timeout=30)
    assert not runs.fresh()
    fn.fan_out(FRAME, [first, second, third], name="b", if_exists="rerun").wait(timeout=30)
    assert runs.fresh() == {"first": 5, "second": 5, "third": 5}  # nothing was edited: all anew


def test_a_step_more_runs_alone_also_with_a_column_more(first, runs):
    fn.fan_out(FRAME, [first, second_of(runs)], name="b").wait(timeout=30)
    runs.fresh()

    @fn.task
    def product(second, m):
        runs.note("product")
        return second * m

    batch = fn.fan_out(FRAME, [first, second_of(runs), product], name="b")
    assert batch.results(timeout=30)["product"].tolist() == [70, 140, 210, 280, 350]
    assert runs.fresh() == {"product": 5}


def test_steps_behind_one_task_keep_what_that_has_done(first, runs):
    fn.fan_out(FRAME, first, name="b").wait(timeout=30)
    assert runs.fresh() == {"first": 5}
    batch = fn.fan_out(FRAME, [first, second_of(runs)], name="b")
    assert batch.results(timeout=30)["second"].tolist() == [10, 20, 30, 40, 50]
    assert runs.fresh() == {"second": 5}


def test_rows_whose_steps_are_all_done_have_their_values_without_a_run(first, third, runs, capsys):
    fn.fan_out(FRAME, [first, second_of(runs, fails=[2]), third], name="b").wait(timeout=30)
    assert runs.fresh() == {"first": 5, "second": 5, "third": 4}
    batch = fn.fan_out(FRAME, [first, second_of(runs)], name="b")
    assert "4 rows run at no step, as first and second are done" in capsys.readouterr().out
    out = batch.results(timeout=30)
    assert out.columns.tolist() == ["a", "second"]
    assert out["second"].tolist() == [10, 20, 30, 40, 50]
    assert runs.fresh() == {"second": 1}
    assert batch.progress().stages["completed"].tolist() == [5, 5, 1]
    assert batch.table()["_state"].tolist() == ["completed"] * 5
    assert fn.doctor().empty


@pytest.mark.parametrize(
    "bound", [{"queue": "service"}, {"limiter": "90 tokens/s", "weight": {"tokens": "m"}}]
)
def test_so_have_rows_whose_last_step_has_jobs_of_its_own(first, runs, bound):
    @fn.task(**bound)
    def ask(a):
        runs.note("ask")
        return a * 10

    @fn.task
    def more(ask):
        return ask + 1

    fn.fan_out(FRAME, [first, ask, more], name="b").wait(timeout=30)
    assert runs.fresh() == {"first": 5, "ask": 5}
    batch = fn.fan_out(FRAME, [first, ask], name="b")
    assert batch.results(timeout=30)["ask"].tolist() == [10, 20, 30, 40, 50]
    assert not runs.fresh()
    assert fn.doctor().empty


def test_a_pilot_of_some_rows_is_kept(first, third, runs):
    steps = [first, second_of(runs), third]
    fn.fan_out(FRAME.head(2), steps, name="b").wait(timeout=30)
    fn.fan_out(FRAME, steps, name="b").wait(timeout=30)
    assert runs.fresh() == {"first": 5, "second": 5, "third": 5}


def test_failed_rows_of_the_same_call_go_on_where_they_failed(first, third, runs, capsys):
    fn.fan_out(FRAME, [first, second_of(runs, fails=[2, 4]), third], name="b").wait(timeout=30)
    runs.fresh()
    batch = fn.fan_out(FRAME, [first, second_of(runs), third], name="b")
    assert "2 rows run from second on, as first is done" in capsys.readouterr().out
    assert batch.results(timeout=30)["third"].tolist() == [11, 21, 31, 41, 51]
    assert runs.fresh() == {"second": 2, "third": 2}
    stages = batch.progress().stages
    assert stages["completed"].to_dict() == {"first": 5, "second": 5, "third": 5, "flownb-batch": 1}


def test_steps_that_another_job_has_done_go_along_when_rows_are_handed_on(connection, runs):
    @fn.task
    def one(n):
        runs.note("one")
        return n

    @fn.task
    def two(one):
        return one

    @fn.task
    def slow(two):
        import time

        time.sleep(0.02)
        return two + 1

    frame = pd.DataFrame({"n": range(100)})
    fn.fan_out(frame, [one, two], name="b", rows_per_job=100).wait(timeout=30)
    batch = fn.fan_out(frame, [one, two, slow], name="b", rows_per_job=50)
    assert batch.results(timeout=60)["slow"].tolist() == list(range(1, 101))
    assert runs.fresh() == {"one": 100}
    assert batch.progress().stages.loc["slow", "completed"] == 100


# ---- kills and crashes ----------------------------------------------------------------------------------------

STEPS = """
import time

@fn.task
def slowly(n, job):
    job._store.server.client.hincrby("ran", f"slowly {n}", 1)
    time.sleep(0.2)
    return {"a": n + 1}

@fn.task
def then(a, job):
    redis = job._store.server.client
    redis.hincrby("ran", f"then {a}", 1)
    while redis.get("door") is None:
        time.sleep(0.02)
    return a * 10
"""
ADD = "batch = fn.fan_out([{'n': n} for n in range(4)], [slowly, then], name='b')"


def are_between_steps():
    """Is the first step of each row done, and written down?"""
    return fn.attach("b").progress().stages["completed"].get("slowly") == 4


@pytest.mark.parametrize("more", ["", "fn.workers(4, executor='processes')\n"])
def test_a_killed_kernel_repeats_no_step_that_is_done(connection, start_kernel, redis, until, more):
    if not connection.embedded:
        pytest.skip("kernels of one folder")
    kernel = start_kernel()
    assert kernel.run(STEPS + more)[1] is None
    assert kernel.run(ADD)[1] is None
    until(lambda: redis.hlen("ran") == 8 and are_between_steps())
    kernel.kill()
    redis.set("door", "open")
    kernel = start_kernel()
    assert kernel.run(STEPS)[1] is None
    assert kernel.run("batch = fn.attach('b').wait(60)")[1] is None
    printed, error = kernel.run(
        "print(batch.results()['then'].tolist(), batch.table()['_step'].isna().all())"
    )
    assert (printed, error) == ("[10, 20, 30, 40] True", None)
    ran = {key.decode(): int(n) for key, n in redis.hgetall("ran").items()}
    assert {key: n for key, n in ran.items() if key.startswith("slowly")} == {
        f"slowly {n}": 1 for n in range(4)
    }


def test_a_crash_in_a_step_repeats_no_other(connection, redis):
    @fn.task
    def begin(n, job):
        import time

        job._store.server.client.hincrby("ran", f"begin {n}", 1)
        time.sleep(0.1)
        return n

    @fn.task(attempts=2)
    def crash(begin, job):
        import os

        times = job._store.server.client.hincrby("ran", f"crash {begin}", 1)
        if begin == 2 and times == 1:
            os._exit(3)
        return begin

    with fn.workers(2, executor="processes"):
        batch = fn.fan_out([{"n": n} for n in range(4)], [begin, crash], rows_per_job=4)
        assert batch.results(timeout=60)["crash"].tolist() == [0, 1, 2, 3]
    ran = {key.decode(): int(n) for key, n in redis.hgetall("ran").items()}
    assert ran == {f"begin {n}": 1 for n in range(4)} | {
        "crash 0": 1,
        "crash 1": 1,
        "crash 2": 2,
        "crash 3": 1,
    }
    assert batch.progress().stages.loc[["begin", "crash"], "completed"].tolist() == [4, 4]


def test_a_new_kernel_that_lacks_a_step_says_so_and_goes_on_once_it_has_it(
    connection, start_kernel, redis, until
):
    if not connection.embedded:
        pytest.skip("kernels of one folder")
    kernel = start_kernel()
    kernel.run(STEPS)
    kernel.run(ADD)
    until(lambda: redis.hlen("ran") == 8 and are_between_steps())
    kernel.kill()
    redis.set("door", "open")
    kernel = start_kernel()
    first, then = STEPS.rsplit("\n@fn.task", 1)
    kernel.run(first)
    printed, _ = kernel.run("batch = fn.attach('b')")
    assert "run the cell that defines task 'then'" in printed
    kernel.run("@fn.task" + then.replace("a * 10", "a * 11"))
    printed, error = kernel.run("print(batch.results(60)['then'].tolist())")
    assert error is None
    assert "[11, 22, 33, 44]" in printed


def test_the_bind_of_a_job_names_its_steps(connection, first, runs):
    batch = fn.fan_out(FRAME, [first, second_of(runs)], name="b", rows_per_job=5, attempts=3).wait(timeout=30)
    key = batch._stored.rows.key(0)
    record = connection.client().hgetall(key)
    bind = json.loads(record[b"bind"])
    assert [step[:2] for step in bind["steps"]] == [["first", "first"], ["second", "second"]]
    assert bind["steps"][1][2]["attempts"] == 3
    assert many_rows.RowsValue.read(record[b"returnvalue"].decode()).values[0] == [{"a": 1}, 10]


# ---- a list that becomes shorter ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_job", ["auto", 1, 3])
def test_the_first_task_alone_has_what_it_returned_as_a_step(first, third, runs, rows_per_job, capsys):
    fn.fan_out(FRAME, [first, second_of(runs), third], name="b", rows_per_job=rows_per_job).wait(timeout=30)
    runs.fresh()
    said = fn.fan_out(FRAME, [first], name="b", dry_run=True)
    assert said["_would"].tolist() == ["reuse"] * 5
    batch = fn.fan_out(FRAME, [first], name="b", rows_per_job=rows_per_job).wait(timeout=30)
    assert "5 rows run at no step, as first is done" in capsys.readouterr().out
    assert batch.results().columns.tolist() == ["a"]
    assert batch.results()["a"].to_dict() == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    assert batch.progress().stages["completed"].tolist() == [5, 1]
    assert not runs.fresh()
    again = fn.fan_out(FRAME, first, name="b").wait(timeout=30)
    assert again.results()["a"].tolist() == [1, 2, 3, 4, 5]
    fn.fan_out(FRAME, [first, second_of(runs), third], name="b").wait(timeout=30)
    assert not runs.fresh()
    assert fn.doctor().empty


def test_rows_that_are_new_or_failed_at_the_first_step_run_and_others_do_not(connection, runs):
    @fn.task
    def first(n):
        if runs.note(n) == 1 and n == 3:
            raise ValueError("once")
        return {"a": n}

    @fn.task
    def second(a):
        raise LookupError("always")

    fn.fan_out(FRAME.head(4), [first, second], name="b").wait(timeout=30)
    assert runs.fresh() == {0: 1, 1: 1, 2: 1, 3: 1}
    runs[3] = 1
    batch = fn.fan_out(FRAME, [first], name="b").wait(timeout=30)
    assert runs.fresh() == {3: 2, 4: 1}
    assert batch.results()["a"].tolist() == [0, 1, 2, 3, 4]
    assert batch.progress().failed == 0
    assert batch.table()["_state"].tolist() == ["completed"] * 5


def test_a_shorter_list_runs_what_has_another_version_or_was_run_anew_since(first, runs):
    def alone(version="1"):
        @fn.task(version=version)
        def first(n):
            runs.note("alone")
            return {"a": -n}

        return first

    fn.fan_out(FRAME, [first, second_of(runs)], name="b").wait(timeout=30)
    assert fn.fan_out(FRAME, alone("2"), name="b").results(timeout=30)["a"].tolist() == [0, -1, -2, -3, -4]
    assert runs.fresh() == {"first": 5, "second": 5, "alone": 5}
    fn.fan_out(FRAME, [first, second_of(runs)], name="c").wait(timeout=30)
    fn.fan_out(FRAME, [first, second_of(runs)], name="c", if_exists="rerun").wait(timeout=30)
    runs.fresh()
    assert fn.fan_out(FRAME, first, name="c").results(timeout=30)["a"].tolist() == [1, 2, 3, 4, 5]
    assert not runs.fresh()
    fn.fan_out(FRAME, first, name="c", if_exists="rerun").wait(timeout=30)
    assert runs.fresh() == {"first": 5}


@pytest.mark.parametrize("kind", ["async", "batch_size", "frames", "unique", "iterator", "groups", "column"])
def test_a_shorter_list_keeps_values_however_rows_run(connection, runs, kind):
    if kind == "async":

        @fn.task
        async def first(n):
            runs.note("first")
            return n * 2

    elif kind == "batch_size":

        @fn.task(batch_size=2)
        def first(n):
            runs.note("first")
            return n * 2

    elif kind == "frames":

        @fn.task
        def first(n):
            runs.note("first")
            return pd.DataFrame({"n": [n * 2]})

    else:

        @fn.task
        def first(n):
            runs.note("first")
            return n * 2

    @fn.task
    def second(first, m):
        return m

    @fn.task
    def count(rows):
        return len(rows)

    frame = FRAME.assign(n=[1, 1, 2, 2, 3]) if kind == "unique" else FRAME
    given = (lambda: iter(frame.to_dict("records"))) if kind == "iterator" else (lambda: frame)
    more = {"unique": True} if kind == "unique" else {"by": "m", "into": count} if kind == "groups" else {}
    fn.fan_out(given(), [first, second], name="b", **more).wait(timeout=30)
    runs.fresh()
    batch = fn.fan_out(given(), first, name="b", **more).wait(timeout=30)
    assert not runs.fresh()
    values = batch.results()["first"]
    if kind == "frames":
        values = pd.Series([value.load()["n"].iloc[0] for value in values])
    assert values.tolist() == [n * 2 for n in frame["n"]]
    assert fn.doctor().empty
