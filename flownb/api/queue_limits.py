"""What binds all workers of a `Queue` together, how many jobs run and begin at once; and who they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flownb.api.queue_part import QueuePart
from flownb.arguments import items, seconds, shown, text, whole
from flownb.errors import OptionError
from flownb.options import MAX_PRIORITY

MOST = 1_000_000_000


class QueueLimits(QueuePart):
    """Settings are BullMQ's, and its workers obey them too; durations in what is returned are its milliseconds."""

    def set_global_concurrency(self, concurrency: int) -> None:
        """Let at most so many jobs of the queue run at once, whatever workers there are.

        >>> queue = Queue("doc-limited")
        >>> queue.set_global_concurrency(4)
        >>> queue.get_global_concurrency()
        4
        """
        concurrency = whole("concurrency", concurrency, 1, MOST)
        self._connection.ensure_writable()
        self._store.settings.set(self._base, {"concurrency": concurrency})

    def get_global_concurrency(self) -> int | None:
        """Return how many jobs of the queue may run at once; None where nobody has said.

        >>> Queue("doc-unlimited").get_global_concurrency() is None
        True
        """
        (found,) = self._store.settings.read(self._base, "concurrency")
        return None if found is None else int(found)

    def remove_global_concurrency(self) -> None:
        """Let as many jobs of the queue run at once as its workers have slots.

        >>> Queue("doc-limited").remove_global_concurrency()
        """
        self._connection.ensure_writable()
        self._store.settings.set(self._base, {"concurrency": None})

    def set_global_rate_limit(self, max: int, duration: Any) -> None:
        """Let at most `max` jobs of the queue begin in each `duration`: seconds, a timedelta or "1m".

        >>> queue = Queue("doc-limited")
        >>> queue.set_global_rate_limit(100, "1m")
        >>> queue.get_global_rate_limit()
        {'max': 100, 'duration': 60000}
        """
        most, ms = whole("max", max, 1, MOST), round(seconds(duration, "duration") * 1000)
        if ms < 1:
            raise OptionError(f"duration: longer than 0, not {shown(duration)}")
        self._connection.ensure_writable()
        self._store.queues.set_limit(self._base, {"max": most, "duration": ms})

    def get_global_rate_limit(self) -> dict[str, int] | None:
        """Return the rate limit of the queue as BullMQ's ``max`` and ``duration`` (ms); None where there is none.

        >>> Queue("doc-unlimited").get_global_rate_limit() is None
        True
        """
        most, duration = self._store.settings.read(self._base, "max", "duration")
        return None if most is None or duration is None else {"max": int(most), "duration": int(duration)}

    def remove_global_rate_limit(self) -> None:
        """Let jobs of the queue begin as fast as workers take them.

        >>> Queue("doc-limited").remove_global_rate_limit()
        """
        self._connection.ensure_writable()
        self._store.queues.set_limit(self._base, None)

    def get_rate_limit_ttl(self, max_jobs: int | None = None) -> int:
        """Return for how many ms no job may begin: 0 where fewer have begun than the limit, -2 without one.

        `max_jobs` is taken for the limit, as of workers that have one of their own.

        >>> Queue("doc-unlimited").get_rate_limit_ttl()
        -2
        """
        most = None if max_jobs is None else whole("max_jobs", max_jobs, 1, MOST)
        return self._store.settings.read_limit_left(self._base, most)

    def get_counts_per_priority(self, priorities: Iterable[int]) -> dict[int, int]:
        """Return how many jobs wait of each of these priorities; 0 are those without one.

        >>> queue = Queue("doc-counted")
        >>> jobs = queue.add_bulk([{"name": "mail"}, {"name": "letter", "opts": {"priority": 2}}])
        >>> queue.get_counts_per_priority([0, 1, 2])
        {0: 1, 1: 0, 2: 1}
        """
        listed = items(priorities)
        if listed is None:
            raise OptionError(f"priorities: a list of whole numbers, not {shown(priorities)}")
        asked = [whole("priorities", one, 0, MAX_PRIORITY) for one in listed]
        return self._store.settings.count_priorities(self._base, asked)

    def get_workers(self) -> list[dict[str, str]]:
        """Return the connections by which workers of any client serve the queue, as the server tells of them.

        Each has ``name`` (the queue's), ``rawname`` (with the worker's own), ``addr``, ``age`` (seconds) and more.
        Empty where the server does not let one know.

        >>> Queue("doc-unserved").get_workers()
        []
        """
        return self._store.settings.read_workers(self._base)

    def remove_deduplication_key(self, id: str) -> bool:
        """Free a deduplication id before its job has ended; say whether it was taken.

        >>> queue = Queue("doc-freed")
        >>> job = queue.add("mail", deduplication={"id": "ada"})
        >>> queue.remove_deduplication_key("ada"), queue.add("mail", deduplication={"id": "ada"}).id == job.id
        (True, False)
        """
        named = text("id", id)
        self._connection.ensure_writable()
        return self._store.settings.remove_deduplication_key(self._base, named)
