"""Shows `into=` and `by=`: an aggregate receives a DataFrame of what is below it, group by group and stage by stage."""

from __future__ import annotations

import pandas as pd
import pytest

import flownb as fn

FRAME = pd.DataFrame(
    {"country": ["de", "fr", "de", "fr", "it"], "n": [1, 2, 3, -4, 5]},
    index=pd.Index(list("abcde"), name="key"),
)


pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def tasks():
    @fn.task
    def square(n):
        if n < 0:
            raise ValueError("below 0")
        return {"square": n * n}

    @fn.task
    def per_country(rows):
        return {
            "country": rows["country"].iloc[0],
            "total": int(rows["square"].sum()),
            "failed": int((rows["_state"] == "failed").sum()),
            "keys": "".join(map(str, rows.index)),
            "columns": list(rows.columns),
        }

    @fn.task
    def summary(table):
        return table[["country", "total", "failed", "keys"]].to_dict("records")

    return square, per_country, summary


STATUS = ["_state", "_error", "_attempts", "_seconds"]


def test_an_aggregate_receives_every_row_with_its_result_and_state(tasks):
    square, _, _ = tasks

    @fn.task
    def total(rows, job):
        return {
            "index": [str(label) for label in rows.index],
            "name": rows.index.name,
            "columns": list(rows.columns),
            "squares": rows["square"].fillna(-1).tolist(),
            "states": rows["_state"].tolist(),
        }

    value = fn.fan_out(FRAME, square, into=total).result(timeout=20)
    assert value == {
        "index": list("abcde"),
        "name": "key",
        "columns": ["n", "square", *STATUS],
        "squares": [1, 4, 9, -1, 25],
        "states": ["completed"] * 3 + ["failed", "completed"],
    }


def test_rows_that_move_to_another_group_are_aggregated_anew_and_do_not_run_again(tasks, capsys):
    square, per_country, _ = tasks
    frame = FRAME[FRAME["n"] > 0]
    report = fn.fan_out(frame, square, by="country", into=per_country, name="report").result(timeout=20)
    assert report["total"].to_dict() == {"de": 10, "fr": 4, "it": 25}
    capsys.readouterr()
    moved = frame.assign(country=["de", "fr", "de", "fr"])
    batch = fn.fan_out(moved, square, by="country", into=per_country, name="report")
    assert batch.result(timeout=20)["total"].to_dict() == {"de": 10, "fr": 29}
    assert "4 of 4 rows are there already, none runs again" in capsys.readouterr().out


def test_an_edited_aggregate_is_announced_and_another_version_of_it_runs_it_again_alone(capsys):
    ran = []

    @fn.task
    def square(n):
        ran.append(n)
        return n * n

    @fn.task
    def total(rows):
        return int(rows["square"].sum())

    fn.fan_out([1, 2], square, into=total, name="b").wait(timeout=20)
    assert fn.fan_out([1, 2], square, into=total, name="b").result(timeout=20) == 5
    assert "edited" not in capsys.readouterr().out

    @fn.task
    def total(rows):
        return int(rows["square"].sum()) * 100

    assert fn.fan_out([1, 2], square, into=total, name="b").result(timeout=20) == 5
    said = "batch 'b': total was edited since this batch was made; what it returned is kept: another version="
    assert said in capsys.readouterr().out
    fn.fan_out([1, 2], square, into=total, name="b", dry_run=True)
    assert said in capsys.readouterr().out

    @fn.task(version=2)
    def total(rows):
        return int(rows["square"].sum()) * 100

    assert fn.fan_out([1, 2], square, into=total, name="b").result(timeout=20) == 500
    assert "edited" not in capsys.readouterr().out
    assert sorted(ran) == [1, 2]


def test_the_same_rows_on_other_labels_come_back_on_those(tasks):
    square, per_country, _ = tasks
    frame = FRAME[FRAME["n"] > 0]
    fn.fan_out(frame, square, by="country", into=per_country, name="report").wait(timeout=20)
    labelled = frame.set_axis(list("wxyz"))
    batch = fn.fan_out(labelled, square, by="country", into=per_country, name="report")
    assert batch.result(timeout=20)["keys"].to_dict() == {"de": "wy", "fr": "x", "it": "z"}
    assert list(fn.attach("report").table().index) == list("wxyz")


def test_a_parameter_named_like_a_column_of_by_receives_the_groups_value(tasks):
    @fn.task
    def named(rows, country):
        return f"{country}: {len(rows)}"

    square, _, _ = tasks
    report = fn.fan_out(FRAME, square, by="country", into=named).result(timeout=20)
    assert report["named"].to_dict() == {"de": "de: 2", "fr": "fr: 2", "it": "it: 1"}


def test_groups_are_aggregated_one_by_one_and_then_together(tasks):
    square, per_country, summary = tasks
    batch = fn.fan_out(FRAME, square, by="country", into=[per_country, summary], name="report")
    assert batch.result(timeout=20) == [
        {"country": "de", "total": 10, "failed": 0, "keys": "ac"},
        {"country": "fr", "total": 4, "failed": 1, "keys": "bd"},
        {"country": "it", "total": 25, "failed": 0, "keys": "e"},
    ]
    assert batch.progress().total == 5 + 3 + 1
    pieces = [job.returnvalue["columns"] for job in fn.Queue("per_country").get_jobs("completed")]
    assert all(columns == ["country", "n", "square", *STATUS] for columns in pieces)
    assert batch.results(failed="drop")["square"].to_dict() == {"a": 1, "b": 4, "c": 9, "e": 25}


def test_groups_may_be_made_of_several_columns(tasks):
    square, _, _ = tasks

    @fn.task
    def cell(rows):
        return {"size": len(rows), "by": [str(rows["country"].iloc[0]), bool(rows["even"].iloc[0])]}

    @fn.task
    def all_cells(cells):
        return sorted([*by, size] for by, size in zip(cells["by"], cells["size"], strict=True))

    frame = FRAME.assign(even=FRAME["n"] % 2 == 0)
    value = fn.fan_out(frame, square, by=["country", "even"], into=[cell, all_cells]).result(timeout=20)
    assert value == [["de", False, 2], ["fr", True, 2], ["it", False, 1]]


def test_groups_without_a_stage_above_end_under_one_root(tasks):
    """With `by`, one task in `into` runs once for each group; a batch still has one root."""
    square, per_country, _ = tasks
    batch = fn.fan_out(FRAME, square, by="country", into=per_country)
    batch.wait(timeout=20)
    assert len(fn.Queue("per_country").get_jobs("completed")) == 3
    assert batch.state == "completed"


def test_with_one_task_to_go_into_the_result_has_a_row_for_each_group(tasks):
    square, per_country, _ = tasks
    found = fn.fan_out(FRAME, square, by="country", into=per_country).result(timeout=20)
    assert found.index.name == "country"
    assert found["total"].to_dict() == {"de": 10, "fr": 4, "it": 25}


def test_a_group_that_fails_fails_the_batch_with_its_path(tasks):
    square, _, summary = tasks

    @fn.task
    def per_country(rows):
        raise KeyError(rows["country"].iloc[0])

    batch = fn.fan_out(FRAME, square, by="country", into=[per_country, summary])
    with pytest.raises(fn.FlowFailed, match=r"summary > per_country (de|fr|it): KeyError"):
        batch.result(timeout=20)
    assert batch.results(failed="drop")["square"].to_dict() == {"a": 1, "b": 4, "c": 9, "e": 25}


def test_an_empty_frame_gives_the_aggregate_an_empty_frame(tasks):
    square, _, _ = tasks

    @fn.task
    def total(rows):
        return [len(rows), list(rows.columns)]

    value = fn.fan_out(FRAME.head(0), square, into=total).result(timeout=20)
    assert value[0] == 0


def test_after_attach_the_batch_knows_its_groups_and_its_index(tasks):
    square, per_country, summary = tasks
    batch = fn.fan_out(FRAME, square, by="country", into=[per_country, summary], name="report").wait(
        timeout=20
    )
    attached = fn.attach("report")
    assert isinstance(attached, fn.Batch)
    pd.testing.assert_frame_equal(attached.results(), batch.results())
    assert attached.result() == batch.result()
    assert attached.failures["message"].to_dict() == {"d": "below 0"}


MISSING = pd.DataFrame(
    {"n": [1, 2, 3, 4], "g": ["a", None, "a", None], "h": [1.5, float("nan"), 2.5, float("nan")]}
)


@pytest.mark.parametrize(
    ("by", "sums"),
    [
        ("g", [("a", 10), (None, 20)]),
        ("h", [(1.5, 1), (None, 20), (2.5, 9)]),
        (["g", "h"], [(("a", 1.5), 1), ((None, None), 20), (("a", 2.5), 9)]),
    ],
    ids=["text", "numbers", "both"],
)
def test_rows_without_a_label_are_a_group_of_their_own(tasks, by, sums):
    square, _, _ = tasks

    @fn.task
    def total(rows, g=None, h=None):
        return {"total": int(rows["square"].sum())}

    found = fn.fan_out(MISSING, square, by=by, into=total).result(timeout=20)

    def plain(label):
        return tuple(map(plain, label)) if isinstance(label, tuple) else None if pd.isna(label) else label

    assert [(plain(label), value) for label, value in found["total"].items()] == sums


def test_after_a_retry_only_what_stands_above_the_row_runs_again_once(tasks):
    mended, runs = [], []

    @fn.task
    def square(n):
        if n < 0 and not mended:
            raise TimeoutError("too long")
        runs.append(n)
        return {"square": n * n}

    @fn.task
    def per_country(rows, country):
        runs.append(country)
        return {"total": int(rows["square"].sum())}

    @fn.task
    def summary(countries):
        runs.append("summary")
        return countries.set_index("country")["total"].to_dict()

    batch = fn.fan_out(FRAME, square, by="country", into=[per_country, summary], name="b")
    assert batch.result(timeout=20) == {"de": 10, "fr": 4, "it": 25}
    mended.append(True)
    runs.clear()
    assert fn.attach("b").retry(error=TimeoutError).result(timeout=20) == {"de": 10, "fr": 20, "it": 25}
    assert runs == [-4, "fr", "summary"]
    assert batch.failures.empty
    assert batch.results()["square"].tolist() == [1, 4, 9, 16, 25]


def test_the_result_is_what_the_last_stage_returns_or_the_rows(tasks):
    square, per_country, summary = tasks

    @fn.task
    def count(rows):
        return len(rows)

    assert fn.fan_out(FRAME, square).result(timeout=20)["square"].dropna().tolist() == [1, 4, 9, 25]
    assert fn.fan_out(FRAME, square, into=count).result(timeout=20) == 5
    assert fn.fan_out(FRAME, square, into=[count]).result(timeout=20) == 5
    by_country = fn.fan_out(FRAME, square, by="country", into=count).result(timeout=20)
    assert by_country["count"].to_dict() == {"de": 2, "fr": 2, "it": 1}
    assert isinstance(
        fn.fan_out(FRAME, square, by="country", into=[per_country, summary]).result(timeout=20), list
    )


def test_a_picture_says_which_group_and_which_row_it_shows(tasks):
    square, per_country, summary = tasks
    batch = fn.fan_out(FRAME, square, by="country", into=[per_country, summary], rows_per_job=1)
    batch.wait(timeout=20)
    assert [node.name for node in batch._stored.snapshot().nodes] == [
        "summary",
        *("per_country de", "per_country fr", "per_country it"),
        *("square a", "square c", "square b", "square d", "square e"),
    ]
    assert "per_country fr" in str(batch)
    assert "per_country it" in batch.draw().source


def test_a_failure_says_which_group_failed(tasks):
    square, _, _ = tasks

    @fn.task
    def per_size(rows):
        return 1 / int((rows["n"] > 0).sum())

    batch = fn.fan_out(FRAME.assign(size="S", year=2000), square, by=["country", "n"], into=per_size)
    with pytest.raises(fn.FlowFailed, match=r"> per_size fr -4: ZeroDivisionError"):
        batch.result(timeout=20)


@pytest.mark.parametrize("groups", [8, 25])
def test_rows_below_groups_that_are_drawn_as_one_are_one_box_with_the_count_of_all(tasks, groups):
    square, per_country, summary = tasks
    frame = pd.DataFrame({"n": range(200), "country": [f"c{n % groups:02}" for n in range(200)]})
    batch = fn.fan_out(frame, square, by="country", into=[per_country, summary], rows_per_job=5)
    batch.wait(timeout=60)
    assert str(batch).splitlines()[1:] == [
        "✓ summary  completed",
        f"└─ ✓ per_country × {groups}  {groups} completed",
        "   └─ ✓ square × 200  200 completed  (optional)",
    ]
