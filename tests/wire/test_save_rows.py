"""save_rows: a running many-row job keeps what its rows have come to; each row that ended counts once."""

from __future__ import annotations

import pytest

from flownb import errors
from flownb.wire.lease_records import OwnRun
from flownb.wire.requests import Retry
from flownb.wire.store.job_records import Taken
from tests.support import invariants
from tests.support.script_bench import Bench, completed, key, node, parent, retry

BIND = '{"rows":4,"first":0}'


def own(taken: Taken) -> OwnRun:
    return OwnRun(key=taken.record.key, token=taken.token, attempts_started=taken.record.attempts_started)


def save(bench: Bench, taken: Taken, done: int, failed: int, part: str = '{"values":[]}') -> None:
    bench.store.jobs.save_rows("bull:q", taken.record.id, part, done=done, failed=failed, own_run=own(taken))


def rows(bench: Bench) -> tuple[int, int]:
    counts = bench.hash("bull:flownb:counts:f")
    return int(counts.get("rows-completed@bull:q", 0)), int(counts.get("rows-failed@bull:q", 0))


@pytest.fixture
def taken(bench: Bench) -> Taken:
    bench.add(parent("p", queue="up"), node("a", (key("p", "up"), "idof"), bind=BIND))
    return bench.take_one()


def test_what_the_rows_have_come_to_is_kept_and_counted(bench: Bench, taken: Taken):
    save(bench, taken, 1, 1, '{"values":[1]}')

    assert bench.hash(key("a"))["part"] == '{"values":[1]}'
    assert rows(bench) == (1, 1)
    assert bench.state_of(key("a")) == "active"


def test_a_row_counts_once_however_often_it_is_saved(bench: Bench, taken: Taken):
    for done in (1, 1, 2, 2):
        save(bench, taken, done, 1)

    assert rows(bench) == (2, 1)


def test_what_a_later_run_ends_is_counted_besides(bench: Bench, taken: Taken):
    save(bench, taken, 2, 0)
    bench.finish(retry(taken, delay=0))
    save(bench, bench.take_one(), 1, 0)

    assert rows(bench) == (3, 0)


def test_the_end_leaves_nothing_of_it(bench: Bench, taken: Taken):
    save(bench, taken, 3, 0)
    bench.finish(completed(taken, '{"values":[1,2,3,4],"errors":{}}')._replace(rows=(1, 0)))

    assert rows(bench) == (4, 0)
    assert not {"part", "saved"} & bench.hash(key("a")).keys()
    assert invariants.violations(bench.redis) == []


def test_a_run_that_is_over_changes_nothing(bench: Bench, taken: Taken):
    bench.finish(retry(taken, delay=0))
    bench.take_one()
    before = bench.dump()

    with pytest.raises(errors.JobElsewhere):
        save(bench, taken, 1, 0)

    assert bench.dump() == before


def test_a_job_that_is_gone_refuses_and_is_not_made_again(bench: Bench, taken: Taken):
    bench.redis.delete(key("a"))
    before = bench.dump()

    with pytest.raises(errors.JobMissing, match="job q:a is not on this server"):
        save(bench, taken, 1, 0)

    assert bench.dump() == before


def test_rows_of_a_cancelled_job_are_kept_and_its_run_is_told(bench: Bench, taken: Taken):
    bench.store.flows.cancel("bull:up", "f")

    with pytest.raises(errors.Cancelled):
        save(bench, taken, 1, 0, '{"values":[1]}')

    assert bench.hash(key("a"))["part"] == '{"values":[1]}'
    assert rows(bench) == (1, 0)


def test_a_cancelled_job_that_is_retried_takes_back_only_rows_that_had_failed(bench: Bench, taken: Taken):
    save(bench, taken, 1, 1)
    bench.redis.hset(key("a"), mapping={"why": "cancelled", "finishedOn": "1"})
    bench.redis.lrem(key("active"), 0, "a")
    bench.redis.zadd(key("failed"), {"a": 1})
    part = '{"values":[1],"open":[1,2,3]}'

    answers = bench.store.jobs.retry([Retry(key("a"), rows=[1, 2, 3], were_open=2, part=part)], token="again")

    assert answers == ["done"]
    assert bench.hash(key("a"))["part"] == part
    assert rows(bench) == (1, 0)
