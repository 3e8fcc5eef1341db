"""Shows that rows with equal arguments run once where that is asked for, and that all their labels have what came of it."""

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
from flownb.batches.row_facts import RowFacts
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import OptionError

pytestmark = pytest.mark.usefixtures("connection")

ROOT = str(Path(fn.__file__).parents[1])
FRAME = pd.DataFrame({"n": [2, 3, 2, 2, 3, 5], "note": list("uvwxyz")}, index=list("abcdef"))
BOTH_WAYS = pytest.mark.parametrize("rows_per_job", [1, 2, "auto"])


@pytest.fixture
def inverse(runs):
    @fn.task
    def inverse(n):
        runs.note(n)
        print("asked for", n)
        return 60 / n

    return inverse


# ---- results -----------------------------------------------------------------------------------------------


@BOTH_WAYS
def test_equal_rows_run_once_and_all_labels_have_the_result(inverse, runs, rows_per_job, capsys):
    batch = fn.fan_out(FRAME, inverse, unique=True, rows_per_job=rows_per_job)
    assert f"batch {batch.name!r}: 6 rows, 3 runs: equal rows run once" in capsys.readouterr().out
    assert batch.results(timeout=60)["inverse"].to_dict() == {k: 60 / n for k, n in FRAME["n"].items()}
    assert runs == {2: 1, 3: 1, 5: 1}
    progress = batch.progress()
    assert (progress.completed, progress.total) == (4, 4)  # three that differ, and the root
    again = fn.attach(batch.name)
    assert again.results().equals(batch.results())
    table = again.table()
    assert table["inverse"].tolist() == batch.results()["inverse"].tolist()
    assert table["_state"].eq("completed").all()
    assert batch.table()["note"].tolist() == list("uvwxyz")
    assert fn.doctor().empty


@pytest.mark.parametrize("queue", [None, "own"])
def test_a_retry_runs_each_step_of_equal_rows_once(runs, queue):
    mended = []

    @fn.task
    def fetch(n):
        runs.note("fetch")
        if n == 2 and not mended:
            raise ValueError("not yet")
        return {"page": n}

    @fn.task(queue=queue)
    def parse(page):
        runs.note("parse")
        return {"words": page * 2}

    @fn.task
    def score(words):
        runs.note("score")
        return words + 1

    batch = fn.fan_out(FRAME, [fetch, parse, score], unique=True).wait(timeout=60)
    assert batch.failures.index.tolist() == ["a", "c", "d"]
    mended.append(True)
    before = dict(runs)
    assert batch.retry().results(timeout=60)["score"].tolist() == [5, 7, 5, 5, 7, 11]
    assert {step: runs[step] - before[step] for step in runs} == {"fetch": 1, "parse": 1, "score": 1}


def test_without_it_each_row_runs(inverse, runs):
    fn.fan_out(FRAME, inverse).wait(timeout=60)
    assert runs == {2: 3, 3: 2, 5: 1}


def test_rows_without_an_equal_are_the_same_batch(inverse, runs, capsys):
    frame = FRAME.drop_duplicates("n")
    batch = fn.fan_out(frame, inverse, unique=True).wait(timeout=60)
    assert "equal" not in capsys.readouterr().out
    same = fn.fan_out(frame, inverse)
    assert same.name == batch.name
    assert runs == {2: 1, 3: 1, 5: 1}


@BOTH_WAYS
def test_what_has_run_is_kept_whichever_way_it_is_asked_for(inverse, runs, rows_per_job):
    how = {"name": "inverses", "rows_per_job": rows_per_job}
    fn.fan_out(FRAME.head(2), inverse, **how).wait(timeout=60)
    assert runs.fresh() == {2: 1, 3: 1}
    batch = fn.fan_out(FRAME, inverse, unique=True, **how)
    assert batch.results(timeout=60)["inverse"].tolist() == [30, 20, 30, 30, 20, 12]
    assert runs.fresh() == {5: 1}
    each = fn.fan_out(FRAME, inverse, **how)
    assert each.results(timeout=60)["inverse"].tolist() == [30, 20, 30, 30, 20, 12]
    assert runs.fresh() == {2: 2, 3: 1}
    assert fn.doctor().empty


@BOTH_WAYS
def test_a_failure_stands_at_all_labels_and_one_retry_mends_them(runs, rows_per_job):
    broken = [0]

    @fn.task
    def inverse(n):
        runs.note(n)
        return 60 / (n - broken[0]) if n == 3 else 60 / n

    broken[0] = 3
    batch = fn.fan_out(FRAME, inverse, unique=True, rows_per_job=rows_per_job).wait(timeout=60)
    assert batch.failures.index.tolist() == ["b", "e"]
    assert batch.failures["error"].unique().tolist() == ["ZeroDivisionError"]
    assert batch.progress().failed == 1
    assert batch.results()["inverse"].isna().tolist() == [False, True, False, False, True, False]
    broken[0] = 0
    assert batch.retry(rows="e").results(timeout=60)["inverse"].tolist() == [30, 20, 30, 30, 20, 12]
    assert runs == {2: 1, 3: 2, 5: 1}
    assert batch.failures.empty


@BOTH_WAYS
def test_rows_come_as_they_end_at_all_their_labels(runs, rows_per_job, until):
    import threading

    door = threading.Event()

    @fn.task
    def wait(n):
        runs.note(n)
        if n == 5:
            door.wait(60)
        return n

    rows = pd.Series([5, 1, 2, 1], index=list("abcd"))
    batch = fn.fan_out(rows, wait, unique=True, rows_per_job=rows_per_job)
    try:
        ends = batch.as_completed(timeout=60)
        first = sorted(next(ends) for _ in range(3))
        assert first == [("b", 1), ("c", 2), ("d", 1)]
    finally:
        door.set()
    assert list(ends) == [("a", 5)]
    assert runs == {5: 1, 1: 1, 2: 1}


# ---- one row, logs, export -----------------------------------------------------------------------------------


@BOTH_WAYS
def test_one_row_has_its_log_at_each_label(inverse, rows_per_job, tmp_path):
    batch = fn.fan_out(FRAME, inverse, unique=True, rows_per_job=rows_per_job).wait(timeout=60)
    assert batch.row("d").value == 30
    assert batch.row("d").inputs == {"n": 2}
    assert batch.row("d").logs["line"].tolist() == ["asked for 2"]
    assert batch.logs()["label"].tolist() == list("abcdef")
    assert batch.debug("f") == 12
    folder = batch.export(tmp_path / "out")
    assert pd.read_parquet(folder / "rows.parquet")["inverse"].tolist() == [30, 20, 30, 30, 20, 12]
    assert "</html>" in batch.to_html()


@BOTH_WAYS
def test_views_read_what_has_ended_once(inverse, rows_per_job):
    batch = fn.fan_out(FRAME, inverse, unique=True, rows_per_job=rows_per_job).wait(timeout=60)
    facts = RowFacts(StoredBatch.own_batch(batch._stored.store, batch._stored.id))
    for _ in range(2):
        assert facts.refresh(30)
        assert facts.rows_in("completed").all()
    assert len(facts.newest) == 6


def test_what_a_run_spends_counts_once():
    @fn.task
    def ask(n):
        fn.spend(usd=0.5)
        return n

    batch = fn.fan_out(FRAME, ask, unique=True, budget={"usd": 5}).wait(timeout=60)
    assert batch.progress().spent == {"usd": 1.5}
    assert batch.table()["_usd"].tolist() == [0.5] * 6


def test_a_pilot_counts_what_runs(inverse, runs):
    batch = fn.fan_out(FRAME, inverse, unique=True, pilot=2, name="pilot").wait(timeout=60)
    assert sum(runs.values()) == 2
    batch.resume()
    assert batch.results(timeout=60)["inverse"].tolist() == [30, 20, 30, 30, 20, 12]
    assert set(runs.values()) == {1}


# ---- with groups, steps, many rows a call, processes ---------------------------------------------------------


@BOTH_WAYS
def test_groups_share_what_has_run(inverse, runs, rows_per_job):
    @fn.task
    def total(rows):
        return {"rows": len(rows), "sum": float(rows["inverse"].sum()), "labels": rows.index.tolist()}

    frame = FRAME.assign(group=list("xxyyxy"))
    batch = fn.fan_out(frame, inverse, by="group", into=total, unique=True, rows_per_job=rows_per_job)
    found = batch.result(timeout=60)
    assert found["labels"].tolist() == [["a", "b", "e"], ["c", "d", "f"]]
    assert found["sum"].tolist() == [70, 72]
    assert runs == {2: 1, 3: 1, 5: 1}
    assert batch.results()["inverse"].tolist() == [30, 20, 30, 30, 20, 12]
    assert fn.attach(batch.name).results()["inverse"].tolist() == [30, 20, 30, 30, 20, 12]
    assert fn.doctor().empty
    batch.remove()


def test_steps_of_equal_rows_run_once(runs):
    @fn.task
    def half(n):
        runs.note(("half", n))
        return {"half": n / 2}

    @fn.task
    def text(half):
        runs.note(("text", half))
        if half == 1.5:
            raise ValueError(half)
        return str(half)

    batch = fn.fan_out(FRAME, [half, text], unique=True).wait(timeout=60)
    assert batch.results()["text"].fillna("-").tolist() == ["1.0", "-", "1.0", "1.0", "-", "2.5"]
    assert set(runs.values()) == {1}
    assert batch.failures["step"].to_dict() == {"b": "text", "e": "text"}
    assert batch.progress().stages["completed"].max() == 3


def test_a_call_of_many_rows_gets_each_once():
    @fn.task(batch_size=4)
    def double(n):
        assert n.index.tolist() == ["a", "b", "f"]
        return 2 * n

    batch = fn.fan_out(FRAME, double, unique=True)
    assert batch.results(timeout=60)["double"].tolist() == [4, 6, 4, 4, 6, 10]


def test_in_processes_and_for_another_kernel(tmp_path):
    noted = tmp_path / "noted"

    @fn.task
    def square(n):
        with open(noted, "a") as file:
            file.write(f"{n}\n")
        return n * n

    with fn.workers(2, executor="processes"):
        batch = fn.fan_out(FRAME, square, unique=True, rows_per_job=2, name="squares").wait(timeout=120)
    assert sorted(noted.read_text().split()) == ["2", "3", "5"]
    program = (
        f"import flownb as fn; fn.connect(path={str(batch._connection.path)!r});"
        "print(fn.attach('squares').results()['square'].to_json())"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env={"PYTHONPATH": ROOT}
    )
    assert json.loads(found.stdout) == {"a": 4, "b": 9, "c": 4, "d": 4, "e": 9, "f": 25}, found.stderr


# ---- what is equal ---------------------------------------------------------------------------------------------


def test_arguments_alone_make_rows_equal(runs):
    @fn.task
    def kind(value):
        runs.note(repr(value))
        return type(value).__name__

    values = [1, True, 1.0, "1", None, float("nan"), [1], [1], {"a": 1}, {"a": 1}]
    batch = fn.fan_out(pd.Series(values, dtype=object), kind, unique=True)
    assert batch.results(timeout=60)["kind"].tolist() == (
        ["int", "bool", "float", "str", "NoneType", "NoneType", "list", "list", "dict", "dict"]
    )
    assert set(runs.values()) == {1}
    assert len(runs) == 7


def test_a_whole_row_is_compared_whole(runs):
    @fn.task
    def note(row):
        runs.note(row["note"])
        return row["n"]

    fn.fan_out(FRAME, note, unique=True).wait(timeout=60)
    assert set(runs) == set("uvwxyz")


def test_an_iterator_is_read_first(inverse, runs):
    batch = fn.fan_out(iter([2, 3, 2]), inverse, unique=True, name="iterated")
    assert batch.results(timeout=60)["inverse"].tolist() == [30, 20, 30]
    assert runs == {2: 1, 3: 1}


@pytest.mark.parametrize("frame", ["polars", "arrow"])
def test_other_frames_come_back_whole(inverse, runs, frame):
    batch = fn.fan_out(FRAME, inverse, unique=True)
    found = batch.results(timeout=60, frame=frame)
    column = found["inverse"].to_list() if frame == "polars" else found["inverse"].to_pylist()
    assert column == [30, 20, 30, 30, 20, 12]
    assert set(runs.values()) == {1}


def test_a_dry_run_says_what_would_run(inverse, runs, capsys):
    fn.fan_out(FRAME.head(1), inverse, name="dry").wait(timeout=60)
    capsys.readouterr()
    said = fn.fan_out(FRAME, inverse, unique=True, name="dry", dry_run=True)
    assert said["_would"].tolist() == ["reuse", "run", "reuse", "reuse", "run", "run"]
    assert capsys.readouterr().out == "batch 'dry', dry run: 6 rows, 3 runs: 1 kept, 2 would run\n"


def test_it_is_true_or_false(inverse):
    with pytest.raises(OptionError, match="unique: True or False, not 'text'"):
        fn.fan_out(FRAME, inverse, unique="text")
    assert fn.flows().empty


def test_no_row_at_all(inverse):
    assert fn.fan_out(FRAME.head(0), inverse, unique=True).results(timeout=60).empty


# ---- beside pandas ---------------------------------------------------------------------------------------------

CELLS = st.sampled_from([0, 1, 2, None, 0.5, True, "0", "a", 'é"\\', [0], {"a": None}])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(st.tuples(CELLS, CELLS, st.sampled_from("xyz")), max_size=12),
    rows_per_job=st.sampled_from([1, 3, "auto"]),
    grouped=st.booleans(),
)
def test_results_are_those_of_a_plain_loop(runs, cells, rows_per_job, grouped):
    def value_of(left, right):
        if left == "a":
            raise ValueError(f"{left} and {right}")
        return json.dumps([left, right])

    @fn.task
    def pair(left, right):
        runs.note(json.dumps([left, right]))
        return value_of(left, right)

    @fn.task
    def pairs(rows):
        return {"pairs": rows["pair"].where(rows["pair"].notna(), None).tolist() if "pair" in rows else []}

    frame = pd.DataFrame(
        {"left": [row[0] for row in cells], "right": [row[1] for row in cells]}, dtype=object
    )
    frame["group"] = [row[2] for row in cells]
    expected = [None if row[0] == "a" else value_of(*row[:2]) for row in cells]
    runs.clear()
    more = {"by": "group", "into": pairs} if grouped else {}
    batch = fn.fan_out(frame, pair, unique=True, rows_per_job=rows_per_job, if_exists="rerun", **more)
    found = batch.results(timeout=60)
    column = found["pair"].astype(object) if "pair" in found else pd.Series(dtype=object)
    assert column.where(column.notna(), None).tolist() == expected
    assert runs == {json.dumps(row[:2]): 1 for row in map(list, cells)}
    if grouped and cells and any(expected):
        values = batch.result(timeout=60)["pairs"]
        for label, places in frame.groupby("group", sort=False).indices.items():
            wanted = [expected[place] for place in places]
            assert values[label] in (wanted, [])  # no column where no row of the group succeeded
            assert values[label] or not any(wanted)
