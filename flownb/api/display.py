"""How flows and trees are shown: each is a call of a view, through the hooks, on one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flownb import hooks
from flownb.adding.plan import plan
from flownb.adding.preview import snapshot_of_plan
from flownb.arguments import path as path_of
from flownb.errors import FlowError
from flownb.state.stored_flow import StoredFlow
from flownb.wire.records import COMPLETED, FAILED, NO_CAUSE

if TYPE_CHECKING:
    import pandas as pd

    from flownb.views.dot import Drawing


def draw(tree: Any) -> Drawing:
    """Draw a tree before it is stored: plan before you run.

    >>> draw({"name": "report", "queueName": "r", "children": [{"name": "load", "queueName": "l"}]})
    <Drawing of 'report': 2 nodes, 1 edge>
    """
    return hooks.drawings.digraph(snapshot_of_plan(plan(tree, prefix="bull")))


_TIMELINE_WIDTHS = (1100, 560, 340)  # pixels, for wide screens; for narrow ones and paper; for telephones


def page(
    stored: StoredFlow, path: Any = None, *, table: pd.DataFrame | None = None, table_of: int | None = None
) -> str:
    """Return a flow as one HTML page; with `path`, write it there.

    Its result is the `table`, which may be the beginning of one with `table_of` rows; else the root's value.
    """
    snapshot, records = stored.snapshot(failures=True), stored.drawn_records()
    # The snapshot's failures are a sample with tracebacks; all of them are to be counted.
    sampled = {record.key for record in snapshot.failures}
    others = [r for r in records if r.state == FAILED and r.why not in NO_CAUSE and r.key not in sampled]
    now, lanes = snapshot.finished or snapshot.now, stored.lanes(snapshot.counts)
    html = hooks.pages.report(
        snapshot,
        table_html=table,
        table_of=table_of,
        value=_value(stored) if table is None else None,
        failures=[*snapshot.failures, *others],
        timelines=[
            hooks.timelines.timeline_svg(records, now=now, width=width, counts=snapshot.counts, named=lanes)
            for width in _TIMELINE_WIDTHS
        ],
        title=snapshot.name,
    )
    if path is not None:
        target = path_of("path", path)
        try:
            with open(target, "w", encoding="utf-8") as file:
                file.write(html)
        except OSError as error:
            raise FlowError(f"path: {target} cannot be written: {error.strerror}") from None
    return html


def _value(stored: StoredFlow) -> str | None:
    """What the root has returned, as JSON text; None where it has not, or returned nothing."""
    root = stored.store.jobs.read([stored.root])[0]
    if root is None or root.state != COMPLETED or root.returnvalue in (None, "null"):
        return None
    return root.returnvalue
