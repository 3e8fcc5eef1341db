"""The calls that go against the direction of imports: what a lower room asks of a room above it.

A hook stands for one module of a room above; its class says which functions of that module are called, and why.
`flownb/__init__.py` fills the hooks with modules that are imported at the first call. Like errors and options, hooks
are open to every room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from flownb.api.flow import Flow
    from flownb.api.job import Job
    from flownb.connection import Connection
    from flownb.tasks.task import Task
    from flownb.views.dot import Drawing
    from flownb.widgets.view import FlowView
    from flownb.wire.records import FlowCounts, HowFar, JobLine, JobRecord, Lane, Snapshot


# ---- work that is added here ---------------------------------------------------------------------------------


class KernelWorkers(Protocol):
    """`worker.task_worker`: this kernel's own workers, asked by whoever adds work."""

    def register_code(self, connection: Connection, queues: Iterable[str], /) -> None:
        """Work is about to be added to these queues: raise FlowError where another kernel would run it otherwise."""

    def keep_tasks(self, connection: Connection, name: str, flow: str, tasks: Iterable[Task], /) -> None:
        """A batch is about to be added: its rows run by these functions as they are now."""

    def widen(self, connection: Connection, flow: str, queues: Iterable[str], most: int | None, /) -> None:
        """A flow lets so many of its jobs run at a time: open as many slots for its queues here."""

    def has_kept_tasks(self, connection: Connection, flow: str, /) -> bool:
        """Say whether this kernel runs a batch by the functions that it was added with."""

    def take_over_batch(self, connection: Connection, name: str, flow: str, /) -> None:
        """A person goes on with a batch: what has not run runs by the functions as they are defined here by now."""

    def start_kernel_worker(self, connection: Connection, /) -> None:
        """Work has been added: let this kernel's own workers run, if it has any to do."""


kernel_workers: KernelWorkers


# ---- what a task is called with ------------------------------------------------------------------------------


class Frames(Protocol):
    """`batches.frames`: stored rows as DataFrames."""

    def frame_of_children(self, job: Job, /) -> pd.DataFrame:
        """Return what an aggregate task receives: one row for each child of its job."""


class Calls(Protocol):
    """`batches.calls`: rows as the Series and DataFrames that a task takes, and what it returned, row by row."""

    def index_of(
        self, spec: Mapping[str, Any] | None, labels: Sequence[Any] | None, first: int, rows: int, /
    ) -> Any:
        """Return the index of a job's rows, from that of their batch and the rows' own labels."""

    def columns_of(
        self, rows: Sequence[Mapping[str, Any]], names: Sequence[str], index: Any, /
    ) -> dict[str, Any]:
        """Return these columns of some rows as Series on their labels."""

    def frame_of(self, rows: Sequence[Any], index: Any, /) -> Any:
        """Return whole rows as a DataFrame on their labels."""

    def values_of(self, returned: Any, index: Any, name: str, /) -> list[Any]:
        """Return what a call has returned as one value a row; raise FlowError where it is none."""


frames: Frames
calls: Calls


# ---- how handles show what they read: pure functions of `views` -----------------------------------------------


class Texts(Protocol):
    """`views.text`: what `print` and a traceback show."""

    def summary(self, snapshot: Snapshot, /) -> str:
        """Return the flow in one line, its repr."""

    def tree(self, snapshot: Snapshot, /) -> str:
        """Return the flow as an indented tree, its str."""


class Drawings(Protocol):
    """`views.dot`: Graphviz."""

    def digraph(self, snapshot: Snapshot, /) -> Drawing:
        """Return the flow as a drawing that a cell shows."""


class Tables(Protocol):
    """`views.table`: DataFrames of jobs, counts, flows, schedules and reasons, one row each, in the order given."""

    def jobs_frame(self, records: Iterable[JobRecord | JobLine], /) -> pd.DataFrame: ...

    def counts_frame(self, counts: FlowCounts, /) -> pd.DataFrame:
        """One row a queue, one column a state."""

    def flows_frame(
        self, lines: Sequence[tuple[str, str, str, int, int, int, float, str, str]], /
    ) -> pd.DataFrame: ...

    def usage_frame(self, lines: Sequence[tuple[str, str, str, int, int, int]], /) -> pd.DataFrame: ...

    def schedules_frame(
        self, lines: Sequence[tuple[str, str, str, str, int, str | None, str | None, str]], /
    ) -> pd.DataFrame: ...

    def timeline_frame(self, records: Iterable[JobRecord], /) -> pd.DataFrame:
        """One row a phase of a job: waiting, running, retrying."""

    def reasons_frame(self, reasons: Sequence[tuple[str, str, str]], /, what: str = "why") -> pd.DataFrame:
        """One row a reason (job, why, fix); `what` is what the second column is called."""


class Timelines(Protocol):
    """`views.timeline`: a picture of when each job waited and ran."""

    def timeline_svg(
        self,
        records: Iterable[JobRecord],
        /,
        *,
        now: int,
        width: float = ...,
        counts: FlowCounts | None = ...,
        named: Mapping[str, Lane] | None = ...,
    ) -> str: ...


class Pages(Protocol):
    """`views.html`: a flow as one HTML page."""

    def report(
        self,
        snapshot: Snapshot,
        /,
        *,
        table_html: pd.DataFrame | None = None,
        table_of: int | None = None,
        value: str | None = None,
        failures: Iterable[JobRecord] | None = None,
        timelines: Sequence[str] = (),
        title: str | None = None,
    ) -> str: ...


class RowPages(Protocol):
    """`views.row_page`: one row of a batch in a cell."""

    def row_html(
        self,
        label: str,
        state: str,
        facts: Iterable[tuple[str, str]],
        sections: Iterable[tuple[str, str]],
        traceback: str | None,
        picture: str | None,
        /,
    ) -> str: ...


class Bars(Protocol):
    """`views.progress_bar`: how far a flow is, while somebody waits for it."""

    def progress_bar(self, name: str, /) -> AbstractContextManager[Callable[[HowFar], None]]:
        """Draw a bar; the call that it gives takes how far the flow is."""


texts: Texts
drawings: Drawings
tables: Tables
timelines: Timelines
pages: Pages
row_pages: RowPages
bars: Bars


# ---- how a flow is shown in a cell -----------------------------------------------------------------------------


class LiveViews(Protocol):
    """`widgets.view`: the live views, and what a cell shows when a flow is its last line."""

    def view_of(self, flow: Flow, /, *, whole: bool) -> FlowView:
        """Return the one live view of a flow in this kernel; `whole` is with table, timeline and buttons."""

    def show(self, flow: Flow, /) -> None:
        """Display the flow in a cell: live while its kernel lives, and a picture that stays in the notebook."""

    def bundle(self, flow: Flow, /) -> dict[str, Any]:
        """Return the flow by MIME type, for a front end that asks for it."""


live_views: LiveViews
