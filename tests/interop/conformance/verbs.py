"""What is done to many jobs of a queue, or to a job where it stands; deduplication, limits of a queue, schedules."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    ATTEMPTS_AGAIN,
    CALLED,
    RUNS,
    STOP,
    VALUES,
    add,
    after,
    differs,
    fails,
    flow,
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
)

HOUR = 3_600_000
EACH_STATE = [
    add(*[job(f"c{i}", returns(i)) for i in range(3)], *[job(f"f{i}", fails()) for i in range(2)]),
    run(),
    add(job("w0"), job("w1"), job("p", priority=3), job("d", delay=HOUR)),
]
TREE = flow(
    job("top", VALUES, queue="top", children=[job("a", returns(1)), job("b", returns(2), queue="items")])
)
TOP = of("top:top")


def cleaned(state: str, limit: int = 0) -> list[Any]:
    return [*EACH_STATE, line.clean(0, limit, state), line.get_job_counts()]


MANY: dict[str, list[Any]] = {
    "drain": [*EACH_STATE, line.drain(), line.get_job_counts()],
    "drain with what is delayed": [*EACH_STATE, line.drain(True), line.get_job_counts()],
    "drain an empty queue": [line.drain(), line.get_job_counts()],
    "drain a paused queue": [*EACH_STATE, line.pause(), line.drain(), line.get_job_counts()],
    "drain a child's queue": [
        TREE,
        line.drain(),
        TOP.get_state(),
        TOP.get_dependencies(),
        run("items"),
        run("top"),
        RUNS,
    ],
    "clean what is completed": cleaned("completed"),
    "clean two of what is completed": cleaned("completed", 2),
    "clean what has failed": cleaned("failed"),
    "clean what is delayed": cleaned("delayed"),
    "clean what waits": cleaned("wait"),
    "clean what has a priority": cleaned("prioritized"),
    "clean an empty queue": [line.clean(0, 0, "completed")],
    "clean a child's queue": [
        TREE,
        line.clean(0, 0, "wait"),
        TOP.get_state(),
        run("items"),
        run("top"),
        RUNS,
    ],
    "obliterate": [*EACH_STATE, line.pause(), line.obliterate(), line.get_job_counts()],
    "obliterate what runs is refused": [
        add(job("a", holds(), returns(1)), job("b")),
        work(),
        until_called("a"),
        until("active", "a"),
        line.obliterate(),
        opens(),
        until("completed", "a"),
        STOP,
    ],
    "retry what has failed": [
        *EACH_STATE,
        line.retry_jobs(),
        line.get_job_counts(),
        *differs(ATTEMPTS_AGAIN, "line:f0 atm: 1 | 0", "line:f1 atm: 1 | 0"),
    ],
    "retry what is completed": [
        *EACH_STATE,
        line.retry_jobs(state="completed"),
        line.get_job_counts(),
        *differs(ATTEMPTS_AGAIN, "line:c0 atm: 1 | 0", "line:c1 atm: 1 | 0", "line:c2 atm: 1 | 0"),
    ],
    "retry in a paused queue": [
        *EACH_STATE,
        line.pause(),
        line.retry_jobs(),
        line.get_job_counts(),
        *differs(ATTEMPTS_AGAIN, "line:f0 atm: 1 | 0", "line:f1 atm: 1 | 0"),
    ],
    "retry in an empty queue": [line.retry_jobs(), line.get_job_counts()],
    "promote what is delayed": [*EACH_STATE, line.promote_jobs(), line.get_job_counts()],
    "promote several": [
        add(*[job(f"d{i}", returns(i), delay=HOUR + i) for i in range(4)]),
        line.promote_jobs(),
        run(),
        RUNS,
    ],
}

ONE: dict[str, list[Any]] = {
    "promote": [add(job("a", returns(1), delay=HOUR)), of("a").promote(), of("a").get_state(), run()],
    "promote with a priority": [
        add(job("a", returns(1), delay=HOUR, priority=2)),
        of("a").promote(),
        of("a").get_state(),
        run(),
    ],
    "promote in a paused queue": [
        line.pause(),
        add(job("a", delay=HOUR)),
        of("a").promote(),
        of("a").get_state(),
    ],
    "promote what waits is refused": [add(job("a")), of("a").promote(), of("a").get_state()],
    "a child promoted": [
        flow(job("top", VALUES, queue="top", children=[job("a", returns(1), delay=HOUR)])),
        of("a").promote(),
        run(),
        run("top"),
        RUNS,
    ],
    "a delay changed": [add(job("a", returns(1), delay=HOUR)), of("a").change_delay(20), run()],
    "a delay of what waits is refused": [add(job("a")), of("a").change_delay(20), of("a").get_state()],
    "a priority given": [
        add(job("a"), job("b")),
        of("a").change_priority(priority=2),
        of("a").get_state(),
        run(),
        RUNS,
    ],
    "a priority changed": [
        add(job("a", priority=5), job("b", priority=3)),
        of("a").change_priority(priority=1),
        run(),
        RUNS,
    ],
    "a priority taken away": [
        add(job("a", priority=5), job("b")),
        of("a").change_priority(priority=0),
        of("a").get_state(),
        run(),
        RUNS,
    ],
    "a priority taken away, to the head": [
        add(job("a", priority=5), job("b")),
        of("a").change_priority(priority=0, lifo=True),
        run(),
        RUNS,
    ],
    "a priority before its equals": [
        add(job("a", priority=5), job("b", priority=5)),
        of("b").change_priority(priority=5, lifo=True),
        run(),
        RUNS,
    ],
    "a priority in a paused queue": [
        line.pause(),
        add(job("a")),
        of("a").change_priority(priority=2),
        of("a").get_state(),
    ],
    "a priority of what has ended": [
        add(job("a", returns(1))),
        run(),
        of("a").change_priority(priority=2),
        of("a").get_state(),
    ],
    "logs cleared": [
        add(job("a")),
        of("a").log("one"),
        of("a").log("two"),
        of("a").clear_logs(),
        of("a").get_logs(),
    ],
    "logs cleared but the last": [
        add(job("a")),
        of("a").log("one"),
        of("a").log("two"),
        of("a").clear_logs(1),
        of("a").get_logs(),
    ],
    "a child let go by the last one": [
        flow(job("top", VALUES, queue="top", children=[job("a", returns(1))])),
        of("a").remove_child_dependency(),
        TOP.get_state(),
        run("top"),
        run(),
        RUNS,
    ],
    "a child let go beside another one": [
        TREE,
        of("a").remove_child_dependency(),
        TOP.get_state(),
        TOP.get_dependencies(),
        run("items"),
        run("top"),
        RUNS,
    ],
    "a job without a parent has nobody to let go": [
        add(job("a")),
        of("a").remove_child_dependency(),
        *differs(
            "A job without a parent is let go by nobody: False; BullMQ raises.",
            "answers 2 line:a remove_child_dependency(): refused | false",
        ),
    ],
    "children that have not run removed": [
        TREE,
        run("items"),
        TOP.remove_unprocessed_children(),
        TOP.get_dependencies(),
        line.get_job_counts(),
    ],
    "a child added alone for a waiting parent": [
        TREE,
        add(job("c", returns(3), parent={"id": "top", "queue": "bull:top"})),
        TOP.get_dependencies(),
        run("line", "items"),
        run("top"),
        CALLED,
    ],
    "a child added alone, and it fails": [
        TREE,
        add(job("c", fails(), parent={"id": "top", "queue": "bull:top"}, failParentOnFailure=True)),
        run("line", "items"),
        run("top"),
        TOP.get_state(),
    ],
    "a child added alone for a parent that is not there": [
        add(job("a", returns(1), parent={"id": "nobody", "queue": "bull:line"})),
        line.get_job_counts(),
    ],
}

D = {"deduplication": {"id": "d"}}
KEEP = {"deduplication": {"id": "d", "keepLastIfActive": True}}

DEDUPLICATION: dict[str, list[Any]] = {
    "once for an id": [add(job("a", returns(1), **D)), add(job("b", returns(2), **D)), run(), RUNS],
    "again after its end": [
        add(job("a", returns(1), **D)),
        run(),
        add(job("b", returns(2), **D)),
        run(),
        RUNS,
    ],
    "again after its failure": [
        add(job("a", fails(), **D)),
        run(),
        add(job("b", returns(2), **D)),
        run(),
        RUNS,
    ],
    "again after its removal": [
        add(job("a", **D)),
        of("a").remove(),
        add(job("b", returns(2), **D)),
        run(),
        RUNS,
    ],
    "again after its key is removed": [
        add(job("a", **D)),
        line.remove_deduplication_key("d"),
        add(job("b", **D)),
        run(),
        RUNS,
    ],
    "a key that is not there": [line.remove_deduplication_key("nothing")],
    "not while it fails and is tried again": [
        add(job("a", fails(), attempts=2, backoff=HOUR, **D)),
        work(),
        until("delayed", "a"),
        STOP,
        add(job("b", **D)),
        line.get_job_counts(),
    ],
    "for a time": [
        add(job("a", returns(1), deduplication={"id": "d", "ttl": 60_000})),
        run(),
        add(job("b", returns(2), deduplication={"id": "d", "ttl": 60_000})),
        run(),
        RUNS,
    ],
    "the last one replaces a delayed one": [
        add(job("a", delay=HOUR, deduplication={"id": "d", "ttl": 60_000, "extend": True, "replace": True})),
        add(job("b", delay=HOUR, deduplication={"id": "d", "ttl": 60_000, "extend": True, "replace": True})),
        line.get_job_counts(),
    ],
    "two ids": [
        add(job("a", returns(1), **D)),
        add(job("b", returns(2), deduplication={"id": "e"})),
        run(),
        RUNS,
    ],
    "with a priority": [
        add(job("a", returns(1), priority=2, **D)),
        add(job("b", returns(2), priority=1, **D)),
        run(),
        RUNS,
    ],
    "the last one while it runs, afterwards": [
        add(job("a", holds(), returns(1), **KEEP)),
        work(),
        until_called("a"),
        until("active", "a"),
        add(job("b", returns(2), **KEEP)),
        add(job("c", returns(3), **KEEP)),
        opens(),
        until("completed", "a", "c"),
        STOP,
        RUNS,
    ],
    "the last one while it waits, not": [
        add(job("a", returns(1), **KEEP)),
        add(job("b", returns(2), **KEEP)),
        run(),
        RUNS,
    ],
    "with a parent is refused": [
        TREE,
        add(job("c", parent={"id": "top", "queue": "bull:top"}, **D)),
        TOP.get_dependencies(),
    ],
    "without an id is refused": [add(job("a", deduplication={"id": ""})), line.get_job_counts()],
}

BINDING: dict[str, list[Any]] = {
    "a concurrency": [
        line.get_global_concurrency(),
        line.set_global_concurrency(2),
        line.get_global_concurrency(),
        line.remove_global_concurrency(),
        line.get_global_concurrency(),
    ],
    "a concurrency binds all workers": [
        line.set_global_concurrency(2),
        add(*[job(f"h{i}", holds(), returns(i)) for i in range(4)]),
        work(concurrency=3),
        work(concurrency=3),
        until_called("h0", "h1"),
        after(60),
        CALLED,
        opens(),
        until("completed", "h0", "h1", "h2", "h3"),
        STOP,
    ],
    "a rate": [
        line.get_global_rate_limit(),
        line.set_global_rate_limit(2, 60_000),
        line.get_global_rate_limit(),
        line.remove_global_rate_limit(),
        line.get_global_rate_limit(),
    ],
    "a rate binds a worker": [
        line.set_global_rate_limit(2, 60_000),
        add(*[job(f"j{i}", returns(i)) for i in range(4)]),
        work(),
        until("completed", "j0", "j1"),
        after(60),
        STOP,
        RUNS,
        line.get_job_counts(),
    ],
    "no rate, no time to wait": [line.get_rate_limit_ttl()],
    "counts by priority": [
        add(job("a"), *[job(f"p{i}", priority=1 + i % 2) for i in range(5)]),
        line.get_counts_per_priority([0, 1, 2, 3]),
    ],
    "counts by priority in a paused queue": [
        line.pause(),
        add(job("a"), job("p", priority=4)),
        line.get_counts_per_priority([0, 4]),
    ],
}
