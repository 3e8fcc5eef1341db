"""add_deduplicated_jobs: one job at a time stands for an id. What is stored in each mode is compared with Node's in tests/interop."""

from __future__ import annotations

import pytest

from flownb.errors import FlownbError
from flownb.wire.job_rows import DeduplicatedRow, Deduplication, JobDetails, JobRow
from tests.support import invariants
from tests.support.script_bench import Bench, completed, key


def add(bench: Bench, *ids: str, delay: int = 0, **how) -> list[str]:
    rows = [
        DeduplicatedRow(
            JobRow(1, id, "name", "{}", 1, False, JobDetails(delay=delay)), Deduplication("d", **how)
        )
        for id in ids
    ]
    return bench.store.jobs.add_deduplicated("bull:q", rows, opts=["{}"])


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"ttl": 500},
        {"replace": True},
        {"keep_last": True},
        {"reschedule": True},
        {"ttl": 500, "extend": True},
    ],
    ids=str,
)
def test_a_call_that_arrives_twice_adds_once(bench: Bench, how):
    first = add(bench, "a", "b", delay=100, **how)
    before = {name: value for name, value in bench.contents().items() if name != key("id")}

    add(bench, *dict.fromkeys(first), delay=100, **how)

    assert {name: value for name, value in bench.contents().items() if name != key("id")} == before
    assert [str(violation) for violation in invariants.violations(bench.redis)] == []


def test_an_id_is_free_again_when_its_job_has_ended(bench: Bench):
    assert add(bench, "a", "b") == ["a", "a"]
    bench.finish(completed(bench.take_one()))

    assert add(bench, "c") == ["c"]
    assert bench.get(key("de:d")) == "c"


def test_what_was_added_last_follows_a_running_owner_under_the_id_it_was_given(bench: Bench):
    add(bench, "a", keep_last=True)
    taken = bench.take_one()

    assert add(bench, "b", "c", keep_last=True) == ["a", "a"]
    bench.finish(completed(taken))

    assert bench.list(key("wait")) == ["c"]
    assert bench.get(key("de:d")) == "c"
    assert not bench.redis.exists(key("dn:d"), key("b"))


def test_nothing_is_added_to_a_damaged_queue(bench: Bench):
    bench.redis.set(key("failed"), "damaged")
    before = bench.dump()

    with pytest.raises(FlownbError, match="than it should"):
        add(bench, "a")

    assert bench.dump() == before
