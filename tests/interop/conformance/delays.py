"""Delays and priorities: which job runs when."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    RUNS,
    STOP,
    VALUES,
    add,
    add_bulk,
    after,
    fails,
    fails_first,
    flow,
    holds,
    job,
    line,
    of,
    opens,
    read,
    returns,
    run,
    until,
    until_called,
    work,
)

HOUR = 3_600_000

DELAYS: dict[str, list[Any]] = {
    "none is none": [add(job("a", returns(1), delay=0)), of("a").get_state(), run()],
    "none with a priority": [add(job("a", returns(1), delay=0, priority=2)), of("a").get_state(), run()],
    "one runs when it is due": [add(job("a", returns(1), delay=50)), of("a").get_state(), run(), RUNS],
    "a long one stays": [
        add(job("a", delay=HOUR), job("b", returns(1))),
        work(),
        until("completed", "b"),
        STOP,
        line.get_job_counts(),
    ],
    "a shorter one added later runs first": [
        add(job("a", returns(1), delay=80), job("b", returns(2), delay=20)),
        run(),
        RUNS,
    ],
    "a short one after a very long one": [
        add(job("a", delay=HOUR)),
        work(),
        add(job("b", returns(2), delay=20)),
        until("completed", "b"),
        STOP,
        RUNS,
    ],
    "in the order of their times": [
        add(*[job(f"d{ms}", returns(ms), delay=ms) for ms in (90, 30, 60, 10, 120)]),
        run(),
        RUNS,
    ],
    "the same time, first come first": [
        add_bulk(*[job(f"j{i}", returns(i), delay=40) for i in range(5)]),
        run(),
        RUNS,
    ],
    "with several workers": [
        add(*[job(f"d{ms}", returns(ms), delay=ms) for ms in (40, 20, 60)]),
        work(),
        work(),
        until("completed", "d20", "d40", "d60"),
        STOP,
    ],
    "with a slot for each": [
        add(*[job(f"d{ms}", returns(ms), delay=ms) for ms in (40, 20, 60)]),
        run(concurrency=3),
    ],
    "one waits before what is delayed": [
        add(job("late", returns(1), delay=20), job("now", returns(2))),
        run(),
        RUNS,
    ],
    "due ones go behind what waits": [
        line.pause(),
        add(job("due", returns(1), delay=1), job("a", returns(2))),
        after(20),
        line.resume(),
        run(),
    ],
    "due ones with a priority": [
        add(job("low", returns(1), delay=20, priority=5), job("high", returns(2), delay=20, priority=1)),
        run(),
        line.get_job_counts(),
    ],
    "due ones wait in a paused queue": [
        line.pause(),
        add(job("a", returns(1), delay=10)),
        work(),
        until("waiting", "a"),
        after(20),
        STOP,
        RUNS,
        line.resume(),
        run(),
    ],
    "listed": [
        add(job("b", delay=HOUR + 2000), job("a", delay=HOUR)),
        line.get_jobs("delayed", 0, -1),
        line.get_job_counts(),
    ],
    "a failed attempt waits for its backoff": [
        add(job("a", fails(), attempts=2, backoff=HOUR)),
        work(),
        until("delayed", "a"),
        STOP,
        read("a", "attempts_made", "failed_reason"),
    ],
}

PRIORITIES: dict[str, list[Any]] = {
    "in their order": [add(*[job(f"p{n}", returns(n), priority=n) for n in (3, 1, 2)]), run(), RUNS],
    "equal ones in the order added": [
        add(*[job(f"j{i}", returns(i), priority=4) for i in range(6)]),
        run(),
        RUNS,
    ],
    "none before any": [add(job("one", priority=1), job("none"), job("zero", priority=0)), run(), RUNS],
    "the highest number last": [
        add(job("last", priority=2_097_151), job("first", priority=1), job("also-last", priority=2_097_151)),
        run(),
        RUNS,
    ],
    "many in one call": [add_bulk(*[job(f"j{i}", priority=1 + (7 * i) % 5) for i in range(12)]), run(), RUNS],
    "lifo before what waits": [add(job("a"), job("b"), job("c", lifo=True)), run(), RUNS],
    "several lifo, the last one first": [add(*[job(f"j{i}", lifo=True) for i in range(4)]), run(), RUNS],
    "lifo with a priority": [add(job("a", priority=2), job("b", priority=2, lifo=True)), run(), RUNS],
    "added while one runs": [
        add(job("a", holds(), priority=5)),
        work(),
        until_called("a"),
        add(job("low", priority=9), job("high", priority=1), job("now")),
        opens(),
        until("completed", "a", "low", "high", "now"),
        STOP,
        RUNS,
    ],
    "an urgent one to an idle worker": [
        work(),
        add(job("a", returns(1), priority=3)),
        until("completed", "a"),
        STOP,
    ],
    "in a paused queue": [
        line.pause(),
        add(job("a", priority=2), job("b", priority=1)),
        line.get_job_counts(),
        line.resume(),
        run(),
        RUNS,
    ],
    "listed": [
        add(*[job(f"p{n}", priority=n) for n in (3, 1, 2)]),
        line.get_jobs("prioritized", 0, -1),
        line.get_job_counts(),
    ],
    "a failed attempt keeps its priority after a backoff": [
        add(job("a", fails_first(1), returns(1), attempts=2, backoff=20, priority=3)),
        run(),
    ],
    "a child's priority in the queue of others": [
        add(job("other", returns(0), priority=2)),
        flow(
            job(
                "top",
                VALUES,
                queue="top",
                children=[job("a", returns(1), priority=1), job("b", returns(2), priority=3)],
            )
        ),
        run(),
        run("top"),
        RUNS,
    ],
}
