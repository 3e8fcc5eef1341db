"""update_job: a running job's progress, data or log row; its state stays as it is."""

from __future__ import annotations

import pytest

from flownb import errors
from tests.support.script_bench import Bench, key


def test_progress_is_stored_and_told(bench: Bench):
    bench.add_plain("a")

    assert bench.store.jobs.update("bull:q", "a", "progress", '{"pct":40}') is None

    assert bench.hash(key("a"))["progress"] == '{"pct":40}'
    assert bench.event_fields()[-1] == {"event": "progress", "jobId": "a", "data": '{"pct":40}'}


def test_data_is_replaced_without_an_event(bench: Bench):
    bench.add_plain("a")
    told = bench.events()

    bench.store.jobs.update("bull:q", "a", "data", '{"x":2}')

    assert bench.hash(key("a"))["data"] == '{"x":2}'
    assert bench.events() == told


def test_log_rows_are_kept_in_order(bench: Bench):
    bench.add_plain("a")

    assert [bench.store.jobs.update("bull:q", "a", "log", row) for row in ("one", "two")] == [1, 2]

    assert bench.store.jobs.read_logs(key("a")) == ["one", "two"]


def test_a_full_log_keeps_the_newest_rows(bench: Bench):
    bench.add_plain("a")

    lengths = [bench.store.jobs.update("bull:q", "a", "log", row, keep=2) for row in ("one", "two", "three")]

    assert lengths == [1, 2, 2]
    assert bench.store.jobs.read_logs(key("a")) == ["two", "three"]


@pytest.mark.parametrize("field", ["progress", "data", "log"])
def test_a_job_that_is_gone_refuses_and_is_not_made_again(bench: Bench, field: str):
    bench.add_plain("b")
    before = bench.dump()

    with pytest.raises(errors.JobMissing, match="job q:a is not on this server"):
        bench.store.jobs.update("bull:q", "a", field, "1")

    assert bench.dump() == before


@pytest.mark.parametrize("field", ["progress", "data"])
def test_an_update_sent_twice_stores_one_value(bench: Bench, field: str):
    bench.add_plain("a")
    bench.store.jobs.update("bull:q", "a", field, "5")
    before = bench.contents()
    bench.redis.script_flush()

    bench.store.jobs.update("bull:q", "a", field, "5")

    assert bench.contents() == before
