"""A newer flownb has stored a flow: an older worker leaves its jobs alone and says so, and runs everything else."""

from __future__ import annotations

import logging

import flownb as fn


def test_a_flow_of_a_newer_flownb_waits_for_a_newer_worker(redis, until, caplog):
    caplog.set_level(logging.WARNING, "flownb.worker")
    newer = fn.add(
        {"name": "newer", "queueName": "totals", "children": [{"name": "row", "queueName": "rows"}]}
    )
    (flow_id,) = redis.zrange("bull:flownb:flows", 0, -1)
    record = f"bull:flownb:flow:{flow_id.decode()}"
    redis.hset(record, "layout", 2)
    (row,) = [job for job in fn.Queue("rows").get_jobs("waiting") if job.name == "row"]
    ran = []

    with fn.Worker(["rows", "totals"], lambda job: ran.append(job.name)):
        until(lambda: fn.Queue("rows").get_job(row.id).get_state() == "delayed")
        fn.add({"name": "other", "queueName": "rows"}).wait(timeout=30)
        fn.Queue("rows").get_job(row.id).promote()  # it comes to the worker a second time
        until(lambda: fn.Queue("rows").get_job(row.id).get_state() == "delayed")

    assert ran == ["other"]
    job = fn.Queue("rows").get_job(row.id)
    assert (job.attempts_made, job.failed_reason) == (0, None)
    assert not redis.hexists(f"bull:rows:{row.id}", "ats")
    assert newer.state == "waiting-children"
    told = f"flow {flow_id.decode()} was stored by a newer flownb: this worker leaves its jobs alone; update this worker"
    assert caplog.messages.count(told) == 1
    assert newer.explain().values.tolist() == [
        [
            "newer",
            "its flow was stored by a newer flownb, and workers as old as this one leave its jobs alone",
            "update this worker: upgrade flownb here, and wherever a worker of it runs",
        ]
    ]

    redis.hset(record, "layout", 1)  # as a worker that knows the layout sees it
    job.promote()
    with fn.Worker(["rows", "totals"], lambda job: ran.append(job.name)):
        newer.wait(timeout=30)
    assert ran == ["other", "row", "newer"]
    assert fn.Queue("rows").get_job(row.id).attempts_made == 1
