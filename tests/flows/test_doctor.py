"""`doctor`: each damage to what is stored is named, what can be mended is, and what is well is never told of."""

from __future__ import annotations

import re
import threading

import pytest

import flownb as fn
from flownb.diagnosis import checkup
from flownb.wire import keys
from tests.support.invariants import violations

PARENT, ROWS = "bull:reports:top", [f"bull:rows:r{i}" for i in range(3)]
TREE = {
    "name": "report",
    "queueName": "reports",
    "opts": {"jobId": "top"},
    "children": [{"name": f"row-{i}", "queueName": "rows", "opts": {"jobId": f"r{i}"}} for i in range(3)],
}


@pytest.fixture
def flow(connection):
    return fn.add(TREE, name="report-nov")


@pytest.fixture
def half_way(flow, stage):
    """The flow with one row completed and one that runs."""
    done, _ = stage.take("rows", want=2)
    stage.finish(done, "completed", value='"one"')
    return flow


@pytest.fixture
def nobody_works(monkeypatch):
    """Where nothing moves, the second look may come at once."""
    monkeypatch.setattr(checkup, "_PAUSE_SECONDS", 0.0)


def look(**options):
    return list(fn.doctor(**options).itertuples(index=False, name=None))


# ---- damages that can be mended: what is done by hand -> what is told ---------------------------------------------


def lose_a_waiting_row(redis, flow):
    redis.delete(ROWS[2])


def stand_nowhere(redis, flow):
    redis.lrem("bull:rows:wait", 0, "r2")


def stand_nowhere_as_a_parent(redis, flow):
    redis.zrem("bull:reports:waiting-children", "top")


def stand_nowhere_as_an_ended_job(redis, flow):
    redis.zrem("bull:rows:completed", "r0")


def stand_twice(redis, flow):
    redis.lpush("bull:rows:wait", "r2")


def stand_twice_though_it_has_ended(redis, flow):
    redis.rpush("bull:rows:wait", "r0")


def stand_twice_while_it_runs(redis, flow):
    redis.rpush("bull:rows:wait", "r1")


def come_into_line_too_early(redis, flow):
    redis.zrem("bull:reports:waiting-children", "top")
    redis.lpush("bull:reports:wait", "top")


def wait_for_nothing(redis, flow):
    redis.delete(f"{PARENT}:dependencies")
    for row in ROWS[1:]:
        redis.hdel(row, "parentKey", "parent")


def lose_sight_of_a_row(redis, flow):
    redis.srem(f"{PARENT}:dependencies", ROWS[2])


def lose_a_value(redis, flow):
    redis.hdel(f"{PARENT}:processed", ROWS[0])


def wait_for_what_has_completed(redis, flow):
    redis.hdel(f"{PARENT}:processed", ROWS[0])
    redis.sadd(f"{PARENT}:dependencies", ROWS[0])


def lock_for_ever(redis, flow):
    redis.persist(f"{ROWS[1]}:lock")


def never_look_again(redis, flow):
    redis.set("bull:rows:stalled-check", "1")


def end_by_the_record_alone(redis, flow):
    redis.hset(keys.own("bull", "flow", flow._stored.id), mapping={"ended": "completed", "finished": "1"})


def stand_nowhere_and_in_no_count(redis, flow):
    stand_nowhere(redis, flow)
    redis.hincrby(keys.own("bull", "counts", flow._stored.id), "waiting@bull:rows", -1)


def miscount(redis, flow):
    redis.hincrby(keys.own("bull", "counts", flow._stored.id), "waiting@bull:rows", -1)
    redis.hincrby(keys.own("bull", "counts", flow._stored.id), "failed@bull:rows", 1)


def lose_the_counts(redis, flow):
    redis.delete(keys.own("bull", "counts", flow._stored.id))


def lose_the_counts_and_go_on(redis, flow):
    lose_the_counts(redis, flow)
    redis.hset(
        keys.own("bull", "counts", flow._stored.id), mapping={"waiting@bull:rows": -1, "active@bull:rows": 1}
    )


MENDED = {
    lose_a_waiting_row: ("rows:r2", "its id stands in wait, and its data are gone"),
    stand_nowhere: ("rows:r2", "it stands nowhere in its queue, so no worker ever takes it"),
    stand_nowhere_as_a_parent: ("reports:top", "it stands nowhere in its queue, so no worker ever takes it"),
    stand_nowhere_as_an_ended_job: ("rows:r0", "it has ended, and stands nowhere in its queue"),
    stand_twice: ("rows:r2", "it stands more than once in wait"),
    stand_twice_though_it_has_ended: ("rows:r0", "it stands in completed and wait"),
    stand_twice_while_it_runs: ("rows:r1", "it stands in wait and active"),
    come_into_line_too_early: ("reports:top", "it stands in wait before its children have ended"),
    wait_for_nothing: ("reports:top", "it waits for children, and none is left that has not ended"),
    lose_sight_of_a_row: ("rows:r2", "reports:top waits for its other children, and not for this one"),
    lose_a_value: ("rows:r0", "reports:top was not given its value"),
    wait_for_what_has_completed: ("reports:top", "it waits for rows:r0, which has ended"),
    lock_for_ever: ("rows:r1", "its lock does not run out: when its worker dies, nobody takes it over"),
    never_look_again: (
        "rows",
        "no worker looks for jobs whose worker died: the mark of the last look does not run out",
    ),
    end_by_the_record_alone: (
        "report-nov",
        "its record says that it has completed, and its root has not ended",
    ),
    miscount: (
        "report-nov",
        "its counts say 1 active, 1 waiting-children, 1 completed, 1 failed; "
        "its jobs are 1 waiting, 1 active, 1 waiting-children, 1 completed",
    ),
    stand_nowhere_and_in_no_count: (
        "rows:r2",
        "it stands nowhere in its queue, so no worker ever takes it",
    ),
    lose_the_counts: (
        "report-nov",
        "its counts are gone; its jobs are 1 waiting, 1 active, 1 waiting-children, 1 completed",
    ),
    lose_the_counts_and_go_on: (
        "report-nov",
        "its counts say -1 waiting, 1 active; "
        "its jobs are 1 waiting, 1 active, 1 waiting-children, 1 completed",
    ),
}


@pytest.mark.usefixtures("nobody_works")
@pytest.mark.parametrize("damage", MENDED, ids=lambda damage: damage.__name__)
def test_a_damage_is_named_and_mended_and_the_flow_ends(redis, stage, half_way, damage):
    assert look() == []
    damage(redis, half_way)
    before = stage.dump()

    told = look()

    assert stage.dump() == before
    assert MENDED[damage] in [row[:2] for row in told]
    assert all(fix.startswith("fix=True, or --fix, will ") for _, _, fix in told)
    mended = look(fix=True)
    assert sorted(row[:2] for row in mended) == sorted(row[:2] for row in told)
    assert all(fix.startswith("mended: ") for _, _, fix in mended)
    assert look() == []
    after = stage.dump()
    assert look(fix=True) == []
    assert stage.dump() == after
    if damage is not wait_for_nothing:
        redis.delete(f"{ROWS[1]}:lock")
        with fn.Worker(["rows", "reports"], lambda job: job.name, stalled_interval="0.1s", concurrency=2):
            assert half_way.result(timeout=30) == "report"
        assert violations(redis) == []


# ---- what a person has to decide ----------------------------------------------------------------------------------


def lose_a_part_of_a_row(redis, flow):
    redis.hdel(ROWS[2], "name")


def lose_the_root(redis, flow):
    redis.delete(PARENT)
    redis.zrem("bull:reports:waiting-children", "top")


def keep_the_end_of_an_earlier_run(redis, flow):
    redis.hset(ROWS[2], "finishedOn", "1")


def name_two_parents(redis, flow):
    redis.hset(ROWS[2], "parent", '{"id": "else", "queueKey": "bull:reports", "fpof": true}')


def hold_another_value(redis, flow):
    redis.hset(f"{PARENT}:processed", ROWS[0], '"won"')


def use_the_lines_key(redis, flow):
    redis.rename("bull:rows:wait", "elsewhere")
    redis.set("bull:rows:wait", "mine")


def use_a_jobs_key(redis, flow):
    redis.delete(ROWS[2])
    redis.set(ROWS[2], "mine")


def cut_a_retry_short(redis, flow):
    redis.delete(f"{PARENT}:dependencies")
    for row in ROWS[1:]:
        redis.hdel(row, "parentKey", "parent")
    redis.sadd(f"{PARENT}:dependencies", keys.seal("bull", flow._stored.id))


def lose_the_record(redis, flow):
    redis.delete(keys.own("bull", "flow", flow._stored.id))


def lose_a_part_of_the_record(redis, flow):
    redis.hdel(keys.own("bull", "flow", flow._stored.id), "root")


NOT_MENDED = {
    lose_the_record: (
        None,  # the flow's id
        "its record is gone, so no handle finds it",
        "set the server's maxmemory-policy to noeviction, and add the flow again",
    ),
    lose_a_part_of_the_record: (
        "report-nov",
        "its record is gone in part, so no handle finds it",
        "set the server's maxmemory-policy to noeviction, and add the flow again",
    ),
    lose_a_part_of_a_row: (
        "rows:r2",
        "its data are gone in part, its id stands in wait",
        "no worker runs it; set the server's maxmemory-policy to noeviction, and add it again",
    ),
    lose_the_root: (
        "report-nov",
        "its root is gone, which another program removed",
        "remove what is left of it: attach('report-nov').remove()",
    ),
    keep_the_end_of_an_earlier_run: (
        "rows:r2",
        "it stands in wait, and has ended by its own fields",
        "see what it came to, then take it away: Queue('rows').get_job('r2').remove()",
    ),
    name_two_parents: (
        "rows:r2",
        "its fields name different parents: bull:reports:top is in parentKey",
        "add its flow again: which is right cannot be told",
    ),
    hold_another_value: (
        "rows:r0",
        "reports:top holds another value than the one it returned",
        "add the flow again, with if_exists='rerun' where its jobs have ids of yours",
    ),
    use_the_lines_key: (
        "rows",
        "its key bull:rows:wait is a string, so no worker can use the queue, and it was not looked into",
        "rename that key out of the way, then run this again",
    ),
    use_a_jobs_key: (
        "rows:r2",
        "one of its keys has a type that no job's key has",
        "rename that key out of the way",
    ),
    cut_a_retry_short: (
        "reports:top",
        "it waits for a retry of many jobs that was cut short",
        "take it up again: attach('report-nov').retry()",
    ),
}


@pytest.mark.usefixtures("nobody_works")
@pytest.mark.parametrize("damage", NOT_MENDED, ids=lambda damage: damage.__name__)
def test_a_damage_that_a_person_must_mend_is_named_with_what_to_do(redis, stage, half_way, damage):
    damage(redis, half_way)
    before = stage.dump()

    told = look()

    job, *words = NOT_MENDED[damage]
    assert (job or half_way._stored.id, *words) in told
    if all("--fix" not in fix for _, _, fix in told):
        assert look(fix=True) == told
        assert stage.dump() == before


def test_what_is_left_of_a_flow_without_root_is_removed_as_it_says(redis, half_way):
    lose_the_root(redis, half_way)
    fn.attach("report-nov").remove()
    assert redis.keys("bull:flownb:flow:*") == []
    assert look() == []


# ---- parents that wait in vain, also of other programs -----------------------------------------------------------


def test_a_parent_whose_children_were_deleted_with_their_places_goes_on(redis, flow):
    for row in ROWS:
        redis.delete(row)
    redis.delete("bull:rows:wait")

    told = look()

    assert told[0] == (
        "reports:top",
        "it waits for rows:r0, rows:r1, rows:r2, which are gone",
        "fix=True, or --fix, will let it go on without them, as if a person had removed them",
    )
    look(fix=True)
    assert look() == []
    with fn.Worker("reports", lambda job: dict(job.get_children_values())):
        assert flow.result(timeout=30) == {}


def test_a_failed_child_that_its_parent_was_not_told_of_fails_it_up_to_the_root(redis, stage):
    flow = fn.add({"name": "all", "queueName": "tops", "children": [TREE]})
    (taken, *_) = stage.take("rows", want=3)
    job = taken.record.key
    redis.zadd("bull:rows:failed", {taken.record.id: 5})
    redis.lrem("bull:rows:active", 0, taken.record.id)
    redis.hset(job, mapping={"finishedOn": "5", "failedReason": "ValueError: no", "atm": "1"})
    redis.delete(f"{job}:lock")

    told = look()

    assert ("reports:top", f"it waits for rows:{taken.record.id}, which has ended") in [r[:2] for r in told]
    look(fix=True)
    assert flow.wait(timeout=10).state == "failed"
    with pytest.raises(fn.FlowFailed, match="all > report > row-0: ValueError: no"):
        flow.result(timeout=0)


def test_a_failure_that_means_nothing_to_its_parent_is_left_to_a_person(connection, redis):
    fn.FlowProducer().add(TREE, semantics="bullmq")

    def work(job):
        if job.id == "r1":
            raise ValueError("no")

    with fn.Worker("rows", work):
        while sum(fn.Queue("rows").get_job_counts()[state] for state in ("completed", "failed")) < 3:
            pass

    assert look(queue="rows") == [
        (
            "reports:top",
            "it waits for ever for rows:r1, which failed without a policy",
            "run it again with Queue('rows').get_job('r1').retry(), or let its parent go on without it: "
            "Queue('rows').get_job('r1').remove()",
        )
    ]
    fn.Queue("rows").get_job("r1").remove()
    assert look(queue="rows") == []
    assert fn.Queue("reports").get_job("top").get_state() == "waiting"


def test_jobs_of_another_program_whose_parent_or_place_is_gone_are_mended_as_bullmq_would(connection, redis):
    fn.FlowProducer().add(TREE, semantics="bullmq")
    redis.delete(ROWS[0])
    redis.lrem("bull:rows:wait", 0, "r0")
    redis.lrem("bull:rows:wait", 0, "r1")

    assert sorted(row[:2] for row in look(queue="reports")) == [
        ("reports:top", "it waits for rows:r0, which is gone"),
        ("rows:r1", "it stands nowhere in its queue, so no worker ever takes it"),
    ]
    look(queue="reports", fix=True)
    assert look(queue="reports") == []
    with fn.Worker(["rows", "reports"], lambda job: job.name):
        while fn.Queue("reports").get_job("top").get_state() != "completed":
            pass
    assert violations(redis, counts=False) == []


def test_a_parent_that_a_failed_child_lets_run_before_the_others_stands_rightly_in_line(redis, stage):
    children = [
        {**child, "opts": {**child["opts"], "continueParentOnFailure": True}} for child in TREE["children"]
    ]
    flow = fn.add({**TREE, "children": children})
    (taken,) = stage.take("rows")
    stage.fail(taken)
    assert redis.lrange("bull:reports:wait", 0, -1) == [b"top"]
    assert look() == []
    redis.rpush("bull:reports:wait", "top")
    look(fix=True)
    assert redis.lrange("bull:reports:wait", 0, -1) == [b"top"]
    with fn.Worker("reports", lambda job: job.name):
        assert flow.result(timeout=30) == "report"


def test_ids_with_colons_are_other_programs_own(redis, half_way):
    """BullMQ's schedulers make such jobs, and its Python client lets a user make them."""
    for id in ("repeat:tick:1700000000000", "a:b"):
        redis.hset(f"bull:rows:{id}", mapping={"name": "tick", "data": "{}", "opts": "{}", "timestamp": "1"})
    redis.zadd("bull:rows:delayed", {"repeat:tick:1700000000000": 1700000000000 * 4096})
    redis.lpush("bull:rows:wait", "a:b", "0:1700000000000")
    redis.sadd(f"{PARENT}:dependencies", "bull:rows:a:b")
    assert look() == []


def test_a_job_that_is_put_into_its_line_wakes_a_worker(redis, half_way):
    stand_nowhere(redis, half_way)
    redis.delete("bull:rows:marker")
    look(fix=True)
    assert redis.zscore("bull:rows:marker", "0") == 0


# ---- many flows ---------------------------------------------------------------------------------------------------


def rounds_of(redis, look_at):
    """How many commands and scripts the server was sent."""
    before = redis.info("commandstats")
    look_at()
    after = redis.info("commandstats")
    names = {"cmdstat_evalsha", "cmdstat_eval", "cmdstat_hgetall", "cmdstat_smembers", "cmdstat_zrange"}
    calls = {
        name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in names & after.keys()
    }
    return calls


@pytest.mark.usefixtures("nobody_works")
def test_of_many_flows_only_those_are_looked_at_one_by_one_with_which_something_is_wrong(connection, redis):
    some = {"children": [{"name": f"row-{i}", "queueName": "rows"} for i in range(2)]}
    few, many = 100, 400
    fn.FlowProducer().add_bulk([{"name": f"few-{i}", "queueName": "tops", **some} for i in range(few)])
    assert look() == []  # the scripts are loaded
    scripts = rounds_of(redis, look)["cmdstat_evalsha"]
    fn.FlowProducer().add_bulk(
        [{"name": f"more-{i}", "queueName": "tops", **some} for i in range(many - few)]
    )
    assert rounds_of(redis, look)["cmdstat_evalsha"] <= scripts * many / few < few

    (lost,) = redis.lrange("bull:rows:wait", 7, 7)
    redis.lrem("bull:rows:wait", 0, lost)
    assert look() == [
        (
            f"rows:{lost.decode()}",
            "it stands nowhere in its queue, so no worker ever takes it",
            "fix=True, or --fix, will put it where it belongs",
        )
    ]


def test_a_flow_that_is_removed_meanwhile_is_no_finding(connection, redis, monkeypatch):
    """What its second look does not find is gone for a reason."""
    flow = fn.add(TREE, name="report-nov")
    redis.hincrby(keys.own("bull", "counts", flow._stored.id), "waiting@bull:rows", -1)
    monkeypatch.setattr(checkup.time, "sleep", lambda seconds: flow.remove())
    assert look() == []


# ---- what is well -------------------------------------------------------------------------------------------------


def test_a_busy_fleet_is_never_told_of(connection, redis, until):
    """Retries, delays, failures, children at run time, cancels, removals, while it looks again and again."""

    def work(job):
        if job.name == "grow" and job.add_children([{"name": "late", "queueName": "rows"} for _ in range(3)]):
            return "grown"
        if job.name.endswith("3") and job.attempts_made == 0:
            raise ValueError("once")
        return job.name

    options = [
        {"priority": i % 3, "delay": 5 * (i % 7), "continueParentOnFailure": i % 5 == 0} for i in range(60)
    ]
    children = [
        {"name": f"row-{i}", "queueName": "rows", "opts": {"attempts": 1 + i % 2, **options[i]}}
        for i in range(60)
    ]
    grow = {"name": "grow", "queueName": "rows"}

    def add_and_steer():
        for n in range(16):
            flow = fn.add(
                {"name": "top", "queueName": "tops", "children": [*children, grow]}, name=f"flow-{n}"
            )
            if n % 4 == 1:
                flow.pause().resume()
            elif n % 4 == 2:
                flow.cancel()
            elif n % 4 == 3:
                flow.remove()
            if n % 4 < 3:
                flow.wait(timeout=60)

    steering, looks = threading.Thread(target=add_and_steer), 0
    with fn.Worker(["rows", "tops"], work, concurrency=8, stalled_interval="0.2s"):
        steering.start()
        while steering.is_alive() or looks < 3:
            looks += 1
            assert look() == []
    steering.join()
    assert look() == []


def test_a_mend_during_the_run_disturbs_nobody(connection, redis, until):
    flow = fn.add(
        {
            "name": "sum",
            "queueName": "tops",
            "children": [{"name": f"r{i}", "queueName": "rows", "data": i} for i in range(400)],
        }
    )
    lost = redis.lindex("bull:rows:wait", 5).decode()
    redis.lrem("bull:rows:wait", 0, lost)
    runs = []

    def work(job):
        runs.append(job.id)
        return job.data

    with (
        fn.Worker("rows", work, concurrency=4),
        fn.Worker("tops", lambda job: sum(job.get_children_values().values())),
    ):
        assert [row[0] for row in look(fix=True)] == [f"rows:{lost}"]
        assert flow.result(timeout=30) == sum(range(400))
    assert len(runs) == len(set(runs)) == 400
    assert look() == []
    assert violations(redis) == []


def test_what_other_programs_left_to_a_worker_of_flownbs_is_told_only_when_there_is_none(
    redis, peer, stage, until
):
    """A shared job that BullMQ's worker ended: its further parent is told by any worker of flownb's."""
    shared = fn.Node("shared", "shared-rows")
    fn.add(
        fn.Node(
            "top",
            "tops",
            children=[fn.Node("a", "mids", children=[shared]), fn.Node("b", "mids", children=[shared])],
        )
    )
    peer.work("shared-rows", lambda job: 7)
    until(lambda: redis.zcard("bull:shared-rows:completed") == 1)

    (told,) = look()
    assert told[1].endswith("which has ended")
    stage.serve("elsewhere")
    assert look() == []
    redis.delete("bull:flownb:served")
    look(fix=True)
    assert look() == []
    assert redis.zcard("bull:mids:waiting-children") == 0


def test_a_shared_job_that_another_program_removed_fails_its_further_parent_as_its_policy_says(redis, stage):
    shared = fn.Node("shared", "rows", opts={"jobId": "s"})
    above = [fn.Node(name, "mids", opts={"jobId": name}, children=[shared]) for name in ("a", "b")]
    flow = fn.add(fn.Node("top", "tops", children=above))
    redis.delete("bull:rows:s", "bull:rows:wait", "bull:mids:a", "bull:mids:a:dependencies")
    redis.zrem("bull:mids:waiting-children", "a")

    assert ("mids:b", "it waits for rows:s, which has ended") in [row[:2] for row in look()]
    look(fix=True)
    assert look() == []
    assert redis.hget("bull:mids:b", "failedReason") == b"child bull:rows:s was removed by another program"
    assert flow.wait(timeout=10).state == "failed"


def test_a_further_parent_is_told_and_its_flow_counts_it(redis, stage):
    shared = fn.Node("shared", "rows", opts={"jobId": "s"})
    fn.add(fn.Node("one", "tops", children=[shared]))
    two = fn.add(fn.Node("two", "tops", opts={"jobId": "two"}, children=[shared]))
    stage.take("rows")
    redis.lrem("bull:rows:active", 0, "s")
    redis.hset("bull:rows:s", mapping={"finishedOn": "5", "returnvalue": "7", "atm": "1"})
    redis.zadd("bull:rows:completed", {"s": 5})

    stage.store.repair.children([("bull:tops:two", "bull:rows:s")])

    assert redis.hgetall("bull:tops:two:processed") == {b"bull:rows:s": b"7"}
    counts = {"waiting@bull:tops": 1, "waiting@bull:rows": 0, "waiting-children@bull:tops": 0}
    assert stage.store.flows.read_job_counts(two._stored.id) == {**counts, "completed@bull:rows": 1}
    assert redis.hlen("bull:flownb:shared") == 0


def test_a_parent_that_waits_for_none_and_was_failed_by_one_fails(redis, stage, half_way):
    wait_for_nothing(redis, half_way)
    redis.hset(ROWS[1], mapping={"failedReason": "ValueError: no"})
    redis.zadd(f"{PARENT}:unsuccessful", {ROWS[1]: 1})
    look(fix=True)
    assert redis.hget(PARENT, "failedReason") == b"child bull:rows:r1 failed"
    assert half_way.wait(timeout=10).state == "failed"


def test_counts_of_which_one_has_moved_since_are_left_alone(redis, stage, half_way):
    was = stage.store.flows.read_job_counts(half_way._stored.id)
    stage.store.repair.flow(
        "bull:reports", half_way._stored.id, {**was, "waiting@bull:rows": 9}, {"waiting@bull:rows": 5}
    )
    stage.store.repair.flow(
        "bull:reports", half_way._stored.id, {}, {"waiting@bull:rows": 5}
    )  # they were gone then
    assert stage.store.flows.read_job_counts(half_way._stored.id) == was


def test_a_flow_that_goes_on_is_removed_after_its_end_all_the_same(redis, connection):
    flow = fn.add({**TREE, "opts": {"jobId": "top", "removeOnComplete": True}}, name="gone-soon")
    end_by_the_record_alone(redis, flow)
    redis.delete("bull:flownb:tidy")
    look(fix=True)
    assert redis.zrange("bull:flownb:tidy", 0, -1) == [flow._stored.id.encode()]


# ---- how it is asked ----------------------------------------------------------------------------------------------


def test_it_is_a_frame_of_text_and_reads_only(redis, half_way, connection):
    frame = fn.doctor()
    assert list(frame.columns) == ["job", "what", "fix"]
    assert frame.dtypes.astype(str).tolist() == ["object"] * 3
    redis.lrem("bull:rows:wait", 0, "r2")

    with fn.Connection(redis, read_only=True) as reading:
        assert fn.doctor(connection=reading).job.tolist() == ["rows:r2"]
        with pytest.raises(fn.ReadOnly):
            fn.doctor(fix=True, connection=reading)


def test_who_meets_a_key_of_another_type_is_sent_here(redis, half_way):
    redis.rename("bull:rows:wait", "elsewhere")
    redis.set("bull:rows:wait", "mine")
    with pytest.raises(
        fn.ServerRefused, match=r"another type than it should; doctor\(\) says more: .*rows:wait"
    ):
        half_way.explain()


def test_a_queue_alone_is_looked_at_with_what_belongs_to_it(redis, half_way):
    fn.add({"name": "other", "queueName": "others", "opts": {"jobId": "x"}})
    redis.lrem("bull:others:wait", 0, "x")
    redis.lrem("bull:rows:wait", 0, "r2")
    assert [row[0] for row in look(queue="reports")] == ["rows:r2"]
    assert [row[0] for row in look(queue="others")] == ["others:x"]
    assert sorted(row[0] for row in look()) == ["others:x", "rows:r2"]


def test_a_queue_that_cannot_be_is_refused(connection):
    with pytest.raises(fn.FlowError, match=re.escape("queue 'a:b': the name must not hold a colon")):
        fn.doctor("a:b")


def test_a_queue_of_a_newer_bullmq_is_looked_at_and_not_mended(redis, half_way, server_folder):
    redis.hset("bull:rows:meta", "version", "bullmq:7.0.0")
    redis.lrem("bull:rows:wait", 0, "r2")
    with fn.Connection(path=server_folder) as fresh:
        ((job, _, fix),) = look(fix=True, connection=fresh)
    assert job == "rows:r2"
    assert fix.startswith("not mended: queue 'rows' belongs to BullMQ 7.0.0")
