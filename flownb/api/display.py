"""How flows show themselves: the one file of this room that knows views and widgets, and asks for them late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flownb.errors import FlownbError
from flownb.state.stored_flow import StoredFlow
from flownb.wire.records import FAILED, NO_CAUSE, FlowCounts, JobRecord, Snapshot

if TYPE_CHECKING:
    import pandas as pd

    from flownb.api.flow import Flow
    from flownb.views.dot import Drawing
    from flownb.widgets.view import FlowView


class Shown:
    """The display methods of a `Flow`; each is one call of a view on one snapshot."""

    _stored: StoredFlow

    def _flow(self) -> Flow:
        raise NotImplementedError

    def __repr__(self) -> str:
        from flownb.views import text

        try:
            return text.summary(self._stored.snapshot(nodes=False))
        except FlownbError:  # a repr never raises: the server may be gone
            return f"{type(self).__name__}({self._stored.name!r})"

    def __str__(self) -> str:
        from flownb.views import text

        return text.tree(self._stored.snapshot())

    def _ipython_display_(self) -> None:
        """Show the flow in a cell: live while its kernel lives, and a picture that stays in the notebook."""
        from flownb.widgets import cell_output

        cell_output.show(self._flow())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from flownb.widgets import cell_output

        return cell_output.bundle(self._flow())

    def watch(self) -> FlowView:
        """Return the whole live view: tree, table of jobs, failures, timeline, and buttons that steer the flow.

        As the last line of a cell it shows itself; closing it or its page ends the reading. Without a kernel,
        or with the variable ``FLOWNB_STATIC`` set, the cell gets the picture alone.

        >>> add({"name": "total", "queueName": "doc-views"}).watch()
        FlowView('total')
        """
        from flownb.widgets import view

        return view.view_of(self._flow(), whole=True)

    def _drawing(self, snapshot: Snapshot) -> Drawing:
        from flownb.views import dot

        return dot.digraph(snapshot)

    def _jobs_frame(self, records: Sequence[JobRecord]) -> pd.DataFrame:
        from flownb.views import table

        return table.jobs_frame(records)

    def _reasons_frame(self, reasons: Sequence[tuple[str, str, str, bool]]) -> pd.DataFrame:
        from flownb.views import table

        return table.reasons_frame([reason[:3] for reason in reasons])

    def _timeline_frame(self, records: Sequence[JobRecord]) -> pd.DataFrame:
        from flownb.views import table

        return table.timeline_frame(records)

    def _report(
        self, snapshot: Snapshot, records: Sequence[JobRecord], table: pd.DataFrame | None = None
    ) -> str:
        from flownb.views import html, html_table, timeline

        table_html = None if table is None else html_table.frame_html(table)
        picture = timeline.timeline_svg(records, now=snapshot.finished or snapshot.now)
        # The snapshot's failures are a sample with tracebacks; all of them are to be counted.
        sampled = {record.key for record in snapshot.failures}
        others = [r for r in records if r.state == FAILED and r.why not in NO_CAUSE and r.key not in sampled]
        failures = [*snapshot.failures, *others]
        return html.report(
            snapshot, table_html=table_html, failures=failures, timeline=picture, title=snapshot.name
        )


def stages(counts: FlowCounts) -> pd.DataFrame:
    """Return counts as a DataFrame: one row a queue, one column a state."""
    from flownb.views import table

    return table.counts_frame(counts)


def flows(lines: Sequence[tuple[str, str, str, int, int, int, float, str]]) -> pd.DataFrame:
    """Return a list of flows as a DataFrame: one row a flow, in the order given."""
    from flownb.views import table

    return table.flows_frame(lines)


def ailments(lines: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """Return what is wrong as a DataFrame: one row a thing, in the order given."""
    from flownb.views import table

    return table.reasons_frame(lines, what="what")
