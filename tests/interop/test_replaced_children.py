"""Shows that an open handle sees children that Node puts in place of others, and lags behind Node's moves by a second at most."""

from __future__ import annotations

import threading
import time

import pytest

import flownb as fn

MANY = 1200  # more than is compared child by child at each question


@pytest.fixture(scope="module")
def node6(start_peer):
    return start_peer("node6")


@pytest.fixture
def flow_of(connection):
    def add(children, semantics):
        below = [{"name": f"a{n}", "queueName": "line"} for n in range(children)]
        return fn.FlowProducer().add(
            {"name": "top", "queueName": "top", "children": below}, semantics=semantics
        )

    return add


@pytest.fixture
def replace(node6):
    """Let Node remove a waiting child and add another one below the same parent."""

    def replace_one(flow):
        gone = fn.Queue("line").get_jobs("waiting")[0]
        node6.ask("call_job", queue="line", id=gone.id, method="remove")
        parent = {"id": flow.job.id, "queue": "bull:top"}
        node6.ask("add_jobs", queue="line", jobs=[{"name": "new", "data": {}, "opts": {"parent": parent}}])

    return replace_one


@pytest.mark.parametrize("semantics", ["flownb", "bullmq"])
def test_a_child_in_place_of_another_is_seen_at_once_in_a_small_flow(semantics, flow_of, replace, until):
    flow = flow_of(3, semantics)
    assert (flow.progress().total, len(flow.jobs())) == (4, 4)

    replace(flow)

    until(lambda: "new" in set(flow.jobs()["name"]), seconds=2)
    assert (flow.progress().total, len(flow.jobs())) == (4, 4)
    replace(flow)
    until(lambda: flow.jobs()["name"].tolist().count("new") == 2, seconds=2)
    assert (flow.progress().total, len(flow.jobs())) == (4, 4)


@pytest.mark.parametrize("semantics", ["flownb", "bullmq"])
def test_a_child_in_place_of_another_is_found_in_a_large_flow_too(semantics, flow_of, replace, until):
    flow = flow_of(MANY, semantics)
    assert flow.progress().total == MANY + 1

    replace(flow)

    until(lambda: flow.progress().total and "new" in set(flow.jobs()["name"]), seconds=30)
    assert (flow.progress().total, len(flow.jobs())) == (MANY + 1, MANY + 1)


def test_children_removed_from_a_wide_flow_have_not_failed(flow_of, node6):
    flow = flow_of(MANY, "bullmq")
    assert flow.progress().total == MANY + 1

    for job in fn.Queue("line").get_jobs("waiting")[:3]:
        node6.ask("call_job", queue="line", id=job.id, method="remove")

    progress = flow.progress()
    assert (progress.failed, progress.total) == (0, MANY - 2)


@pytest.mark.serial
def test_a_slow_answer_of_the_server_does_not_let_a_handle_lag(flow_of, node6, shared_server, until):
    flow = flow_of(2, "flownb")
    flow.progress()
    time.sleep(1.0)  # the pause after a check is over
    asking = threading.Thread(target=flow.progress)
    with shared_server.frozen():
        asking.start()
        time.sleep(0.4)  # the fault: the next check takes this long
    asking.join()

    node6.ask("call_job", queue="line", id=fn.Queue("line").get_jobs("waiting")[0].id, method="remove")

    until(lambda: flow.progress().total == 2, seconds=3)
