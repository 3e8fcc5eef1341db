"""A stored job: what it holds, what its children returned, and what it can say while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from flownb import connection as connections
from flownb.adding import child_jobs
from flownb.adding.child_jobs import Run
from flownb.api.children_values import ChildrenValues, bound_to, read_children_values
from flownb.api.job_changes import JobChanges
from flownb.arguments import flag, whole
from flownb.connection import Connection
from flownb.errors import FlowError, job_missing
from flownb.files.folder_of_flow import find_folder
from flownb.files.references import with_input_files
from flownb.files.rows_in_files import RowsOfJob
from flownb.files.stored_values import decoded, decoded_each
from flownb.options import JobOptions
from flownb.state.stored_flow import StoredJob
from flownb.wire import codec, keys
from flownb.wire.lease_records import OwnRun
from flownb.wire.records import JobRecord
from flownb.wire.store import Store

MOST_ROWS = 2**53  # a position in a job's log


class Job(JobChanges):
    """One job. Fields are as they were when it was read; methods ask the server.

    In a processor the same object says how the run goes: `update_progress`, `log`, `update_data`, which raise
    `Cancelled` once nobody needs the job any more; and gives the job children: `add_children`. All of these raise
    `JobElsewhere`, and change nothing, once the run does not count any more: it has run past its timeout, its worker
    has closed or was lost, and the job runs again or has ended.

    Of a job that was removed meanwhile what changes it raises `JobMissing`, and so does `wait_until_finished`; what
    takes something away (`remove`, `remove_unprocessed_children`, `clear_logs`) has nothing to do, and what reads finds
    nothing.

    >>> job = Queue("doc-jobs").add("greet", {"name": "Ada"})
    >>> job.name, job.data, job.attempts_made, job.get_state()
    ('greet', {'name': 'Ada'}, 0, 'waiting')
    """

    # `_data` is decoded when it is first asked for; nothing else changes but by `update_data`.
    __slots__ = ("_data", "_run")

    def __init__(
        self,
        record: JobRecord,
        store: Store,  # by position where a worker makes one for each run: by name that takes twice as long
        run: Run | None = None,
        *,
        connection: Connection | None = None,
    ) -> None:
        self._record = record
        self._store = store
        self._connection = connection
        self._run = run
        self._data: Any = _UNREAD

    # ---- fields -------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Unique in its queue."""
        return self._record.id

    @property
    def name(self) -> str:
        """What the job does, such as the task's name."""
        return self._record.name

    @property
    def queue_name(self) -> str:
        """The queue it is in."""
        return self._record.queue

    @property
    def data(self) -> Any:
        """What the producer passed: a JSON value, mostly a dict."""
        if self._data is _UNREAD:
            bind = codec.decode(self._record.bind) if self._record.bind else {}
            self._data = self._rows() if "file" in bind else codec.decode(self._record.data)
            if "large" in bind:
                rows = self._data["rows"] if "rows" in bind else [self._data]
                self._store.large_inputs.fill(self._record.flow, rows, bind["large"])
            if "files" in bind:
                self._data = with_input_files(self._data)
        return self._data

    def _rows(self) -> dict[str, Any]:
        """The rows of a job that many share, from the file in which they stand."""
        rows = RowsOfJob(self._record.data, lambda: find_folder(self._store, self._record.flow))
        return {"rows": rows.read()}

    @property
    def opts(self) -> dict[str, Any]:
        """The stored options, under BullMQ's short names."""
        opts: dict[str, Any] = codec.decode(self._record.opts)
        return opts

    @property
    def progress(self) -> Any:
        """What `update_progress` was last called with; 0 before."""
        return codec.decode(self._record.progress) if self._record.progress else 0

    @property
    def returnvalue(self) -> Any:
        """What its function returned; None while there is nothing."""
        text = self._record.returnvalue
        return None if text is None else decoded(self._store, self._record.flow, text)

    @property
    def failed_reason(self) -> str | None:
        """Why its last run failed, as ``Type: message``; None where none has."""
        return self._record.failed_reason

    @property
    def stacktrace(self) -> list[str]:
        """The tracebacks of the failed attempts, oldest first."""
        return list(codec.decode(self._record.stacktrace))

    @property
    def attempts_made(self) -> int:
        """How many runs have completed or failed; those that a lost worker began do not count."""
        return self._record.attempts_made

    @property
    def timestamp(self) -> datetime:
        """When it was added, in UTC."""
        return _moment(self._record.timestamp) or datetime.fromtimestamp(0, UTC)

    @property
    def processed_on(self) -> datetime | None:
        """When its last run began, in UTC; None before the first."""
        return _moment(self._record.processed_on)

    @property
    def finished_on(self) -> datetime | None:
        """When it completed or failed for good, in UTC; None before."""
        return _moment(self._record.finished_on)

    @property
    def parent(self) -> str | None:
        """The first parent, as ``queue:id``; None for a root or a job of its own."""
        return keys.short(self._record.parent_key, self._store.prefix) if self._record.parent_key else None

    # ---- questions ----------------------------------------------------------------------------------

    def get_state(self) -> str:
        """Return where the job is now: one of BullMQ's states, or ``unknown`` when it is gone.

        >>> Queue("doc-jobs").add("greet", opts={"delay": 60_000}).get_state()
        'delayed'
        """
        found = self._store.jobs.read([self._record.key], ("name",))[0]
        return found.state or "unknown" if found else "unknown"

    def is_cancelled(self) -> bool:
        """Say whether nobody needs the job any more: its flow was cancelled, or what it was for has failed.

        A running function asks it now and then, and returns; it is also told so when its own run does not count any
        more, past its timeout for example. One small read.

        >>> flow = add({"name": "total", "queueName": "doc-cancels"})
        >>> flow.job.is_cancelled(), flow.cancel().job.is_cancelled()
        (False, True)
        """
        return self._store.jobs.are_cancelled([self._record.key], self._own_run)[0]

    def get_children_values(self) -> ChildrenValues:
        """Return the children's values by ``queue:id``, in the order the children were declared.

        An optional child that failed is there as None; `get_ignored_children_failures` says why.

        >>> loads = [{"name": "load", "queueName": "doc-days", "data": day} for day in (1, 2)]
        >>> flow = add({"name": "total", "queueName": "doc-sums", "children": loads})
        >>> with Worker("doc-days", lambda job: 10 * job.data):
        ...     with Worker("doc-sums", lambda job: sum(job.get_children_values().values())):
        ...         flow.result(timeout=30)
        30
        """
        return read_children_values(self._store, self._record.key, self._record.flow)

    def get_ignored_children_failures(self) -> dict[str, str]:
        """Return why optional children failed, by ``queue:id``.

        >>> load = {"name": "load", "queueName": "doc-days", "opts": {"jobId": "d1", "failParentOnFailure": False}}
        >>> flow = add({"name": "total", "queueName": "doc-sums", "children": [load]})
        >>> with Worker("doc-days", lambda job: 1 / 0):
        ...     with Worker("doc-sums", lambda job: job.get_ignored_children_failures()):
        ...         flow.result(timeout=30)
        {'doc-days:d1': 'ZeroDivisionError: division by zero'}
        """
        found = self._store.children.read_ignored(self._record.key)
        return {keys.short(key, self._store.prefix): reason for key, reason in found.items()}

    def get_dependencies(self) -> dict[str, Any]:
        """Return BullMQ's view of the children: processed, unprocessed, failed and ignored, by ``queue:id``.

        >>> load = {"name": "load", "queueName": "doc-loads", "opts": {"jobId": "d2"}}
        >>> add({"name": "total", "queueName": "doc-sums", "children": [load]}).job.get_dependencies()
        {'processed': {}, 'unprocessed': ['doc-loads:d2'], 'failed': [], 'ignored': {}}
        """
        key, prefix = self._record.key, self._store.prefix
        values = decoded_each(self._store, self._record.flow, self._store.children.read_values(key))
        return {
            "processed": {keys.short(k, prefix): value for k, value in values.items()},
            "unprocessed": sorted(keys.short(k, prefix) for k in self._store.children.read_pending(key)),
            "failed": [keys.short(k, prefix) for k in self._store.children.read_failed(key)],
            "ignored": self.get_ignored_children_failures(),
        }

    def get_dependencies_count(self) -> dict[str, int]:
        """Return how many children are processed, unprocessed, failed and ignored.

        >>> load = {"name": "load", "queueName": "doc-loads"}
        >>> add({"name": "total", "queueName": "doc-sums", "children": [load]}).job.get_dependencies_count()
        {'processed': 0, 'unprocessed': 1, 'failed': 0, 'ignored': 0}
        """
        pending, processed, ignored, failed = self._store.children.counts([self._record.key])[0]
        return {"processed": processed, "unprocessed": pending, "failed": failed, "ignored": ignored}

    def get_logs(self, start: int = 0, end: int = -1, asc: bool = True) -> list[str]:
        """Return the rows written with `log`, oldest first, from `start` to `end`, both included.

        Without `asc` the newest row is the first, and 0.

        >>> with Worker("doc-logs", lambda job: [job.log(row) for row in ("begun", "almost there")]):
        ...     add({"name": "total", "queueName": "doc-logs"}).wait(timeout=30).job.get_logs(0, 0, asc=False)
        ['almost there']
        """
        first, last = whole("start", start, -MOST_ROWS, MOST_ROWS), whole("end", end, -MOST_ROWS, MOST_ROWS)
        if flag("asc", asc):
            return self._store.jobs.read_logs(self._record.key, first, last)
        return self._store.jobs.read_logs(self._record.key, -1 - last, -1 - first)[::-1]

    # ---- while it runs ------------------------------------------------------------------------------

    def update_progress(self, progress: Any) -> None:
        """Store how far the job is: a number, or any JSON value.

        >>> with Worker("doc-steps", lambda job: job.update_progress({"step": 2, "of": 3})):
        ...     add({"name": "total", "queueName": "doc-steps"}).wait(timeout=30).job.progress
        {'step': 2, 'of': 3}
        """
        text = codec.encode(progress, "progress")
        self._store.jobs.update(self._base, self.id, "progress", text, own_run=self._own_run)
        self._record.progress = text

    def update_data(self, data: Any) -> None:
        """Replace the job's data; the next attempt sees the new one.

        >>> job = Queue("doc-jobs").add("greet", {"name": "Ada"})
        >>> job.update_data({"name": "Grace"})
        >>> job.data
        {'name': 'Grace'}
        """
        text = codec.encode(data, "data")
        self._store.jobs.update(self._base, self.id, "data", text, own_run=self._own_run)
        self._data = codec.decode(text)

    def log(self, row: str) -> int:
        """Add a row to the job's log; return how many rows it has.

        >>> job = Queue("doc-jobs").add("greet")
        >>> job.log("begun"), job.log("almost there")
        (1, 2)
        """
        keep = JobOptions.from_wire(self.opts).keep_logs
        return (
            self._store.jobs.update(self._base, self.id, "log", codec.log_row(row), keep, self._own_run) or 0
        )

    def add_children(self, children: Iterable[Any]) -> list[Any]:
        """Give the running job children, and return their values in the order given once all are done.

        **What stands above the call runs again.** The first time, the call stores the children and ends this
        run, which charges no attempt and holds no slot. When they are done the function runs again from its
        first line, with the stored answers, and the call returns. Several calls are answered in the order in
        which they are made; they must ask for the same children in every run, else the job fails.

        `children` are nodes as in a flow: dicts, `Node`s, task nodes, with children of their own. A child that
        fails fails this job at once, unless its options make it optional: then its value is None, and
        `get_ignored_children_failures` says why. None at all: an empty list, at once. A job outside any flow
        becomes the root of one: ``attach("queue:id")`` is its handle. Raises `FlowError` or `OptionError`, with
        the place, before anything is stored.

        >>> def crawl(job):
        ...     links = ["a", "b"]  # runs twice
        ...     pages = job.add_children([{"name": link, "queueName": "doc-pages"} for link in links])
        ...     return sum(pages)  # runs once
        >>> flow = add({"name": "site", "queueName": "doc-sites"})
        >>> with Worker("doc-sites", crawl), Worker("doc-pages", lambda job: 21):
        ...     print(flow.result(timeout=30), flow.progress().total)
        42 3
        """
        if self._run is None:
            raise FlowError("add_children is for the function that runs the job, on the job it was given")
        return child_jobs.values_of_children(self._store, self._record, self._run, children)

    @property
    def _own_run(self) -> OwnRun | None:
        return self._run.own if self._run is not None else None

    def __repr__(self) -> str:
        return f"Job({self.name!r} in {self.queue_name!r})"


def find_job(store: Store, key: str, connection: Connection | None = None) -> Job:
    """Read the job at `key`; raise `JobMissing` if there is none."""
    found = store.jobs.read([key])[0]
    if found is None:
        raise job_missing(keys.short(key, store.prefix))
    return Job(found, store=store, connection=connection)


def stored_job(job: Job) -> StoredJob:
    """Return the stored job behind a handle: the door for the rooms above."""
    return StoredJob(job._store, job._record)


def values_bound_to(job: Job) -> tuple[str | None, dict[str, Any]]:
    """Return what `bound_to` does; most jobs, and all rows, are bound to nothing, and each run asks."""
    return bound_to(stored_job(job)) if job._record.bind else (None, {})


def store_of(connection: Connection | None) -> tuple[Connection, Store]:
    """Return the given or the default connection, and its store."""
    found = connections.current(connection)
    return found, Store(found.client(), found.prefix, read_only=found.read_only)


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


_UNREAD = object()
