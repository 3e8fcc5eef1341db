"""Flows that are on the server already: by name, or around a job, also those that another program made."""

from __future__ import annotations

from flownb import hooks
from flownb.api.flow import Flow
from flownb.api.job import Job, store_of
from flownb.connection import Connection
from flownb.errors import FlowError, JobMissing
from flownb.state.flow_state import FoundBooks
from flownb.steering import remove
from flownb.wire import keys
from flownb.wire.store import Store


class FoundFlow(Flow):
    """A flow that another program made: the same handle, read from BullMQ's own keys.

    Children come in key order, as nobody stored theirs. Of a large one the first look takes a moment; pictures
    say that they are still counting until then. A failed child fails its parent when a worker of the parent's
    queue comes to it, as the other program's workers have it.
    """

    def __init__(self, root: str, *, connection: Connection | None = None, name: str | None = None) -> None:
        self._connection, self._store = store_of(connection)
        self._books = FoundBooks(self._store, root)
        self._id = keys.id_of(root)
        self._outcome = None
        self._record = self._books.first
        if not self._record and name is not None:  # just added, and run and removed already
            self._record = {"name": name, "root": root, "created": "0"}
        if not self._record:
            raise JobMissing(f"no job {keys.short(root, self._store.prefix)} on this server")

    def pause(self) -> Flow:
        """Raise `FlowError`: the workers of other programs know no pause of a flow, only of a queue."""
        raise FlowError(
            f"flow {self.name!r} was made by another program, whose workers know no pause of a flow; "
            "pause its queues: Queue(name).pause()"
        )

    def resume(self) -> Flow:
        """Raise `FlowError`, as `pause` does: there is nothing to resume."""
        raise FlowError(f"flow {self.name!r} was made by another program and cannot have been paused")

    def cancel(self) -> Flow:
        """Raise `FlowError`: the workers of other programs would run what was cancelled."""
        raise FlowError(
            f"flow {self.name!r} was made by another program, whose workers know no cancelled flow; "
            "remove() takes it away while none of its jobs runs"
        )

    def remove(self) -> None:
        """Remove the flow: its jobs, logs and values. Jobs that another flow uses stay with that.

        Raises `FlowError` when a job of it runs right now; then nothing is removed. Cut short, call it again.
        """
        self._connection.ensure_writable()
        remove.remove_job(self._store, self._books.root)


def attach(flow: str | Job, *, connection: Connection | None = None) -> Flow:
    """Return the handle of a flow: by its name, by ``queue:id`` of any job of it, or by such a job."""
    if isinstance(flow, Job) and connection is None:
        connection = flow._connection
    if not isinstance(flow, (str, Job)):
        raise FlowError(
            f"attach: a flow's name, 'queue:id' of one of its jobs, or a Job, not {type(flow).__name__}"
        )
    resolved, store = store_of(connection)
    named = store.find_flow(flow) if isinstance(flow, str) else None
    if named is not None:
        found: Flow = Flow(named, connection=resolved)
    elif isinstance(flow, Job) or ":" in flow:
        key = flow._record.key if isinstance(flow, Job) else keys.from_short(flow, resolved.prefix)
        found = flow_around(store, key, resolved)
    else:
        raise JobMissing(f"no flow named {flow!r} on this server; names are given with name=...")
    hooks.start_kernel_worker(resolved)
    return found


def flow_around(store: Store, job: str, connection: Connection, *, name: str | None = None) -> Flow:
    """Return the flow that a job belongs to: the one that counts it, or the tree up to its topmost parent.

    `name` is that of a root which was just added: it may have been run and removed already.
    """
    top, seen = "", set[str]()
    step: str | None = job
    while step and step not in seen:
        seen.add(step)
        found = store.read_jobs([step], ("name", "fl", "parentKey"))[0]
        if found is None:
            break
        if found.flow is not None:
            home, flow = keys.home_and_flow(found.flow)
            if home:
                raise JobMissing(f"the flow of this job lives under another prefix: connect(prefix={home!r})")
            return Flow(flow, connection=connection)
        top, step = step, found.parent_key
    if not top and name is None:
        raise JobMissing(f"no job {keys.short(job, store.prefix)} on this server")
    return FoundFlow(top or job, connection=connection, name=name)
