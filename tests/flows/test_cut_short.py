"""Shows that an add that was cut short is taken back, or finished by the same call again: never a second flow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

import flownb as fn
from tests.support import invariants

ROOT = str(Path(__file__).parents[2])
WIDE = 6000  # children: twelve calls


def wide(name="t", count=WIDE, **root):
    children = [{"name": "c", "queueName": "c", "data": i} for i in range(count)]
    return {"name": name, "queueName": "t", "children": children, **root}


@pytest.fixture
def own(own_server):
    """Give a connection to a server that may be filled and killed."""
    with fn.Connection(own_server.url) as connection:
        yield connection


def fill(connection, bytes_left):
    client = connection.client()
    client.config_set("maxmemory", client.info("memory")["used_memory"] + bytes_left)


def empty(connection):
    connection.client().config_set("maxmemory", 0)


def keys_of_jobs(connection):
    """Return what is left of flows: keys of jobs whose ids were made, records, counts."""
    mine = re.compile(rb"bull:(flownb:(flow|counts|children):|[ct]:\w{20}(-|:|$))")
    return [key for key in connection.client().scan_iter() if mine.match(key)]


def test_what_a_full_server_took_of_a_flow_is_taken_back(own):
    queue = fn.Queue("c", connection=own)
    before = queue.add("mine", 1, {"jobId": "mine"})
    tree = wide()
    tree["children"].insert(0, {"name": "mine", "queueName": "c", "data": 1, "opts": {"jobId": "mine"}})
    fill(own, 1_000_000)
    with pytest.raises(
        fn.ServerRefused, match=r"out of memory \(maxmemory\); what was stored of it was taken back$"
    ):
        fn.add(tree, connection=own, name="big")
    empty(own)
    assert keys_of_jobs(own) == []
    assert len(fn.flows(connection=own)) == 0
    assert (before.get_state(), queue.get_job_counts()["waiting"]) == ("waiting", 1)
    assert own.client().hget("bull:c:mine", "parentKey") is None
    assert invariants.violations(own.client()) == []
    flow = fn.add(tree, connection=own, name="big")
    assert (flow.progress().total, len(fn.flows(connection=own))) == (WIDE + 2, 1)


def test_a_full_server_that_takes_nothing_says_that_nothing_was_written(own):
    own.ensure_writable()
    fill(own, -1)
    for count in (0, 3, WIDE):
        with pytest.raises(fn.ServerRefused, match=r"\(maxmemory\); nothing was written$"):
            fn.add(wide(count=count), connection=own)
    empty(own)
    assert keys_of_jobs(own) == []


def test_flows_can_be_cancelled_and_removed_on_a_full_server(own):
    flows = [fn.add(wide(count=150), connection=own, name=name) for name in ("a", "b")]
    fill(own, -1)
    flows[0].cancel()
    flows[1].remove()
    assert flows[0].state == "cancelled"
    flows[0].remove()
    assert keys_of_jobs(own) == []


ADD = """
import sys
sys.path[:0] = [{root!r}]
import flownb as fn
from tests.flows.test_cut_short import wide
fn.connect({url!r})
try:
    fn.add(wide(count=40_000), name="big")
except KeyboardInterrupt as error:
    print(*error.__notes__)
"""


def test_an_interrupted_add_is_taken_back(own, own_server, until):
    adding = subprocess.Popen(
        [sys.executable, "-c", ADD.format(root=ROOT, url=own_server.url)], stdout=subprocess.PIPE, text=True
    )
    with fn.Worker("c", lambda job: 1, connection=own):  # the children run at once
        until(lambda: fn.Queue("c", connection=own).get_job_counts()["completed"] > 10)
        os.kill(adding.pid, signal.SIGINT)
        said = adding.communicate(timeout=60)[0]
        assert said.startswith("what was stored of it was taken back; ")
        assert said.endswith(" of its jobs had begun already\n")
        until(lambda: not fn.Queue("c", connection=own).get_job_counts()["active"])
    assert keys_of_jobs(own) == []
    assert len(fn.flows(connection=own)) == 0
    assert invariants.violations(own.client()) == []


def kill_amidst(own_server, connection, until, key="bull:c:id"):
    """Kill the server when it has carried out one call or more; give the thread that does it."""
    client = connection.client()

    def kill():
        until(lambda: int(client.get(key) or 0) >= 500)
        own_server.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.parametrize(("semantics", "id"), [("flownb", None), ("flownb", "november"), ("bullmq", None)])
def test_an_add_that_lost_its_server_is_finished_by_the_same_call_again(
    own, own_server, until, semantics, id
):
    tree = wide(count=9_000, **({"opts": {"jobId": id}} if id else {}))
    killing = kill_amidst(own_server, own, until)
    where = "" if id and semantics == "flownb" else " in this process"
    with pytest.raises(fn.ServerUnreachable, match=f"; a part may be stored; the same call again{where} "):
        fn.add(tree, connection=own, semantics=semantics)
    killing.join()
    own_server.start()
    stored = fn.Queue("c", connection=own).get_job_counts()["waiting"]
    assert 0 < stored < 9_000
    flow = fn.add(tree, connection=own, semantics=semantics)
    assert fn.Queue("c", connection=own).get_job_counts()["waiting"] == 9_000
    assert fn.Queue("t", connection=own).get_job_counts()["waiting-children"] == 1
    other = fn.add(wide(count=1), connection=own, semantics=semantics)  # another tree is another flow
    assert other.job.id != flow.job.id
    assert invariants.violations(own.client()) == []


def test_many_jobs_of_a_queue_that_lost_its_server_are_added_once_by_the_same_call_again(
    own, own_server, until
):
    jobs = [{"name": "j", "data": i} for i in range(9_000)]
    queue = fn.Queue("c", connection=own)
    killing = kill_amidst(own_server, own, until)
    with pytest.raises(fn.ServerUnreachable, match="the same call again in this process stores the rest"):
        queue.add_bulk(jobs)
    killing.join()
    own_server.start()
    assert 0 < queue.get_job_counts()["waiting"] < 9_000
    queue.add_bulk(jobs)
    assert queue.get_job_counts()["waiting"] == 9_000
    queue.add_bulk(jobs[:600])  # what was added whole is added anew
    queue.add_bulk(jobs[:600])
    assert queue.get_job_counts()["waiting"] == 10_200


def test_a_batch_on_a_full_server_is_finished_by_the_same_call_again(own):
    @fn.task(queue="c")
    def double(x):
        return 2 * x

    rows = pd.DataFrame({"x": range(WIDE)})
    fill(own, 1_000_000)
    with pytest.raises(fn.ServerRefused, match="; a part may be stored; the same call again stores the rest"):
        fn.fan_out(rows, double, name="big", rows_per_job=1, connection=own)
    empty(own)
    batch = fn.fan_out(rows, double, name="big", rows_per_job=1, connection=own)
    assert batch.progress().total == WIDE + 1
    assert fn.Queue("c", connection=own).get_job_counts()["waiting"] == WIDE
    assert len(fn.flows(connection=own)) == 1


def test_trees_before_the_one_that_was_refused_are_named(own):
    trees = [wide("a", 1), wide("b", 1), wide("c")]
    fill(own, 1_000_000)
    with pytest.raises(
        fn.ServerRefused,
        match=r"taken back; the 2 trees before trees\[2\] are stored: add those from it on$",
    ):
        fn.FlowProducer(connection=own).add_bulk(trees)
    empty(own)
    assert len(fn.flows(connection=own)) == 2


@pytest.mark.parametrize("children", [[], [{"name": "c", "queueName": "c"}]])
def test_another_prefix_on_the_root_is_refused_before_anything_is_written(redis, connection, children):
    tree = {"name": "t", "queueName": "t", "prefix": "other", "children": children}
    with pytest.raises(
        fn.FlowError, match=r"^root: prefix 'other' is not this connection's, 'bull': connect"
    ):
        fn.add(tree)
    with pytest.raises(fn.FlowError, match=r"^jobs\[0\]: a job stands under its queue's prefix"):
        fn.Queue("t").add_bulk([{"name": "t", "prefix": "other"}])
    assert redis.dbsize() == 0
    assert fn.add({**tree, "prefix": "bull"}).progress().total == 1 + len(children)
    flow = fn.add(tree, semantics="bullmq")
    assert flow.job.get_state() == ("waiting-children" if children else "waiting")
