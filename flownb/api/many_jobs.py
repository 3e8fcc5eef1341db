"""What a `Queue` does to many of its jobs at once: drain, clean, obliterate, retry and promote them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flownb.api.queue_part import QueuePart
from flownb.arguments import flag, one_of, seconds, shown, whole
from flownb.errors import OptionError
from flownb.steering import clear
from flownb.steering.retry import retry_state
from flownb.wire.records import COMPLETED, DELAYED, FAILED
from flownb.wire.store.limits import CHUNK_JOBS

MOST_CLEANED = 2**53


class ManyJobs(QueuePart):
    """Jobs of a flow that go by these leave it as by `Job.remove`; a root goes with its whole flow."""

    def drain(self, delayed: bool = False) -> None:
        """Remove all jobs that wait for a worker; with `delayed` those that wait for their time too.

        Running and ended jobs stay, and so do parents that wait for children elsewhere. A parent in another queue goes
        on without children that are drained; one in this queue goes with the last of them.

        >>> queue = Queue("doc-drained")
        >>> jobs = queue.add_bulk([{"name": "mail"}, {"name": "letter", "opts": {"delay": 60_000}}])
        >>> queue.drain()
        >>> queue.get_jobs(["waiting", "delayed"])
        [Job('letter' in 'doc-drained')]
        """
        delayed = flag("delayed", delayed)
        self._connection.ensure_writable()
        clear.drain(self._store, self._base, delayed=delayed)

    def clean(self, grace: Any, limit: int = 0, state: str = COMPLETED) -> list[str]:
        """Remove jobs that ended, began or were added at least `grace` ago; return their ids, the oldest first.

        `grace` is a duration: seconds, a timedelta or "30s". `limit` is how many go at most, 0 all. `state` is
        completed, failed, waiting (or wait), prioritized, delayed or active: of these those that lost their worker;
        paused is waiting while the queue is paused, else no job is.

        >>> queue = Queue("doc-cleaned")
        >>> jobs = queue.add_bulk([{"name": "mail"}, {"name": "letter"}])
        >>> len(queue.clean("1h", state="waiting")), len(queue.clean(0, 1, "waiting"))
        (0, 1)
        """
        grace_ms = round(seconds(grace, "grace") * 1000)
        limit = whole("limit", limit, 0, MOST_CLEANED)
        self._connection.ensure_writable()
        named = self._state(state, clear.CLEANED)
        return (
            []
            if named is None
            else clear.clean(self._store, self._base, named, grace_ms=grace_ms, limit=limit)
        )

    def obliterate(self, force: bool = False) -> None:
        """Remove the queue with all its jobs, settings and events. It is paused first.

        Raises `FlowError` while a job runs, and leaves the queue paused; with `force` running jobs go too, and what
        they return goes nowhere. Parents that wait for children stay.

        >>> queue = Queue("doc-obliterated")
        >>> job = queue.add("mail")
        >>> queue.obliterate()
        >>> queue.get_job(job.id) is None, queue.is_paused()
        (True, False)
        """
        force = flag("force", force)
        self._connection.ensure_writable()
        clear.obliterate(self._store, self._base, force=force)

    def retry_jobs(self, state: str = FAILED, timestamp: datetime | None = None) -> None:
        """Run all failed (or completed) jobs again, as `Job.retry`; those only that ended until `timestamp`.

        `timestamp` is a datetime with a time zone; without one, now. What stands above a job waits for it again, up to
        the root. Raises `FlowError`, once the others wait again, when some cannot run: their children failed them
        (retry those, or the flow), or a job above them runs.

        >>> queue = Queue("doc-retried")
        >>> job = queue.add("mail")
        >>> with Worker("doc-retried", lambda job: 1 / 0):
        ...     while job.get_state() != "failed":
        ...         pass
        >>> queue.retry_jobs()
        >>> job.get_state()
        'waiting'
        """
        checked = one_of("state", state, clear.ENDED)
        until = None if timestamp is None else _ms(timestamp)
        self._connection.ensure_writable()
        retry_state(
            self._store, self._base, checked, self._store.server.read_time() if until is None else until
        )

    def promote_jobs(self) -> None:
        """Let all delayed jobs wait for a worker now, in the order in which they were due.

        As by BullMQ's promoteJobs they join the end of the line, whatever their priority; `Job.promote` heeds it.

        >>> queue = Queue("doc-promoted")
        >>> job = queue.add("mail", opts={"delay": 60_000})
        >>> queue.promote_jobs()
        >>> job.get_state()
        'waiting'
        """
        self._connection.ensure_writable()
        while ids := self._store.queues.read_oldest(self._base, DELAYED, 0, CHUNK_JOBS):
            self._store.moves.promote(self._base, ids, in_bulk=True)


def _ms(timestamp: Any) -> int:
    """Return a moment in ms since 1970; refuse one that means another moment elsewhere."""
    if not isinstance(timestamp, datetime) or timestamp.tzinfo is None:
        raise OptionError(f"timestamp: a datetime with a time zone, not {shown(timestamp)}")
    return round(timestamp.timestamp() * 1000)
