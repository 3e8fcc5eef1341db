"""What a worker tells its own listeners, and a worker that rests."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    OVERHEARD,
    RUNS,
    STOP,
    VALUES,
    add,
    after,
    fails,
    fails_first,
    flow,
    gives_up,
    holds,
    job,
    line,
    of,
    opens,
    returns,
    run,
    until,
    until_called,
    work,
    worker,
)

OF_JOBS = ("active", "completed", "failed")
OF_ITSELF = ("ready", "paused", "resumed", "closing", "closed")

SCENARIOS: dict[str, list[Any]] = {
    "of a job that ends": [add(job("a", returns({"x": [1]}))), run(hears=OF_JOBS), OVERHEARD],
    "of one that fails": [add(job("a", fails())), run(hears=OF_JOBS), OVERHEARD],
    "of each attempt": [
        add(job("a", fails_first(2), returns(1), attempts=3)),
        run(hears=OF_JOBS),
        OVERHEARD,
    ],
    "of one that gives up": [add(job("a", gives_up(), attempts=3)), run(hears=OF_JOBS), OVERHEARD],
    "of a flow": [
        flow(job("top", VALUES, children=[job("a", returns(1))])),
        run(hears=OF_JOBS),
        OVERHEARD,
    ],
    "of two workers' queues": [
        add(job("a", returns(1)), job("b", returns(2), queue="items")),
        run("line", hears=OF_JOBS),
        run("items", hears=OF_JOBS),
        OVERHEARD,
    ],
    "of itself": [work(hears=OF_ITSELF), worker().pause(), worker().resume(), STOP, OVERHEARD],
    "of itself, paused and resumed twice": [
        work(hears=("paused", "resumed")),
        worker().pause(),
        worker().pause(),
        worker().resume(),
        worker().resume(),
        STOP,
        OVERHEARD,
    ],
    "paused it takes no job": [
        work(),
        worker().pause(),
        add(job("a", returns(1))),
        after(60),
        of("a").get_state(),
        worker().resume(),
        until("completed", "a"),
        STOP,
    ],
    "paused it lets another one work": [
        work(hears=OF_JOBS),
        worker().pause(),
        add(job("a", returns(1))),
        run(),
        OVERHEARD,
        RUNS,
    ],
    "paused without waiting while a job runs": [
        add(job("a", holds(), returns(1)), job("b", returns(2))),
        work(),
        until_called("a"),
        worker().pause(False),
        opens(),
        until("completed", "a"),
        after(60),
        line.get_job_counts(),
        worker().resume(),
        until("completed", "b"),
        STOP,
        RUNS,
    ],
    "paused and closed": [
        work(),
        worker().pause(),
        add(job("a", returns(1))),
        STOP,
        of("a").get_state(),
    ],
}
