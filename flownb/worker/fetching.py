"""When the pump asks the server for jobs, for how many, and of which queue first."""

from __future__ import annotations

import time

PREFETCH_SECONDS = 0.02  # of work that are fetched beyond the slots, when jobs are short
PREFETCH_JOBS = 100  # at most
# In which a job fetched ahead is to begin; the server has it back after `VISIBLE_SECONDS`:
BEGIN_SECONDS = 0.04


class Fetching:
    """The state between two calls; the pump's thread alone reads and writes it."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency  #: slots
        self.may_have_work = True  # the server may have jobs for this worker
        self.next_due: float | None = None  # monotonic time at which a delayed job is due, or a limit ends
        self.suspect_in: str | None = None  # a queue whose next job runs alone: asked for when no job is held
        self._seconds_a_job = 0.0  # of a run, a moving average; 0 before the first has ended
        self._ends_before_more = 0  # jobs that are to end before some are fetched ahead again
        self._seconds_of: dict[str, float] = {}  # the same for each queue
        self._first = 0  # the index of the queue that is asked first

    def room(self, held: int, waiting: int) -> int:
        """Return how many more jobs to hold: one a slot, and some ahead when they are short."""
        if self.suspect_in is not None:
            return 0 if held else 1
        ahead = self._ahead()
        room = self.concurrency + ahead - held
        # While jobs wait for a slot, a few more are not worth a call of their own.
        return room if room >= min(self.concurrency, ahead // 2) or not waiting else 0

    def _ahead(self) -> int:
        """Return how many jobs to hold beyond the slots; each waits for a run to end, and for those before it."""
        if not self._seconds_a_job or self._ends_before_more:
            return 0
        seconds = min(PREFETCH_SECONDS, max(BEGIN_SECONDS - self._seconds_a_job, 0.0))
        return min(int(seconds * self.concurrency / self._seconds_a_job), PREFETCH_JOBS)

    def queues_in_turn(self, bases: list[str]) -> list[str]:
        """Return the queues so that each is asked first in some calls."""
        if len(bases) < 2:
            return bases
        self._first = (self._first + 1) % len(bases)
        return bases[self._first :] + bases[: self._first]

    def may_wait(self, base: str) -> bool:
        """Say whether a queue's jobs are so short that some may wait for a slot before another queue's."""
        return self._seconds_of.get(base, PREFETCH_SECONDS) < PREFETCH_SECONDS

    def note_run(self, seconds: float, base: str) -> None:
        """A job of a queue has run for so long."""
        if self._ends_before_more:
            self._ends_before_more -= 1
        before = self._seconds_of.get(base, seconds)
        self._seconds_of[base] = before + (seconds - before) * 0.1
        if self._seconds_a_job:
            self._seconds_a_job += (seconds - self._seconds_a_job) * 0.1
        else:
            self._seconds_a_job += seconds

    def note_answer(self, wanted: int, came: int, due_in_ms: int | None, suspect_in: str | None) -> None:
        """The server was asked for `wanted` jobs: where fewer came, it has no more for now."""
        self.may_have_work = came >= wanted or suspect_in != self.suspect_in
        self.suspect_in = suspect_in
        self.next_due = None if due_in_ms is None else time.monotonic() + due_in_ms / 1000

    def note_time(self, now: float) -> None:
        """A delayed job may be due by now."""
        if self.next_due is not None and now >= self.next_due:
            self.may_have_work, self.next_due = True, None

    def note_long_job(self) -> None:
        """Jobs were fetched ahead of one that turned out to be long: fetch none ahead until slots are free again."""
        self._ends_before_more = self.concurrency
        self.may_have_work = True
