"""How flows and trees are shown: each is a call of a view, through the hooks, on one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flownb import hooks
from flownb.adding.plan import plan
from flownb.adding.preview import snapshot_of_plan
from flownb.arguments import path as path_of
from flownb.state.stored_flow import StoredFlow
from flownb.wire.records import FAILED, NO_CAUSE

if TYPE_CHECKING:
    import pandas as pd

    from flownb.views.dot import Drawing


def draw(tree: Any) -> Drawing:
    """Draw a tree before it is stored: plan before you run.

    >>> draw({"name": "report", "queueName": "r", "children": [{"name": "load", "queueName": "l"}]})
    <Drawing of 'report': 2 nodes, 1 edge>
    """
    return hooks.drawings.digraph(snapshot_of_plan(plan(tree, prefix="bull")))


def page(stored: StoredFlow, path: Any = None, *, table: pd.DataFrame | None = None) -> str:
    """Return a flow as one HTML page, with a table of its result where there is one; with `path`, write it there."""
    snapshot, records = stored.snapshot(failures=True), stored.records()
    # The snapshot's failures are a sample with tracebacks; all of them are to be counted.
    sampled = {record.key for record in snapshot.failures}
    others = [r for r in records if r.state == FAILED and r.why not in NO_CAUSE and r.key not in sampled]
    html = hooks.pages.report(
        snapshot,
        table_html=table,
        failures=[*snapshot.failures, *others],
        timeline=hooks.timelines.timeline_svg(records, now=snapshot.finished or snapshot.now),
        title=snapshot.name,
    )
    if path is not None:
        with open(path_of("path", path), "w", encoding="utf-8") as file:
            file.write(html)
    return html
