"""Shows what BullMQ's clients see of a flow that flownb cancels or pauses, and what their workers do with it."""

from __future__ import annotations

import pytest

import flownb as fn

CLIENTS = ["node6", "node5", "python"]


def tree(queue, children=3, **data):
    below = [
        {"name": f"c{i}", "queueName": queue, "data": {"do": "value", "value": i, **data}}
        for i in range(children)
    ]
    return {"name": "top", "queueName": queue, "data": {"do": "gather"}, "children": below}


@pytest.mark.parametrize("client", ["node6", "node5"])
def test_cancelled_jobs_are_failed_ones_and_say_why(client, peers, connection, until):
    peers[client].ask("listen", queue="unserved")

    fn.add(tree("unserved")).cancel()

    counts = peers[client].ask("counts", queue="unserved")
    assert {state: n for state, n in counts.items() if n} == {"failed": 4}
    heard = []
    until(lambda: heard.extend(peers[client].ask("heard", queue="unserved")) or len(heard) >= 12)
    failed = [about for event, about in heard if event == "failed"]
    assert [(about["failedReason"], about["prev"]) for about in failed] == [
        ("cancelled", "waiting-children"),
        *[("cancelled", "waiting")] * 3,
    ]


@pytest.mark.parametrize("client", CLIENTS)
def test_what_another_client_runs_of_a_cancelled_flow_ends_and_the_flow_stays_cancelled(
    client, peers, redis, until
):
    flow = fn.add(tree(f"{client}-line", children=1, do="hold"))
    until(lambda: flow.job.get_dependencies_count()["unprocessed"] and redis.exists("test:runs"))

    flow.cancel()
    redis.set("test:open", "1")

    child = f"{flow.job.queue_name}:{flow.job.id}-1"
    until(lambda: fn.Queue(f"{client}-line").get_job(child.split(":")[1]).get_state() == "completed")
    assert flow.state == "cancelled"
    assert redis.llen("test:runs") == 1


@pytest.mark.parametrize("client", ["node6", "node5"])
def test_jobs_of_a_paused_flow_wait_and_another_clients_resume_does_not_start_them(
    client, peers, connection, until
):
    flow = fn.add(tree("held")).pause()
    with fn.Worker("held", lambda job: job.name):
        assert fn.add({"name": "probe", "queueName": "held"}).result(timeout=20) == "probe"
        counts = peers[client].ask("counts", queue="held")
        assert (counts["waiting"], counts.get("paused")) == (0, {"node6": None, "node5": 3}[client])

        peers[client].ask("resume", queue="held")

        assert fn.add({"name": "probe", "queueName": "held"}).result(timeout=20) == "probe"
        assert flow.progress().completed == 0
        assert flow.resume().result(timeout=20) == "top"


@pytest.mark.parametrize("client", ["node6", "node5"])
def test_a_job_that_is_cancelled_after_another_clients_retry_keeps_the_reason_it_failed_for(
    client, peers, redis, until
):
    job = {"queueName": "flownb-line", "data": {"do": "fail", "why": "the disk is full"}}
    children = [{"name": "bad", **job}, {"name": "waits", "queueName": "nobodys"}]
    flow = fn.add({**tree("flownb-line", 0), "children": children}, on_failure="cancel")
    flow.wait(timeout=30)
    until(lambda: fn.Queue("nobodys").get_jobs("failed"))  # is cancelled: nobody needs what is below the root
    bad = fn.Queue("flownb-line").get_jobs("failed")
    (id,) = [one.id for one in bad if one.name == "bad"]

    peers[client].ask("retry", queue="flownb-line", id=id)

    until(lambda: fn.Queue("flownb-line").get_job(id).get_state() == "failed")
    assert "the disk is full" in fn.Queue("flownb-line").get_job(id).failed_reason
