"""A queue of its own, outside any flow: add jobs, look at them, hold it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from flownb.adding.plan import plan, refuse_other_prefix
from flownb.adding.planned_job import PlannedJob
from flownb.adding.send import saying
from flownb.api import cut_short
from flownb.api.job import Job
from flownb.api.many_jobs import ManyJobs
from flownb.arguments import is_unicode, items, one_of, shown, text, whole
from flownb.errors import FlowError, OptionError, ServerError
from flownb.wire import keys
from flownb.wire.job_rows import JobDetails, JobRow
from flownb.wire.records import STATES
from flownb.wire.store.limits import CHUNK_JOBS

MOST_AT = 2**53  # a position in a list of jobs


class Queue(ManyJobs):
    """A named line of jobs, shared with every BullMQ client of the server.

    >>> queue = Queue("doc-mails")
    >>> job = queue.add("welcome", {"to": "ada@example.org"}, {"attempts": 3})
    >>> queue.get_job_counts()["waiting"]
    1
    """

    def add(self, name: str, data: Any = None, opts: Mapping[str, Any] | None = None) -> Job:
        """Add one job; `opts` are BullMQ's, bare numbers in milliseconds.

        >>> Queue("doc-mails").add("welcome", {"to": "ada@example.org"}, {"delay": 60_000})
        Job('welcome' in 'doc-mails')
        """
        return self.add_bulk([{"name": name, "data": {} if data is None else data, "opts": opts}])[0]

    def add_bulk(self, jobs: Iterable[Mapping[str, Any]]) -> list[Job]:
        """Add many jobs (dicts of name, data and opts), in order; all are checked before the first write.

        >>> Queue("doc-mails").add_bulk([{"name": "welcome"}, {"name": "bye", "opts": {"priority": 5}}])
        [Job('welcome' in 'doc-mails'), Job('bye' in 'doc-mails')]
        """
        listed = None if isinstance(jobs, Mapping) else items(jobs)
        if listed is None:
            raise FlowError(
                f"add_bulk takes a list of jobs, not {shown(jobs)}; add(name, data, opts) adds one"
            )
        planned = [self._planned(job, f"jobs[{i}]") for i, job in enumerate(listed)]
        self._connection.ensure_writable()
        cut_short.resume_jobs(planned, self._connection)
        for start in range(0, len(planned), CHUNK_JOBS):
            some = planned[start : start + CHUNK_JOBS]
            opts = [json.dumps(dict(job.options.bullmq), separators=(",", ":")) for job in some]
            rows = [_row(job, i) for i, job in enumerate(some, 1)]
            try:
                self._store.jobs.add([self._base], jobs=rows, opts=opts, parents=[])
            except (ServerError, KeyboardInterrupt) as error:
                raise saying(
                    error, start, lambda _: cut_short.leave_jobs(planned, self._connection)
                ) from None
        found = self._store.jobs.read([job.key for job in planned])
        return [Job(record, store=self._store, connection=self._connection) for record in found if record]

    def _planned(self, job: Any, where: str) -> PlannedJob:
        """Check one job; `where` begins the message if it cannot be stored."""
        if not isinstance(job, Mapping):
            raise FlowError(f"{where}: a job is a dict of name, data and opts, not {type(job).__name__}")
        if job.get("prefix") is not None:
            raise FlowError(f"{where}: a job stands under its queue's prefix; leave 'prefix' out here")
        if "children" in job:
            raise FlowError(f"{where}: a job with children is a flow; add it with FlowProducer().add(...)")
        try:
            planned = plan({**job, "queueName": self.name}, prefix=self._connection.prefix)
            refuse_other_prefix(planned)
        except (FlowError, OptionError) as error:
            raise type(error)(f"{where}{str(error).removeprefix('root')}") from None
        return planned.root

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

        Negative numbers count from the end: 0 to -1 are all. A state that is named twice is read once.

        >>> queue = Queue("doc-letters")
        >>> jobs = queue.add_bulk({"name": f"letter-{n}"} for n in range(5))
        >>> queue.get_jobs("waiting", 0, 1)
        [Job('letter-0' in 'doc-letters'), Job('letter-1' in 'doc-letters')]
        """
        given = [state] if isinstance(state, str) else items(state)
        if given is None:
            raise OptionError(f"state: one of BullMQ's states, or a list of them, not {shown(state)}")
        states = [one_of("state", one, STATES) for one in given]
        first, last = whole("start", start, -MOST_AT, MOST_AT), whole("end", end, -MOST_AT, MOST_AT)
        ids: list[str] = []
        for one in dict.fromkeys(states):
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


def _row(job: PlannedJob, opts: int) -> JobRow:
    """Return a job on its way to this queue; `opts` is the position of its options in the call."""
    options = job.options
    details = JobDetails(options.delay, options.priority, options.lifo)
    return JobRow(1, job.id, job.name, job.data, opts, False, details)
