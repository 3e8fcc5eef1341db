"""The handle of a stored flow: how far it is, what came out, what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from flownb import connection as connections
from flownb import errors, hooks
from flownb.api import display, export
from flownb.api.awaiting import awaited
from flownb.api.how_far import HowFarReader
from flownb.api.job import Job, find_job, store_of
from flownb.api.progress import Progress
from flownb.api.waiting import FlowOutcome, first_round, polls, read_outcome, reasons, warn_of_removed, within
from flownb.arguments import flag, one_of, text
from flownb.connection import Connection
from flownb.errors import FlowStuck
from flownb.state.stored_flow import StoredFlow
from flownb.steering import cancel, remove, retry
from flownb.typed import Value
from flownb.wire import keys
from flownb.wire.flow_log import log_flow
from flownb.wire.records import STATES

if TYPE_CHECKING:
    import pandas as pd

    from flownb.views.dot import Drawing
    from flownb.widgets.view import FlowView

_T = TypeVar("_T")


class Flow(Generic[Value]):
    """A stored flow. It lives on the server: any number of handles, in any process, show the same one.

    Once it was removed, `jobs` and `timeline` are empty, `remove` has nothing to do, and what else asks the server for
    it raises `JobMissing`.

    >>> flow = add({"name": "total", "queueName": "doc-totals"})
    >>> flow.progress().fraction
    0.0
    """

    def __init__(self, flow: str | StoredFlow, *, connection: Connection | None = None) -> None:
        if isinstance(flow, StoredFlow):
            self._connection, self._stored = connections.current(connection), flow
        else:
            self._connection, store = store_of(connection)
            self._stored = StoredFlow.own(store, text("flow", flow))
        #: by whoever waited, of a flow that is removed some time after its end
        self._outcome: FlowOutcome | None = None

    @property
    def name(self) -> str:
        """The name it was added under, or the root job's.

        >>> add({"name": "total", "queueName": "doc-flows"}, name="november").name
        'november'
        """
        return self._stored.name

    @property
    def state(self) -> str:
        """The root's state; ``failing`` while a failure is on its way up; ``cancelled`` from `cancel` on.

        >>> add({"name": "total", "queueName": "doc-flows"}).state
        'waiting'
        """
        return self._stored.snapshot(nodes=False).state

    @property
    def job(self) -> Job:
        """The root job, as it is now.

        >>> add({"name": "total", "queueName": "doc-flows", "data": {"year": 2013}}).job.data
        {'year': 2013}
        """
        return find_job(self._stored.store, self._stored.root, self._connection)

    # ---- holding it ----------------------------------------------------------------------------------

    def pause(self) -> Self:
        """Let no further job of the flow start, until `resume`; return the flow. Running jobs go on.

        Other flows on the same queues run as before. It holds for all of flownb's workers and outlives this
        kernel; workers of BullMQ know nothing of it. A job that another flow needs too is not held.

        >>> flow = add({"name": "total", "queueName": "doc-pauses"}).pause()
        >>> flow.progress()
        Progress(completed=0, failed=0, active=0, total=1, fraction=0.000, paused)
        >>> with Worker("doc-pauses", lambda job: 7):
        ...     print(flow.resume().result(timeout=30))
        7
        """
        self._connection.ensure_writable()
        self._stored.record_now()
        self._stored.store.flows.pause(self._root_base(), self._stored.id)
        log_flow("is paused", flow=self._stored.id)
        return self

    def resume(self) -> Self:
        """Let the jobs of a paused flow start again, where they stood in line; return the flow.

        >>> add({"name": "total", "queueName": "doc-flows"}).pause().resume().progress().paused is None
        True
        """
        self._connection.ensure_writable()
        self._stored.record_now()
        bases = self._stored.store.flows.read_queues(self._stored.id) or [self._root_base()]
        self._stored.store.flows.resume(bases, self._stored.id)
        log_flow("is resumed", flow=self._stored.id)
        return self

    def cancel(self) -> Self:
        """End the flow now, without what has not run yet; return the flow.

        It is ``cancelled`` at once, and `result` raises `FlowFailed`. Jobs that wait end as failed, with the
        reason ``cancelled``. Jobs that run are told: by `Job.is_cancelled`, and by `Cancelled` at their next
        `update_progress`, `log` or `update_data`; what they complete all the same is kept. Jobs that another
        flow needs stay. Nothing happens to a flow that has completed; of one that has failed, what is left is
        cancelled. `retry` takes it back.

        >>> flow = add({"name": "total", "queueName": "doc-cancels"}).cancel()
        >>> flow.state
        'cancelled'
        """
        self._connection.ensure_writable()
        record = self._stored.record_now()
        self._stored.flow_state.catch_up()  # one that has completed stays as it is
        cancel.cancel_flow(self._stored.store, self._stored.id, record)
        return self

    def _root_base(self) -> str:
        return keys.base_of(self._stored.root)

    # ---- again, or no more ---------------------------------------------------------------------------

    def retry(self) -> Self:
        """Run every job again that failed by itself, then what stands above them, once; return the flow.

        Attempts start anew, values that are there are kept. Optional jobs that failed run again too, also
        when the flow has completed without them. What was cancelled runs too. Raises `FlowError` when a job
        above them runs right now.

        >>> flow = add({"name": "total", "queueName": "doc-retries"})
        >>> with Worker("doc-retries", lambda job: 1 / 0):
        ...     print(flow.wait(timeout=30).state)
        failed
        >>> with Worker("doc-retries", lambda job: 7):
        ...     print(flow.retry().result(timeout=30))
        7
        """
        self._connection.ensure_writable()
        self._stored.record_now()
        self._outcome = None
        retry.retry_flow(self._stored.store, self._stored.flow_state)
        return self

    def remove(self, *, files: bool = False) -> None:
        """Remove the flow: its jobs, logs, values, counts and name. Jobs that another flow uses stay with that.

        Files that the embedded server keeps go too; those in a folder of yours only with ``files=True``. Earlier
        flows of its name go with it; ``flows(state="older")`` lists them.

        It is cancelled first: nothing of it starts any more. Jobs that run are not waited for: they are told, as
        by `cancel`, and what they return goes nowhere. Cut short, call it again.

        >>> flow = add({"name": "total", "queueName": "doc-removals"}, name="no-more")
        >>> flow.remove()
        >>> attach("no-more")
        Traceback (most recent call last):
            ...
        flownb.errors.JobMissing: no flow named 'no-more' on this server; names are given with name=...
        """
        flag("files", files)
        self._connection.ensure_writable()
        remove.remove_with_older(self._stored.store, self._stored.id, self._stored.name, files=files)

    # ---- how far ------------------------------------------------------------------------------------

    def progress(self) -> Progress:
        """Return counts over the whole tree; one small read, whatever the size of the flow.

        >>> add({"name": "total", "queueName": "doc-flows"}).progress()
        Progress(completed=0, failed=0, active=0, total=1, fraction=0.000)
        """
        counts = self._stored.flow_state.counts()
        if not counts.total:
            self._stored.record_now()  # a flow that is there has a root
        return Progress.of(counts, lambda: self._stored.estimate(counts).left, self._stored.spent())

    def jobs(self, state: str | None = None) -> pd.DataFrame:
        """Return a DataFrame with one row a job: name queue state attempts wait_s run_s error.

        `wait_s` is how long the job waited until its last start, `run_s` how long it ran, all its runs together.
        `state` keeps the jobs of one of BullMQ's states; raises `OptionError` for another word. Reads every job
        of the flow. One that was removed after its end is called ``(removed)``, as long as the flow counts it.

        >>> add({"name": "total", "queueName": "doc-flows"}).jobs()[["name", "state"]].values.tolist()
        [['total', 'waiting']]
        """
        if state is not None:
            one_of("state", state, STATES)
        lines = self._stored.lines()
        return hooks.tables.jobs_frame(
            lines if state is None else [line for line in lines if line.state == state]
        )

    def draw(self) -> Drawing:
        """Return the tree as a `graphviz.Digraph`, coloured by state, like siblings folded into one node.

        >>> load = [{"name": f"load-{n}", "queueName": "doc-loads"} for n in range(30)]
        >>> add({"name": "total", "queueName": "doc-flows", "children": load}).draw()
        <Drawing of 'total': 2 nodes, 1 edge>
        """
        return hooks.drawings.digraph(self._stored.snapshot())

    def watch(self) -> FlowView:
        """Return the whole live view: tree, table of jobs, failures, timeline, and buttons that steer the flow.

        As the last line of a cell it shows itself; closing it or its page ends the reading. Without a kernel,
        or with the variable ``FLOWNB_STATIC`` set, the cell gets the picture alone, a terminal the tree as text.

        >>> add({"name": "total", "queueName": "doc-views"}).watch()
        Flow('total': 1 job)
        ○ total  waiting
        """
        return hooks.live_views.view_of(self, whole=True)

    def timeline(self) -> pd.DataFrame:
        """Return a DataFrame of when each job waited and ran: name queue phase start end seconds.

        One row a phase: *waiting*, *running*, *retrying* (waiting to run again after a run that failed). What
        still lasts has no end. Reads every job of the flow. Of runs that other programs' workers repeated only
        the last is known.

        >>> add({"name": "sum", "queueName": "doc-times"}).timeline()["phase"].tolist()
        ['waiting']
        """
        return hooks.tables.timeline_frame(self._stored.records())

    def explain(self) -> pd.DataFrame:
        """Return a DataFrame of what keeps the flow from ending: job, why, fix; the worst first.

        One row a thing, such as a queue without a worker, with the first job it holds up. Of a failed flow the
        root cause; of a completed one nothing. Looks at the first 500 unfinished jobs and writes nothing.

        >>> add({"name": "sum", "queueName": "doc-sums"}).explain().loc[0, "why"]
        "no worker serves queue 'doc-sums'"
        """
        return hooks.tables.reasons_frame([reason[:3] for reason in reasons(self._stored)])

    def to_html(self, path: Any = None) -> str:
        """Return the flow as one HTML page for others; with `path`, write it there too.

        The result first, then failures, tree, counts and timeline; no scripts; fit for telephones and for paper.

        >>> "<script" in add({"name": "total", "queueName": "doc-flows"}).to_html()
        False
        """
        return display.page(self._stored, path)

    def export(self, folder: Any) -> Path:
        """Write the flow, as it is now, into a new folder for whoever has no flownb; return its path.

        *report.html* is the page of `to_html`, *tree.json* has every job with its data, value, error and children,
        *logs.jsonl* a line for each line that a job logged. Nothing has the folder's name before all is written; a
        folder that holds files is refused with `FlowError`.

        >>> folder = add({"name": "total", "queueName": "doc-flows"}, name="doc-export").export("export-of-total")
        >>> sorted(file.name for file in folder.iterdir())
        ['logs.jsonl', 'report.html', 'tree.json']
        """
        with export.new_folder(folder) as unfinished:
            self._write_into(unfinished)
        return Path(folder).expanduser()

    def _write_into(self, folder: Path) -> None:
        """Write the files of an export; a batch has further ones."""
        export.write_page(self._stored, folder)
        export.write_flow(self._stored, folder)

    # ---- waiting ------------------------------------------------------------------------------------

    def wait(self, timeout: Any = None, *, progress: bool = False) -> Self:
        """Wait until the flow has ended, well or badly, and return it.

        After 10 s in which nothing runs it prints once what may mend (no worker serves a queue, it is paused),
        and raises `FlowStuck` for what cannot (a job was removed by hand, or its data are missing); after 2 s in a job
        where all slots that could run the flow's jobs hold jobs that wait so themselves.
        `timeout` is a duration (seconds, timedelta or "30s"); past it, TimeoutError says how far the flow is; until
        then the wait goes on while the server is away. Interrupting it leaves the flow running. A flow that is removed
        after its end stays for ten seconds; a handle that waited for it keeps the result. ``progress=True`` draws a
        bar in a terminal; elsewhere one line says at the end how far it came.

        >>> with Worker("doc-waits", lambda job: 7):
        ...     add({"name": "total", "queueName": "doc-waits"}).wait(timeout=30).state
        'completed'
        """
        shown = hooks.bars.progress_bar(self.name) if flag("progress", progress) else nullcontext()
        far = HowFarReader(self._stored, self.progress)
        rounds_after = first_round(timeout)
        with within(timeout):
            if self._outcome is None or self._outcome.is_outdated(self._stored):
                with shown as show:
                    draw: Callable[[], None] | None = show and (lambda: show(far.read()))
                    try:
                        any(self._polls(timeout, lambda: self._has_ended(rounds_after, draw)))
                    except FlowStuck:  # raised before it is drawn how far it came
                        if draw:
                            draw()
                        raise
                if "tidy" in self._stored.record:
                    self._outcome = read_outcome(self._stored)
        return self

    def _has_ended(self, rounds_after: float, show: Callable[[], None] | None) -> bool:
        has_ended = self._stored.flow_state.catch_up(rounds_after=rounds_after).state is not None
        if not has_ended:
            self._while_waiting()
            has_ended = self._is_held()
        if show is not None:
            show()
        return has_ended

    def _polls(self, timeout: Any, ask: Callable[[], _T]) -> Iterator[_T]:
        return polls(self._stored, timeout, ask, handle=self)

    def _while_waiting(self) -> None:
        """Called whenever the flow has not ended yet; a batch may have something to do meanwhile."""

    def _is_held(self) -> bool:
        """Say whether a brake has stopped it, so that nobody waits for its end; only batches have brakes."""
        return False

    def result(self, timeout: Any = None) -> Value:
        """Wait for the flow and return the root's value; raise `FlowFailed` with the root cause if it failed.

        `timeout` and what else it raises are those of `wait`. Warns when another program removed children that had not
        ended, as BullMQ's ``drain`` does: the value was made without theirs.

        >>> with Worker("doc-waits", lambda job: 7):
        ...     add({"name": "total", "queueName": "doc-waits"}).result(timeout=30)
        7
        """
        with within(timeout):
            self.wait(timeout)
            value: Value
            value, failure, _ = self._outcome or read_outcome(self._stored)
            if failure is not None:
                raise failure
            warn_of_removed(self._stored)
        return value

    def __await__(self) -> Generator[Any, None, Value]:
        """``await flow`` gives what `result` gives while the running loop goes on: in a notebook's cell, in a service.

        Interrupting or cancelling it leaves the flow running.

        >>> import asyncio
        >>> async def main():
        ...     with Worker("doc-waits", lambda job: 7):
        ...         return await add({"name": "total", "queueName": "doc-waits"})
        >>> asyncio.run(main())
        7
        """
        return awaited(self.result, self.name).__await__()

    # ---- how it is shown ----------------------------------------------------------------------------

    def __repr__(self) -> str:
        try:
            return hooks.texts.summary(self._stored.snapshot(nodes=False))
        except errors.FlownbError:  # a repr never raises: the server may be gone
            return f"{type(self).__name__}({self.name!r})"

    def __str__(self) -> str:
        return hooks.texts.tree(self._stored.snapshot())

    def _ipython_display_(self) -> None:
        """Show the flow in a cell: live while its kernel lives, and a picture that stays in the notebook."""
        hooks.live_views.show(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return hooks.live_views.bundle(self)


def stored(flow: Flow) -> StoredFlow:
    """Return the stored flow behind a handle: the door for the rooms above."""
    return flow._stored
