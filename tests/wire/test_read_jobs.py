"""read_jobs, read_children_counts and the plain reads: what jobs hold and where they are; nothing is written."""

from __future__ import annotations

import base64
import json

import pytest

from flownb.wire.records import JobLine
from flownb.wire.store import Store
from flownb.wire.store.job_records import BRIEF_FIELDS
from flownb.wire.store.limits import VALUE_BYTES_A_READ
from tests.support.script_bench import START, Bench, completed, failed, key, node, parent, retry

P = key("p", "up")


def scene(bench: Bench) -> dict[str, str]:
    """One job in every state; returns key -> state."""
    bench.add(
        parent("p", queue="up"),
        *(node(id, (P, "idof")) for id in ("done", "broken", "runs", "late", "waits")),
        node("ranked", (P, "idof"), priority=2),
        node("due", (P, "idof"), delay=900),
    )
    done, broken, runs, late = bench.take(want=4)
    bench.finish(completed(done, '{"v":1}'), failed(broken, "boom", why="timeout", stacktrace='["t"]'))
    bench.lose_lease(late)
    return {
        P: "waiting-children",
        done.record.key: "completed",
        broken.record.key: "failed",
        runs.record.key: "active",
        late.record.key: "active",
        key("waits"): "waiting",
        key("ranked"): "prioritized",
        key("due"): "delayed",
    }


def test_each_state_is_told(bench: Bench):
    states = scene(bench)

    found = bench.store.jobs.read([*states])

    assert {record.key: record.state for record in found if record} == states


@pytest.mark.parametrize("plainly", [False, True], ids=["script", "plain commands"])
def test_a_line_of_a_table_says_what_the_record_says(bench: Bench, plainly: bool):
    jobs = [*scene(bench), key("never")]
    bench.redis.hset(key("broken"), mapping={"runs": "5-9", "atm": "nan"})
    store = Store(bench.redis, "bull", read_only=True)
    if plainly:
        store.server.read_without_scripts()

    records = store.jobs.read(jobs)

    assert store.jobs.read_lines(jobs) == [
        record and JobLine(*(getattr(record, field) for field in JobLine._fields)) for record in records
    ]


@pytest.mark.parametrize("plainly", [False, True], ids=["script", "plain commands"])
def test_a_lock_that_was_left_behind_makes_no_job_active(bench: Bench, plainly: bool):
    bench.add_plain("a")
    bench.redis.set(key("a") + ":lock", "left")
    bench.redis.hset(key("a"), "processedOn", "5")
    store = Store(bench.redis, "bull", read_only=True)
    if plainly:
        store.server.read_without_scripts()

    (line,) = store.jobs.read_lines([key("a")])

    assert line
    assert line.state == "waiting"


def test_a_record_holds_every_field(bench: Bench):
    scene(bench)

    (record,) = bench.store.jobs.read([key("broken")])

    assert record
    assert (record.id, record.queue, record.name, record.data) == ("broken", "q", "name-broken", "{}")
    assert (record.failed_reason, record.stacktrace, record.why) == ("boom", '["t"]', "timeout")
    assert (record.timestamp, record.processed_on, record.finished_on) == (START, START, START)
    assert (record.attempts_made, record.attempts_started, record.stalled, record.delay) == (1, 1, 0, 0)
    assert (record.parent_key, record.flow, record.returnvalue) == (P, "f", None)


def test_only_the_asked_fields_are_read(bench: Bench):
    scene(bench)

    (record,) = bench.store.jobs.read([key("done")], BRIEF_FIELDS)

    assert record
    assert (record.state, record.data, record.returnvalue, record.flow) == ("completed", "{}", None, None)


@pytest.mark.parametrize("left", [None, {"ats": "1", "processedOn": "5"}])
def test_a_job_that_is_gone_is_none(bench: Bench, left: dict[str, str] | None):
    scene(bench)
    bench.redis.delete(key("done"))
    if left:
        bench.redis.hset(key("done"), mapping=left)

    found = bench.store.jobs.read([key("done"), key("waits"), key("never")])

    assert [record and record.id for record in found] == [None, "waits", None]


def test_reading_writes_nothing(bench: Bench):
    states = scene(bench)
    before = bench.dump()
    bench.redis.script_flush()

    bench.store.jobs.read([*states])
    bench.store.children.counts([*states])
    bench.store.flows.read_counts("f")
    bench.store.queues.read_served()

    assert bench.dump() == before


def test_a_family_is_counted_by_how_its_children_fared(bench: Bench):
    scene(bench)
    bench.add(parent("r"), node("c", (key("r"), "fpof"), queue="w"), flow="g")
    bench.finish(failed(bench.take_one("w")))

    assert bench.store.children.counts([P, key("r"), key("none")]) == [
        (5, 1, 1, 0),
        (0, 0, 0, 1),
        (0, 0, 0, 0),
    ]
    assert bench.store.children.read_values(P) == {key("done"): '{"v":1}'}
    assert bench.store.children.read_values(P, [key("done"), key("waits")]) == {key("done"): '{"v":1}'}
    assert bench.store.children.read_ignored(P) == {key("broken"): "boom"}
    assert bench.store.children.read_failed(key("r")) == [key("c", "w")]
    assert set(bench.store.children.read_pending(P)) == {
        key(id) for id in ("runs", "late", "waits", "ranked", "due")
    }


def test_thousands_of_jobs_are_read_in_pieces(bench: Bench):
    for i in range(9):
        bench.add_plain(*(f"a{i}-{n}" for n in range(1000)))

    found = bench.store.jobs.read([key(f"a{i}-{n}") for i in range(9) for n in range(1000)], ("name",))

    assert len(found) == 9000
    assert {record.state for record in found if record} == {"waiting"}


def test_ids_of_a_state_come_in_the_order_in_which_they_will_run(bench: Bench):
    bench.add_plain("a", "b", "c")
    assert bench.store.queues.read_ids("bull:q", "waiting", 0, 1) == ["a", "b"]
    assert bench.store.queues.read_ids("bull:q", "waiting", 1, 99) == ["b", "c"]
    for taken in bench.take(want=3):
        bench.wait(1)
        bench.finish(completed(taken))

    assert bench.store.queues.read_ids("bull:q", "completed", 0, 99) == ["c", "b", "a"]


def test_a_queues_states_are_counted_with_bullmq_5s_paused_list(bench: Bench):
    scene(bench)
    bench.redis.lpush(key("paused"), "old")

    assert bench.store.queues.count_states("bull:q") == {
        "waiting": 2,
        "active": 2,
        "delayed": 1,
        "prioritized": 1,
        "waiting-children": 0,
        "completed": 1,
        "failed": 1,
    }


def test_what_other_clients_stored_is_read_as_it_is(bench: Bench):
    bench.redis.hset(key("n"), mapping={"name": "n", "data": b'"\xff"', "delay": "10.5", "opts": "{"})
    bench.redis.lpush(key("wait"), "n")

    (record,) = bench.store.jobs.read([key("n")])

    assert record
    assert (record.delay, record.opts, record.timestamp) == (10, "{", 0)
    assert record.data.encode("utf-8", "surrogateescape") == b'"\xff"'
    assert bench.take_one().record.data == record.data


def test_queues_are_served_by_flownbs_sweeps_and_bullmqs_named_connections(bench: Bench):
    bench.now = bench.redis.time()[0] * 1000
    bench.sweep("q", interval=60_000)
    name = base64.b64encode(b"other").decode()
    bench.redis.client_setname(f"bull:{name}:w:ada")
    try:
        assert {"bull:q", "bull:other"} <= (bench.store.queues.read_served() or set())
    finally:
        bench.redis.client_setname("")


def test_running_jobs_are_read_with_their_locks(bench: Bench):
    bench.add_plain("a", "b")
    a, b = bench.take(want=2)
    bench.lose_lease(b)

    assert set(bench.store.queues.read_active("bull:q")) == {("a", a.token), ("b", None)}


def test_values_of_many_jobs_are_read_together(bench: Bench):
    bench.add_plain("a", "b")
    a, b = bench.take(want=2)
    bench.finish(completed(a, "1"), retry(b))

    assert bench.store.jobs.read_returnvalues([key("a"), key("b"), key("c")]) == ["1", None, None]


def test_values_that_one_read_cannot_carry_come_with_the_next(bench: Bench):
    ids = [str(n) for n in range(5)]
    texts = [json.dumps(id * (VALUE_BYTES_A_READ // 2)) for id in ids]
    for id, text in zip(ids, texts, strict=True):
        bench.redis.hset(key(id), "returnvalue", text)

    bench.store.jobs.read_returnvalues([key("none")])  # the script is on the server now
    before = bench.redis.info("commandstats")
    assert bench.store.jobs.read_returnvalues([*map(key, ids), key("none")]) == [*texts, None]
    after = bench.redis.info("commandstats")
    reads, looks = (
        after[name]["calls"] - before[name]["calls"] for name in ("cmdstat_evalsha", "cmdstat_hget")
    )
    assert (reads, looks) == (3, 6), "two values a read, none of them twice"
