"""Trees as they are read again, down to a depth."""

from __future__ import annotations

from typing import Any

from tests.interop.conformance.steps import (
    VALUES,
    add,
    fails,
    flow,
    job,
    returns,
    run,
    tree,
)

DEEP = job(
    "top",
    VALUES,
    children=[job("mid", VALUES, queue="middle", children=[job("a", returns(1), queue="items")])],
)

SCENARIOS: dict[str, list[Any]] = {
    "whole": [flow(DEEP), tree("line:top")],
    "to a depth": [flow(DEEP), *[tree("line:top", depth=depth) for depth in (1, 2, 3, 4)]],
    "from a job within": [flow(DEEP), tree("middle:mid")],
    "a job without children": [add(job("a")), tree("line:a")],
    "a job that is gone": [tree("line:gone")],
    "after its end": [flow(DEEP), run("items"), run("middle"), run(), tree("line:top")],
    "children of every end": [
        flow(
            job(
                "top",
                VALUES,
                children=[
                    job("done", returns(1), queue="items"),
                    job("ignored", fails(), queue="items", ignoreDependencyOnFailure=True),
                    job("removed", fails(), queue="items", removeDependencyOnFailure=True),
                    job("later", queue="middle"),
                ],
            )
        ),
        run("items"),
        tree("line:top"),
    ],
    "a failed parent": [
        flow(job("top", VALUES, children=[job("bad", fails(), queue="items", failParentOnFailure=True)])),
        run("items"),
        run(),
        tree("line:top"),
    ],
}
