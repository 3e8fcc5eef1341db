"""Shows that what a run has spent counts once, whatever becomes of its worker and of the server's replies."""

from __future__ import annotations

import flownb as fn


def test_a_run_that_is_killed_right_after_it_spent_has_spent_it(start_worker, until):
    flow = fn.add({"name": "asks", "queueName": "asks"})

    for run in (1, 2, 3):
        worker = start_worker("asks", "spends_and_dies", max_stalled_count=9)
        if run < 3:
            worker.process.wait()
    flow.wait(timeout=60)

    assert flow.job.returnvalue == 3
    assert flow.progress().spent == {"usd": 3, "tokens": 6}


def test_lost_replies_add_nothing_twice(own_server, lossy):
    """A client sends again what it has no answer to: spent amounts and ends come twice."""
    children = [{"name": f"ask-{n}", "queueName": "asks"} for n in range(50)]

    runs = []

    def ask(job):
        runs.append(job.id)
        fn.spend(usd=0.1)
        fn.spend(usd=0.1)

    way = lossy(0.1)
    with fn.Connection(f"unix://{way.socket}") as through, fn.Connection(own_server.url) as direct:
        flow = fn.add({"name": "all", "queueName": "asks", "children": children}, connection=direct)
        with fn.Worker("asks", ask, concurrency=4, connection=through):
            flow.wait(timeout=120)
        assert way.dropped > 5
        assert flow.progress().spent == {"usd": len(runs) / 5}


def test_a_budget_holds_and_sums_are_exact_while_workers_of_other_processes_are_killed(
    redis, start_worker, until
):
    """Two processes of three slots each run the rows; one of them is killed again and again."""
    slots, kills = 6, 4
    batch = fn.fan_out(range(2000), "asks", name="nov", budget={"usd": 120})
    start_worker("asks", "spends", concurrency=3, max_stalled_count=99)
    for kill in range(kills):
        worker = start_worker("asks", "spends", concurrency=3, max_stalled_count=99)
        until(lambda kill=kill: batch.progress().spent.get("usd", 0) > 15 * (kill + 1))
        worker.kill()
    worker = start_worker("asks", "spends", concurrency=3, max_stalled_count=99)
    batch.wait(timeout=60)

    spent, begun, told = batch.progress().spent["usd"], int(redis.get("begun")), int(redis.get("told"))
    assert told <= spent <= begun, "what was told counts, and nothing twice"
    assert 120 <= spent <= 120 + slots - 1, "no more than was running comes on top"
    assert begun - spent <= kills * 3, "runs that were killed before they told"
    assert batch.progress().paused == "its budget is used up: 120 of 120 usd"
    assert fn.doctor().empty
    assert batch.resume(budget={"usd": 130}).wait(timeout=60).progress().spent["usd"] <= 130 + slots - 1


def test_a_pilot_runs_its_rows_alone_whoever_serves_the_queue(redis, start_worker, until):
    batch = fn.fan_out(range(2000), "asks", name="nov", pilot=30)
    for _ in range(2):
        start_worker("asks", "spends", concurrency=3)
    batch.wait(timeout=60)

    assert int(redis.get("begun")) == 30
    assert batch.progress().completed == 30
    assert fn.doctor().empty
