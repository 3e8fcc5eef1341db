"""Shows ``removeOnComplete`` and ``removeOnFail``: a flow goes after its end, never before, and never turns a failure into a success."""

from __future__ import annotations

import threading

import pytest

import flownb as fn

pytestmark = pytest.mark.every_server

GRACE_MS = 10_000


def tree(*children, name="total", queue="totals", **opts):
    return {"name": name, "queueName": queue, "opts": opts, "children": list(children)}


def row(name="row", *children, queue="rows", **opts):
    return {"name": name, "queueName": queue, "opts": opts, "children": list(children)}


def values(job):
    return list(job.get_children_values().values())


def broken(job):
    raise ValueError(f"{job.name} is broken")


class Cleaner:
    """A worker that looks for what is due ten times a second, and a way to make it due."""

    def __init__(self, redis, until):
        self.redis = redis
        self.until = until

    def due_now(self, earlier_ms=GRACE_MS):
        """Let time pass: what was due in ten seconds is due now."""
        for flow, due in self.redis.zrange("bull:flownb:tidy", 0, -1, withscores=True):
            self.redis.zadd("bull:flownb:tidy", {flow: due - earlier_ms})

    def clean(self):
        """Let a worker remove all that is due."""
        now = self.redis.time()[0] * 1000
        with fn.Worker("nobody", lambda job: None, stalled_interval=0.1):
            self.until(lambda: not self.redis.zcount("bull:flownb:tidy", 0, now))
            # what is claimed is due again in a minute, unless it is done
            self.until(lambda: not any(map(self._has_ended, self._due_by(now + 3_000_000))))

    def _due_by(self, ms):
        return self.redis.zrangebyscore("bull:flownb:tidy", 0, ms)

    def _has_ended(self, flow):
        return self.redis.hexists(b"bull:flownb:flow:" + flow, "ended")


@pytest.fixture
def cleaner(redis, until):
    return Cleaner(redis, until)


def job_keys(redis):
    """Return every key that belongs to some job or flow."""
    queue_keys = (b"id", b"meta", b"events", b"marker", b"pc", b"stalled-check")
    return sorted(
        key
        for key in redis.scan_iter()
        if key.rsplit(b":", 1)[-1] not in queue_keys and key != b"bull:flownb:served"
    )


def run(flow, *, rows=lambda job: 7, totals=values):
    with fn.Worker("rows", rows), fn.Worker("totals", totals):
        return flow.wait(timeout=30)


# ---- the root's: the whole flow -----------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["removeOnComplete", "removeOnFail"])
def test_r13_a_flow_goes_with_all_its_keys_after_its_end(redis, cleaner, option):
    flow = fn.add(tree(row("row", row("below"), jobId="r1"), **{option: True}), name="mine")
    run(flow, totals=values if option == "removeOnComplete" else broken)
    assert redis.exists(f"bull:totals:{flow.job.id}")  # for whoever waits
    cleaner.due_now()
    cleaner.clean()
    assert job_keys(redis) == []
    with pytest.raises(fn.JobMissing):
        fn.attach("mine")


@pytest.mark.parametrize(("option", "rows"), [("removeOnComplete", broken), ("removeOnFail", lambda job: 1)])
def test_an_end_of_the_other_kind_keeps_the_flow(redis, cleaner, option, rows):
    flow = fn.add(tree(row(), **{option: True}))
    state = run(flow, rows=rows).state
    cleaner.due_now()
    cleaner.clean()
    assert (flow.state, flow.progress().total) == (state, 2)


def test_a_waiting_handle_has_the_value_and_keeps_it_when_the_flow_is_gone(cleaner):
    flow = fn.add(tree(row(), removeOnComplete=True))
    assert run(flow).result() == [7]
    other = fn.attach(f"totals:{flow.job.id}")
    cleaner.due_now()
    cleaner.clean()
    assert flow.result() == [7]
    with pytest.raises(fn.JobMissing, match="not on this server any more; its data were removed"):
        other.result(timeout=5)


def test_a_waiting_handle_has_the_failure_and_keeps_it_when_the_flow_is_gone(cleaner):
    flow = fn.add(tree(row(), removeOnFail=True))
    run(flow, rows=broken)
    cleaner.due_now()
    cleaner.clean()
    for _ in range(2):
        with pytest.raises(fn.FlowFailed, match="total > row: ValueError: row is broken"):
            flow.result()


def test_a_count_keeps_the_newest_flows_of_the_roots_queue(cleaner):
    def flow_named(name):
        flow = fn.add(tree(row(), name=name, removeOnComplete=2), name=name)
        run(flow)
        cleaner.due_now()
        cleaner.clean()

    other = fn.add(tree(row(), name="kept"), name="kept")
    run(other)
    for n in range(4):
        flow_named(f"f{n}")
    for gone in ("f0", "f1"):
        with pytest.raises(fn.JobMissing):
            fn.attach(gone)
    assert [fn.attach(name).result(timeout=5) for name in ("f2", "f3", "kept")] == [[7]] * 3


def test_a_flow_removed_by_hand_is_not_counted_among_those_kept(redis, cleaner):
    for name in ("a", "b"):
        run(fn.add(tree(row(), removeOnComplete=2), name=name))
        cleaner.due_now()
        cleaner.clean()
    fn.attach("b").remove()
    run(fn.add(tree(row(), removeOnComplete=2), name="c"))
    cleaner.due_now()
    cleaner.clean()
    assert fn.attach("a").state == "completed"
    fn.attach("a").remove()
    fn.attach("c").remove()
    assert job_keys(redis) == []


def test_an_age_removes_the_flow_when_it_is_over(redis, cleaner):
    flow = fn.add(tree(row(), removeOnComplete={"age": 3600}))
    run(flow)
    cleaner.due_now()
    cleaner.clean()
    [(_, due)] = redis.zrange("bull:flownb:tidy", 0, -1, withscores=True)
    finished = int(redis.hget(f"bull:totals:{flow.job.id}", "finishedOn"))
    assert due == finished + 3_600_000
    redis.hset(f"bull:totals:{flow.job.id}", "finishedOn", finished - 3_600_000)
    cleaner.due_now(3_600_000)
    cleaner.clean()
    assert job_keys(redis) == []


def test_a_cancelled_flow_goes_as_a_failed_one(redis, cleaner):
    flow = fn.add(tree(row(), removeOnFail=True))
    flow.cancel()
    cleaner.due_now()
    cleaner.clean()
    assert job_keys(redis) == []


def test_a_failed_flow_stays_while_jobs_of_it_run(redis, cleaner):
    go_on, started = threading.Event(), threading.Event()

    def work(job):
        if job.name == "bad":
            assert started.wait(20)
            raise ValueError("broken")
        started.set()
        assert go_on.wait(20)

    flow = fn.add(tree(row("slow"), row("bad"), removeOnFail=True))
    with fn.Worker("rows", work, concurrency=2, stalled_interval=0.1):
        assert flow.wait(timeout=20).state == "failed"
        cleaner.due_now()
        cleaner.until(lambda: redis.zscore("bull:flownb:tidy", flow._stored.id) > redis.time()[0] * 1000)
        assert flow.progress().total == 3
        go_on.set()
        cleaner.until(lambda: flow.progress().active == 0)
    cleaner.due_now(100_000)
    cleaner.clean()
    assert job_keys(redis) == []


def test_a_retried_flow_is_not_removed(redis, cleaner):
    flow = fn.add(tree(row(), removeOnFail=True, removeOnComplete={"count": 5}))
    run(flow, rows=broken)
    flow.retry()
    cleaner.due_now(60_000)
    cleaner.clean()
    assert run(flow).result() == [7]


def test_a_flow_that_was_kept_is_looked_after_again_when_it_runs_again(redis, cleaner):
    flow = fn.add(tree(row(), removeOnFail=5))
    run(flow, rows=broken)
    cleaner.due_now()
    cleaner.clean()
    assert not redis.zcard("bull:flownb:tidy")
    flow.retry()  # from here on another program's worker may run it
    assert redis.zrange("bull:flownb:tidy", 0, -1) == [flow._stored.id.encode()]


def test_a_flow_without_such_options_is_not_looked_after(redis):
    run(fn.add(tree(row())))
    assert not redis.exists("bull:flownb:tidy")


def test_a_flow_whose_root_another_program_removed_is_forgotten(redis, cleaner):
    flow = fn.add(tree(row(), removeOnComplete=True))
    redis.delete(f"bull:totals:{flow.job.id}")
    cleaner.due_now(60_000)
    with fn.Worker("nobody", lambda job: None, stalled_interval=0.1):
        cleaner.until(lambda: not redis.exists("bull:flownb:tidy"))


def test_what_another_flow_uses_stays(cleaner):
    shared = row("s", jobId="s1")
    one, two = fn.add(tree(shared, removeOnComplete=True)), fn.add(tree(shared, name="two", queue="idle"))
    run(one)
    cleaner.due_now()
    cleaner.clean()
    with fn.Worker("idle", values):
        assert two.result(timeout=20) == [7]


# ---- those of other jobs ------------------------------------------------------------------------------------


def test_s20_a_child_goes_after_the_root_has_ended_and_its_value_reaches_the_parent(redis, cleaner):
    flow = fn.add(tree(row(jobId="r1", removeOnComplete=True), row(jobId="r2")))
    with fn.Worker("rows", lambda job: 7):
        cleaner.until(lambda: flow.progress().completed == 2)
    cleaner.clean()
    assert fn.Queue("rows").get_job("r1") is not None  # the root has not ended
    assert run(flow).result() == [7, 7]
    cleaner.due_now()
    cleaner.clean()
    assert fn.Queue("rows").get_job("r1") is None
    assert fn.Queue("rows").get_job("r2") is not None
    assert list(flow.job.get_children_values().values()) == [7, 7]
    assert (flow.state, flow.progress().fraction) == ("completed", 1.0)
    flow.remove()
    assert job_keys(redis) == []


def test_s20_a_removed_failure_stays_a_failure(cleaner):
    flow = fn.add(tree(row(removeOnFail=True, jobId="r1"), row()))
    run(flow, rows=lambda job: broken(job) if job.id == "r1" else 7)
    cleaner.due_now()
    cleaner.clean()
    assert fn.Queue("rows").get_job("r1") is None
    assert flow.state == "failed"
    with pytest.raises(fn.FlowFailed, match="row is broken"):
        flow.result()


def test_a_count_of_children_keeps_the_newest_of_their_queue(cleaner):
    ran = []
    flow = fn.add(tree(*[row(f"r{n}", removeOnComplete=3) for n in range(8)]))
    run(flow, rows=lambda job: ran.append(job.name))
    cleaner.due_now()
    cleaner.clean()
    assert len(fn.Queue("rows").get_jobs("completed")) == 3
    assert flow.progress().completed == 4


def test_a_removed_child_takes_what_is_below_it_along(redis, cleaner):
    flow = fn.add(tree(row("mid", row("leaf"), removeOnComplete=True)))
    run(flow)
    cleaner.due_now()
    cleaner.clean()
    assert [key for key in job_keys(redis) if key.startswith(b"bull:rows:")] == []
    flow.remove()
    assert job_keys(redis) == []


def test_children_added_at_run_time_go_too(redis, cleaner):
    def total(job):
        return job.add_children([row(jobId="added", removeOnComplete=True)])

    flow = fn.add(tree())
    assert run(flow, totals=total).result() == [7]
    cleaner.due_now()
    cleaner.clean()
    assert fn.Queue("rows").get_job("added") is None
    assert flow.state == "completed"
    flow.remove()
    assert job_keys(redis) == []


def test_a_flow_that_other_programs_workers_ran_goes_once_a_handle_has_seen_its_end(peer, redis, cleaner):
    flow = fn.add(tree(row(removeOnComplete=True), row(), removeOnComplete=True))
    peer.work("rows", lambda job: 7)
    peer.work("totals", lambda job: "done")
    assert flow.result(timeout=30) == "done"
    cleaner.due_now()
    cleaner.clean()
    assert [key for key in job_keys(redis) if not key.endswith(b":stalled")] == []


# ---- cost and others ----------------------------------------------------------------------------------------


def test_node_does_not_see_the_option_so_it_cannot_remove_a_job_early(redis):
    flow = fn.add(tree(row(removeOnComplete=True, jobId="r1"), removeOnFail=5))
    assert flow.job.opts == {"attempts": 0}
    assert fn.Queue("rows").get_job("r1").opts == {"attempts": 0}


def test_a_flow_that_asks_for_no_removal_leaves_no_trace_of_it(redis):
    run(fn.add(tree(row())))
    assert not redis.exists("bull:flownb:tidy")
    assert not redis.hexists(next(redis.scan_iter("bull:flownb:flow:*")), "tidy")


def test_a_flow_of_a_thousand_jobs_goes_too(redis, cleaner):
    flow = fn.add(tree(*[row() for _ in range(1_500)], removeOnComplete=True))
    with fn.Worker("rows", lambda job: 1, concurrency=8), fn.Worker("totals", lambda job: 1):
        flow.wait(timeout=60)
    cleaner.due_now()
    cleaner.clean()
    assert job_keys(redis) == []


# ---- jobs of their own: at once, as in BullMQ ---------------------------------------------------------------


def serve(until, queue, function, jobs):
    ended = []
    events = fn.QueueEvents(queue, last_event_id="0").on("completed", ended.append).on("failed", ended.append)
    with events, fn.Worker(queue, function):
        until(lambda: len(ended) == jobs)


@pytest.mark.parametrize("option", ["removeOnComplete", "removeOnFail"])
def test_a_job_of_its_own_is_gone_at_once(redis, until, option):
    queue = fn.Queue("alone")
    job = queue.add("j", opts={option: True})
    assert job.opts == {"attempts": 0, option: True}
    serve(until, "alone", broken if option == "removeOnFail" else lambda job: 7, 1)
    assert job_keys(redis) == []


def test_of_jobs_of_their_own_so_many_are_kept(until):
    queue = fn.Queue("alone")
    for n in range(6):
        queue.add(f"j{n}", opts={"removeOnComplete": 2})
    serve(until, "alone", lambda job: None, 6)
    assert len(queue.get_jobs("completed")) == 2  # of one millisecond any: see tests/wire/test_keep.py


def test_of_jobs_of_their_own_the_old_ones_go(redis, until):
    queue = fn.Queue("alone")
    old = queue.add("old")
    serve(until, "alone", lambda job: None, 1)
    redis.zadd("bull:alone:completed", {old.id: 1000})
    queue.add("new", opts={"removeOnComplete": {"age": 60}})
    serve(until, "alone", lambda job: None, 2)
    assert [job.name for job in queue.get_jobs("completed")] == ["new"]


def test_the_removal_of_jobs_of_their_own_never_takes_one_of_a_flow(until):
    flow = fn.add(tree(row("of-a-flow")))
    run(flow)
    fn.Queue("rows").add("alone", opts={"removeOnComplete": True})
    fn.Queue("rows").add("alone", opts={"removeOnComplete": 0})
    serve(until, "rows", lambda job: None, 3)
    assert [job.name for job in fn.Queue("rows").get_jobs("completed")] == ["of-a-flow"]


def test_as_bullmq_does_it_a_removed_failure_without_a_policy_releases_its_parent(until):
    """BullMQ's own surprise, which flownb's semantics do not have (S20)."""
    root = fn.FlowProducer().add(tree(row(removeOnFail=True)), semantics="bullmq").job
    with fn.Worker("rows", broken), fn.Worker("totals", lambda job: "ran"):
        until(lambda: root.get_state() == "completed")
    assert fn.Queue("rows").get_job_counts()["failed"] == 0


def test_as_bullmq_does_it_a_child_is_gone_at_once_and_its_value_is_there(until):
    root = fn.FlowProducer().add(tree(row(removeOnComplete=True)), semantics="bullmq").job
    with fn.Worker("rows", lambda job: 7):
        until(lambda: root.get_state() == "waiting")
    assert fn.Queue("rows").get_job_counts()["completed"] == 0
    assert list(root.get_children_values().values()) == [7]
