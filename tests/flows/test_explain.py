"""Shows that each way a flow can be stuck is explained by its cause and its cure, and that explaining writes nothing."""

from __future__ import annotations

import re
import threading

import pytest

import flownb as fn
from tests.support.stuck_flows import row, says

# ---- the queue ----------------------------------------------------------------------------------------------


def test_no_worker_serves_a_queue(stage):
    flow = stage.add(*(row(f"row-{i}") for i in range(20)))
    start = ", function), or flownb worker MODULE with its task"
    assert stage.explain(flow) == [
        ("total > row-0 and 19 more", "no worker serves queue 'rows'", f"start one: Worker('rows'{start}"),
        ("total", "no worker serves queue 'totals'", f"start one: Worker('totals'{start}"),
    ]


def test_only_a_later_queue_has_no_worker(stage):
    flow = stage.add(row())
    stage.serve("rows")
    stage.take("rows")
    (later, now) = stage.explain(flow)
    assert later[:2] == ("total", "no worker serves queue 'totals'")
    assert now[0] == "total > row"


def test_a_worker_that_runs_is_known_at_once(stage, until):
    flow = stage.add(row("slow"))
    inside, may_end = threading.Event(), threading.Event()
    with (
        fn.Worker("rows", lambda job: (inside.set(), may_end.wait(30))),
        fn.Worker("totals", lambda job: 1),
    ):
        assert inside.wait(20)
        until(lambda: flow.explain()["why"].str.startswith("running for")[0])
        may_end.set()
        assert flow.result(timeout=20) == 1


def test_a_paused_queue(stage):
    flow = stage.add(row())
    stage.serve("rows", "totals")
    fn.Queue("rows").pause()
    assert stage.only(flow) == (
        "total > row",
        "queue 'rows' is paused",
        "resume it with Queue('rows').resume()",
    )
    fn.Queue("rows").resume()
    fn.Queue("totals").pause()
    assert stage.explain(flow)[0][:2] == ("total", "queue 'totals' is paused")


def test_a_queue_that_is_paused_and_served_by_nobody_has_both_reasons(stage):
    flow = stage.add(queue="q")
    fn.Queue("q").pause()
    assert [why for _, why, _ in stage.explain(flow)] == ["queue 'q' is paused", "no worker serves queue 'q'"]


def test_a_queue_at_its_global_concurrency(stage):
    flow = stage.add(row("one"), row("two"), row("three"))
    stage.serve("rows", "totals")
    stage.redis.hset("bull:rows:meta", "concurrency", 1)
    assert len(stage.take("rows", want=3)) == 1
    full, running = stage.explain(flow)[:2]
    assert full == (
        "total > two and 1 more",
        "queue 'rows' is at its global concurrency: 1 of 1 run",
        "wait, or raise the queue's global concurrency",
    )
    assert running[0] == "total > one"


def test_a_queue_held_by_a_rate_limit_error(stage):
    flow = stage.add(row())
    stage.serve("rows", "totals")
    stage.finish(stage.take("rows")[0], "returned", hold=60_000)
    job, why, fix = stage.only(flow)
    assert job == "total > row"
    assert says("queue 'rows' is rate limited for (60|59) s by a RateLimitError", why)
    assert says("wait (60|59) s", fix)


def test_a_queue_at_its_workers_rate_limit(stage):
    flow = stage.add(*(row(f"row-{i}") for i in range(5)))
    stage.serve("rows", "totals")
    limiter = {"max": 2, "duration": 60_000}
    for taken in stage.take("rows", want=5, limiter=limiter):
        stage.finish(taken, "completed", value="1")
    job, why, _ = stage.only(flow)
    assert job == "total > row-2 and 2 more"
    assert says("queue 'rows' is rate limited for (60|59) s: 2 started in this window", why)


def test_a_busy_worker_with_a_rate_limit_is_busy_not_limited(stage):
    flow = stage.add(row("one"), row("two"))
    stage.serve("rows", "totals")
    stage.take("rows", limiter={"max": 5, "duration": 60_000})
    assert "in line: 1 wait in queue 'rows', 1 run" in [why for _, why, _ in stage.explain(flow)]


def test_a_queue_at_its_global_rate_limit(stage):
    flow = stage.add(row("one"), row("two"))
    stage.serve("rows", "totals")
    stage.redis.hset("bull:rows:meta", mapping={"max": 1, "duration": 60_000})
    stage.finish(stage.take("rows", want=2)[0], "completed", value="1")
    assert says("queue 'rows' is rate limited for .* s: 1 started .*", stage.only(flow)[1])
    stage.redis.hset("bull:rows:meta", "max", 5)
    assert stage.explain(flow)[0][1] == "in line: 1 wait in queue 'rows', 0 run"


def test_a_job_in_line_behind_others(stage):
    fn.Queue("rows").add_bulk([{"name": "other"}] * 4)
    flow = stage.add(row(), row(opts={"priority": 3}))
    stage.serve("rows", "totals")
    stage.take("rows")
    line, children = stage.explain(flow)
    assert line[:2] == ("total > row and 1 more", "in line: 5 wait in queue 'rows', 1 run")
    assert children == ("total", "waits for 2 children, the oldest: row, row", "wait")


# ---- time ---------------------------------------------------------------------------------------------------


def test_a_delayed_job(stage):
    flow = stage.add(row(opts={"delay": 3_600_000}), row(opts={"delay": 7_200_000}))
    stage.serve("rows", "totals")
    job, why, fix = stage.only(flow)
    assert job == "total > row and 1 more"
    assert says(
        r"delayed until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, for (60|59) min more, as its options ask", why
    )
    assert fix == "wait"


def test_a_job_between_two_attempts(stage):
    flow = stage.add(row(opts={"attempts": 3, "backoff": 90_000}))
    stage.serve("rows", "totals")
    stage.finish(
        stage.take("rows")[0], "retry", reason="OSError: busy", stacktrace="[]", delay=90_000, lifo=False
    )
    _, why, fix = stage.only(flow)
    assert says("delayed until .* UTC, for (90|89) s more: attempt 2 of 3 after OSError: busy", why)
    assert fix == "wait, or mend what fails"


def test_a_backoff_of_five_seconds_is_not_taken_for_an_unknown_task(stage):
    flow = stage.add(row(opts={"attempts": 3, "backoff": 5000}))
    stage.serve("rows", "totals")
    stage.finish(stage.take("rows")[0], "returned")
    stage.finish(
        stage.take("rows")[0], "retry", reason="OSError: busy", stacktrace="[]", delay=5000, lifo=False
    )
    assert "attempt 2 of 3 after OSError: busy" in stage.only(flow)[1]


def test_a_task_that_no_worker_knows(stage, until):
    @fn.task(queue="shared")
    def known(): ...

    @fn.task(queue="shared")
    def known_too(): ...

    flow = stage.add({"name": "unheard-of", "queueName": "shared"})
    with fn.workers():
        until(lambda: fn.Queue("shared").get_job_counts()["delayed"] == 1)
        job, why, fix = flow.explain().loc[0]
    assert job == "total > unheard-of"
    assert says(
        r"no flownb worker of queue 'shared' knows the task 'unheard-of': put off, delayed until .*, for .* s more",
        why,
    )
    assert fix == (
        "define 'unheard-of' where a worker runs, or start one that has it: flownb worker MODULE; where another "
        "program's worker runs such jobs, give these a queue of their own"
    )


# ---- running ------------------------------------------------------------------------------------------------


def test_a_job_that_runs_for_long(stage):
    flow = stage.add(row(opts={"attempts": 2}), row("short"))
    stage.serve("rows", "totals")
    taken, _ = stage.take("rows", want=2)
    stage.redis.hincrby(taken.record.key, "processedOn", -250_000)
    stage.redis.hset(taken.record.key, "pb", "machine-7")
    running, _ = stage.explain(flow)
    assert running == (
        "total > row and 1 more",
        "running for 4 min on machine-7 (attempt 1 of 2)",
        "wait; if it may hang, give it a timeout",
    )


def test_a_job_that_its_timeout_will_end(stage):
    flow = stage.add(row(opts={"timeout": 600_000}))
    stage.serve("rows", "totals")
    (taken,) = stage.take("rows")
    stage.redis.hincrby(taken.record.key, "processedOn", -120_000)
    assert stage.explain(flow)[0][1:] == ("running for 2 min; its timeout ends the attempt in 7 min", "wait")


def test_a_job_whose_worker_died_while_others_serve(stage):
    flow = stage.add(row())
    (taken,) = stage.take("rows")
    stage.redis.delete(f"{taken.record.key}:lock")
    stage.serve("rows", "totals")  # this sweep suspects it
    job, why, fix = stage.only(flow)
    assert job == "total > row"
    died = "its worker died: it is active without a lease; it will be"
    assert says(f"{died} put back in the line in (60|59) s", why)
    assert fix == "wait: it runs again"
    stage.redis.delete("bull:rows:stalled-check", "bull:rows:stalled")
    assert stage.only(flow)[1] == f"{died} suspected, and put back a sweep later, at any moment"


def test_a_job_whose_worker_died_and_nobody_serves(stage):
    flow = stage.add(row())
    (taken,) = stage.take("rows")
    stage.redis.delete(f"{taken.record.key}:lock")
    stage.serve("totals")
    assert stage.only(flow) == (
        "total > row",
        "its worker died: it is active without a lease, and no worker serves queue 'rows'",
        "start one, which puts it back: Worker('rows', function)",
    )


def test_a_job_whose_workers_died_too_often(stage):
    flow = stage.add(row())
    stage.serve("rows", "totals")
    for alone in (False, True):
        (taken,) = stage.take("rows")
        stage.kill(taken, alone=alone, most=1)
    assert stage.only(flow) == (
        "total > row",
        "2 workers died while it ran: it runs alone, when a worker has ended its other jobs",
        "see whether it takes too much memory; else wait",
    )
    (taken,) = stage.take("rows", alone=True)
    stage.kill(taken, alone=True, most=1)
    assert stage.only(flow) == (
        "total > row",
        "3 workers died while it ran: the next worker fails it unrun",
        "see whether it takes too much memory; it fails when a worker takes it",
    )


def test_a_parent_that_is_to_fail_when_a_worker_takes_it(stage):
    flow = stage.add(row("free", opts={"continueParentOnFailure": True}), row("must"))
    stage.serve("rows", "totals")
    first, second = stage.take("rows", want=2)
    stage.fail(first)  # releases the parent
    stage.fail(second)  # which waits in its line by now
    job, why, fix = stage.only(flow)
    assert job == "total"
    assert why == f"it is to fail (child {second.record.key} failed): the next worker fails it unrun"
    assert fix == "mend the child that failed; it fails when a worker takes it"


@pytest.fixture
def held_rows(connection):
    """Give a task whose rows run, one at a time, once the gate beside it is open."""
    gate = threading.Event()

    @fn.task(queue="rows")
    def row(n):
        gate.wait(60)
        return n

    with fn.workers(1):
        yield row, gate
        gate.set()


def test_an_older_run_that_is_paused_is_named_as_such(held_rows, until):
    row, gate = held_rows
    older = fn.fan_out([1, 2], row, name="b", rows_per_job=1)
    until(lambda: older.progress().active)
    older.pause()
    newer = fn.fan_out([1, 2, 3], row, name="b", rows_per_job=1)
    (reason,) = (one for one in newer.explain().to_dict("records") if "in line" in one["why"])
    assert re.search(r"; behind batch 'b' \(an older run, paused; 2 rows, \d+(\.\d)? s old\)$", reason["why"])
    handle = fn.flows(state="older")["flow"][0]
    assert reason["fix"] == f"wait, or resume it: fn.attach({handle!r}).resume()"
    gate.set()
    assert newer.results(60)["row"].tolist() == [1, 2, 3]


def test_what_a_flow_waits_behind_is_named_with_its_cure(held_rows, until):
    row, gate = held_rows
    first = fn.fan_out(list(range(30)), row, name="model-proc", rows_per_job=1)
    until(lambda: first.progress().active)
    second = fn.fan_out([100, 101], row, name="new", rows_per_job=1)
    reason = second.explain().iloc[0]
    assert re.search(r"; behind batch 'model-proc' \((29|30) rows, \d+(\.\d)? s old\)$", reason["why"])
    assert reason["fix"] == "wait, or cancel it: fn.attach('model-proc').cancel()"
    said = "; cancel it: fn.attach(&#39;model-proc&#39;).cancel()"
    assert "behind batch &#39;model-proc&#39; (" in second.to_html()
    assert said in second.to_html()
    assert "behind" not in first.to_html()
    exec(reason["fix"].partition(": ")[2], {"fn": fn})
    gate.set()
    assert second.results(60)["row"].tolist() == [100, 101]
