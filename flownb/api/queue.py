"""A queue of its own, outside any flow: add jobs, look at them, hold it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flownb.adding.queue_jobs import QueueJob, checked_job, store_jobs
from flownb.adding.send import saying
from flownb.api import cut_short
from flownb.api.job import Job, stored_job
from flownb.api.job_schedulers import JobSchedulers
from flownb.api.many_jobs import ManyJobs
from flownb.api.queue_limits import QueueLimits
from flownb.arguments import is_unicode, items, shown, text, whole
from flownb.errors import FlowError, OptionError, ServerError
from flownb.wire import keys
from flownb.wire.records import STATES, JobRecord
from flownb.wire.store.job_records import record_of
from flownb.wire.store.limits import CHUNK_JOBS

MOST_AT = 2**53  # a position in a list of jobs


class Queue(ManyJobs, QueueLimits, JobSchedulers):
    """A named line of jobs, shared with every BullMQ client of the server.

    >>> queue = Queue("doc-mails")
    >>> job = queue.add("welcome", {"to": "ada@example.org"}, {"attempts": 3})
    >>> queue.get_job_counts()["waiting"]
    1
    """

    def add(
        self,
        name: str,
        data: Any = None,
        opts: Mapping[str, Any] | None = None,
        *,
        deduplication: Mapping[str, Any] | None = None,
        parent: Job | str | Mapping[str, str] | None = None,
    ) -> Job:
        """Add one job; `opts` are BullMQ's, bare numbers in milliseconds.

        With `deduplication` (``id``, and ``ttl extend replace reschedule keepLastIfActive`` as in BullMQ) a job is
        added only where none of this id is in line; else the one that is there is returned. With `parent` (a `Job`, or
        ``queue:id``) that job waits for this one too; what a failure means is BullMQ's: without a policy it waits on.
        Raises `FlowError` or `OptionError` before anything is written, and `JobMissing` for a parent that is gone.

        >>> Queue("doc-mails").add("welcome", {"to": "ada@example.org"}, {"delay": 60_000})
        Job('welcome' in 'doc-mails')
        >>> queue = Queue("doc-once")
        >>> first, second = (queue.add("mail", deduplication={"id": "ada"}) for _ in range(2))
        >>> first.id == second.id
        True
        """
        extra = {"deduplication": deduplication, "parent": parent}
        given = {option: value for option, value in extra.items() if value is not None}
        if given and opts is not None and not isinstance(opts, Mapping):
            raise OptionError(f"opts: a dict, not {shown(opts)}")
        for option in given:
            if opts is not None and opts.get(option) is not None:
                raise OptionError(f"{option}: given twice, as an argument and in opts")
        if given:
            opts = {**(opts if opts is not None else {}), **given}
        job = {"name": name, "data": {} if data is None else data, "opts": opts}
        return self.add_bulk([job])[0]

    def add_bulk(self, jobs: Iterable[Mapping[str, Any]]) -> list[Job]:
        """Add many jobs (dicts of name, data and opts), in order; all are checked before the first write.

        Their `opts` may hold ``deduplication`` and ``parent`` as well. What is raised is as by `add`, with the place
        in the list.

        >>> Queue("doc-mails").add_bulk([{"name": "welcome"}, {"name": "bye", "opts": {"priority": 5}}])
        [Job('welcome' in 'doc-mails'), Job('bye' in 'doc-mails')]
        """
        listed = None if isinstance(jobs, Mapping) else items(jobs)
        if listed is None:
            raise FlowError(
                f"add_bulk takes a list of jobs, not {shown(jobs)}; add(name, data, opts) adds one"
            )
        checked = [
            checked_job(_with_parents_key(job), f"jobs[{i}]", self._base) for i, job in enumerate(listed)
        ]
        planned = [job.planned for job in checked]
        self._connection.ensure_writable()
        cut_short.resume_jobs(planned, self._connection)
        ids = list[str]()
        for start in range(0, len(checked), CHUNK_JOBS):
            try:
                ids += store_jobs(self._store, self._base, checked, start)
            except (ServerError, KeyboardInterrupt) as error:
                raise saying(
                    error, start, lambda _: cut_short.leave_jobs(planned, self._connection)
                ) from None
        found = self._store.jobs.read(keys.jobs_in(self._base, ids))
        records = [record or _gone(job, id) for record, job, id in zip(found, checked, ids, strict=True)]
        return [Job(record, store=self._store, connection=self._connection) for record in records]

    def get_job(self, id: str) -> Job | None:
        """Return the job of this id, or None.

        >>> job = Queue("doc-mails").add("welcome")
        >>> Queue("doc-mails").get_job(job.id)
        Job('welcome' in 'doc-mails')
        """
        if not is_unicode(text("id", id)):
            return None
        record = self._store.jobs.read([keys.job_in(self._base, text("id", id))])[0]
        return Job(record, store=self._store, connection=self._connection) if record else None

    def get_jobs(self, state: str | Iterable[str], start: int = 0, end: int = 99) -> list[Job]:
        """Return the jobs of one state or several, from `start` to `end` in each, both included.

        Negative numbers count from the end: 0 to -1 are all. A state that is named twice is read once. BullMQ's
        ``wait`` is ``waiting``, and so is ``paused`` while the queue is paused; else no job is.

        >>> queue = Queue("doc-letters")
        >>> jobs = queue.add_bulk({"name": f"letter-{n}"} for n in range(5))
        >>> queue.get_jobs("waiting", 0, 1)
        [Job('letter-0' in 'doc-letters'), Job('letter-1' in 'doc-letters')]
        """
        given = [state] if isinstance(state, str) else items(state)
        if given is None:
            raise OptionError(f"state: one of BullMQ's states, or a list of them, not {shown(state)}")
        states = [self._state(one, STATES) for one in given]
        first, last = whole("start", start, -MOST_AT, MOST_AT), whole("end", end, -MOST_AT, MOST_AT)
        ids: list[str] = []
        for one in dict.fromkeys(filter(None, states)):
            ids += self._store.queues.read_ids(self._base, one, first, last)
        found = self._store.jobs.read([keys.job_in(self._base, id) for id in ids])
        return [Job(record, store=self._store, connection=self._connection) for record in found if record]

    def get_job_counts(self) -> dict[str, int]:
        """Return how many jobs of this queue are in which state.

        >>> Queue("doc-nothing").get_job_counts()
        {'waiting': 0, ...}
        """
        counts = self._store.queues.count_states(self._base)
        return {state: counts[state] for state in STATES}

    def pause(self) -> None:
        """No worker starts a job of this queue until `resume`; running jobs go on.

        >>> queue = Queue("doc-held")
        >>> queue.pause()
        >>> with Worker("doc-held", lambda job: 7):
        ...     queue.add("mail").get_state()
        'waiting'
        """
        self._connection.ensure_writable()
        self._store.queues.pause(self._base)

    def resume(self) -> None:
        """Let workers start jobs of this queue again.

        >>> queue = Queue("doc-held")
        >>> queue.resume()
        >>> queue.is_paused()
        False
        """
        self._connection.ensure_writable()
        self._store.queues.resume(self._base)

    def is_paused(self) -> bool:
        """Say whether the queue is held by `pause`, here or by any other client.

        >>> queue = Queue("doc-paused")
        >>> queue.pause()
        >>> queue.is_paused()
        True
        """
        return self._store.queues.is_paused(self._base)

    def __repr__(self) -> str:
        return f"Queue({self.name!r})"


def _with_parents_key(job: Any) -> Any:
    """Name the parent of a job to add by its key, where the caller gave a handle."""
    opts = job.get("opts") if isinstance(job, Mapping) else None
    if isinstance(opts, Mapping) and isinstance(parent := opts.get("parent"), Job):
        return {**job, "opts": {**opts, "parent": stored_job(parent).record.key}}
    return job


def _gone(job: QueueJob, id: str) -> JobRecord:
    """Return what was given, under the id of the job that stands for it and is gone already."""
    key = keys.job_in(job.planned.base, id)
    return record_of(key, None, {"name": job.planned.name, "data": job.planned.data, "opts": job.opts})
