"""Schedules beside BullMQ: what `every` stores is one of its job schedulers, and a flow's jobs may run on Node."""

from __future__ import annotations

import json

import flownb as fn


def stored(redis, queue: str, id: str):
    """Return a scheduler and its next job, as they are stored, without times."""
    base = f"bull:{queue}"
    due = int(redis.zscore(f"{base}:repeat", id))
    scheduler, job = (redis.hgetall(f"{base}:repeat:{key}") for key in (id, f"{id}:{due}"))
    opts = json.loads(job[b"opts"])
    return {
        "scheduler": {k: v for k, v in scheduler.items() if k not in (b"name", b"opts", b"offset")},
        "job": {k: v for k, v in job.items() if k not in (b"name", b"data", b"opts", b"timestamp", b"delay")},
        "opts": {k: opts[k] for k in ("repeat", "repeatJobKey")},
        "times": {
            (int(job[b"timestamp"]) + int(job[b"delay"]) - due) // 1000,
            opts["jobId"] == f"repeat:{id}:{due}",
        },
    }


def test_a_schedule_is_a_job_scheduler_as_bullmq_stores_one(peers, redis):
    tree = {"name": "leaf", "queueName": "leaves"}
    for when, repeat in (("0 6 * * *", {"pattern": "0 6 * * *", "tz": "Asia/Kolkata"}),):
        peers["node6"].ask(
            "schedule", queue="nobody", id="n", repeat=repeat, job={"name": "n", "data": {}, "opts": {}}
        )
        fn.every(when, tree, name="n", tz=repeat["tz"])

        theirs, ours = stored(redis, "nobody", "n"), stored(redis, "flownb-batch", "n")
        theirs["opts"]["repeat"].pop("offset", None)
        assert ours == theirs


def test_a_flow_whose_leaf_runs_on_node_has_ended_when_the_next_tick_comes(peers, redis, until):
    tree = {
        "name": "total",
        "queueName": "totals",
        "children": [{"name": "leaf", "queueName": "node6-items", "data": {"do": "value", "value": 4}}],
    }
    with fn.Worker("totals", lambda job: sum(job.get_children_values().values())):
        schedule = fn.every("1s", tree, name="n")
        until(lambda: len(fn.flows(state="completed")) >= 2)
        schedule.cancel()

    done = fn.flows(state="completed")
    assert [fn.attach(name).result(timeout=30) for name in done["name"]][:2] == [4, 4]


def test_a_root_that_node_runs_holds_the_next_tick_up_no_longer_than_it_runs(peers, redis, until):
    leaf = {"name": "leaf", "queueName": "node6-items", "data": {"do": "value", "value": 4}}
    with fn.Worker("others", print):
        schedule = fn.every("1s", leaf, name="n")
        until(lambda: redis.zcard("bull:node6-items:completed") >= 2)
        schedule.cancel()
