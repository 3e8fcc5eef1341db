"""Workers: what they call, how attempts follow each other, what is kept, how many run at a time."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    ATTEMPTS,
    CALLED,
    COUNTS,
    IGNORED,
    RUNS,
    SHOWN,
    STOP,
    VALUES,
    add,
    after,
    differs,
    fails,
    fails_first,
    flow,
    gives_up,
    holds,
    job,
    line,
    logs,
    lost,
    naps,
    of,
    opens,
    read,
    reports,
    returns,
    rewrites,
    run,
    until,
    until_called,
    work,
)

FIVE = [job(f"j{i}", returns(i)) for i in range(5)]
HELD = [job(f"h{i}", holds(), returns(i)) for i in range(5)]
CRASHED = "The reason of a job whose workers died too often says how often they did."
LOOK = ("attempts_made", "failed_reason", "returnvalue")

WORKERS: dict[str, list[Any]] = {
    "one after the other": [add(*FIVE), run(), RUNS],
    "jobs added before it starts": [add(*FIVE), after(20), run(), RUNS],
    "jobs added while it is idle": [work(), add(*FIVE), until("completed", "j4"), STOP, RUNS],
    "values of every kind": [
        add(
            *[
                job(f"v{i}", returns(value))
                for i, value in enumerate([None, True, 0, -1.5, "", 'text "∑"', [], {}, {"a": [1]}])
            ]
        ),
        run(),
        read("v8", "returnvalue"),
    ],
    "an error": [add(job("a", fails("it broke"))), run(), read("a", *LOOK)],
    "an error without words": [
        add(job("a", fails(""))),
        run(),
        *differs(
            "An error without words is told by its type.",
            "line:a failedReason:  | RuntimeError",
            'line:events a: added name="a", waiting, active prev="waiting", failed failedReason="" prev="active", '
            'retries-exhausted attemptsMade="1" | added name="a", waiting, active prev="waiting", '
            'failed failedReason="RuntimeError" prev="active", retries-exhausted attemptsMade="1"',
        ),
    ],
    "an error of many lines": [add(job("a", fails("one\ntwo\n\nthree ∑"))), run()],
    "what it has logged stays when it fails": [
        add(job("a", logs("before"), reports(3), fails())),
        run(),
        of("a").get_logs(),
        read("a", "progress"),
    ],
    "a failed job does not stop the next": [add(job("a", fails()), job("b", returns(1))), run(), RUNS],
    "two workers of one queue": [
        add(*FIVE),
        work(),
        work(),
        until("completed", *[f"j{i}" for i in range(5)]),
        STOP,
    ],
    "a worker of two queues": [
        add(job("a", returns(1)), job("b", returns(2), queue="items")),
        run("line", "items"),
    ],
    "its name is noted": [
        add(job("a", returns(1))),
        run(name="ada"),
        *differs("flownb does not note which worker ran a job.", "line:a pb: ada | nothing"),
    ],
    "so many at a time": [
        add(*HELD),
        work(concurrency=3),
        until_called("h0", "h1", "h2"),
        CALLED,
        opens(),
        until("completed", *[f"h{i}" for i in range(5)]),
        STOP,
    ],
    "one at a time": [
        add(*HELD[:2]),
        work(),
        until_called("h0"),
        after(40),
        RUNS,
        opens(),
        until("completed", "h0", "h1"),
        STOP,
        RUNS,
    ],
    "closing waits for what runs": [
        add(job("a", naps(60), returns(1)), job("b", returns(2))),
        work(),
        until_called("a"),
        STOP,
        of("a").get_state(),
        of("b").get_state(),
    ],
    "what a function sees": [add(job("a", SHOWN, priority=4)), run(), read("a", "returnvalue")],
    "attempts made, as a function sees them": [
        add(job("a", fails_first(2), ATTEMPTS, attempts=3)),
        run(),
        read("a", *LOOK),
    ],
    "no concurrency is refused": [work(concurrency=0)],
    "a lost worker's job runs again": [add(job("a", returns(1))), lost("a"), run(stalled_interval=100), RUNS],
    "a job whose workers are lost too often fails": [
        add(job("a", returns(1))),
        lost("a"),
        run(stalled_interval=100, max_stalled_count=0),
        RUNS,
    ],
    "a lost child fails its parent": [
        flow(job("top", VALUES, children=[job("a", returns(1), queue="items", failParentOnFailure=True)])),
        lost("items:a"),
        run("items", stalled_interval=100, max_stalled_count=0),
        run(),
        RUNS,
    ],
    "a lost child is ignored": [
        flow(
            job(
                "top", IGNORED, children=[job("a", returns(1), queue="items", ignoreDependencyOnFailure=True)]
            )
        ),
        lost("items:a"),
        run("items", stalled_interval=100, max_stalled_count=0),
        run(),
        *differs(
            CRASHED,
            'line:events top: added name="top", waiting-children, waiting prev="waiting-children", active prev="waiting", completed prev="active" returnvalue={"items:a": "job stalled more than allowable limit"} | added name="top", waiting-children, waiting prev="waiting-children", active prev="waiting", completed prev="active" returnvalue={"items:a": "crashed its worker 1 time"}',
            "line:top returnvalue items:a: job stalled more than allowable limit | crashed its worker 1 time",
        ),
    ],
    "a lost child's removal": [
        flow(
            job("top", VALUES, children=[job("a", returns(1), queue="items", removeDependencyOnFailure=True)])
        ),
        lost("items:a"),
        run("items", stalled_interval=100, max_stalled_count=0),
        run(),
    ],
    "a lost child, and the parent goes on": [
        flow(
            job("top", COUNTS, children=[job("a", returns(1), queue="items", continueParentOnFailure=True)])
        ),
        lost("items:a"),
        run("items", stalled_interval=100, max_stalled_count=0),
        run(),
    ],
}

RETRIES: dict[str, list[Any]] = {
    "no attempts named is one": [add(job("a", fails())), run(), read("a", *LOOK), RUNS],
    "one attempt": [add(job("a", fails(), attempts=1)), run(), read("a", *LOOK), RUNS],
    "the second works": [
        add(job("a", fails_first(1), returns(1), attempts=2)),
        run(),
        read("a", *LOOK),
        RUNS,
    ],
    "none works": [add(job("a", fails_first(9), attempts=3)), run(), read("a", *LOOK), RUNS],
    "a failed attempt goes before what waits": [
        add(job("a", fails_first(1), returns(1), attempts=2), job("b", returns(2))),
        run(),
        RUNS,
    ],
    "a fixed backoff": [
        add(job("a", fails_first(2), returns(1), attempts=3, backoff={"type": "fixed", "delay": 20})),
        run(),
        RUNS,
    ],
    "a backoff as a number": [add(job("a", fails_first(1), returns(1), attempts=3, backoff=20)), run()],
    "an exponential backoff": [
        add(job("a", fails_first(9), attempts=4, backoff={"type": "exponential", "delay": 10})),
        run(),
        RUNS,
    ],
    "its delay is stored": [
        add(job("a", fails(), attempts=5, backoff={"type": "exponential", "delay": 600_000})),
        work(),
        until("delayed", "a"),
        STOP,
        line.get_job_counts(),
    ],
    "a backoff of nothing": [
        add(job("a", fails_first(1), returns(1), attempts=2, backoff=0), job("b", returns(2))),
        run(),
        RUNS,
    ],
    "a strategy of one's own": [
        add(job("a", fails_first(2), returns(1), attempts=3, backoff={"type": "custom", "delay": 0})),
        run(backoff=[10, 20]),
    ],
    "a strategy that says no more": [
        add(job("a", fails_first(2), returns(1), attempts=3, backoff={"type": "custom", "delay": 0})),
        run(backoff=[-1]),
        RUNS,
    ],
    "a strategy that says at once": [
        add(
            job("a", fails_first(1), returns(1), attempts=3, backoff={"type": "custom", "delay": 0}),
            job("b", returns(2)),
        ),
        run(backoff=[0]),
        RUNS,
    ],
    "an unrecoverable error": [add(job("a", gives_up("no use"), attempts=5)), run(), read("a", *LOOK), RUNS],
    "a limit of stack traces": [add(job("a", fails_first(9), attempts=4, stackTraceLimit=2)), run()],
    "no stack traces": [add(job("a", fails(), stackTraceLimit=0)), run()],
    "other jobs run meanwhile": [
        add(
            job("a", fails_first(1), returns(1), attempts=2, backoff=40),
            job("b", returns(2)),
            job("c", returns(3)),
        ),
        run(),
        RUNS,
    ],
    "progress stays between attempts": [
        add(job("a", reports(5), fails_first(1), returns(1), attempts=2)),
        run(),
        read("a", "progress"),
    ],
    "data written in one attempt": [
        add(job("a", rewrites({"do": [["return", 2]]}), fails(), attempts=2)),
        run(),
        read("a", *LOOK),
    ],
    "logs of all attempts": [
        add(job("a", logs("try"), fails_first(1), returns(1), attempts=2)),
        run(),
        of("a").get_logs(),
    ],
    "in a paused queue": [
        add(job("a", holds(), fails(), attempts=2, backoff=20)),
        work(),
        until_called("a"),
        line.pause(),
        opens(),
        until("waiting", "a"),
        STOP,
        RUNS,
        line.get_job_counts(),
    ],
}

REMOVALS: dict[str, list[Any]] = {
    "a completed one goes": [
        add(job("a", returns(1), removeOnComplete=True), job("b", returns(2))),
        run(),
        line.get_job_counts(),
    ],
    "a completed one goes and leaves the others": [
        add(job("a", returns(1)), job("b", returns(2)), job("c", returns(3), removeOnComplete=True)),
        run(),
        line.get_job_counts(),
    ],
    "none is kept": [
        add(job("a", returns(1)), job("b", returns(2), removeOnComplete=0)),
        run(),
        line.get_job_counts(),
    ],
    "the newest two": [
        add(*[job(f"j{i}", returns(i), removeOnComplete=2) for i in range(5)]),
        run(),
        line.get_jobs("completed", 0, -1),
    ],
    "the newest two, as an object": [
        add(*[job(f"j{i}", returns(i), removeOnComplete={"count": 2}) for i in range(5)]),
        run(),
    ],
    "by age, all are young": [
        add(*[job(f"j{i}", returns(i), removeOnComplete={"age": 60}) for i in range(3)]),
        run(),
    ],
    "by age, one is old": [
        add(job("old", returns(1))),
        run(),
        after(1100),
        add(job("a", returns(2), removeOnComplete={"age": 1})),
        run(),
    ],
    "by age and count": [
        add(*[job(f"j{i}", returns(i), removeOnComplete={"age": 60, "count": 1}) for i in range(3)]),
        run(),
    ],
    "kept when asked so": [add(job("a", returns(1), removeOnComplete=False)), run()],
    "a failed one goes": [
        add(job("a", fails(), removeOnFail=True), job("b", fails())),
        run(),
        line.get_job_counts(),
    ],
    "a failed one goes and leaves the others": [
        add(job("a", fails()), job("b", fails(), removeOnFail=True)),
        run(),
        line.get_job_counts(),
    ],
    "the newest failed one": [add(*[job(f"j{i}", fails(), removeOnFail=1) for i in range(3)]), run()],
    "a failed attempt is not an end": [
        add(job("a", fails_first(1), returns(1), attempts=2, removeOnFail=True)),
        run(),
    ],
    "after the last attempt": [
        add(job("a", fails_first(9), attempts=2, removeOnFail=True)),
        run(),
        line.get_job_counts(),
    ],
    "its log goes too": [add(job("a", logs("row"), returns(1), removeOnComplete=True)), run()],
    "completed and failed apart": [
        add(job("a", returns(1), removeOnFail=True), job("b", fails(), removeOnComplete=True)),
        run(),
    ],
}
