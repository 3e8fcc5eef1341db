"""How flows show themselves: the one file of this room that knows the views, and asks for them late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flownb.errors import FlownbError
from flownb.wire.records import FAILED, FlowCounts, JobRecord, Snapshot

if TYPE_CHECKING:
    import pandas as pd

    from flownb.views.dot import Drawing


class Shown:
    """The display methods of a `Flow`; each is one call of a view on one snapshot."""

    @property
    def name(self) -> str:
        raise NotImplementedError

    def _snapshot(self, *, nodes: bool = True, failures: bool = False) -> Snapshot:
        raise NotImplementedError

    def __repr__(self) -> str:
        from flownb.views import text

        try:
            return text.summary(self._snapshot(nodes=False))
        except FlownbError:  # a repr never raises: the server may be gone
            return f"{type(self).__name__}({self.name!r})"

    def __str__(self) -> str:
        from flownb.views import text

        return text.tree(self._snapshot())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from flownb.views import html

        return {"text/plain": repr(self), "text/html": html.flow_html(self._snapshot(failures=True))}

    def _drawing(self, snapshot: Snapshot) -> Drawing:
        from flownb.views import dot

        return dot.digraph(snapshot)

    def _jobs_frame(self, records: Sequence[JobRecord]) -> pd.DataFrame:
        from flownb.views import table

        return table.jobs_frame(records)

    def _reasons_frame(self, reasons: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
        from flownb.views import table

        return table.reasons_frame(reasons)

    def _timeline_frame(self, records: Sequence[JobRecord]) -> pd.DataFrame:
        from flownb.views import timeline

        return timeline.timeline_frame(records)

    def _report(
        self, snapshot: Snapshot, records: Sequence[JobRecord], table: pd.DataFrame | None = None
    ) -> str:
        from flownb.views import html, timeline

        table_html = None if table is None else html.frame_html(table)
        picture = timeline.timeline_svg(records, now=snapshot.finished or snapshot.now)
        # The snapshot's failures are a sample with tracebacks; all of them are to be counted.
        sampled = {record.key for record in snapshot.failures}
        others = [r for r in records if r.state == FAILED and r.why != "child" and r.key not in sampled]
        failures = [*snapshot.failures, *others]
        return html.report(
            snapshot, table_html=table_html, failures=failures, timeline=picture, title=snapshot.name
        )


def stages(counts: FlowCounts) -> pd.DataFrame:
    """Return counts as a DataFrame: one row a queue, one column a state."""
    from flownb.views import table

    return table.counts_frame(counts)
