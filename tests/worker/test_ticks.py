"""Shows that each tick of a schedule adds one flow, whoever carries it out, and whatever dies, stands still or overlaps."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

import flownb as fn
from flownb.adding.next_run import run_id
from flownb.api import ticks
from flownb.api.ticks import add_flow_of_tick
from flownb.errors import ServerRefused
from flownb.wire.records import JobRecord
from flownb.wire.store import Store
from tests.support import invariants

BATCHES = "bull:flownb-batch"
LEAF = {"name": "leaf", "queueName": "leaves", "data": 3}
SECOND, DAY = 1000, 86_400_000


def due_of(redis, name="n"):
    return int(redis.zscore(f"{BATCHES}:repeat", name))


def now_of(redis):
    seconds, microseconds = redis.time()
    return seconds * SECOND + microseconds // 1000


def added(redis):
    """Return when each tick was due for which a flow was stored (ms), in the order in which they were stored."""
    return [int(flow.decode().rpartition("-")[2]) for flow in redis.zrange("bull:flownb:flows", 0, -1)]


def are_one_a_tick(due, step=SECOND):
    return len(set(due)) == len(due) and all((b - a) % step == 0 for a, b in itertools.pairwise(due))


def move_tick(redis, due, name="n"):
    """Let the next tick be due at another time, as if time had passed."""
    old, new = run_id(name, due_of(redis, name)), run_id(name, due)
    redis.lrem(f"{BATCHES}:wait", 0, old)
    redis.zrem(f"{BATCHES}:delayed", old)
    redis.rename(f"{BATCHES}:{old}", f"{BATCHES}:{new}")
    redis.zadd(f"{BATCHES}:repeat", {name: due})
    redis.zadd(f"{BATCHES}:delayed", {new: due * 4096})


def job_of_tick(redis, due, name="n"):
    """Return the job that a worker is given at a tick."""
    id = run_id(name, due)
    record = JobRecord(key=f"{BATCHES}:{id}", id=id, queue="flownb-batch", state="active", name=name)
    return fn.Job(record, store=Store(redis, "bull"))


def in_another_life(redis, until, name="n"):
    """Go on to the next tick as a worker does that takes its job; return the tick's job."""
    due = due_of(redis, name)
    redis.zadd(f"{BATCHES}:repeat", {name: due + DAY})
    redis.copy(f"{BATCHES}:{run_id(name, due)}", f"{BATCHES}:{run_id(name, due + DAY)}")
    return job_of_tick(redis, due, name)


# ---- by workers -------------------------------------------------------------------------------------------


def test_workers_add_one_flow_a_tick_however_many_they_are(redis, start_worker, until):
    for _ in range(2):
        start_worker("others", "quick")
    with fn.Worker("leaves", lambda job: job.data), fn.Worker("others", print):
        fn.every("1s", LEAF, name="n")
        until(lambda: len(added(redis)) >= 4)
        fn.every(name="n").cancel()

    due = added(redis)
    assert are_one_a_tick(due)
    assert fn.flows()["name"].is_unique
    assert fn.flows()["name"].str.match(r"^n \d{4}-\d\d-\d\d \d\d:\d\d").all()
    assert invariants.violations(redis) == []
    assert fn.doctor().empty


def test_a_worker_killed_again_and_again_leaves_out_no_tick_and_doubles_none(redis, start_worker, until):
    fn.every("1s", LEAF, name="n", overlap="allow")
    for count in range(1, 4):
        worker = start_worker("others", "quick", concurrency=2)
        until(lambda count=count: len(added(redis)) >= count)
        worker.kill()
    with fn.Worker("others", print):
        until(lambda: len(added(redis)) >= 5)

    assert are_one_a_tick(added(redis))
    assert fn.doctor().empty


def test_a_server_that_is_killed_and_comes_back_goes_on_with_its_schedules(own_server, until):
    with (
        fn.Connection(own_server.url) as connection,
        own_server.client() as redis,
        fn.Worker("leaves", lambda job: job.data, connection=connection),
    ):
        fn.every("1s", LEAF, name="n", connection=connection)
        until(lambda: len(added(redis)) >= 2)
        own_server.kill()
        own_server.start()
        before = len(added(redis))
        until(lambda: len(added(redis)) >= before + 2)

        assert are_one_a_tick(added(redis))


@pytest.mark.every_server
def test_a_task_is_run_with_what_was_stored_and_the_newest_flow_gives_its_value(until):
    @fn.task
    def load(day):
        return day * 10

    @fn.task
    def total(loads):
        return sum(loads)

    shared = load.node(2)
    with fn.workers(2):
        schedule = fn.every("1d", total.node([load.node(1), shared, total.node([shared])]), name="n")
        flow = until(lambda: schedule.last)

        assert flow.result(timeout=30) == 50
        assert fn.attach(flow.name).result(timeout=5) == 50
    listed = fn.every().loc[0]
    assert (listed["last"], listed["state"], listed["why"]) == (flow.name, "completed", "")


def test_a_week_without_workers_is_made_up_for_by_one_flow(redis, until):
    fn.every("1h", LEAF, name="n")
    missed = due_of(redis) - 7 * DAY
    move_tick(redis, missed)

    with fn.Worker("leaves", lambda job: job.data):
        until(lambda: added(redis))
        until(lambda: due_of(redis) != missed)

    assert added(redis) == [missed]
    now = time.time() * 1000
    assert now < due_of(redis) <= now + 3_600_000
    assert (due_of(redis) - missed) % 3_600_000 == 0


def test_a_cron_line_goes_on_at_its_own_times_after_a_standstill(redis, until):
    schedule = fn.every("30 6 * * *", LEAF, name="n", tz="Europe/Berlin")
    expected = schedule.next
    move_tick(redis, due_of(redis) - 30 * DAY)

    with fn.Worker("leaves", lambda job: job.data):
        until(lambda: added(redis))
        until(lambda: schedule.next >= expected)

    assert len(added(redis)) == 1
    assert schedule.next == expected or schedule.next.minute == 30


# ---- overlap and end --------------------------------------------------------------------------------------


def test_a_tick_adds_no_flow_while_the_one_before_runs_and_says_so(redis, until):
    gate = threading.Event()
    with fn.Worker("leaves", lambda job: gate.wait(60), concurrency=2):
        schedule = fn.every("1s", LEAF, name="n")
        first = until(lambda: schedule.last)
        why = until(lambda: fn.every().loc[0, "why"])

        assert why.endswith(f" was left out: {first.name} had not ended")
        assert len(added(redis)) == 1
        gate.set()
        until(lambda: len(added(redis)) >= 2)
        until(lambda: schedule.last.name != first.name)
        schedule.cancel()


def test_flows_overlap_where_that_is_allowed(redis, until):
    gate = threading.Event()
    with fn.Worker("leaves", lambda job: gate.wait(60), concurrency=9):
        schedule = fn.every("1s", LEAF, name="n", overlap="allow")
        until(lambda: len(added(redis)) >= 3)
        schedule.cancel()
        gate.set()

    assert are_one_a_tick(added(redis))


@pytest.mark.parametrize("how", ["failed", "removed", "cancelled"])
def test_a_flow_that_will_not_go_on_holds_nothing_up(redis, until, how):
    schedule = fn.every("1d", LEAF, name="n")
    add_flow_of_tick(in_another_life(redis, until))
    flow = schedule.last
    if how == "failed":
        with fn.Worker("leaves", lambda job: 1 / 0):
            flow.wait(timeout=30)
    else:
        flow.remove() if how == "removed" else flow.cancel()

    assert "added" in add_flow_of_tick(in_another_life(redis, until))


def test_after_the_end_of_a_schedule_a_tick_that_is_due_adds_nothing(redis, until):
    schedule = fn.every("1d", LEAF, name="n")
    schedule.cancel()
    with fn.Worker("leaves", lambda job: job.data):
        until(lambda: not redis.exists(f"{BATCHES}:wait", f"{BATCHES}:active"))
        until(lambda: redis.hlen(f"{BATCHES}:meta"))

    assert added(redis) == []
    assert not redis.exists("bull:flownb:every:n")


def test_what_runs_when_a_schedule_is_cancelled_goes_on(redis, until):
    gate = threading.Event()

    def work(job):
        gate.wait(60)
        return job.data

    with fn.Worker("leaves", work):
        schedule = fn.every("1d", LEAF, name="n")
        flow = until(lambda: schedule.last)
        schedule.cancel()
        gate.set()
        assert flow.result(timeout=30) == 3


# ---- a tick that is carried out twice, or not --------------------------------------------------------------


def test_a_tick_carried_out_again_after_the_death_of_its_worker_adds_nothing_twice(redis, until):
    fn.every("1d", LEAF, name="n")
    tick = in_another_life(redis, until)

    first = add_flow_of_tick(tick)
    redis.hdel("bull:flownb:every:n", "last", "last_due")  # as if the worker had died before it noted that
    second = add_flow_of_tick(tick)

    assert first == second
    assert len(added(redis)) == redis.llen("bull:leaves:wait") == 1


def test_a_flow_that_was_noted_and_not_stored_is_stored_by_the_next_worker(redis, until):
    fn.every("1d", LEAF, name="n")
    tick = in_another_life(redis, until)
    add_flow_of_tick(tick)
    fn.every(name="n").last.remove()  # as if the worker had died before it stored the flow

    add_flow_of_tick(tick)

    assert redis.llen("bull:leaves:wait") == 1


def test_a_tick_whose_next_one_could_not_be_stored_is_carried_out_again_and_the_schedule_goes_on(
    redis, until
):
    fn.every("1d", LEAF, name="n")
    with pytest.raises(fn.FlowError, match="the tick after this one of schedule 'n' is not stored yet"):
        add_flow_of_tick(job_of_tick(redis, due_of(redis)))

    assert added(redis) == []


def test_a_tick_that_the_server_refuses_says_why_and_the_next_one_comes(redis, until):
    fn.every("1d", LEAF, name="n")
    redis.set("bull:leaves:wait", "no list")
    with pytest.raises(ServerRefused):
        add_flow_of_tick(in_another_life(redis, until))
    assert "bull:leaves" in fn.every().loc[0, "why"]
    redis.delete("bull:leaves:wait")

    add_flow_of_tick(in_another_life(redis, until))

    assert fn.every().loc[0, ["why", "state"]].tolist() == ["", "waiting"]


def test_a_schedule_cancelled_while_its_tick_is_carried_out_leaves_no_key(redis, until, monkeypatch):
    schedule = fn.every("1d", LEAF, name="n")
    tick = in_another_life(redis, until)
    monkeypatch.setattr(ticks, "tick_name", lambda *_: schedule.cancel() or "n")  # before anything is noted

    add_flow_of_tick(tick)

    assert not redis.exists("bull:flownb:every:n")


def test_a_tick_waits_for_a_free_slot_and_what_it_missed_meanwhile_is_made_up_for_once(redis, until):
    gate = threading.Event()
    with fn.Worker("leaves", lambda job: gate.wait(60)):
        fn.every("1s", LEAF, name="n")
        until(lambda: redis.llen("bull:leaves:active"))
        until(lambda: now_of(redis) > added(redis)[0] + 4 * SECOND)
        opened = now_of(redis)
        gate.set()
        until(lambda: len(added(redis)) >= 4)

    assert sum(due <= opened for due in added(redis)) <= 2
    assert are_one_a_tick(added(redis))


def test_a_tick_yields_to_the_one_after_it_once_that_is_due(redis, until):
    fn.every("1d", LEAF, name="n")
    late = job_of_tick(redis, due_of(redis))
    move_tick(redis, due_of(redis) - 1)

    assert add_flow_of_tick(late) == {"left_out": "the tick after it is due, too"}
    assert added(redis) == []


def test_only_the_jobs_of_ticks_go_when_they_are_done(redis, until):
    @fn.task
    def one(x):
        return x

    with fn.workers(2):
        fn.fan_out([1, 2], one, name="rows").results(timeout=30)
        fn.every("1s", LEAF, name="n", overlap="allow")
        until(lambda: len(added_by(redis)) >= 2)
        fn.every(name="n").cancel()
        until(lambda: not redis.exists(f"{BATCHES}:active"))

    assert redis.zcard(f"{BATCHES}:completed") == 1
    assert fn.attach("rows").progress().completed


def added_by(redis):
    return [flow for flow in redis.zrange("bull:flownb:flows", 0, -1) if flow.startswith(b"every-")]
