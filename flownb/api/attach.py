"""Find a stored flow by its name or around a job, whoever stored it. The public `attach` is in `batches/batch.py`."""

from __future__ import annotations

from typing import Self

from flownb import hooks
from flownb.api.flow import Flow
from flownb.api.job import Job, store_of, stored_job
from flownb.api.job_changes import connection_of
from flownb.arguments import is_unicode, shown, text
from flownb.connection import Connection
from flownb.errors import FlowError, JobMissing
from flownb.state.stored_flow import StoredFlow
from flownb.steering import remove
from flownb.wire import keys
from flownb.wire.store import Store


class FoundFlow(Flow):
    """A flow stored as BullMQ stores it, by whatever program, or a job of `Queue.add`: read from BullMQ's own keys.

    Children come in key order, as nobody stored theirs. Of a large one the first look takes a moment; pictures
    say that they are still counting until then. A failed child fails its parent when a worker of the parent's
    queue comes to it, as the other program's workers have it.
    """

    def pause(self) -> Self:
        """Raise `FlowError`: BullMQ knows no pause of a flow, only of a queue."""
        raise FlowError(f"{self._as_stored()} it can be paused only with its queues: Queue(name).pause()")

    def resume(self) -> Self:
        """Raise `FlowError`, as `pause` does: there is nothing to resume."""
        raise FlowError(
            f"{self._as_stored()} it cannot have been paused; a queue is resumed by Queue(name).resume()"
        )

    def cancel(self) -> Self:
        """Raise `FlowError`: workers would run what was cancelled, as BullMQ knows no cancelled flow."""
        raise FlowError(
            f"{self._as_stored()} it cannot be cancelled; remove() takes it away while no job of it runs"
        )

    def _as_stored(self) -> str:
        return f"{self.name!r} is stored as BullMQ stores it, without a flow's record of flownb's:"

    def remove(self, *, files: bool = False) -> None:
        """Remove the flow: its jobs, logs and values; it has no files. Jobs that another flow uses stay with that.

        Raises `FlowError` when a job of it runs right now; then nothing is removed. Cut short, call it again.
        """
        self._connection.ensure_writable()
        remove.remove_job(self._stored.store, self._stored.root)


def attach(flow: str | Job, *, connection: Connection | None = None) -> Flow:
    """Return the handle of a flow: by its name, by ``queue:id`` of any job of it, or by such a job."""
    found, resolved = find_flow(flow, connection=connection)
    return flow_handle(found, resolved)


def find_flow(flow: str | Job, *, connection: Connection | None = None) -> tuple[StoredFlow, Connection]:
    """Find what `attach` is asked for, and let this kernel's own workers run if it has work for them."""
    if not isinstance(flow, (str, Job)):
        raise FlowError(
            f"attach: a flow's name, 'queue:id' of one of its jobs, or a Job, not {type(flow).__name__}"
        )
    if isinstance(flow, Job) and connection is None:
        connection = connection_of(flow)
    resolved, store = store_of(connection)
    found = _flow_of_job(store, flow) if isinstance(flow, Job) else _flow_named(store, text("name", flow))
    hooks.kernel_workers.start_kernel_worker(resolved)
    return found, resolved


def _flow_named(store: Store, name: str) -> StoredFlow:
    flow = store.flows.find(name) if is_unicode(name) else None
    if flow is not None:
        return StoredFlow.own(store, flow)
    if ":" in name and is_unicode(name):
        return flow_around(store, keys.from_short(name, store.prefix))
    raise JobMissing(f"no flow named {shown(name)} on this server; names are given with name=...")


def _flow_of_job(store: Store, job: Job) -> StoredFlow:
    return flow_around(store, stored_job(job).record.key)


def flow_around(store: Store, job: str, *, name: str | None = None) -> StoredFlow:
    """Return the flow that a job belongs to: the one that counts it, or the tree up to its topmost parent.

    `name` is that of a root which was just added: it may have been run and removed already.
    """
    top, seen = "", set[str]()
    step: str | None = job
    while step and step not in seen:
        seen.add(step)
        found = store.jobs.read([step], ("name", "fl", "parentKey"))[0]
        if found is None:
            break
        if found.flow is not None:
            return _counted_flow(store, found.flow)
        top, step = step, found.parent_key
    return StoredFlow.foreign(store, top or job, name=name)


def _counted_flow(store: Store, noted: str) -> StoredFlow:
    """Open the flow that a job notes as its own."""
    home, flow = keys.home_and_flow(noted)
    if home:
        raise JobMissing(f"the flow of this job lives under another prefix: connect(prefix={home!r})")
    return StoredFlow.own(store, flow)


def flow_handle(stored: StoredFlow, connection: Connection) -> Flow:
    """Return a handle of the flow, whoever stored it."""
    kind = Flow if stored.flow_state.flow is not None else FoundFlow
    return kind(stored, connection=connection)
