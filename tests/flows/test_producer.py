"""Shows how flows get to the server: one call up to 1,000 jobs, sealed chunks above, and nothing half-done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flownb as fn
from flownb.adding.plan import plan
from flownb.adding.send import store_plan
from flownb.wire.store import Store
from flownb.wire.store.jobs import Jobs

ROOT = str(Path(fn.__file__).parents[1])


def wide(children, **root):
    rows = [{"name": f"c{i}", "queueName": "rows", "data": {"i": i}} for i in range(children)]
    return {"name": "total", "queueName": "totals", "children": rows, **root}


def calls(redis):
    """How many scripts the server has run."""
    stats = redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


def calls_of_add(redis, tree):
    fn.add({"name": "warm", "queueName": "warm"})
    before = calls(redis)
    fn.add(tree)
    return calls(redis) - before


def total(job):
    return sum(job.get_children_values().values())


@pytest.mark.parametrize(("jobs", "expected"), [(2, 1), (1000, 1), (1001, 3), (1500, 3), (1501, 4)])
def test_up_to_a_thousand_jobs_are_one_call_and_more_are_chunks_of_five_hundred(redis, jobs, expected):
    assert calls_of_add(redis, wide(jobs - 1)) == expected


@pytest.mark.parametrize("jobs", [999, 1000, 1001, 2500])
def test_every_job_is_there_and_runs_once(jobs):
    flow = fn.add(wide(jobs - 1))
    assert flow.progress().total == jobs
    with fn.Worker("rows", lambda job: job.data["i"], concurrency=4), fn.Worker("totals", total):
        assert flow.result(timeout=50) == sum(range(jobs - 1))
    assert {job.attempts_made for job in fn.Queue("rows").get_jobs("completed", 0, 5000)} == {1}
    assert len(fn.Queue("rows").get_jobs("completed", 0, 5000)) == jobs - 1


class Killed(Exception):
    pass


class DyingJobs(Jobs):
    """Jobs of a store whose process dies after some calls."""

    calls_left = 0

    def add(self, *args, **kwargs):
        if self.calls_left == 0:
            raise Killed
        self.calls_left -= 1
        return super().add(*args, **kwargs)


def dying_store(client, calls_left):
    store = Store(client, "bull")
    store.jobs = DyingJobs(store.server)
    store.jobs.calls_left = calls_left
    return store


@pytest.mark.parametrize("calls_left", [1, 2, 4])
def test_a_parent_whose_producer_died_between_chunks_waits_sealed_until_the_plan_is_stored_again(
    redis, until, calls_left
):
    made = plan(wide(2200), prefix="bull")
    with pytest.raises(Killed):
        store_plan(dying_store(redis, calls_left), made, "half")
    stored = 500 * calls_left
    assert redis.smembers(f"bull:totals:{made.flow}:dependencies") >= {
        f"bull:flownb:seal:{made.flow}".encode()
    }
    with fn.Worker("rows", lambda job: job.data["i"], concurrency=2), fn.Worker("totals", total):
        rows = fn.Queue("rows")
        until(lambda: rows.get_job_counts()["completed"] == stored - 1)
        assert fn.Queue("totals").get_job_counts()["waiting-children"] == 1
        assert fn.attach("half").job.get_dependencies()["unprocessed"] == []

        store_plan(Store(redis, "bull"), made, "half")
        flow = fn.attach("half")
        assert flow.result(timeout=50) == sum(range(2200))
    assert flow.progress().completed == flow.progress().total == 2201
    assert rows.get_job_counts()["completed"] == 2200
    assert {job.attempts_made for job in rows.get_jobs("completed", 0, 3000)} == {1}


def test_a_plan_stored_twice_adds_nothing_twice(redis):
    made = plan(wide(10), prefix="bull")
    store = Store(redis, "bull")
    store_plan(store, made)
    size = redis.dbsize()
    assert len(store_plan(store, made)) == 11
    assert redis.dbsize() == size
    assert fn.Queue("rows").get_job_counts()["waiting"] == 10
    assert store.flows.read_counts(made.flow).total == 11


PRODUCER = """
import sys
import flownb as fn
from flownb.wire.store.jobs import Jobs
fn.connect(path=sys.argv[1])
stored, left = Jobs.add, int(sys.argv[2])
def add_jobs(self, *args, **kwargs):
    global left
    if left == 0:
        print("between", flush=True)
        sys.stdin.read()
    left -= 1
    return stored(self, *args, **kwargs)
Jobs.add = add_jobs
rows = [{"name": "row", "queueName": "rows", "data": {"i": i}} for i in range(3000)]
fn.add({"name": "total", "queueName": "totals", "children": rows}, name="killed")
"""


def test_the_parent_of_a_producer_killed_between_chunks_does_not_run(server_folder, until):
    command = [sys.executable, "-c", PRODUCER, str(server_folder), "3"]
    env = {**os.environ, "PYTHONPATH": ROOT}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as producer:
        assert producer.stdout.readline() == "between\n"
        producer.kill()
    ran = []
    with fn.Worker("rows", lambda job: 1, concurrency=4), fn.Worker("totals", ran.append):
        until(lambda: fn.Queue("rows").get_job_counts()["completed"] == 1499)
        flow = fn.attach("killed")
        assert flow.state == "waiting-children"
        with pytest.raises(TimeoutError):
            flow.wait(timeout=0.2)
    assert ran == []


def test_nothing_of_add_bulk_is_written_when_one_tree_is_bad(redis):
    with pytest.raises(fn.FlowError, match=r"^trees\[2\]: root/children\[0\]: 'queueName' is missing"):
        fn.FlowProducer().add_bulk(
            [wide(1), wide(1), {"name": "x", "queueName": "q", "children": [{"name": "y"}]}]
        )
    assert redis.dbsize() == 0


def test_add_bulk_gives_the_flows_in_order():
    flows = fn.FlowProducer().add_bulk([{"name": f"f{i}", "queueName": "q"} for i in range(3)])
    assert [flow.name for flow in flows] == ["f0", "f1", "f2"]


def test_a_name_that_is_none_is_refused_before_a_write(redis):
    for name in ("", "a\nb", 5, "x" * 257):
        with pytest.raises(fn.FlowError, match="name must"):
            fn.add(wide(1), name=name)
    assert redis.dbsize() == 0


def test_a_connection_that_only_reads_adds_nothing(server_folder, redis):
    with fn.Connection(path=server_folder, read_only=True) as looking:
        with pytest.raises(fn.ReadOnly):
            fn.add(wide(1), connection=looking)
        with pytest.raises(fn.ReadOnly):
            fn.Queue("q", connection=looking).add("x")
    assert redis.dbsize() == 0


def test_flows_under_two_prefixes_do_not_meet(server_folder, redis):
    with fn.Connection(path=server_folder, prefix="acme") as acme:
        theirs = fn.add(wide(2), connection=acme, name="same")
        ours = fn.add(wide(3), name="same")
        assert fn.attach("same", connection=acme).progress().total == 3
        assert fn.attach("same").progress().total == 4
        with fn.Worker("rows", lambda job: 1), fn.Worker("totals", total):
            assert ours.result(timeout=20) == 3
        assert theirs.progress().completed == 0


def test_a_child_of_another_prefix_counts_in_its_flow_and_gives_its_value(server_folder):
    tree = wide(1)
    tree["children"].append({"name": "far", "queueName": "rows", "prefix": "acme", "opts": {"jobId": "far"}})
    flow = fn.add(tree)
    with (
        fn.Connection(path=server_folder, prefix="acme") as acme,
        fn.Worker("rows", lambda job: 1),
        fn.Worker("rows", lambda job: 10, connection=acme),
        fn.Worker("totals", total),
    ):
        assert flow.result(timeout=20) == 11
    assert flow.job.get_children_values()["acme:rows:far"] == 10
    assert flow.progress().completed == 3
