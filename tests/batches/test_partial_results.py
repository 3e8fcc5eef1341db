"""Shows that a batch can be read at any moment: nothing, some or all of its rows done, from any kernel."""

from __future__ import annotations

import json
import threading
import time

import pandas as pd
import pytest

import flownb as fn

VALUES = {
    "ints": [1, 2, 3],
    "floats": [0.5, 1.5, 2.5],
    "bools": [True, False, True],
    "texts": ["a", "b", "c"],
    "lists": [[1], [], [2, 3]],
    "dicts": [{"count": 1, "ok": True}, {"count": 2, "ok": False}, {"count": 3, "ok": True}],
    "dicts of other keys": [{"count": 1}, {"text": "b"}, {"count": 3, "text": "c"}],
}


pytestmark = pytest.mark.usefixtures("connection")


@pytest.mark.parametrize("kind", VALUES)
def test_columns_keep_their_dtypes_from_the_first_row_to_the_last(kind, server_folder):
    values = VALUES[kind]
    may_end = [threading.Event() for _ in values]

    @fn.task
    def pick(n):
        assert may_end[n].wait(60)
        return values[n]

    frame = pd.DataFrame({"n": range(len(values))}, index=list("xyz"))
    batch = fn.fan_out(frame, pick, name="b")
    colleague = fn.Connection(path=server_folder, read_only=True)
    theirs = fn.attach("b", connection=colleague)
    tables = [batch.table()]
    assert tables[0]["_state"].isin(["waiting", "active"]).all()
    pairs = batch.as_completed(timeout=60)
    for n, gate in enumerate(may_end):
        gate.set()
        assert next(pairs) == ("xyz"[n], values[n])
        tables.append(batch.table())
        assert theirs.table()["_state"].tolist()[: n + 1] == ["completed"] * (n + 1)
    last = batch.results(timeout=60)
    assert list(last.index) == list("xyz")
    for table in tables:
        assert list(table.index) == list("xyz")
        for column in last.columns.intersection(table.columns):
            there = table[column].notna()
            if there.any():
                assert table[column].dtype == last[column].dtype
            assert table.loc[there, column].tolist() == last.loc[there[there].index, column].tolist()
    pd.testing.assert_frame_equal(theirs.results(timeout=60), last)
    colleague.close()


def test_a_row_that_waits_for_another_attempt_says_what_went_wrong_so_far(until):
    @fn.task(attempts=2, backoff="fixed 60s")
    def later(n):
        raise TimeoutError("too long")

    batch = fn.fan_out([1], later)
    until(lambda: batch.table()["_state"].tolist() == ["delayed"])
    assert batch.table()["_attempts"].tolist() == [1]
    assert batch.failures.empty  # it has not failed yet


def test_rows_that_fail_inside_a_job_of_many_are_told_in_the_picture_too():
    @fn.task
    def pick(n):
        if n % 10 == 3:
            raise KeyError("none")
        return n

    batch = fn.fan_out(range(40), pick, rows_per_job=20).wait(timeout=60)
    told = batch._stored.snapshot(failures=True).failures
    assert [record.failed_reason for record in told] == ["KeyError: 'none'"] * 4
    assert [record.name for record in told] == ["pick 3", "pick 13", "pick 23", "pick 33"]
    assert all("in pick" in record.stacktrace for record in told)
    assert "<b>4 ×</b>" in batch.to_html()


def test_a_failed_row_is_told_with_its_label_and_the_job_that_it_is_in_by_now():
    @fn.task
    def pick(n):
        time.sleep(0.12)  # more than a job of many rows may take: it hands on the rest
        if n % 10 == 3:
            raise KeyError(f"none for {n}")
        return n

    frame = pd.DataFrame({"n": range(60)}, index=[f"order-{n}" for n in range(60)])
    batch = fn.fan_out(frame, pick).wait(timeout=100)
    told = batch._stored.snapshot(failures=True).failures
    assert {record.name for record in told} == {f"pick order-{n}" for n in range(3, 60, 10)}
    for record in told:
        (n,) = json.loads(f"[{record.failed_reason.rstrip(chr(39)).rpartition(' ')[2]}]")
        data = json.loads(batch._stored.store.jobs.read([record.key], ("data",))[0].data)
        assert {"n": n} in data.get("rows", [data])


def test_boxes_of_groups_whose_rows_share_jobs_count_their_own_rows():
    @fn.task
    def pick(n):
        if n == 7:
            raise fn.UnrecoverableError("seven")
        return n

    @fn.task
    def total(rows, half):
        return len(rows)

    frame = pd.DataFrame({"n": range(120), "half": ["a", "b"] * 60})
    batch = fn.fan_out(frame, pick, by="half", into=total, rows_per_job=10).wait(timeout=60)
    snapshot = batch._stored.snapshot()
    assert [dict(node.states) for node in snapshot.nodes if node.name == "pick"] == [
        {"completed": 60},
        {"completed": 59, "failed": 1},
    ]
    assert (snapshot.counts.by_stage["pick"], snapshot.left_out) == ({"completed": 119, "failed": 1}, 0)
    assert "─ ✓ pick × 60  60 completed" in str(batch)
    assert "─ ✗ pick × 60  59 completed, 1 failed" in str(batch)
    few = fn.fan_out(frame.head(30), pick, rows_per_job=10).wait(timeout=60)
    assert "─ ✗ pick × 30  29 completed, 1 failed" in str(few)


def test_the_box_below_groups_that_are_drawn_as_one_counts_all_their_rows():
    @fn.task
    def pick(n):
        if n == 7:
            raise fn.UnrecoverableError("seven")
        return n

    @fn.task
    def total(rows, tenth):
        return len(rows)

    @fn.task
    def all_of(rows):
        return len(rows)

    frame = pd.DataFrame({"n": range(120), "tenth": [f"t{n % 10}" for n in range(120)]})
    for size in (4, "auto", 1):
        how = {"by": "tenth", "into": [total, all_of], "rows_per_job": size}
        batch = fn.fan_out(frame, pick, name=f"{size} a job", **how).wait(timeout=60)
        assert "─ ✗ pick × 120  119 completed, 1 failed" in str(batch)


def test_boxes_of_groups_say_how_far_their_rows_are_in_true_words_while_they_run(tmp_path, until):
    @fn.task
    def pick(n):
        while n >= 60 and not (tmp_path / "open").exists():
            time.sleep(0.01)
        if n == 7:
            raise fn.UnrecoverableError("seven")
        return n

    @fn.task
    def total(rows, part):
        return len(rows)

    @fn.task
    def total_of(rows):
        return len(rows)

    frame = pd.DataFrame({"n": range(120), "part": ["a"] * 50 + ["b"] * 30 + ["c"] * 40})
    batch = fn.fan_out(frame, pick, by="part", into=[total, total_of], rows_per_job=10)

    def said():
        return [line.partition("─ ")[2] for line in str(batch).splitlines()[2:]]

    until(
        lambda: (
            said()[1:]  # the slots are taken, so that nothing more runs above the rows that have ended
            == [
                "✓ pick × 50  all ended  (optional)",
                "◇ total b  waiting for rows",
                "► pick × 30  partly done  (optional)",
                "◇ total c  waiting for rows",
                "○ pick × 40  not done yet  (optional)",
            ]
        )
    )
    assert "◇ total_of  waiting for 3 jobs" in str(batch)
    (tmp_path / "open").touch()
    batch.wait(timeout=60)
    assert said()[1::2] == [
        "✗ pick × 50  49 completed, 1 failed  (optional)",
        "✓ pick × 30  30 completed  (optional)",
        "✓ pick × 40  40 completed  (optional)",
    ]
    assert all(words in batch.to_html() for words in ("49 completed, 1 failed", "30 completed"))


def test_what_waits_for_children_says_for_how_many_rows_or_jobs(tmp_path, until):
    @fn.task
    def slow(n):
        while not (tmp_path / "open").exists():
            time.sleep(0.01)
        return n

    @fn.task
    def both(values):
        return sum(values)

    @fn.task
    def total_of(rows):
        return len(rows)

    batch = fn.fan_out([1, 2, 3], slow, into=total_of)
    flow = fn.add(both.node([slow.node(1)]))
    assert "◇ total_of  waiting for 3 rows" in str(batch)
    assert "◇ both  waiting for 1 job\n" in str(flow)
    assert "waiting for 3 rows" in batch.to_html()
    (tmp_path / "open").touch()
    assert (batch.result(timeout=30), flow.result(timeout=30)) == (3, 1)
