"""add_jobs: nothing -> waiting, prioritized, delayed or waiting-children. Jobs without a flow; flows have a file of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flownb import errors
from flownb.wire.job_rows import FieldRow, FlowRecord
from tests.support.script_bench import START, Bench, base, key, link, node, parent


def test_a_job_is_stored_with_exactly_bullmqs_fields(bench: Bench):
    added = bench.add(node("a", data='{"x":1}', opts={"attempts": 3}), flow=None)

    assert added == (1, [])
    assert bench.hash(key("a")) == {
        "name": "name-a",
        "data": '{"x":1}',
        "opts": '{"attempts":3}',
        "timestamp": str(START),
        "delay": "0",
        "priority": "0",
    }
    assert bench.contents(but=()).keys() == {
        key(word) for word in ("a", "events", "id", "marker", "meta", "wait")
    }


def test_an_added_job_stands_at_the_left_and_wakes_a_worker(bench: Bench):
    bench.add_plain("a", "b", "c")

    assert bench.list(key("wait")) == ["c", "b", "a"]
    assert bench.zset(key("marker")) == {"0": 0}
    assert bench.get(key("id")) == "3"
    assert bench.hash(key("meta")) == {"opts.maxLenEvents": "10000"}


def test_an_add_is_told_as_added_then_waiting_job_by_job(bench: Bench):
    bench.add_plain("a", "b")

    assert bench.event_fields() == [
        {"event": "added", "jobId": "a", "name": "name-a"},
        {"event": "waiting", "jobId": "a"},
        {"event": "added", "jobId": "b", "name": "name-b"},
        {"event": "waiting", "jobId": "b"},
    ]


def test_a_lifo_job_stands_at_the_head_of_the_line(bench: Bench):
    bench.add_plain("a", "b")
    bench.add_plain("c", lifo=True)

    assert bench.list(key("wait")) == ["b", "a", "c"]
    assert bench.take_one().record.id == "c"


def test_a_priority_is_a_score_with_a_counter_in_the_low_bits(bench: Bench):
    bench.add(node("a", priority=5), node("b", priority=1), node("c", priority=5, lifo=True), flow=None)

    assert bench.zset(key("prioritized")) == {"a": 5 * 2**32 + 1, "b": 2**32 + 2, "c": 5 * 2**32 + 3}
    assert bench.get(key("pc")) == "3"
    assert bench.zset(key("marker")) == {"0": 0}
    assert bench.events(last=2) == [("added", "c", "name-c"), ("waiting", "c")]
    assert bench.hash(key("a"))["priority"] == "5"


def test_jobs_due_in_one_millisecond_keep_their_order(bench: Bench):
    bench.add_plain("a", "b", "c", delay=500)

    due = (START + 500) * 4096
    assert bench.zset(key("delayed")) == {"a": due, "b": due + 1, "c": due + 2}
    assert bench.events(last=1) == [("delayed", "c", str(START + 500))]
    assert bench.hash(key("a"))["delay"] == "500"


def test_a_full_millisecond_takes_equal_scores(bench: Bench):
    last = (START + 500) * 4096 + 4095
    bench.redis.zadd(key("delayed"), {"x": last})

    bench.add_plain("a", delay=500)

    assert bench.zset(key("delayed"))["a"] == last


def test_a_delayed_job_sets_the_clock_of_idle_workers_and_no_more(bench: Bench):
    bench.add_plain("a", delay=500)
    bench.add_plain("b", delay=200)

    ((member, due),) = bench.redis.zrange(key("marker"), 0, -1, withscores=True)
    assert (member, int(due)) == (b"1", START + 200)


def test_a_delayed_job_with_a_priority_is_only_delayed(bench: Bench):
    bench.add_plain("a", delay=500, priority=3)

    assert list(bench.zset(key("delayed"))) == ["a"]
    assert not bench.redis.exists(key("prioritized"), key("pc"))


@pytest.mark.parametrize("field", ["paused", "concurrency"])
def test_a_held_queue_takes_jobs_without_waking_anyone(bench: Bench, field: str):
    bench.redis.hset(key("meta"), field, "1")
    bench.redis.lpush(key("active"), "other")

    bench.add_plain("a")

    assert bench.list(key("wait")) == ["a"]
    assert not bench.redis.exists(key("marker"))


def test_the_streams_length_is_what_the_queue_says(bench: Bench):
    bench.redis.hset(key("meta"), "opts.maxLenEvents", "10")

    bench.add_plain(*(f"a{i}" for i in range(300)))

    assert bench.redis.xlen(key("events")) < 200  # about: Redis trims whole nodes of 100
    assert bench.hash(key("meta")) == {"opts.maxLenEvents": "10"}


def test_an_id_that_is_there_is_told_and_not_touched(bench: Bench):
    bench.add_plain("a", data='{"x":1}')
    before = bench.contents()

    added = bench.add(node("a", data='{"x":2}', priority=7), flow=None)

    assert added == (0, ["a"])
    assert bench.contents() == before
    assert bench.events(last=1) == [("duplicated", "a")]


def test_an_id_twice_in_one_call_is_one_job(bench: Bench):
    added = bench.add(node("a", data='{"x":1}'), node("b"), node("a", data='{"x":2}'), flow=None)

    assert added == (2, ["a"])
    assert bench.list(key("wait")) == ["b", "a"]
    assert bench.hash(key("a"))["data"] == '{"x":1}'


def test_jobs_of_several_queues_go_in_one_call(bench: Bench):
    bench.add(node("a", queue="q1"), node("b", queue="q2"), node("c", queue="q1"), flow=None)

    assert bench.list(key("wait", "q1")) == ["c", "a"]
    assert bench.list(key("wait", "q2")) == ["b"]
    assert (bench.get(key("id", "q1")), bench.get(key("id", "q2"))) == ("2", "1")
    assert bench.zset(key("marker", "q2")) == {"0": 0}


def test_bound_parameters_stand_beside_the_data(bench: Bench):
    bench.add(node("a", bind='{"x":"bull:q:b"}'), flow=None)

    assert bench.hash(key("a"))["bind"] == '{"x":"bull:q:b"}'


def test_a_job_goes_under_a_parent_that_was_there_before(bench: Bench):
    bench.add_plain("p", queue="up")

    bench.add(node("c", (key("p", "up"), "fpof"), outside=True), flow=None)

    assert bench.set(key("p:dependencies", "up")) == {key("c")}
    stored = bench.hash(key("c"))
    assert stored["parentKey"] == key("p", "up")
    assert json.loads(stored["parent"]) == {"id": "p", "queueKey": base("up"), "fpof": True}


def test_a_parent_that_is_missing_refuses_the_whole_call(bench: Bench):
    bench.add_plain("p", queue="up")
    before = bench.dump()

    with pytest.raises(errors.ParentMissing, match="parent up:gone is not on this server"):
        bench.add(node("a"), parent("b"), node("c", key("gone", "up"), outside=True))

    assert bench.dump() == before


def test_an_add_sent_twice_only_tells_of_duplicates(bench: Bench):
    nodes = [
        node("a"),
        node("b", priority=2),
        node("c", delay=9),
        node("d", lifo=True),
        node("e", priority=2, lifo=True),
    ]
    bench.add(*nodes, flow=None)
    before, told = bench.contents(), bench.events()

    assert bench.add(*nodes, flow=None) == (0, ["a", "b", "c", "d", "e"])

    assert bench.contents() == before
    assert bench.events() == told + [("duplicated", id) for id in "abcde"]


def test_a_flushed_script_cache_goes_unnoticed(bench: Bench):
    bench.add_plain("a")
    bench.redis.script_flush()

    bench.add_plain("b")

    assert bench.list(key("wait")) == ["b", "a"]


def test_the_callers_json_is_not_re_encoded(bench: Bench):
    text = '{"empty":[],"slash":"a/b","big":12345678901234567890,"float":0.1,"text":"é\\u0000"}'

    bench.add(node("a", data=text, opts={"backoff": {"type": "fixed", "delay": 1}}), flow=None)

    assert bench.hash(key("a"))["data"] == text
    assert bench.take_one().record.data == text


def test_a_thousand_jobs_fit_into_one_call_and_more_are_refused_before_the_first_write(bench: Bench):
    bench.add_plain(*(f"a{i}" for i in range(1000)))
    assert bench.redis.llen(key("wait")) == 1000
    before = bench.dump()

    with pytest.raises(ValueError, match="at most 1,000"):
        bench.add_plain(*(f"b{i}" for i in range(8000)))

    assert bench.dump() == before


def test_the_parent_field_is_json_that_bullmq_reads(bench: Bench):
    assert json.loads(link("a:b:c:p", "idof")) == {"id": "p", "queueKey": "a:b:c", "idof": True}
    bench.add(parent("p", queue="x:y:up"), node("c", ("x:y:up:p", "idof")))

    assert bench.hash(key("c"))["parentKey"] == "x:y:up:p"


def test_a_job_that_is_to_be_new_and_is_not_refuses_the_whole_call(bench: Bench):
    bench.add_plain("b")
    bench.add(node("c"), flow="other")
    before = bench.dump()

    for there in ("b", "c"):
        with pytest.raises(errors.JobExists, match=key(there)):
            bench.add(parent("p", queue="up"), node(there, key("p", "up")), fresh=2)

    assert bench.dump() == before


def test_rows_are_refused_whose_name_has_others_since_the_caller_looked_and_stored_once_it_has_seen_these(
    bench: Bench,
):
    def add(flow: str, *seen: Any) -> None:
        record = FlowRecord(id=flow, name="n", fields={"name": "n"}, seen=seen)
        field = FieldRow("bull:flownb:rows:n", key(f"{flow}-m"), b"packed")
        bench.add(node(f"{flow}-m"), flow=flow, record=record, fields=[field])

    add("f", "", None)
    before = bench.dump()
    for seen in [("", None), ("", 1), ("f", 0), ("g", 1)]:
        with pytest.raises(errors.Overtaken):
            add("h", *seen)
    assert bench.dump() == before

    add("h", "f", 1)
    before = bench.contents()
    add("h", "f", 1)  # the same again: all is there, whatever was seen

    assert bench.contents() == before


def test_a_call_for_new_jobs_sent_twice_does_not_refuse_its_own(bench: Bench):
    nodes = [parent("p", queue="up"), node("c", key("p", "up"))]
    bench.add(*nodes, fresh=2)
    before = bench.contents()

    assert bench.add(*nodes, fresh=2) == (0, ["p", "c"])

    assert bench.contents() == before


def test_as_bullmq_does_it_an_attempt_counts_and_a_job_without_a_living_parent_gets_one(bench: Bench):
    bench.add_plain("c")
    for up in ("one", "two"):
        bench.add(parent("p", queue=up), node("c", key("p", up)), flow=None, bullmq=True)
        assert bench.hash(key("c"))["parentKey"] == key("p", up)
        assert bench.set(key("p:dependencies", up)) == {key("c")}
        bench.redis.delete(key("p", up))

    assert bench.get(key("id")) == "3"
    assert not [name for name in bench.contents(but=()) if ":flownb:" in name]


@pytest.mark.parametrize("flow", [None, "f"])
def test_as_bullmq_does_it_a_job_keeps_its_parent_and_a_flow_of_ours_its_root(bench: Bench, flow: str | None):
    if flow is None:
        bench.add(parent("p", queue="one"), node("c", key("p", "one")), flow=None, bullmq=True)
    else:
        bench.add(node("c"))
    before = bench.dump()

    with pytest.raises(errors.ParentJobCannotBeReplaced, match=key("c")):
        bench.add(parent("p", queue="two"), node("c", key("p", "two")), flow=None, bullmq=True)

    assert bench.dump() == before
