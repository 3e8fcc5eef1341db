"""Shows that what an older run of a name does with rows it shares, paused or cancelled, holds no newer run up."""

from __future__ import annotations

import time

import pandas as pd
import pytest

import flownb as fn
from flownb.wire.store.server import Server
from tests.support.stages import stages

pytestmark = pytest.mark.usefixtures("connection")

ROWS = pd.DataFrame({"n": range(8)})


@pytest.fixture
def repaired():
    """Empty until the service that the first step asks is up again."""
    return []


@pytest.fixture
def steps(repaired):
    @fn.task
    def fetch(n):
        fn.spend(usd=1)
        if n == 3 and not repaired:
            raise fn.UnrecoverableError("no such page")
        return {"page": n * 2}

    @fn.task(queue="provider")
    def ask(page):
        fn.spend(usd=1)
        return page + 1

    return [fetch, ask]


def test_a_retried_row_goes_on_though_an_older_run_is_paused_by_its_budget(steps, repaired):
    fn.fan_out(ROWS.head(4), steps, name="b", budget={"usd": 8}).wait(60)
    batch = fn.fan_out(ROWS, steps, name="b", budget={"usd": 100}).wait(60)
    repaired.append(True)
    batch.retry()

    assert batch.results(timeout=60)["ask"].tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert fn.flows(state="older")["why"].tolist() == [
        "the flow is paused: its budget is used up: 15 of 8 usd"
    ]
    assert fn.doctor().empty


def test_a_retried_row_goes_on_though_an_older_run_is_paused_by_hand(steps, repaired):
    older = fn.fan_out(ROWS.head(4), steps, name="b").wait(60)
    batch = fn.fan_out(ROWS, steps, name="b").wait(60)
    older.pause()
    repaired.append(True)
    batch.retry()

    assert batch.results(timeout=60)["ask"].tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize("brakes", [{"budget": {"usd": 3}}, {"pilot": 2}], ids=["budget", "pilot"])
def test_rows_that_an_older_run_has_set_aside_run_when_a_newer_one_has_them(steps, brakes):
    fetch = steps[0]
    fn.fan_out([{"n": n} for n in range(4, 10)], fetch, name="b", **brakes).wait(60)
    batch = fn.fan_out([{"n": n} for n in range(4, 12)], fetch, name="b", budget={"usd": 100})

    assert batch.results(timeout=60)["page"].tolist() == [n * 2 for n in range(4, 12)]
    assert batch.progress().failed == 0
    assert fn.doctor().empty


def test_rows_count_as_completed_after_a_retry_in_a_newer_run(steps, repaired, monkeypatch):
    """The job of the next step ends as soon as it is stored: before its caller does anything else."""
    call = Server.call

    def call_and_rest(self, script, *given, **more):
        reply = call(self, script, *given, **more)
        if repaired and script.startswith("add_"):
            time.sleep(0.3)
        return reply

    monkeypatch.setattr(Server, "call", call_and_rest)
    fn.fan_out(ROWS.head(4), steps, name="b").wait(60)
    batch = fn.fan_out(ROWS, steps, name="b").wait(60)
    assert (batch.progress().completed, batch.progress().failed) == (8, 1)
    repaired.append(True)
    batch.retry()

    assert batch.results(timeout=60)["ask"].notna().all()
    assert (batch.progress().completed, batch.progress().failed) == (9, 0)
    assert stages(batch)["fetch"] == stages(batch)["ask"] == {"completed": 8, "total": 8}
