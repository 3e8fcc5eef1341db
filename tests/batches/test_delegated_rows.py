"""Rows that a job hands on to others, as one of them takes long: who joins them meanwhile waits for all of them."""

from __future__ import annotations

import threading

import pandas as pd
import pytest

import flownb as fn
from flownb.batches.earlier_rows import EarlierRows
from flownb.worker import run_rows

ROWS = 6


class Rows:
    """A task of which the first row holds its job until `go_on`, and those that were delegated until `end`."""

    def __init__(self, monkeypatch) -> None:
        monkeypatch.setattr(run_rows, "SLICE_SECONDS", 0.05)
        self.begun, self.go_on, self.end = threading.Event(), threading.Event(), threading.Event()

        @fn.task
        def square(n):
            if n == 0:
                self.begun.set()
                self.go_on.wait(60)
            elif n < ROWS - 1:
                self.end.wait(60)
            return n * n

        @fn.task
        def total(rows):
            return [int(rows["square"].notna().sum()), int(rows["square"].sum())]

        self.square, self.total = square, total

    def store(self, rows=ROWS - 1, **more):
        return fn.fan_out(pd.DataFrame({"n": range(rows)}), self.square, name="x", rows_per_job=ROWS, **more)

    def join(self):
        return self.store(ROWS, into=self.total)


@pytest.fixture
def rows(connection, monkeypatch):
    rows = Rows(monkeypatch)
    with fn.workers(ROWS + 2):
        yield rows
        rows.go_on.set()
        rows.end.set()


def assert_waits_for_all(rows, joined, until):
    until(lambda: joined.progress().completed)  # the row that is new
    assert not joined.progress().failed
    assert joined.state == "waiting-children"
    rows.end.set()
    assert joined.result(timeout=60) == [ROWS, sum(n * n for n in range(ROWS))]
    assert joined.results()["square"].tolist() == [n * n for n in range(ROWS)]
    assert joined.progress().failed == 0
    assert fn.doctor().empty


def test_a_batch_of_rows_that_were_delegated_waits_for_the_jobs_that_have_them(rows, until):
    first = rows.store()
    until(lambda: first.progress().active == ROWS - 1)
    rows.go_on.set()
    until(lambda: first.progress().completed == 1)
    assert_waits_for_all(rows, rows.join(), until)


def test_rows_that_are_delegated_between_look_and_store_are_waited_for(rows, until, monkeypatch):
    looked = threading.Event()
    find, delegate = EarlierRows.find, run_rows.RowsRun._delegate_from

    def delegate_later(*given):
        assert looked.wait(60)
        delegate(*given)

    def find_before(self):
        find(self)
        if len(self) and not looked.is_set():
            looked.set()
            until(lambda: first.progress().active == ROWS - 1)
            rows.go_on.set()
            until(lambda: first.progress().completed == 1)

    monkeypatch.setattr(run_rows.RowsRun, "_delegate_from", delegate_later)
    first = rows.store()
    assert rows.begun.wait(60)
    monkeypatch.setattr(EarlierRows, "find", find_before)
    joined = rows.join()
    assert rows.go_on.is_set()
    assert_waits_for_all(rows, joined, until)


def test_rows_are_delegated_below_a_batch_that_came_after_the_look_for_others(rows, until, monkeypatch):
    """The job has seen that no other batch waits for its rows, and stores the jobs for them afterwards."""
    about_to, joined = threading.Event(), threading.Event()
    delegate = run_rows.delegate_rows

    def delegate_later(*given):
        about_to.set()
        assert joined.wait(60)
        delegate(*given)

    monkeypatch.setattr(run_rows, "delegate_rows", delegate_later)
    rows.store()
    assert about_to.wait(60)
    batch = rows.join()
    joined.set()
    rows.go_on.set()
    assert_waits_for_all(rows, batch, until)
