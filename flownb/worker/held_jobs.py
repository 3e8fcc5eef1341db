"""The jobs that a worker holds, from the call that fetched them to the call that writes how they ended."""

from __future__ import annotations

import time
from collections import Counter

from flownb.wire.lease_records import Lease, QueueShare
from flownb.wire.outcomes import Outcome
from flownb.wire.store.job_records import Taken
from flownb.wire.store.limits import CHUNK_JOBS, MOST_BYTES_A_CALL
from flownb.worker.fetching import Fetching
from flownb.worker.run_outcomes import failed_as_stored, returned
from flownb.worker.slots import Held, Slots


class HeldJobs:
    """Everything here is the pump thread's; a job in `jobs` waits for a slot, or runs in one."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.jobs: dict[tuple[str, str], Held] = {}  # by queue and id
        self.pending: list[Outcome] = []  # to be written, or written without an answer
        self.unwritable: list[Outcome] = []  # of queues with a damaged key, until somebody has repaired them

    # ---- handing out --------------------------------------------------------------------------------

    def hand_out(self, fetched: list[Taken]) -> None:
        """Give jobs to the slots; one whose options cannot be read has failed, and the others run."""
        for taken in fetched:
            try:
                held = Held(taken)
            except Exception as error:
                self.pending.append(failed_as_stored(taken, error))
                continue
            self.jobs[taken.base, taken.record.id] = held
            self._slots.put(held)

    def waiting(self) -> int:
        """Return how many jobs no slot has started."""
        return self._slots.waiting()

    def give_back_unstarted(self) -> None:
        """Return jobs to the server that no slot has started. Each goes to the head of the list: the last one first."""
        for held in reversed(self._slots.take_back()):
            self.end(held, returned(held.taken))

    def give_back_all(self) -> None:
        """Return also what still runs, without waiting for it: its late end is refused."""
        self.pending += [returned(held.taken) for held in self.jobs.values()]
        for held in self.jobs.values():
            held.abandoned = True
        self.jobs.clear()

    def shares(self, bases: list[str], fetching: Fetching) -> list[QueueShare]:
        """Say of each of these queues how many of its jobs are held, and whether some may wait for a slot."""
        held = Counter(base for base, _ in self.jobs)
        return [QueueShare(held[base], fetching.may_wait(base)) for base in bases]

    # ---- ending -------------------------------------------------------------------------------------

    def end(self, held: Held, outcome: Outcome) -> None:
        """A slot has run a job."""
        taken = held.taken
        self.jobs.pop((taken.base, taken.record.id), None)
        self.pending.append(outcome)

    def end_overdue(self) -> None:
        """Give up on jobs that have run past their timeout."""
        now = time.monotonic()
        for held in self._with_deadline():
            if now >= held.deadline and not held.abandoned:
                self.end(held, self._slots.abandon(held))

    def deadlines(self) -> list[float]:
        """Return when the running jobs that have a timeout are to be given up."""
        return [held.deadline for held in self._with_deadline()]

    def has_timeouts(self) -> bool:
        """Say whether a job has a timeout, running or not."""
        return any(held.timeout is not None for held in self.jobs.values())

    def _with_deadline(self) -> list[Held]:
        return [held for held in self.jobs.values() if held.timeout is not None and held.started is not None]

    # ---- writing ------------------------------------------------------------------------------------

    def outcomes_of_a_call(self) -> list[Outcome]:
        """Take from `pending` what one call carries: not too many outcomes, not too many bytes."""
        size, some = 0, self.pending[:CHUNK_JOBS]
        for i, outcome in enumerate(some):
            size += len(outcome.value or "")
            if i and size > MOST_BYTES_A_CALL:
                some = some[:i]
                break
        self.pending = self.pending[len(some) :]
        return some

    def write_again(self, outcomes: list[Outcome]) -> None:
        """Put outcomes back that were sent without an answer: before the others, as they are older."""
        self.pending = outcomes + self.pending

    def write_later(self, outcome: Outcome) -> None:
        """Keep an outcome whose queue has a damaged key: nothing of that queue moves until it is repaired."""
        self.unwritable.append(outcome)

    def try_unwritable(self) -> None:
        """Send the outcomes of damaged queues once more."""
        self.pending += self.unwritable
        self.unwritable = []

    def known(self) -> set[tuple[str, str]]:
        """Return queue and id of all jobs that are held, or about to be written."""
        return {*self.jobs, *((outcome.base, outcome.id) for outcome in (*self.pending, *self.unwritable))}

    def leases(self, newer_than: float = 0.0) -> list[Lease]:
        """Return the leases of all jobs that are held, as `Leases.extend` takes them, or of new ones."""
        found = [held.taken for held in self.jobs.values() if (held.started or newer_than) >= newer_than]
        return [
            Lease(taken.base, taken.record.id, taken.token, taken.record.attempts_started) for taken in found
        ]
