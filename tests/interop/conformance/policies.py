"""What a child's failure does to its parent, and what a retry or a removal then does."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    ATTEMPTS_AGAIN,
    COUNTS,
    IGNORED,
    RUNS,
    STOP,
    VALUES,
    differs,
    fails,
    fails_first,
    flow,
    gives_up,
    holds,
    job,
    line,
    of,
    on,
    opens,
    returns,
    run,
    until,
    until_called,
    work,
)

FAIL = {"failParentOnFailure": True}
IGNORE = {"ignoreDependencyOnFailure": True}
REMOVE = {"removeDependencyOnFailure": True}
CONTINUE = {"continueParentOnFailure": True}
LOOK = [
    of("top").get_state(),
    of("top").get_dependencies(),
    of("top").get_dependencies_count(),
    of("top").get_ignored_children_failures(),
]


def one_fails(**policy: Any) -> Any:
    """A parent of a child that fails and of one that does not."""
    return flow(
        job(
            "top",
            VALUES,
            children=[job("bad", fails(), queue="items", **policy), job("good", returns(1), queue="items")],
        )
    )


RETRIED_UP = "`retry` of a job puts what stands above it back too, up to the root; in BullMQ a parent that failed stays so."
OTHER_WORDS = "The reason is told in flownb's words, and has no stack trace: the function did return."
REMOVED_AT_ONCE = "A tree is removed in one step; BullMQ removes the children first, which releases the parent for a moment."

SCENARIOS: dict[str, list[Any]] = {
    "none: the parent waits on": [one_fails(), run("items"), *LOOK, run()],
    "none: a retried child completes it": [
        flow(job("top", VALUES, children=[job("bad", fails(), queue="items")])),
        run("items"),
        of("items:bad").update_data({"do": [["return", 2]]}),
        of("items:bad").retry(),
        *LOOK,
        run("items"),
        run(),
        *differs(ATTEMPTS_AGAIN, "items:bad atm: 2 | 1"),
    ],
    "fail: the parent fails": [one_fails(**FAIL), run("items"), *LOOK, run(), *LOOK],
    "fail: its function is not called": [one_fails(**FAIL), run("items"), run(), RUNS],
    "fail: only the level that asks": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("mid", VALUES, queue="middle", children=[job("bad", fails(), queue="items", **FAIL)])
                ],
            )
        ),
        run("items"),
        run("middle"),
        run(),
        *LOOK,
        of("middle:mid").get_state(),
    ],
    "fail: every level": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job(
                        "mid",
                        VALUES,
                        queue="middle",
                        **FAIL,
                        children=[job("bad", fails(), queue="items", **FAIL)],
                    )
                ],
            )
        ),
        run("items"),
        run("middle"),
        run(),
        *LOOK,
        of("middle:mid").get_state(),
    ],
    "fail, then ignored above": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job(
                        "mid",
                        VALUES,
                        queue="middle",
                        **IGNORE,
                        children=[job("bad", fails(), queue="items", **FAIL)],
                    )
                ],
            )
        ),
        run("items"),
        run("middle"),
        run(),
        *LOOK,
    ],
    "fail, then removed above": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job(
                        "mid",
                        VALUES,
                        queue="middle",
                        **REMOVE,
                        children=[job("bad", fails(), queue="items", **FAIL)],
                    )
                ],
            )
        ),
        run("items"),
        run("middle"),
        run(),
        *LOOK,
    ],
    "fail: a parent with a delay": [
        flow(job("top", VALUES, delay=3_600_000, children=[job("bad", fails(), queue="items", **FAIL)])),
        run("items"),
        *LOOK,
    ],
    "fail: a parent with a priority": [
        flow(job("top", VALUES, priority=4, children=[job("bad", fails(), queue="items", **FAIL)])),
        run("items"),
        run(),
        *LOOK,
    ],
    "fail: a parent that is removed when it fails": [
        flow(job("top", VALUES, removeOnFail=True, children=[job("bad", fails(), queue="items", **FAIL)])),
        run("items"),
        run(),
        line.get_job_counts(),
    ],
    "fail: a parent with attempts is not tried again": [
        flow(job("top", VALUES, attempts=3, children=[job("bad", fails(), queue="items", **FAIL)])),
        run("items"),
        run(),
        *LOOK,
    ],
    "fail: after the last attempt": [
        flow(job("top", VALUES, children=[job("bad", fails_first(3), attempts=2, queue="items", **FAIL)])),
        run("items"),
        run(),
        RUNS,
    ],
    "fail: two children fail": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("bad", fails("one"), queue="items", **FAIL),
                    job("worse", fails("two"), queue="items", **FAIL),
                ],
            )
        ),
        run("items"),
        run(),
        *LOOK,
    ],
    "fail: an unrecoverable error": [
        flow(job("top", VALUES, children=[job("bad", gives_up(), attempts=5, queue="items", **FAIL)])),
        run("items"),
        run(),
        *LOOK,
    ],
    "fail: a paused queue of the parent": [
        line.pause(),
        one_fails(**FAIL),
        run("items"),
        line.resume(),
        run(),
        *LOOK,
    ],
    "ignore: the parent runs without the value": [one_fails(**IGNORE), run("items"), *LOOK, run(), *LOOK],
    "ignore: the parent can ask why": [
        flow(job("top", IGNORED, children=[job("bad", fails("no such row"), queue="items", **IGNORE)])),
        run("items"),
        run(),
    ],
    "ignore: all children fail": [
        flow(
            job(
                "top",
                VALUES,
                children=[job(name, fails(name), queue="items", **IGNORE) for name in ("x", "y")],
            )
        ),
        run("items"),
        run(),
        *LOOK,
    ],
    "ignore: a parent counts its children": [
        flow(
            job(
                "top",
                COUNTS,
                children=[
                    job("bad", fails(), queue="items", **IGNORE),
                    job("good", returns(1), queue="items"),
                ],
            )
        ),
        run("items"),
        run(),
    ],
    "ignore: a retried child": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("bad", fails(), queue="items", **IGNORE),
                    job("good", holds(), returns(1), queue="middle"),
                ],
            )
        ),
        run("items"),
        *LOOK,
        of("items:bad").update_data({"do": [["return", 2]]}),
        of("items:bad").retry(),
        *LOOK,
        run("items"),
        opens(),
        run("middle"),
        run(),
        *LOOK,
        *differs(ATTEMPTS_AGAIN, "items:bad atm: 2 | 1"),
    ],
    "remove: the parent runs without the value": [one_fails(**REMOVE), run("items"), *LOOK, run(), *LOOK],
    "remove: all children fail": [
        flow(
            job(
                "top",
                VALUES,
                children=[job(name, fails(name), queue="items", **REMOVE) for name in ("x", "y")],
            )
        ),
        run("items"),
        run(),
        *LOOK,
    ],
    "continue: the parent runs at once": [
        flow(job("top", COUNTS, children=[job("bad", fails(), queue="items", **CONTINUE)])),
        run("items"),
        *LOOK,
        run(),
        *LOOK,
    ],
    "continue: while other children wait": [
        flow(
            job(
                "top",
                COUNTS,
                children=[
                    job("bad", fails(), queue="items", **CONTINUE),
                    job("late", returns(1), queue="middle"),
                ],
            )
        ),
        run("items"),
        *LOOK,
        run(),
        *LOOK,
        *differs(
            OTHER_WORDS,
            'line:events top: added name="top", waiting-children, waiting prev="waiting-children", active prev="waiting", '
            'failed failedReason="Job top has pending dependencies. moveToFinished" prev="active", retries-exhausted attemptsMade="1" | '
            'added name="top", waiting-children, waiting prev="waiting-children", active prev="waiting", '
            'failed failedReason="the job returned while children of it were pending" prev="active", retries-exhausted attemptsMade="1"',
            "line:top failedReason: Job top has pending dependencies. moveToFinished | the job returned while children of it were pending",
            "line:top stacktrace: 1 traces | 0 traces",
        ),
    ],
    "continue: a parent with a delay": [
        flow(
            job(
                "top",
                COUNTS,
                delay=3_600_000,
                children=[job("bad", fails(), queue="items", **CONTINUE), job("late", queue="middle")],
            )
        ),
        run("items"),
        *LOOK,
    ],
    "continue: a parent with a priority": [
        flow(
            job(
                "top",
                COUNTS,
                priority=2,
                children=[job("bad", fails(), queue="items", **CONTINUE), job("late", queue="middle")],
            )
        ),
        run("items"),
        *LOOK,
    ],
    "continue: two children fail": [
        flow(
            job(
                "top",
                COUNTS,
                children=[job(name, fails(name), queue="items", **CONTINUE) for name in ("x", "y")],
            )
        ),
        run("items"),
        *LOOK,
        run(),
        *LOOK,
    ],
    "policies of several kinds under one parent": [
        flow(
            job(
                "top",
                COUNTS,
                children=[
                    job("ignored", fails(), queue="items", **IGNORE),
                    job("removed", fails(), queue="items", **REMOVE),
                    job("good", returns(1), queue="items"),
                ],
            )
        ),
        run("items"),
        *LOOK,
        run(),
        *LOOK,
    ],
    "a child removed from a waiting parent releases it": [
        flow(job("top", VALUES, children=[job("a", returns(1), queue="items")])),
        of("items:a").remove(),
        of("top").get_state(),
        run(),
        RUNS,
    ],
    "one of two children removed": [
        flow(
            job(
                "top",
                VALUES,
                children=[job("a", returns(1), queue="items"), job("b", returns(2), queue="items")],
            )
        ),
        of("items:a").remove(),
        of("top").get_state(),
        of("top").get_dependencies(),
        run("items"),
        run(),
        RUNS,
    ],
    "a parent removed takes its waiting children along": [
        flow(
            job(
                "top",
                VALUES,
                children=[job("a", returns(1), queue="items"), job("b", returns(2), queue="items")],
            )
        ),
        of("top").remove(),
        on("items").get_job_counts(),
        *differs(
            REMOVED_AT_ONCE,
            'line:events top: added name="top", waiting-children, waiting prev="waiting-children", removed prev="wait" | added name="top", waiting-children, removed prev="waiting-children"',
        ),
    ],
    "a parent removed takes its completed children along": [
        flow(
            job(
                "top",
                VALUES,
                children=[job("a", returns(1), queue="items"), job("b", returns(2), queue="middle")],
            )
        ),
        run("items"),
        of("top").remove(),
        on("items").get_job_counts(),
        *differs(
            REMOVED_AT_ONCE,
            'line:events top: added name="top", waiting-children, waiting prev="waiting-children", removed prev="wait" | added name="top", waiting-children, removed prev="waiting-children"',
        ),
    ],
    "a parent removed takes its failed children along": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("a", fails(), queue="items", **IGNORE),
                    job("b", fails(), queue="items", **FAIL),
                    job("c", queue="middle"),
                ],
            )
        ),
        run("items"),
        of("top").remove(),
        on("items").get_job_counts(),
    ],
    "a parent removed below a grandparent": [
        flow(job("top", VALUES, children=[job("mid", queue="middle", children=[job("a", queue="items")])])),
        of("middle:mid").remove(),
        of("top").get_state(),
        run(),
        *differs(
            REMOVED_AT_ONCE,
            'middle:events mid: added name="mid", waiting-children, waiting prev="waiting-children", removed prev="wait" | added name="mid", waiting-children, removed prev="waiting-children"',
        ),
    ],
    "a tree with a running job is not removed": [
        flow(
            job(
                "top",
                VALUES,
                children=[job("a", holds(), returns(1), queue="items"), job("b", returns(2), queue="middle")],
            )
        ),
        work("items"),
        until_called("a"),
        until("active", "items:a"),
        of("top").remove(),
        opens(),
        until("completed", "items:a"),
        STOP,
        of("top").get_state(),
    ],
    "a completed child cannot be retried as a failed one": [
        flow(job("top", VALUES, children=[job("a", returns(1))])),
        run(),
        of("a").retry(),
    ],
    "a failed parent whose child is retried": [
        flow(job("top", VALUES, children=[job("bad", fails(), queue="items", **FAIL)])),
        run("items"),
        run(),
        of("items:bad").update_data({"do": [["return", 2]]}),
        of("items:bad").retry(),
        run("items"),
        *LOOK,
        run(),
        *LOOK,
        *differs(ATTEMPTS_AGAIN, "items:bad atm: 2 | 1"),
        *differs(
            RETRIED_UP,
            "answers 7 line:top get_state(): failed | waiting",
            "answers 12 line:top get_state(): failed | completed",
            'line:completed: nothing | {"top": "finishedOn"}',
            'line:failed: {"top": "finishedOn"} | nothing',
            'line:events top: added name="top", waiting-children, waiting prev="waiting-children", active prev="waiting", '
            'failed failedReason="child items:bad failed" prev="active", retries-exhausted attemptsMade="1" | '
            'added name="top", waiting-children, waiting prev="waiting-children", active prev="waiting", '
            'failed failedReason="child items:bad failed" prev="active", retries-exhausted attemptsMade="1", '
            'waiting-children prev="failed", waiting prev="waiting-children", active prev="waiting", completed prev="active" returnvalue=[2]',
            "line:top ats: 1 | 2",
            "line:top failedReason: child items:bad failed | nothing",
            "line:top returnvalue: nothing | [2]",
            "line:top stacktrace: nothing | 0 traces",
        ),
    ],
}
