"""finish_and_fetch, jobs of flows that a newer flownb stored: waiting or prioritized -> delayed, and nothing else."""

from __future__ import annotations

import pytest

from flownb.wire import versions
from tests.support import invariants
from tests.support.script_bench import START, Bench, key, node, parent

RECORD = "bull:flownb:flow:f"


def add_newer(bench: Bench, *nodes, layout="2"):
    bench.add(*nodes)
    bench.redis.hset(RECORD, "layout", layout)


def test_a_flows_record_says_its_layout(bench: Bench):
    bench.add(node("a"))

    assert bench.hash(RECORD)["layout"] == str(versions.LAYOUT) == "1"


@pytest.mark.parametrize(("priority", "before"), [(0, "waiting"), (3, "prioritized")])
def test_a_job_of_a_newer_flow_is_put_off_uncharged(bench: Bench, priority, before):
    add_newer(bench, node("a", priority=priority))
    stored = bench.hash(key("a"))
    keys = set(bench.redis.keys())
    assert bench.counts() == {f"q {before}": 1}

    turn = bench.fetch()

    assert (turn.taken, turn.unknown_flows, turn.again_ms) == ([], ["f"], 5000)
    assert bench.hash(key("a")) == {**stored, "delay": "5000"}
    assert bench.zset(key("delayed")) == {"a": (START + 5000) * 4096}
    assert bench.counts() == {"q delayed": 1}
    assert bench.event_fields()[-1] == {"event": "delayed", "jobId": "a", "delay": str(START + 5000)}
    written = {name.encode() for name in (key("delayed"), key("marker"))}
    assert set(bench.redis.keys()) - keys <= written
    assert invariants.violations(bench.redis) == []


def test_a_worker_that_knows_the_layout_takes_the_job_later(bench: Bench):
    add_newer(bench, node("a", priority=3), node("b", priority=3))
    bench.take(want=2)
    bench.wait(5000)

    taken = bench.take(want=2, layout=2)

    assert [(one.record.id, one.record.attempts_started, one.record.attempts_made) for one in taken] == [
        ("a", 1, 0),
        ("b", 1, 0),
    ]


def test_jobs_behind_those_of_a_newer_flow_start_in_the_same_call(bench: Bench):
    add_newer(bench, *(node(f"n{i}") for i in range(20)))
    bench.add(node("known"), flow="g")
    bench.add_plain("alone")

    turn = bench.fetch(want=2)

    assert [one.record.id for one in turn.taken] == ["known", "alone"]
    assert turn.unknown_flows == ["f"]
    assert bench.counts() == {"q delayed": 20}


@pytest.mark.parametrize("layout", ["1", "0", None])
def test_known_layouts_are_run(bench: Bench, layout):
    add_newer(bench, node("a"))
    bench.redis.hset(RECORD, "layout", layout) if layout else bench.redis.hdel(RECORD, "layout")

    turn = bench.fetch()

    assert (len(turn.taken), turn.unknown_flows) == (1, [])


@pytest.mark.parametrize("layout", ["", "next", "1.5", "-1", "nan", "9" * 400])
def test_a_layout_that_says_nothing_is_unknown(bench: Bench, layout):
    add_newer(bench, node("a"), layout=layout)

    assert bench.fetch().unknown_flows == ["f"]
    assert versions.is_layout_unknown({"layout": layout})


@pytest.mark.parametrize("mark", ["paused", "cancelled"])
def test_marks_of_a_newer_flow_say_nothing_to_an_older_worker(bench: Bench, mark):
    add_newer(bench, parent("p", queue="up"), node("a", (key("p", "up"), "fpof")))
    bench.redis.sadd(f"bull:flownb:{mark}", "f")
    bench.redis.hset(RECORD, "ended", "cancelled")
    above = bench.hash(key("p", "up"))

    bench.fetch()

    assert bench.state_of(key("a")) == "delayed"
    assert bench.hash(key("p", "up")) == above
    assert bench.set(key("p:dependencies", "up")) == {key("a")}


def test_the_layout_is_read_once_a_flow_and_call(bench: Bench):
    bench.add(*(node(f"n{i}") for i in range(30)))

    def reads() -> int:
        stats = bench.redis.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("hget", "hmget"))

    def reads_of_taking(want: int) -> int:
        before = reads()
        assert len(bench.take(want=want)) == want
        return reads() - before

    one = reads_of_taking(1)
    assert reads_of_taking(21) - one == 20  # a job's own fields, and no record's
