"""Shows that a large value that a row returned is stored once, and that every reader gets it whole all the same."""

from __future__ import annotations

import pandas as pd
import pytest

import flownb as fn

MB = 1_000_000


pytestmark = pytest.mark.usefixtures("connection")


@pytest.fixture
def text():
    @fn.task
    def text(n):
        return str(n) * MB

    return text


FRAME = pd.DataFrame({"n": range(9)}, index=list("abcdefghi"))


def memory_of_keys(redis):
    keys = redis.scan_iter("bull:*")
    return sum(redis.memory_usage(key, samples=0) or 0 for key in keys)  # 0: it went meanwhile


def child_keys(batch):
    return [f"bull:text:{job.id}" for job in fn.Queue("text").get_jobs("completed")]


@pytest.mark.parametrize("rows_per_job", [1, 3])
def test_the_server_holds_a_large_value_once(text, redis, rows_per_job):
    batch = fn.fan_out(FRAME, text, rows_per_job=rows_per_job).wait(timeout=60)
    assert memory_of_keys(redis) < 9 * MB * 1.4  # a string's allocation is up to a quarter over its length
    results = batch.results()["text"]
    assert list(results.index) == list(FRAME.index)
    assert [value == str(n) * MB for n, value in enumerate(results)] == [True] * 9


def test_a_parent_and_an_event_say_how_long_the_value_is_that_the_job_holds(text, redis):
    batch = fn.fan_out(FRAME.head(1), text).wait(timeout=60)
    [key] = child_keys(batch)
    told = b'{"flownb:large":1000002}'
    assert redis.hget(f"{batch.job._record.key}:processed", key) == told
    [event] = [fields for _, fields in redis.xrange("bull:text:events") if b"returnvalue" in fields]
    assert event[b"returnvalue"] == told
    assert redis.hget(key, "returnvalue") == b'"' + b"0" * MB + b'"'


def test_who_asks_a_parent_or_hears_an_event_gets_the_value_itself(text):
    batch = fn.fan_out(FRAME.head(2), text).wait(timeout=60)
    with fn.QueueEvents("text", last_event_id="0") as heard:
        completed = (event for event in heard if event.name == "completed")
        values = [next(completed).data["returnvalue"] for _ in range(2)]
    assert sorted(values) == ["0" * MB, "1" * MB]
    assert sorted(batch.job.get_children_values().values()) == ["0" * MB, "1" * MB]
    assert sorted(batch.job.get_dependencies()["processed"].values()) == ["0" * MB, "1" * MB]


def test_an_aggregate_receives_large_values(text):
    @fn.task
    def lengths(rows):
        return rows["text"].str.len().sum()

    batch = fn.fan_out(FRAME, text, into=lengths, rows_per_job=3)
    assert batch.result(timeout=60) == 9 * MB


def test_a_row_that_failed_has_its_large_value_after_a_retry():
    broken = {1}

    @fn.task
    def text(n):
        if n in broken:
            raise ValueError("not yet")
        return str(n) * MB

    batch = fn.fan_out(FRAME.head(3), text, rows_per_job=3).wait(timeout=60)
    broken.clear()
    results = batch.retry().results(timeout=60)["text"]
    assert [value == str(n) * MB for n, value in enumerate(results)] == [True] * 3
    [value] = batch.job.get_children_values().values()
    assert [len(text) for text in value["values"]] == [MB] * 3


def test_a_second_batch_of_the_same_name_refers_to_what_is_there(text, redis):
    fn.fan_out(FRAME, text, name="b").wait(timeout=60)
    before = memory_of_keys(redis)
    again = fn.fan_out(FRAME.iloc[::-1], text, name="b").wait(timeout=60)
    assert memory_of_keys(redis) < before + MB
    assert [len(value) for value in again.job.get_children_values().values()] == [MB] * 9
    assert list(again.results()["text"].str[0]) == list("876543210")


def test_a_parent_keeps_the_large_value_of_a_job_that_is_removed(text):
    batch = fn.fan_out(FRAME.head(2), text).wait(timeout=60)
    job = fn.Queue("text").get_jobs("completed")[0]
    value = job.returnvalue
    job.remove()
    assert value in batch.job.get_children_values().values()


def test_a_value_that_went_with_its_job_is_named(text, redis):
    batch = fn.fan_out(FRAME.head(1), text).wait(timeout=60)
    [key] = child_keys(batch)
    redis.delete(key)  # as another program does
    with pytest.raises(fn.JobMissing, match=rf"{key}.*large"):
        batch.job.get_children_values()


def test_a_removed_batch_leaves_no_large_value(text, redis):
    batch = fn.fan_out(FRAME, text).wait(timeout=60)
    batch.remove()
    assert memory_of_keys(redis) < MB


def test_a_small_value_that_looks_like_a_reference_is_itself():
    @fn.task
    def sly(n):
        return {"flownb:large": n}

    batch = fn.fan_out(FRAME.head(1), sly).wait(timeout=60)
    assert list(batch.job.get_children_values().values()) == [{"flownb:large": 0}]


def test_a_parent_outside_of_batches_holds_the_value_as_bullmq_does(text, redis):
    @fn.task
    def length(text):
        return len(text)

    flow = fn.add(length.node(text.node(7)))
    assert flow.result(timeout=60) == MB
    [value] = redis.hvals(f"{flow.job._record.key}:processed")
    assert value == b'"' + b"7" * MB + b'"'
