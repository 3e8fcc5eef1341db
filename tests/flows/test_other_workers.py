"""flownb's flows beside another program's clients: what those do not know is made up for, once."""

from __future__ import annotations

import pytest

import flownb as fn
from flownb.api.job import store_of


def two_parents(policy=None):
    """A root over two parents that share one job."""
    paid = fn.Node("paid", "paid", {}, {"jobId": "paid-1", **(policy or {})})
    parents = [fn.Node(name, name, children=[paid], opts={"jobId": f"{name}-1"}) for name in ("ship", "bill")]
    return fn.add(fn.Node("order", "orders", children=parents, opts={"jobId": "order-1"}))


async def remove(queue, id):
    from bullmq import Job

    job = await Job.fromId(queue, id)
    await job.remove()


def test_a_shared_job_that_went_with_one_parent_fails_the_other_with_a_reason(peer, redis, until):
    flow = two_parents()
    peer.on_queue("bill", lambda queue: remove(queue, "bill-1"))
    assert not redis.exists("bull:paid:paid-1"), "another client's remove() takes the children along"

    assert flow.state == "waiting-children", "a reader tells nobody"
    assert flow.wait(timeout=30).state == "failed"
    job = fn.Queue("ship").get_job("ship-1")
    assert job.failed_reason == "child bull:paid:paid-1 was removed by another program"
    with pytest.raises(fn.FlowFailed):
        flow.result(timeout=30)
    assert not redis.exists("bull:flownb:shared", "bull:flownb:parents:bull:paid:paid-1")


def test_a_parent_that_can_do_without_goes_on(peer, redis, until):
    flow = two_parents({"ignoreDependencyOnFailure": True})
    peer.on_queue("bill", lambda queue: remove(queue, "bill-1"))

    with (
        fn.Worker("ship", lambda job: job.get_ignored_children_failures()),
        fn.Worker("orders", lambda job: 1),
    ):
        assert flow.result(timeout=30) == 1
    shipped = fn.Queue("ship").get_job("ship-1").returnvalue
    assert shipped == {"paid:paid-1": "the job was removed by another program"}


def test_shared_jobs_are_listed_until_they_end(redis):
    flow = two_parents()
    listed = redis.hgetall("bull:flownb:shared")
    assert listed in (
        {b"bull:paid:paid-1": f"fpof bull:{name}:{name}-1".encode()} for name in ("ship", "bill")
    )

    with fn.Worker(["paid", "ship", "bill", "orders"], lambda job: 1):
        flow.result(timeout=30)
    assert not redis.exists("bull:flownb:shared")


def test_a_shared_job_that_is_retried_is_listed_again(peer, redis, until):
    flow = two_parents()
    with fn.Worker("paid", lambda job: 1 / 0):
        flow.wait(timeout=30)
    assert not redis.exists("bull:flownb:shared")

    flow.retry()
    assert redis.hlen("bull:flownb:shared") == 1
    peer.work("paid", lambda job: 5)
    with (
        fn.Worker(["ship", "bill"], lambda job: job.get_children_values()["paid:paid-1"]),
        fn.Worker("orders", lambda job: sum(job.get_children_values().values())),
    ):
        assert flow.result(timeout=30) == 10


def test_being_told_twice_changes_nothing(peer, connection, redis, until):
    flow = two_parents()
    peer.work("paid", lambda job: 5)
    until(lambda: redis.zscore("bull:paid:completed", "paid-1"))
    peer.rest()
    _, store = store_of(connection)
    listed = redis.hgetall("bull:flownb:shared")

    assert store.shared.notify_some()[1] == 1
    redis.hset("bull:flownb:shared", mapping=listed)
    before = _everything(redis)
    assert store.shared.notify_some()[1] == 0
    assert _everything(redis) == {key: dump for key, dump in before.items() if key != b"bull:flownb:shared"}

    with fn.Worker(["ship", "bill", "orders"], lambda job: 1):
        flow.result(timeout=30)


def test_a_doomed_parent_fails_once_and_its_end_is_noted_once(peer, connection, redis, until):
    flow = fn.add(
        {"name": "top", "queueName": "tops", "children": [{"name": "low", "queueName": "lows", "data": {}}]}
    )
    peer.work("lows", raise_error)
    until(lambda: redis.llen("bull:tops:wait") and not redis.llen("bull:lows:active"))
    peer.rest()
    root = f"bull:tops:{flow.job.id}"
    _, store = store_of(connection)

    assert store.missed_writes.fail_deferred_parents([root]) == 1
    before = _everything(redis)
    assert store.missed_writes.fail_deferred_parents([root]) == 0
    store.missed_writes.write_flow_end(root)
    assert _everything(redis) == before
    assert redis.hget(f"bull:flownb:flow:{flow._stored.id}", "cause").startswith(b"bull:lows:")


def raise_error(job):
    raise ValueError("no")


def test_a_parent_that_runs_is_left_alone(connection, redis):
    flow = fn.add({"name": "top", "queueName": "tops", "children": [{"name": "low", "queueName": "lows"}]})
    root = f"bull:tops:{flow.job.id}"
    redis.hset(root, "defa", "child x failed")
    redis.zadd(f"{root}:unsuccessful", {"x": 1})
    redis.zrem("bull:tops:waiting-children", flow.job.id)
    redis.lpush("bull:tops:active", flow.job.id)
    before = _everything(redis)

    assert store_of(connection)[1].missed_writes.fail_deferred_parents([root]) == 0
    assert _everything(redis) == before


def test_the_end_of_what_has_not_ended_is_not_noted(connection, redis):
    flow = fn.add({"name": "top", "queueName": "tops"})
    before = _everything(redis)

    store_of(connection)[1].missed_writes.write_flow_end(f"bull:tops:{flow.job.id}")
    store_of(connection)[1].missed_writes.write_flow_end("bull:tops:nobody")
    assert _everything(redis) == before


def test_a_flow_that_only_flownb_ran_is_not_walked(connection, redis, monkeypatch):
    """Counts stay one read, however large the flow, as long as nobody else had a job of it."""
    from flownb.state import counting

    monkeypatch.setattr(counting, "count", lambda *_: pytest.fail("it was walked"))
    rows = [{"name": f"row-{i}", "queueName": "rows", "data": {"i": i}} for i in range(300)]
    flow = fn.add({"name": "top", "queueName": "tops", "children": rows})
    with fn.Worker("rows", lambda job: 1 / (job.data["i"] - 7), concurrency=4):
        while flow.progress().failed == 0:
            assert flow.progress().total == 301
        flow.retry()
        flow.wait(timeout=30)
        assert flow.progress().total == 301
    assert flow.progress().fraction == 1


def test_rows_that_others_ran_stay_in_their_order(peer, until):
    names = [f"row-{i}" for i in range(12)]
    rows = [{"name": name, "queueName": "rows", "data": {}} for name in names]
    flow = fn.add({"name": "top", "queueName": "tops", "children": rows})
    peer.work("rows", lambda job: 1)

    until(lambda: flow.progress().completed == 12)
    assert list(flow.jobs()["name"]) == ["top", *names]


def test_a_seal_is_not_taken_for_a_child(peer, redis, until):
    flow = fn.add(
        {
            "name": "top",
            "queueName": "tops",
            "children": [{"name": "low", "queueName": "lows"}, {"name": "late", "queueName": "late"}],
        }
    )
    peer.work("lows", lambda job: 1)
    until(lambda: flow.progress().completed == 1)
    redis.sadd(
        f"bull:tops:{flow.job.id}:dependencies", f"bull:flownb:seal:{flow._stored.id}"
    )  # as of a retry that was cut short
    redis.config_resetstat()

    assert flow.progress().total == 3
    assert "cmdstat_sscan" not in redis.info("commandstats"), "the tree is not gone through again"


def _everything(redis):
    return {key: redis.dump(key) for key in redis.scan_iter()}


# ---- what another program puts back ---------------------------------------------------------------------------------


async def retry(queue, id):
    from bullmq import Job

    job = await Job.fromId(queue, id)
    await job.retry()


def failed_once(**more):
    """A flow of one job that has failed, and what its worker calls: that succeeds from the second time on."""
    runs = []

    def run(job):
        runs.append(job.id)
        if len(runs) == 1:
            raise ValueError("no money")
        return 7

    flow = fn.add({"name": "top", "queueName": "tops", "opts": {"jobId": "top-1", **more}})
    with fn.Worker("tops", run):
        assert flow.wait(timeout=30).state == "failed"
    return flow, run


def test_a_root_that_another_program_retries_and_our_worker_completes_has_completed_for_all(peer):
    flow, run = failed_once()
    peer.on_queue("tops", lambda queue: retry(queue, "top-1"))
    assert flow.state == "waiting"

    with fn.Worker("tops", run):
        assert flow.result(timeout=30) == 7
    assert (flow.state, fn.attach("tops:top-1").state) == ("completed", "completed")
    assert fn.flows()[["state", "why"]].values.tolist() == [["completed", ""]]
    assert flow.explain().empty


def test_a_retry_by_another_program_that_nobody_watched_is_written_by_the_worker(peer, redis, until):
    flow, run = failed_once()
    peer.on_queue("tops", lambda queue: retry(queue, "top-1"))
    with fn.Worker("tops", run):
        until(lambda: redis.zscore("bull:tops:completed", "top-1"))

    record = redis.hgetall(f"bull:flownb:flow:{flow._stored.id}")
    assert (record[b"ended"], record[b"finished"]) == (
        b"completed",
        redis.hget("bull:tops:top-1", "finishedOn"),
    )
    assert b"cause" not in record


def test_a_root_that_another_program_retries_and_that_fails_again_says_why_it_failed_now(peer):
    flow, _ = failed_once()
    peer.on_queue("tops", lambda queue: retry(queue, "top-1"))

    with fn.Worker("tops", lambda job: {}["rate"]), pytest.raises(fn.FlowFailed, match="KeyError"):
        flow.result(timeout=30)


def test_doctor_finds_an_end_that_another_program_has_undone_and_writes_the_roots_own(peer, redis, until):
    flow, run = failed_once()
    peer.on_queue("tops", lambda queue: retry(queue, "top-1"))
    record = f"bull:flownb:flow:{flow._stored.id}"
    told = redis.hgetall(record)
    with fn.Worker("tops", run):
        until(lambda: redis.zscore("bull:tops:completed", "top-1"))
    redis.delete(record)
    redis.hset(record, mapping=told)  # as another program's worker would have left it

    found = fn.doctor(fix=True)
    assert "its record says that it has failed, and its root has ended anew since" in found["what"].tolist()
    assert all(fix.startswith("mended: ") for fix in found["fix"])
    assert redis.hget(record, "ended") == b"completed"
    assert fn.doctor().empty


def test_a_flow_that_goes_when_it_fails_stays_while_another_program_runs_it_again(peer, redis, until):
    flow, run = failed_once(removeOnFail=True)
    peer.on_queue("tops", lambda queue: retry(queue, "top-1"))
    redis.zadd("bull:flownb:tidy", {flow._stored.id: 0})
    due = redis.zscore("bull:flownb:tidy", flow._stored.id)

    with fn.Worker("elsewhere", print, stalled_interval=0.1):
        until(lambda: redis.zscore("bull:flownb:tidy", flow._stored.id) != due)
    assert redis.hget(f"bull:flownb:flow:{flow._stored.id}", "ended") is None
    with fn.Worker("tops", run):
        assert flow.result(timeout=30) == 7


def test_a_flow_whose_children_another_program_drained_says_so(peer):
    loads = [{"name": f"load-{n}", "queueName": "loads"} for n in range(3)]
    flow = fn.add({"name": "top", "queueName": "tops", "children": loads})
    peer.on_queue("loads", lambda queue: queue.drain())

    without = "completed without 3 children: another program removed them"
    with (
        fn.Worker("tops", lambda job: len(job.get_children_values())),
        pytest.warns(UserWarning, match=without),
    ):
        assert flow.result(timeout=30) == 0
    assert without in flow.explain().loc[0, "why"]


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_child_that_was_removed_on_purpose_is_no_news(redis):
    loads = [{"name": f"load-{n}", "queueName": "loads"} for n in range(2)]
    flow = fn.add({"name": "top", "queueName": "tops", "children": loads})
    fn.Queue("loads").get_jobs("waiting")[0].remove()

    with fn.Worker(["loads", "tops"], lambda job: len(job.get_children_values())):
        assert flow.result(timeout=30) == 1
    assert flow.explain().empty
