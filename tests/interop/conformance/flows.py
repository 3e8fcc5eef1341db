"""Flows: what parents wait for and receive."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    RUNS,
    SHOWN,
    VALUES,
    add,
    fails,
    fails_first,
    flow,
    holds,
    job,
    line,
    logs,
    of,
    on,
    opens,
    reports,
    returns,
    run,
)

PAIR = [job("a", returns(1), queue="items"), job("b", returns({"x": [2]}), queue="items")]

SCENARIOS: dict[str, list[Any]] = {
    "a parent runs after its children and has their values": [
        flow(job("top", VALUES, children=PAIR)),
        of("top").get_state(),
        of("items:a").get_state(),
        run("items"),
        of("top").get_state(),
        run(),
        RUNS,
    ],
    "children in the queue of their parent": [
        flow(job("top", VALUES, children=[job("a", returns(1)), job("b", returns(2))])),
        run(),
        RUNS,
    ],
    "three levels": [
        flow(job("top", VALUES, children=[job("mid", VALUES, queue="middle", children=PAIR)])),
        run("items"),
        run("middle"),
        run("line"),
        RUNS,
    ],
    "a chain of four jobs": [
        flow(
            job(
                "d",
                VALUES,
                children=[job("c", VALUES, children=[job("b", VALUES, children=[job("a", returns(1))])])],
            )
        ),
        run(),
        RUNS,
    ],
    "two branches of two levels": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("left", VALUES, children=[job("a", returns(1), queue="items")]),
                    job("right", VALUES, children=[job("b", returns(2), queue="items")]),
                ],
            )
        ),
        run("items"),
        run(),
        RUNS,
    ],
    "a parent waits while one child is left": [
        flow(
            job("top", VALUES, children=[job("a", returns(1)), job("b", holds(), returns(2), queue="items")])
        ),
        run(),
        of("top").get_state(),
        of("top").get_dependencies(),
        of("top").get_dependencies_count(),
        opens(),
        run("items"),
        run(),
        of("top").get_dependencies(),
        of("top").get_dependencies_count(),
    ],
    "an empty list of children": [flow(job("top", VALUES, children=[])), run(), RUNS],
    "a tree of one job": [flow(job("top", returns(1))), of("top").get_state(), run()],
    "no value counts as null": [
        flow(job("top", VALUES, children=[job("a")])),
        run(),
        of("top").get_children_values(),
    ],
    "values of every kind": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job(name, returns(value))
                    for name, value in {
                        "none": None,
                        "no": False,
                        "zero": 0,
                        "half": 0.5,
                        "text": 'naïve "∑" \n',
                        "empty": "",
                        "list": [1, [2]],
                        "object": {"a": {"b": []}},
                    }.items()
                ],
            )
        ),
        run(),
    ],
    "a wide tree": [
        flow(job("top", VALUES, children=[job(f"c{i}", returns(i)) for i in range(30)])),
        run(),
        RUNS,
    ],
    "several trees at once": [
        flow(
            job("one", VALUES, children=[job("a", returns(1))]),
            job("two", VALUES, children=[job("b", returns(2))]),
            bulk=True,
        ),
        run(),
        RUNS,
    ],
    "trees added one after the other": [
        flow(
            job("one", VALUES, children=[job("a", returns(1))]),
            job("two", VALUES, children=[job("b", returns(2))]),
        ),
        run(),
        RUNS,
    ],
    "a parent with a delay waits for it after its children": [
        flow(job("top", VALUES, children=[job("a", returns(1))], delay=30)),
        of("top").get_state(),
        run(),
        RUNS,
    ],
    "a parent with a long delay is delayed when its children are done": [
        flow(job("top", VALUES, children=[job("a", returns(1), queue="items")], delay=3_600_000)),
        run("items"),
        of("top").get_state(),
        line.get_job_counts(),
    ],
    "children with a delay": [
        flow(job("top", VALUES, children=[job("a", returns(1), delay=30), job("b", returns(2))])),
        of("a").get_state(),
        run(),
        RUNS,
    ],
    "a parent with a priority is prioritized when its children are done": [
        flow(job("top", VALUES, children=[job("a", returns(1), queue="items")], priority=3)),
        run("items"),
        of("top").get_state(),
        run(),
    ],
    "children with priorities": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("a", returns(1), priority=2),
                    job("b", returns(2), priority=1),
                    job("c", returns(3)),
                ],
            )
        ),
        run(),
        RUNS,
    ],
    "a parent goes before what waits already": [
        add(job("first", returns(0)), job("second", returns(0))),
        flow(job("top", VALUES, children=[job("a", returns(1), queue="items")])),
        run("items"),
        run(),
        RUNS,
    ],
    "a released parent before priorities": [
        add(job("urgent", returns(0), priority=1)),
        flow(job("top", VALUES, children=[job("a", returns(1), queue="items")])),
        run("items"),
        run(),
        RUNS,
    ],
    "children with attempts": [
        flow(job("top", VALUES, children=[job("a", fails_first(2), returns(1), attempts=3)])),
        run(),
        RUNS,
    ],
    "children with attempts and a pause between": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("a", fails_first(1), returns(1), attempts=3, backoff={"type": "fixed", "delay": 20})
                ],
            )
        ),
        run(),
        RUNS,
    ],
    "a parent with attempts keeps its children's values": [
        flow(job("top", fails_first(1), VALUES, attempts=2, children=[job("a", returns(1))])),
        run(),
        RUNS,
    ],
    "a paused queue of the parent": [
        line.pause(),
        flow(job("top", VALUES, children=PAIR)),
        run("items"),
        of("top").get_state(),
        line.resume(),
        run(),
    ],
    "a paused queue of the children": [
        on("items").pause(),
        flow(job("top", VALUES, children=PAIR)),
        on("items").get_job_counts(),
        of("top").get_state(),
        on("items").resume(),
        run("items"),
        run(),
    ],
    "a child's end is told to a parent in a paused queue, whose order it keeps": [
        line.pause(),
        add(job("first", returns(0))),
        flow(job("top", VALUES, children=PAIR)),
        run("items"),
        line.get_jobs("waiting", 0, -1),
        line.resume(),
        run(),
        RUNS,
    ],
    "the same tree again changes nothing": [
        flow(job("top", VALUES, children=[job("a", returns(1))])),
        run(),
        flow(job("top", VALUES, children=[job("a", returns(1))])),
        run(),
        RUNS,
    ],
    "the same tree again while it waits": [
        flow(job("top", VALUES, children=[job("a", returns(1))])),
        flow(job("top", VALUES, children=[job("a", returns(1))])),
        run(),
        RUNS,
    ],
    "a waiting tree gets a further child": [
        flow(job("top", VALUES, children=[job("a", returns(1))])),
        flow(job("top", VALUES, children=[job("b", returns(2))])),
        run(),
        RUNS,
    ],
    "a child that is done already": [
        add(job("a", returns(1), queue="items")),
        run("items"),
        flow(job("top", VALUES, children=[job("a", returns(1), queue="items")])),
        of("top").get_state(),
        run(),
    ],
    "a parent's own children are removed when they are done": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("a", returns(1), removeOnComplete=True),
                    job("b", returns(2), removeOnComplete=True),
                ],
            )
        ),
        run(),
        line.get_job_counts(),
    ],
    "a parent is removed when it is done": [
        flow(job("top", VALUES, removeOnComplete=True, children=[job("a", returns(1))])),
        run(),
        line.get_job_counts(),
    ],
    "a last child that fails and is removed": [
        flow(job("top", VALUES, children=[job("a", fails(), removeOnFail=True)])),
        run(),
        RUNS,
    ],
    "a failed child that is removed, beside another one": [
        flow(job("top", VALUES, children=[job("a", fails(), removeOnFail=True), job("b", returns(2))])),
        run(),
        RUNS,
    ],
    "a parent logs and reports": [
        flow(
            job(
                "top",
                reports(10),
                logs("half"),
                VALUES,
                children=[job("a", reports({"n": 1}), logs("x"), returns(1))],
            )
        ),
        run(),
        of("top").get_logs(),
    ],
    "data of every level": [
        flow(
            job(
                "top",
                SHOWN,
                data={"do": [SHOWN], "n": 1},
                children=[job("a", data={"do": [SHOWN], "n": [2]})],
            )
        ),
        run(),
    ],
    "two policies on one child are refused": [
        flow(job("top", children=[job("a", failParentOnFailure=True, ignoreDependencyOnFailure=True)])),
        line.get_job_counts(),
    ],
    "a child's children are below it": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("mid", VALUES, children=[job("a", returns(1)), job("b", returns(2))]),
                    job("c", returns(3)),
                ],
            )
        ),
        of("top").get_dependencies(),
        of("mid").get_dependencies(),
        run(),
        of("top").get_dependencies(),
        of("mid").get_dependencies(),
    ],
}
