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


def test_boxes_of_groups_whose_rows_share_jobs_count_their_own_jobs():
    @fn.task
    def pick(n):
        return n

    @fn.task
    def total(rows, half):
        return len(rows)

    frame = pd.DataFrame({"n": range(120), "half": ["a", "b"] * 60})
    batch = fn.fan_out(frame, pick, by="half", into=total, rows_per_job=10).wait(timeout=60)
    snapshot = batch._stored.snapshot()
    assert [dict(node.states) for node in snapshot.nodes if node.name == "pick"] == [{"completed": 6}] * 2
    assert (snapshot.counts.by_stage["pick"], snapshot.left_out) == ({"completed": 120}, 0)
    assert str(batch).count("─ ✓ pick × 6 jobs  6 completed") == 2  # of rows; the header counts these
    few = fn.fan_out(frame.head(30), pick, rows_per_job=10).wait(timeout=60)._stored.snapshot()
    assert ([node.name for node in few.nodes[1:]], few.left_out) == (["pick"] * 3, 0)  # a box a job
