"""Jobs: how they are stored, what can be done to them, what their handles say."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    ATTEMPTS_AGAIN,
    RUNS,
    SHOWN,
    STOP,
    add,
    add_bulk,
    differs,
    fails,
    fails_first,
    flow,
    holds,
    job,
    line,
    logs,
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

FIELDS = ("id", "name", "data", "attempts_made", "progress", "returnvalue", "failed_reason")


def stored(**opts: Any) -> list[Any]:
    """A job with these options, as it is stored, and after it has run."""
    return [
        add(job("a", returns(1), **opts)),
        read("a", *FIELDS),
        of("a").get_state(),
        run(),
        read("a", *FIELDS),
    ]


def refused(**opts: Any) -> list[Any]:
    return [add(job("a", **opts)), line.get_job_counts()]


SCENARIOS: dict[str, list[Any]] = {
    "plain": stored(),
    "data of every kind": [
        add(
            *[
                job(f"j{i}", data=data)
                for i, data in enumerate([{}, [], 0, False, "", "x", 1.5, {"a": [None, {"b": "ü∑𝄞"}]}])
            ]
        ),
        run(do=(SHOWN,)),
    ],
    "options with attempts": stored(attempts=3),
    "options with backoff, fixed": stored(attempts=3, backoff={"type": "fixed", "delay": 100}),
    "options with backoff, exponential": stored(attempts=3, backoff={"type": "exponential", "delay": 100}),
    "options with backoff, a number": stored(attempts=3, backoff=100),
    "options with backoff and jitter": stored(
        attempts=3, backoff={"type": "fixed", "delay": 100, "jitter": 0.5}
    ),
    "options with priority": stored(priority=7),
    "options with delay": stored(delay=20),
    "options with lifo": stored(lifo=True),
    "options with a limit of stack traces": stored(stackTraceLimit=2),
    "options with a limit of logs": stored(keepLogs=2),
    "options with a limit of size": stored(sizeLimit=1000),
    "options with removal": stored(removeOnComplete={"count": 5}, removeOnFail={"age": 60, "count": 3}),
    "an id that is there already": [
        add(job("a", returns(1))),
        add(job("a", returns(2))),
        run(),
        add(job("a", returns(3))),
        run(),
        RUNS,
    ],
    "an id that is there already, with a priority": [
        add(job("a", returns(1), priority=2)),
        add(job("a", returns(2), priority=1)),
        run(),
        RUNS,
    ],
    "an id that is there already, with a delay": [
        add(job("a", returns(1), delay=20)),
        add(job("a", returns(2), delay=10)),
        run(),
        RUNS,
    ],
    "the same id in two queues": [
        add(job("a", returns(1)), job("a", returns(2), queue="items")),
        run("line", "items"),
    ],
    "ids of words, dots, dashes": [
        add(*[job(id, returns(1)) for id in ("order-17", "a.b", "x_y", "é")]),
        run(),
    ],
    "an id that is a whole number is refused": [add(job("a", id="123")), line.get_job_counts()],
    "an id with a colon is refused": [add(job("a", id="a:b")), line.get_job_counts()],
    "a size above its limit is refused": [
        add(job("a", data={"text": "x" * 100}, sizeLimit=50)),
        line.get_job_counts(),
    ],
    "a size above its limit, counted in bytes": [
        add(job("a", data={"text": "é" * 30}, sizeLimit=50)),
        line.get_job_counts(),
    ],
    "a priority of half is refused": refused(priority=1.5),
    "a priority above the highest is refused": refused(priority=2_097_152),
    "the highest priority": stored(priority=2_097_151),
    "a jitter above one is refused": refused(
        attempts=2, backoff={"type": "fixed", "delay": 1, "jitter": 1.5}
    ),
    "a jitter below zero is refused": refused(
        attempts=2, backoff={"type": "fixed", "delay": 1, "jitter": -0.5}
    ),
    "many at once": [
        add_bulk(
            *[job(f"j{i}", returns(i), **({"priority": 9 - i} if i % 3 == 0 else {})) for i in range(9)]
        ),
        line.get_job_counts(),
        run(),
        RUNS,
    ],
    "many at once, delayed and not": [
        add_bulk(job("a", returns(1), delay=30), job("b", returns(2))),
        run(),
        RUNS,
    ],
    "none at all": [add_bulk(), line.get_job_counts()],
    "data replaced": [
        add(job("a", data={"x": 1})),
        of("a").update_data({"y": [2]}),
        read("a", "data"),
        run(do=(SHOWN,)),
    ],
    "data replaced while it runs": [add(job("a", rewrites({"y": 2}), returns(1))), run(), read("a", "data")],
    "data of a removed job cannot be replaced": [
        add(job("a"), job("b")),
        of("a").remove(),
        of("a").update_data({}),
    ],
    "removed while it waits": [
        add(job("a", returns(1)), job("b", returns(2))),
        of("a").remove(),
        run(),
        RUNS,
    ],
    "removed while it is delayed": [add(job("a", delay=3_600_000)), of("a").remove(), line.get_job_counts()],
    "removed while it has a priority": [
        add(job("a", priority=3), job("b", priority=3)),
        of("a").remove(),
        line.get_job_counts(),
    ],
    "removed when completed": [
        add(job("a", logs("row"), returns(1))),
        run(),
        of("a").remove(),
        line.get_job_counts(),
    ],
    "removed when failed": [add(job("a", fails())), run(), of("a").remove(), line.get_job_counts()],
    "not removed while it runs": [
        add(job("a", holds(), returns(1))),
        work(),
        until_called("a"),
        until("active", "a"),
        of("a").remove(),
        opens(),
        until("completed", "a"),
        STOP,
    ],
    "not there": [line.get_job("nobody")],
    "progress, a number": [add(job("a", reports(42), returns(1))), run(), read("a", "progress")],
    "progress, an object": [
        add(job("a", reports({"step": 2, "of": [3]}), returns(1))),
        run(),
        read("a", "progress"),
    ],
    "progress, a text": [add(job("a", reports("half"), returns(1))), run(), read("a", "progress")],
    "progress, a flag": [add(job("a", reports(True), returns(1))), run(), read("a", "progress")],
    "progress from outside": [add(job("a")), of("a").update_progress(7), read("a", "progress")],
    "progress twice": [add(job("a", reports(1), reports(2), returns(1))), run(), read("a", "progress")],
    "log rows": [add(job("a", logs("one"), logs("two"), returns(1))), run(), of("a").get_logs()],
    "log rows from outside": [add(job("a")), of("a").log("one"), of("a").log("two"), of("a").get_logs()],
    "log rows, the newest so many": [
        add(job("a", keepLogs=2)),
        of("a").log("one"),
        of("a").log("two"),
        of("a").log("three"),
        of("a").get_logs(),
    ],
    "no log rows": [add(job("a")), of("a").get_logs()],
    "states": [
        add(job("waits"), job("ranks", priority=1), job("sleeps", delay=3_600_000)),
        flow(job("top", children=[job("below", queue="items")])),
        add(
            job("runs", holds(), queue="middle"),
            job("done", returns(1), queue="top"),
            job("broken", fails(), queue="top"),
        ),
        run("top"),
        work("middle"),
        until_called("runs"),
        until("active", "middle:runs"),
        *[
            of(name).get_state()
            for name in (
                "waits",
                "ranks",
                "sleeps",
                "top",
                "items:below",
                "middle:runs",
                "top:done",
                "top:broken",
            )
        ],
        opens(),
        until("completed", "middle:runs"),
        STOP,
    ],
    "a failed one retried": [
        add(job("a", fails_first(1), returns(1))),
        run(),
        read("a", *FIELDS),
        of("a").retry(),
        of("a").get_state(),
        read("a", *FIELDS),
        *differs(ATTEMPTS_AGAIN, "answers 6 read line:a attempts_made: 1 | 0", "line:a atm: 1 | 0"),
    ],
    "a failed one retried, and it runs": [
        add(job("a", fails())),
        run(),
        of("a").update_data({"do": [["return", 2]]}),
        of("a").retry(),
        run(),
        read("a", *FIELDS),
        RUNS,
        *differs(ATTEMPTS_AGAIN, "answers 6 read line:a attempts_made: 2 | 1", "line:a atm: 2 | 1"),
    ],
    "a failed one with a priority retried": [
        add(job("a", fails(), priority=3), job("b", returns(1), priority=1, queue="items")),
        run(),
        of("a").retry(),
        of("a").get_state(),
        line.get_job_counts(),
        *differs(ATTEMPTS_AGAIN, "line:a atm: 1 | 0"),
    ],
    "a failed one retried goes before what waits": [
        add(job("a", fails())),
        run(),
        add(job("b", returns(1)), job("c", returns(2))),
        of("a").update_data({"do": [["return", 2]]}),
        of("a").retry(),
        run(),
        RUNS,
        *differs(ATTEMPTS_AGAIN, "line:a atm: 2 | 1"),
    ],
    "a failed one retried in a paused queue": [
        add(job("a", fails())),
        run(),
        line.pause(),
        of("a").retry(),
        of("a").get_state(),
        line.get_job_counts(),
        *differs(ATTEMPTS_AGAIN, "line:a atm: 1 | 0"),
    ],
    "a waiting one cannot be retried": [add(job("a")), of("a").retry(), of("a").get_state()],
    "a removed one cannot be retried": [
        add(job("a", fails()), job("b")),
        run(),
        of("a").remove(),
        of("a").retry(),
    ],
}
