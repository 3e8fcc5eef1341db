"""BullMQ's job schedulers of a `Queue`: one job after the other, by an interval or a cron line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flownb.adding.next_run import opts_of_run, run_id
from flownb.adding.repeat import Repeat, Template, as_bullmq_tells, checked_scheduler
from flownb.api.job import Job
from flownb.api.queue_part import QueuePart
from flownb.arguments import flag, whole
from flownb.errors import FlowError
from flownb.wire import keys
from flownb.wire.requests import ScheduledJob
from flownb.wire.store.job_records import record_of
from flownb.wire.store.schedules import CHANGED, STORED, TAKEN

MOST_TRIES = 100  # others may change the scheduler meanwhile, or its next job's id may be taken
MOST_AT = 2**53


class JobSchedulers(QueuePart):
    """Workers of any client keep them going. A fresh flow each time is `every`."""

    def upsert_job_scheduler(
        self, id: str, repeat: Mapping[str, Any], template: Mapping[str, Any] | None = None
    ) -> Job:
        """Add jobs one after the other, or change how the scheduler of this id does; return the next job.

        `repeat` has ``every`` (a duration; a bare number is BullMQ's ms) or ``pattern`` (a cron line, with ``tz``), and
        ``limit startDate endDate offset immediately``. `template` is what the jobs are: ``name data opts``. Raises
        `FlowError` or `OptionError` before anything is written, also for an ``endDate`` that is over.

        >>> queue = Queue("doc-scheduled")
        >>> queue.upsert_job_scheduler("nightly", {"pattern": "0 6 * * *", "tz": "UTC"}, {"name": "report"})
        Job('report' in 'doc-scheduled')
        >>> queue.remove_job_scheduler("nightly")
        True
        """
        scheduler, when = checked_scheduler(id), Repeat.read(repeat)
        made = Template.read(template, scheduler)
        self._connection.ensure_writable()
        answer, due = CHANGED, 0
        for _ in range(MOST_TRIES):
            now = self._store.server.read_time()
            if when.is_over(now):
                raise FlowError("repeat.endDate: is over already; no job would ever be due")
            before = self._store.schedules.read_due(self._base, scheduler)
            stored = {} if before is None else self._store.schedules.read(self._base, scheduler)
            due = when.next(due, now) if answer == TAKEN else when.due(before, stored, now)
            answer = self._upsert(scheduler, when, made, before, stored, due, now)
            if answer == STORED:
                key = keys.job_in(self._base, run_id(scheduler, due))
                record = self._store.jobs.read([key])[0]
                if record is None:  # a worker has removed it at its end
                    record = record_of(key, None, {"name": made.name, "data": made.data or "{}"})
                return Job(record, store=self._store, connection=self._connection)
        raise FlowError(f"job scheduler {scheduler!r}: others change it all the time; try again")

    def _upsert(
        self,
        scheduler: str,
        when: Repeat,
        made: Template,
        before: int | None,
        stored: Mapping[str, str],
        due: int,
        now: int,
    ) -> str:
        fields = {"name": made.name, **when.fields(stored, due)}
        if made.opts:
            fields["opts"] = _json(made.opts)
        if made.data is not None:
            fields["data"] = made.data
        opts = opts_of_run(made.opts, when.said, scheduler, 1, due, now)
        if "attempts" not in made.opts:
            del opts["attempts"]
        job = ScheduledJob(
            name=made.name, data=made.data or "{}", opts=_json(opts), priority=made.options.priority
        )
        return self._store.schedules.upsert(
            self._base, scheduler, before=before, due=due, fields=fields, job=job
        )

    def get_job_scheduler(self, id: str) -> dict[str, Any] | None:
        """Return what is stored of a scheduler, as BullMQ tells of it; None where there is none. Times are in ms.

        >>> queue = Queue("doc-scheduled")
        >>> job = queue.upsert_job_scheduler("often", {"every": "5m", "limit": 3})
        >>> queue.get_job_scheduler("often")["every"], queue.get_job_scheduler("never")
        (300000, None)
        """
        scheduler = checked_scheduler(id)
        due = self._store.schedules.read_due(self._base, scheduler)
        return (
            None
            if due is None
            else as_bullmq_tells(scheduler, due, self._store.schedules.read(self._base, scheduler))
        )

    def get_job_schedulers(self, start: int = 0, end: int = -1, asc: bool = False) -> list[dict[str, Any]]:
        """Return the queue's schedulers from `start` to `end`, both included; the one due last first, with `asc` last.

        >>> queue = Queue("doc-schedulers")
        >>> job = queue.upsert_job_scheduler("often", {"every": 300_000})
        >>> [scheduler["key"] for scheduler in queue.get_job_schedulers()]
        ['often']
        """
        first, last = whole("start", start, -MOST_AT, MOST_AT), whole("end", end, -MOST_AT, MOST_AT)
        found = self._store.schedules.read_some(self._base, first, last, newest_first=not flag("asc", asc))
        return [
            as_bullmq_tells(name, due, self._store.schedules.read(self._base, name)) for name, due in found
        ]

    def remove_job_scheduler(self, id: str) -> bool:
        """End a scheduler; its next job goes with it, unless it has come to its time. False where there is none.

        >>> Queue("doc-scheduled").remove_job_scheduler("never")
        False
        """
        scheduler = checked_scheduler(id)
        self._connection.ensure_writable()
        return self._store.schedules.remove(self._base, scheduler)


def _json(value: Any) -> str:
    return json.dumps(dict(value), separators=(",", ":"))
