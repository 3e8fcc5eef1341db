"""What BullMQ's users asked for, one test each, named by the row of the table it stands in (R1 to R30).

In tests/flows are R2 with 10,000 parents (test_diamonds.py), R4 (test_on_failure.py), R13 (test_removal_options.py), R15
(test_remove.py), R17's suite of stuck flows (test_explain.py, test_explain_odd.py) and R22's matrix (test_existing_ids.py); in
tests/worker R10 (test_children_at_run_time.py) and R21 (test_executors.py); R28 is tests/interop. R9 (a flow that repeats) and R11
(one flow before the next) have no name in the API. R14's other damages are in tests/flows/test_doctor.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import flownb as fn
from flownb.wire.lease_records import Death, FetchingWorker
from flownb.wire.store import Store
from tests.support.guide_trees import Work, node, run, states, working

ROOT = str(Path(fn.__file__).parents[1])
POLICIES = {
    "default": {},
    "fail": {"failParentOnFailure": True},
    "false": {"failParentOnFailure": False},
    "ignore": {"ignoreDependencyOnFailure": True},
    "remove": {"removeDependencyOnFailure": True},
    "continue": {"continueParentOnFailure": True},
}
ENDS = {name: "failed" if name in ("default", "fail") else "completed" for name in POLICIES}


# ---- R1: a failed child never leaves its parent waiting ---------------------------------------------------------


def throw(job):
    raise ValueError("broken")


def give_up(job):
    raise fn.UnrecoverableError("no use")


FAILURES = {
    "throws": (throw, {}),
    "throws twice": (throw, {"attempts": 2}),
    "is unrecoverable": (give_up, {"attempts": 5}),
    "times out": (lambda job: time.sleep(1), {"timeout": "50ms"}),
    "returns no JSON": (lambda job: 1j, {"attempts": 5}),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("at_run_time", [False, True], ids=["in the tree", "added at run time"])
def test_r1_a_parent_ends_whatever_its_childs_policy_and_however_it_failed(failure, at_run_time):
    function, opts = FAILURES[failure]
    children = {name: node("bad", queue="bad", **opts, **policy) for name, policy in POLICIES.items()}

    def parent(job):
        return list(
            job.add_children([children[job.name]]) if at_run_time else job.get_children_values().values()
        )

    trees = [node(name, *([] if at_run_time else [children[name]]), queue="tops") for name in POLICIES]
    flows = fn.FlowProducer().add_bulk(trees)
    with fn.Worker("bad", function, concurrency=6), fn.Worker("tops", parent, concurrency=2):
        assert {flow.name: flow.wait(timeout=60).state for flow in flows} == ENDS


def test_r1_a_parent_ends_when_its_child_has_lost_its_worker_too_often(redis):
    trees = [
        node(name, node("bad", queue="bad", **policy), queue="tops") for name, policy in POLICIES.items()
    ]
    flows = fn.FlowProducer().add_bulk(trees)
    leases = Store(redis, "bull").leases
    gone = FetchingWorker(token="gone", lock_ms=60_000)
    taken = leases.finish_and_fetch(["bull:bad"], outcomes=[], want=6, worker=gone).taken
    locks, alone = {one.record.id: one.token for one in taken}, Death("begun", alone=True)
    assert len(leases.give_back("bull:bad", locks, death=alone, most=0)) == 6
    with fn.Worker("bad", lambda job: None), fn.Worker("tops", lambda job: None):
        assert {flow.name: flow.wait(timeout=60).state for flow in flows} == ENDS
    assert {job.failed_reason for job in fn.Queue("bad").get_jobs("failed")} == {"crashed its worker 1 time"}


# ---- R2: several parents for one child ------------------------------------------------------------------------


def layers(shared, *, width=2):
    low = [fn.Node(f"low{i}", "q", children=[shared]) for i in range(width)]
    return fn.Node("top", "q", children=[fn.Node(f"high{i}", "q", children=low) for i in range(width)])


def test_r2_two_diamonds_on_each_other_run_each_job_once():
    flow, work = run(layers(fn.Node("s", "q", children=[fn.Node("below", "q")])))
    assert flow.state == "completed"
    assert sorted(work.ran) == ["below", "high0", "high1", "low0", "low1", "s", "top"]


def test_r2_a_shared_job_that_fails_fails_them_all_and_a_retry_mends_them_all():
    flow, work = run(layers(fn.Node("s", "q")), Work(s=1))
    assert set(states(flow).values()) == {"failed"}
    with working(work):
        assert flow.retry().result(timeout=30) == "top"
    assert sorted(work.ran) == ["high0", "high1", "low0", "low1", "s", "s", "top"]


def test_r2_a_shared_job_that_is_removed_releases_all_its_parents():
    flow = fn.add(layers(fn.Node("s", "q", opts={"jobId": "s1"})))
    fn.Queue("q").get_job("s1").remove()
    with working(Work()) as work:
        flow.wait(timeout=30)
    assert sorted(work.ran) == ["high0", "high1", "low0", "low1", "top"]


# ---- adding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["out of memory", "read-only replica"])
def test_r3_a_server_that_takes_no_writes_is_told_and_nothing_of_the_flow_is_there(own_server, why):
    with fn.Connection(own_server.url) as connection:
        connection.ensure_writable()
        client = connection.client()
        fn.add(node("before"), connection=connection)
        keys = client.dbsize()
        if why == "out of memory":
            client.config_set("maxmemory", 1)
        else:
            client.replicaof("127.0.0.1", 1)
        with pytest.raises(fn.ServerRefused, match=why):
            fn.add(node("top", *[node("c") for _ in range(20)]), connection=connection)
        assert client.dbsize() == keys


@pytest.mark.parametrize(
    ("path", "tree"),
    [
        ("root/children[0]", node("top", node("s", jobId="s1"), node("other"))),
        ("root/children[1]", node("top", node("other"), node("s", jobId="s1"))),
        ("root/children[1]/children[0]", node("top", node("a"), node("b", node("s", jobId="s1")))),
    ],
)
def test_r3_where_bullmq_would_drop_a_node_in_silence_its_path_is_told(redis, path, tree):
    fn.FlowProducer().add(node("owner", node("s", jobId="s1")), semantics="bullmq")
    before = redis.dbsize()
    with pytest.raises(fn.FlowError) as refusal:
        fn.FlowProducer().add(tree, semantics="bullmq")
    assert str(refusal.value).startswith(f"{path}: opts.jobId 's1' is a job that has another parent already")
    assert redis.dbsize() == before


PRODUCER = """
import signal, sys
import flownb as fn
from flownb.wire.store.jobs import Jobs
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may have been ignored
fn.connect(path=sys.argv[1])
rows = [{"name": "row", "queueName": "rows"} for _ in range(5_000)]
stored, calls = Jobs.add, []
def add_jobs(self, *args, **kwargs):
    calls.append(1)
    if len(calls) == 3:
        print("third call", flush=True)
        sys.stdin.read()
    return stored(self, *args, **kwargs)
Jobs.add = add_jobs
fn.add({"name": "total", "queueName": "totals", "opts": {"jobId": "total"}, "children": rows})
"""


def test_r12_a_feed_that_was_interrupted_is_finished_by_adding_it_again(server_folder, redis):
    env = {**os.environ, "PYTHONPATH": ROOT}
    command = [sys.executable, "-c", PRODUCER, str(server_folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as feed:
        assert feed.stdout.readline() == "third call\n"
        feed.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in feed.communicate()[1]  # it is let go on now, and ends
    assert 0 < redis.llen("bull:rows:wait") < 5_000
    rows = [node("row", queue="rows") for _ in range(5_000)]
    flow = fn.add(node("total", *rows, queue="totals", jobId="total"))
    assert redis.llen("bull:rows:wait") == 5_000
    assert (flow.progress().total, flow.state) == (5_001, "waiting-children")


def test_r25_a_queues_defaults_stand_under_a_nodes_own_options():
    options = {
        "a": {"defaultJobOptions": {"attempts": 4, "backoff": 7}},
        "b": {"default_job_options": {"delay": 9}},
    }
    tree = node("top", node("c", queue="a", attempts=2), node("d", queue="a"), queue="b", priority=3)
    flow = fn.FlowProducer().add(tree, queues_options=options)
    fixed = {"type": "fixed", "delay": 7}
    assert flow.job.opts == {"attempts": 0, "delay": 9, "priority": 3}
    assert {job.name: job.opts for job in fn.Queue("a").get_jobs("waiting")} == {
        "c": {"attempts": 2, "backoff": fixed},
        "d": {"attempts": 4, "backoff": fixed},
    }


def test_r25_a_queues_stream_is_as_long_as_its_settings_say(redis):
    redis.hset("bull:q:meta", "opts.maxLenEvents", 50)
    flow, _ = run(node("top", *[node("c") for _ in range(1_000)]))
    assert redis.xlen("bull:q:events") < 500
    assert flow.progress().completed == 1_001


# ---- following ------------------------------------------------------------------------------------------------


def test_r5_a_parent_is_told_as_failed_at_once_though_nobody_works_on_its_queue(until):
    heard = []
    with fn.QueueEvents("idle").on("failed", heard.append):
        flow = fn.add(node("top", node("bad"), queue="idle"))
        with working(Work("bad")):
            until(lambda: heard)
    assert (heard[0].job_id, flow.state) == (flow.job.id, "failed")


def test_r6_waiting_for_many_jobs_takes_no_more_connections_and_threads_than_for_few(redis):
    used = []

    def look(job):
        if job.name == "top":
            used.append((redis.info("clients")["connected_clients"], threading.active_count()))

    with working(look, concurrency=1):
        for jobs in (3, 3_000):
            fn.add(node("top", *[node("c") for _ in range(jobs)])).wait(timeout=60)
    (few_clients, few_threads), (many_clients, many_threads) = used
    assert many_clients <= few_clients + 2
    assert many_threads <= few_threads


def test_r14_parents_that_wait_in_vain_are_found_and_go_on(redis):
    """Their children were deleted by hand, or ended and the parent was not told."""
    flow = fn.add(node("top", node("orphan", node("gone", queue="rows", jobId="g1")), node("b", jobId="b1")))
    with working(Work()) as work:
        while "b" not in work.ran:
            time.sleep(0.01)
    redis.delete("bull:rows:g1", "bull:rows:wait")
    redis.hdel(f"bull:q:{flow.job.id}:processed", "bull:q:b1")
    redis.sadd(f"bull:q:{flow.job.id}:dependencies", "bull:q:b1")

    found = fn.doctor()

    assert sorted(found["what"]) == [
        "it waits for q:b1, which has ended",
        "it waits for rows:g1, which is gone",
    ]
    assert all(fix.startswith("mended: ") for fix in fn.doctor(fix=True)["fix"])
    assert fn.doctor().empty
    with working(work):
        assert flow.result(timeout=30) == "top"
    assert sorted(work.values["top"].values()) == ["b", "orphan"]


def test_r16_any_job_leads_to_its_flow():
    flow = fn.add(node("top", node("middle", node("leaf", jobId="l1"))))
    assert fn.attach("q:l1").job.id == flow.job.id
    leaf = fn.Queue("q").get_job("l1")
    assert fn.Queue("q").get_job(leaf.parent.split(":")[1]).name == "middle"


def test_r17_a_flow_that_does_not_go_on_says_why_and_what_mends_it():
    flow = fn.add(node("top", node("c", queue="nobody")))
    job, why, fix = flow.explain().loc[0]
    assert (job, why) == ("top > c", "no worker serves queue 'nobody'")
    assert fix.startswith("start one: Worker('nobody', function)")


def test_r18_each_child_that_ends_is_heard_while_its_parent_waits(until):
    heard = []
    with fn.QueueEvents("q").on("completed", heard.append):
        flow = fn.add(node("top", *[node(f"c{n}") for n in range(5)], queue="idle"))
        with working(Work()):
            until(lambda: len(heard) == 5)
        assert flow.state == "waiting"
    assert sorted(event.data["returnvalue"] for event in heard) == [f"c{n}" for n in range(5)]


def test_r20_a_failure_is_listed_though_its_parent_dropped_it():
    flow, _ = run(node("top", node("bad", removeDependencyOnFailure=True)), Work("bad"))
    assert flow.state == "completed"
    assert list(flow.jobs(state="failed")["error"]) == ["ValueError: bad is broken"]


def test_r26_how_a_flow_stands_is_read_from_its_jobs_and_never_from_events(redis):
    flow = fn.add(node("top", node("c")))
    with working(lambda job: redis.delete("bull:q:events")):
        assert flow.wait(timeout=30).state == "completed"
    assert flow.progress().completed == 2


def test_r29_a_look_costs_the_same_however_many_jobs_there_are(redis):
    def calls(flow):
        before = redis.info("commandstats")
        flow.progress()
        str(flow)
        after = redis.info("commandstats")
        return sum(after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after)

    few, many = (fn.add(node("top", *[node(f"c-{n}") for n in range(size)])) for size in (50, 5_000))
    # The least of some looks: the server counts what others ask meanwhile, too.
    assert min(calls(many) for _ in range(5)) <= min(calls(few) for _ in range(5)) + 3


# ---- retrying, results, limits -----------------------------------------------------------------------------------


def test_r7_a_retried_flow_starts_its_attempts_anew_and_keeps_what_is_done():
    tree = node("top", node("good"), node("bad", attempts=2), attempts=2)
    flow, work = run(tree, Work(bad=3, top=1))
    assert work.ran.count("bad") == 2
    with working(work):
        assert flow.retry().result(timeout=30) == "top"
    assert (work.ran.count("good"), work.ran.count("bad"), work.ran.count("top")) == (1, 4, 2)


def test_r8_children_are_added_while_a_job_runs_and_their_values_come_back():
    def work(job):
        if job.name != "top":
            return job.name
        assert job.add_children([]) == []
        return job.add_children([node("a"), node("b")])

    flow, _ = run(node("top"), work)
    assert flow.result() == ["a", "b"]
    assert flow.progress().total == 3


def test_r19_a_result_goes_to_the_next_step_and_to_several_at_once():
    @fn.task
    def first(n):
        return n + 1

    @fn.task
    def double(n):
        return n * 2

    @fn.task
    def total(parts):
        return sum(parts)

    with fn.workers():
        assert fn.add(fn.chain(first.node(1), double, double)).result(timeout=30) == 8
        a = first.node(1)
        assert fn.add(total.node([double.node(a), double.node(a), double.node(a)])).result(timeout=30) == 12


def test_r23_a_job_has_a_time_to_end_in():
    flow, _ = run(node("slow", timeout="100ms"), lambda job: time.sleep(1))
    with pytest.raises(fn.FlowFailed, match="JobTimeout"):
        flow.result()


def test_r24_under_a_braced_prefix_every_key_has_the_same_hash_tag(server_folder, redis):
    with fn.Connection(path=server_folder, prefix="{acme}") as connection:
        shared = fn.Node("s", "other", opts={"removeOnComplete": 5})
        tree = node("top", shared, node("a", shared))
        flow = fn.add(tree, connection=connection, name="mine")
        with fn.Worker(["q", "other"], lambda job: None, connection=connection):
            flow.wait(timeout=30)
        assert [key for key in redis.scan_iter() if not key.startswith(b"{acme}:")] == []


def test_r27_a_limit_and_delays_hold_in_a_flow_too():
    rows = [node("row", queue="rows", delay=100 * (n % 2)) for n in range(6)]
    flow = fn.add(node("top", *rows))
    with (
        fn.Worker("rows", lambda job: None, concurrency=6, limiter={"max": 2, "duration": 300}),
        working(Work()),
    ):
        flow.wait(timeout=30)
    started = sorted(job.processed_on for job in fn.Queue("rows").get_jobs("completed"))
    assert (started[-1] - started[0]).total_seconds() >= 0.3  # three windows of two
    for job in fn.Queue("rows").get_jobs("completed"):
        due = job.opts.get("delay", 0) / 1000
        assert (job.processed_on - job.timestamp).total_seconds() >= due


def test_r30_a_retried_optional_child_gives_its_value_to_a_parent_that_ran_without_it():
    flow, work = run(node("top", node("bad", failParentOnFailure=False, jobId="b1")), Work(bad=1))
    assert work.values["top"] == {"q:b1": None}
    with working(work):
        flow.retry().wait(timeout=30)
    assert work.values["top"] == {"q:b1": "bad"}
    assert flow.job.get_ignored_children_failures() == {}


def test_r30_a_child_whose_parent_is_gone_runs_all_the_same(redis):
    flow = fn.add(node("top", node("c", queue="rows", jobId="c1"), queue="idle"))
    redis.delete(f"bull:idle:{flow.job.id}", f"bull:idle:{flow.job.id}:dependencies")
    with working(Work(), "rows") as work:
        while fn.Queue("rows").get_job("c1").get_state() != "completed":
            time.sleep(0.01)
    assert work.ran == ["c"]
