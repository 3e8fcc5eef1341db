"""What a person does to one stored `Job`: run it again, sooner, later or before others, or no more."""

from __future__ import annotations

from typing import Any

from flownb.api.job_end import job_end
from flownb.arguments import flag, seconds, whole
from flownb.connection import Connection
from flownb.errors import FlowError, job_missing
from flownb.options import MAX_PRIORITY
from flownb.steering import child_dependency, clear
from flownb.steering.cancel import cancel_job
from flownb.steering.remove import remove_job
from flownb.steering.retry import retry_one
from flownb.wire import keys
from flownb.wire.records import DELAYED, JobRecord
from flownb.wire.store import Store


class JobChanges:
    """A job's record and its store, which `Job` writes: each run of a job makes one, without a further call."""

    __slots__ = ("_connection", "_record", "_store")

    _record: JobRecord
    _store: Store
    _connection: Connection | None

    def retry(self) -> None:
        """Run a failed job again, with all its attempts; what stands above it waits for it again, up to the root.

        Raises `FlowError` when the job has not failed, when its children failed it (retry those, or the flow),
        or when a job above it runs right now with what it had.

        >>> Queue("doc-again").add("mail").retry()
        Traceback (most recent call last):
            ...
        flownb.errors.FlowError: job 'mail' is waiting; only a failed job can be retried
        """
        self._ensure_writable()
        retry_one(self._store, self._record.key)

    def remove(self) -> None:
        """Remove the job and its children; a parent waits for them no more. Children that somebody else uses stay.

        Raises `FlowError` when one of them runs right now; then nothing is removed. A root goes with its whole flow,
        as by `Flow.remove`: what runs is not waited for but told, and what it returns goes nowhere.

        >>> queue = Queue("doc-gone")
        >>> job = queue.add("mail")
        >>> job.remove()
        >>> queue.get_job(job.id) is None
        True
        """
        self._ensure_writable()
        remove_job(self._store, self._record.key)

    def cancel(self) -> bool:
        """End this one job: at once where it does not run; False where it has ended already.

        A running function is told by `is_cancelled`, and by `Cancelled` from its next `update_progress`, `log` or
        `update_data`; what it returns all the same is its value, and it gets no further attempt: where it would have
        one, it has failed with this run. What its parents make of it is what they make of a failure. A root is
        cancelled with its flow, as by `Flow.cancel`. Raises `FlowError` for the next job of a job scheduler: without it
        the schedule would end.

        >>> job = Queue("doc-cancelled-jobs").add("mail")
        >>> job.cancel(), job.cancel(), job.get_state()
        (True, False, 'failed')
        """
        self._ensure_writable()
        return cancel_job(self._store, self._record.key)

    def wait_until_finished(self, timeout: Any = None) -> Any:
        """Wait until the job has ended and return its value; raise `FlowFailed` with its reason where it failed.

        `timeout` is a duration: seconds, a timedelta or "30s"; past it, TimeoutError. Raises `JobMissing` for a job
        that is removed meanwhile.

        >>> job = Queue("doc-waited").add("mail")
        >>> with Worker("doc-waited", lambda job: 7):
        ...     job.wait_until_finished(timeout=30)
        7
        """
        return job_end(self._store, self._record, timeout)

    def _ensure_writable(self) -> None:
        if self._connection is not None:
            self._connection.ensure_writable()

    @property
    def _base(self) -> str:
        return keys.base_of(self._record.key)

    # ---- sooner, later, before others ---------------------------------------------------------------

    def promote(self) -> None:
        """Let a delayed job wait for a worker now, in its place by its priority.

        Raises `FlowError` where it is not delayed.

        >>> job = Queue("doc-moves").add("mail", opts={"delay": 60_000})
        >>> job.promote()
        >>> job.get_state()
        'waiting'
        """
        self._ensure_writable()
        self._ensure_delayed("promoted")
        self._store.moves.promote(self._base, [self._record.id])

    def change_delay(self, delay: Any) -> None:
        """Let a delayed job be due in `delay` from now on: seconds, a timedelta or "30s".

        Raises `FlowError` where it is not delayed.

        >>> job = Queue("doc-moves").add("mail", opts={"delay": 60_000})
        >>> job.change_delay("1h")
        >>> job.get_state()
        'delayed'
        """
        delay_ms = round(seconds(delay, "delay") * 1000)
        self._ensure_writable()
        self._ensure_delayed("put off")
        self._store.moves.change_delay(self._base, self._record.id, delay_ms)

    def change_priority(self, priority: int = 0, lifo: bool = False) -> None:
        """Give the job another priority, and if it waits its place by that: 0 goes before all, then 1, then 2.

        With `lifo` it goes before all others of its priority.

        >>> queue = Queue("doc-urgent")
        >>> first, second = queue.add_bulk([{"name": "mail"}, {"name": "letter"}])
        >>> first.change_priority(5)
        >>> first.get_state(), second.get_state()
        ('prioritized', 'waiting')
        """
        priority, lifo = whole("priority", priority, 0, MAX_PRIORITY), flag("lifo", lifo)
        self._ensure_writable()
        self._store.moves.change_priority(self._base, self._record.id, priority, lifo=lifo)

    def _ensure_delayed(self, what: str) -> None:
        found = self._store.jobs.read([self._record.key], ("name",))[0]
        if found is None:
            raise job_missing(keys.short(self._record.key, self._store.prefix))
        if found.state != DELAYED:
            raise FlowError(f"job {found.name!r} is {found.state}; only a delayed job can be {what}")

    def clear_logs(self, keep_logs: int | None = None) -> None:
        """Remove the rows of the job's log, all but the newest `keep_logs`.

        >>> job = Queue("doc-moves").add("mail")
        >>> job.log("begun"), job.log("half"), job.clear_logs(1), job.get_logs()
        (1, 2, None, ['half'])
        """
        keep = 0 if keep_logs is None else whole("keep_logs", keep_logs, 0, 1_000_000)
        self._ensure_writable()
        self._store.jobs.clear_logs(self._record.key, keep)

    # ---- with and without its parent and children ----------------------------------------------------

    def remove_child_dependency(self) -> bool:
        """Let the parent go on without this job, which becomes one of its own; False where it has none, or has ended.

        Of a flow it takes along what is below it. Raises `JobMissing` where the job or its parent is gone.

        >>> load = {"name": "load", "queueName": "doc-loads"}
        >>> flow = add({"name": "total", "queueName": "doc-totals", "children": [load, load]})
        >>> child = Queue("doc-loads").get_jobs("waiting")[-1]
        >>> child.remove_child_dependency(), child.remove_child_dependency()
        (True, False)
        >>> flow.job.get_dependencies_count()["unprocessed"]
        1
        """
        self._ensure_writable()
        return child_dependency.remove_child_dependency(self._store, self._record.key)

    def remove_unprocessed_children(self) -> None:
        """Remove the children that the job waits for, with theirs; those that run or have failed stay.

        >>> load = {"name": "load", "queueName": "doc-loads"}
        >>> flow = add({"name": "total", "queueName": "doc-totals", "children": [load]})
        >>> flow.job.remove_unprocessed_children()
        >>> flow.job.get_state()
        'waiting'
        """
        self._ensure_writable()
        clear.remove_unprocessed_children(self._store, self._record.key)


def connection_of(job: JobChanges) -> Connection | None:
    """Return the connection that the job was read through, where it is known."""
    return job._connection
