"""A flow of which nothing ends for far longer than its pace makes plausible says that, instead of a time left."""

from __future__ import annotations

import re
import threading

import pytest

import flownb as fn
from flownb.api.flow import stored
from flownb.api.how_far import HowFarReader
from flownb.views.progress_words import how_far_in_words
from flownb.widgets import cell_output
from tests.support.stuck_flows import row
from tests.widgets.test_view import view_on

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def always_estimated(monkeypatch):
    monkeypatch.setattr("flownb.state.latest_estimate.ESTIMATE_SECONDS", -1.0)


@pytest.fixture
def flow(stage):
    """A flow of six rows, three of which ended an hour ago."""
    flow = stage.add(*(row(f"row-{n}", opts={"failParentOnFailure": False}) for n in range(6)))
    for taken in stage.take("rows", 3):
        stage.finish(taken, "completed", value="1")
    put_back(stage, "rows", "completed")
    record = stage.store.server.key("flow", stored(flow).id)
    stage.redis.hset(record, "created", int(stage.redis.hget(record, "created")) - 2 * HOUR_MS)
    return flow


def put_back(stage, queue, state):
    """Let what has ended in a queue have ended, and begun, an hour earlier; a tenth of a second apart."""
    key = f"bull:{queue}:{state}"
    for n, (id, end) in enumerate(stage.redis.zrange(key, 0, -1, withscores=True)):
        stage.redis.zadd(key, {id: end - HOUR_MS + 100 * n})


def began_an_hour_ago(stage, taken):
    key = taken.record.key
    stage.redis.hset(key, "processedOn", int(stage.redis.hget(key, "processedOn")) - HOUR_MS)


def words_of(flow):
    return how_far_in_words(HowFarReader(stored(flow), flow.progress).read())


def says_it(flow):
    """Does everything that shows a time left say that nothing has ended? All or none does."""
    view = view_on(flow)
    said = [
        view.head["stopped"] is not None,
        "nothing has ended for" in words_of(flow),
        "nothing has ended for" in cell_output._picture(flow)["text/html"],
    ]
    assert len(set(said)) == 1, said
    if said[0]:
        assert view.head["left"] == ""
        assert " left" not in words_of(flow)
    view.close()
    return said[0]


def test_rows_that_hang(stage, flow):
    (taken,) = stage.take("rows", 1)
    assert not says_it(flow), "what runs has only just begun, as after a pause"
    began_an_hour_ago(stage, taken)
    assert says_it(flow)
    assert re.search(r"nothing has ended for (59 min 5\d s|1 h)$", words_of(flow))
    assert flow.progress().eta is not None
    stage.finish(taken, "completed", value="1")
    assert not says_it(flow)


def test_no_worker_is_there(flow):
    assert says_it(flow)


def test_a_paused_flow_says_that(stage, flow):
    flow.pause()
    assert not says_it(flow)
    flow.resume()
    assert says_it(flow)


def test_a_limit_that_holds_all_back_is_a_reason(stage, flow):
    stage.redis.set("bull:rows:limiter", 3, px=60_000)
    stage.redis.hset("bull:rows:meta", "max", 3)
    assert not says_it(flow)
    stage.redis.delete("bull:rows:limiter")
    assert says_it(flow)


def test_a_failure_is_an_end_also_where_more_have_completed(stage, flow):
    taken, other = stage.take("rows", 2)
    began_an_hour_ago(stage, other)
    assert says_it(flow)
    stage.fail(taken)
    assert not says_it(flow)


def test_rows_that_wait_for_another_attempt_are_a_reason(stage, flow):
    for taken in stage.take("rows", 3):
        stage.finish(taken, "retry", delay=HOUR_MS, reason="no", stacktrace="[]", attempts=5, why=None)
    assert dict(view_on(flow).head["counts"])["delayed"] == 3
    assert not says_it(flow)


def test_a_batch_says_it_in_its_line_and_gives_its_steps_no_time_left(connection, monkeypatch, until):
    monkeypatch.setattr("flownb.state.eta._STILL_SECONDS", 0.1)
    hold = threading.Event()

    @fn.task
    def nap(n):
        assert n < 20 or hold.wait(60)
        fn.spend(usd=0.1)

    batch = fn.fan_out(range(30), nap, name="naps", rows_per_job=1)
    with fn.workers(4):
        until(lambda: (batch.progress().completed, batch.progress().active) == (20, 4), seconds=30)
        view = view_on(batch)
        until(lambda: [view.poll()] and view.head["stopped"] is not None)
        assert view.head["line"] == [
            "20 of 30 rows completed, 4 running",
            "2 usd spent, about 3 usd in all",
        ]
        hold.set()
        batch.wait(timeout=60)
    until(lambda: [view.poll()] and view.head["stopped"] is None)
