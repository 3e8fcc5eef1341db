"""The jobs that a worker holds, from the call that fetched them to the call that writes how they ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import groupby
from operator import attrgetter

from flownb.errors import JobTimeout
from flownb.wire.lease_records import Lease, QueueShare
from flownb.wire.outcomes import Outcome
from flownb.wire.store.job_records import Taken
from flownb.wire.store.limits import CHUNK_JOBS, MOST_BYTES_A_CALL
from flownb.worker.lanes import Lane, Lanes
from flownb.worker.lease_keeper import keeper
from flownb.worker.run_outcomes import begun, failed_as_stored, returned, unbegun
from flownb.worker.slots import Held

VISIBLE_SECONDS = 0.05  # after which the server is told that a job has begun, or has it back if it has not
_SHORTEST_TOLD_SECONDS = 0.0005  # that a run takes: what is shorter rounds to 0 ms
_LANE: Callable[[Held], Lane] = attrgetter("lane")


class HeldJobs:
    """Everything here is the pump thread's; a job in `jobs` waits for a slot, or runs in one."""

    def __init__(self, lanes: Lanes, worker: int) -> None:
        self._lanes = lanes
        self._worker = worker  # the worker's entry in the page of held jobs
        self.jobs: dict[str, Held] = {}  # by key
        self._timed: set[Held] = set()  # of these, jobs with a timeout
        self._ahead: deque[Held] = deque()  # of these, jobs whose beginning the server has yet to be told
        self._telling: list[Held] = []  # jobs whose beginning is in `pending`, or was lately
        self.pending: list[Outcome] = []  # to be written, or written without an answer
        self.unwritable: list[Outcome] = []  # of queues with a damaged key, until somebody has repaired them

    # ---- handing out --------------------------------------------------------------------------------

    def hand_out(self, fetched: list[Taken], call: int) -> None:
        """Give the jobs of a call to the slots; one whose options cannot be read has failed, and the others run.

        All are in the page before the first begins: it may hold the interpreter, and then the keeper gives back the
        others.
        """
        found = self._written_down(fetched)
        if not keeper.page.end_call(self._worker, call):
            for held in found:
                keeper.page.free(held.entry)
                self.pending.append(unbegun(held.taken, held.held_since))
            return
        for held in found:
            self.jobs[held.taken.record.key] = held
            if held.timeout is not None:
                self._timed.add(held)
            if held.taken.is_ahead:
                self._ahead.append(held)
        for lane, some in groupby(found, key=_LANE):
            lane.put(list(some))

    def _written_down(self, fetched: list[Taken]) -> list[Held]:
        now, page, worker, found = time.monotonic(), keeper.page, self._worker, list[Held]()
        for taken in fetched:
            try:
                held = Held(taken, self._lanes.of(taken.base), now)
            except Exception as error:
                self.pending.append(failed_as_stored(taken, error))
                continue
            held.entry = page.add_job(
                taken.record.key, taken.token, worker, held.timeout, is_ahead=taken.is_ahead
            )
            found.append(held)
        return found

    def waiting(self) -> int:
        """Return how many jobs no slot has started."""
        return sum(lane.waiting() for lane in self._lanes)

    def give_back_unstarted(self, lane: Lane | None = None) -> None:
        """Return jobs to the server that no slot has started. Each goes to the head of the list: the last one first."""
        for one in self._lanes if lane is None else [lane]:
            for held in reversed(one.take_back()):
                self.end(held, unbegun(held.taken, held.held_since), 0.0)

    def give_back_all(self) -> None:
        """Return also what still runs, without waiting for it: its late end is refused."""
        for held in list(self.jobs.values()):
            if not held.end_run():
                continue  # its end is in the inbox
            held.abandoned = True
            seconds = time.monotonic() - (held.started or time.monotonic())
            self.end(
                held, returned(held.taken) if held.started else unbegun(held.taken, held.held_since), seconds
            )

    def shares(self, bases: list[str], lane: Lane) -> list[QueueShare]:
        """Say of each of these queues how many of its jobs are held, and whether some may wait for a slot."""
        held = dict.fromkeys(bases, 0)
        for one in self.jobs.values():
            if one.taken.base in held:
                held[one.taken.base] += 1
        return [QueueShare(held[base], lane.fetching.may_wait(base)) for base in bases]

    # ---- ending -------------------------------------------------------------------------------------

    def end(self, held: Held, outcome: Outcome, seconds: float) -> None:
        """A slot has run a job, for so long."""
        taken = held.taken
        key = taken.record.key
        if self.jobs.get(key) is held:  # what the keeper has given back may be here again, in another start
            del self.jobs[key]
        if held.timeout is not None:
            self._timed.discard(held)
        if not held.has_ended:
            held.has_ended = True
            held.lane.note_end(held)
        if self._ahead and self._ahead[0] is held:  # mostly: jobs end about in the order in which they came
            self._ahead.popleft()
        if held.abandoned:  # its thread may still write to the entry, and frees it
            keeper.page.end(held.entry)
        else:
            keeper.page.free(held.entry)
        if seconds > _SHORTEST_TOLD_SECONDS and taken.is_ahead and outcome.kind != "unbegun":
            outcome = outcome._replace(ran=round(seconds * 1000))
        self.pending.append(outcome)

    def end_overdue(self) -> None:
        """Give up on jobs that have run past their timeout."""
        if not self._timed:
            return
        now = time.monotonic()
        for held in self._with_deadline():
            if now >= held.deadline and held.end_run():
                self.end(held, self._abandon(held), now - (held.started or now))

    def _abandon(self, held: Held) -> Outcome:
        """Give up on a job that ran past its timeout: a process is killed, a coroutine cancelled; a thread goes on."""
        assert held.runner is not None  # it has started
        held.abandoned = True
        held.lane.abandon(held)
        limit = (held.timeout or 0) / 1000
        return held.runner.give_up(held.taken, JobTimeout(f"ran longer than its timeout of {limit:g} s"))

    def deadlines(self) -> list[float]:
        """Return when the running jobs that have a timeout are to be given up."""
        return [held.deadline for held in self._with_deadline()]

    def has_timeouts(self) -> bool:
        """Say whether a job has a timeout, running or not."""
        return bool(self._timed)

    def _with_deadline(self) -> list[Held]:
        return [held for held in self._timed if held.started is not None]

    # ---- beginning ----------------------------------------------------------------------------------

    def all_have_begun(self) -> bool:
        """Say whether no job waits for a slot, or for its process."""
        return all(held.started is not None for held in reversed(self.jobs.values()))  # the last came last

    def tell_beginnings(self, now: float) -> float | None:
        """Tell the server of jobs that were taken ahead and run for a while by now; return when to look again."""
        untold = self._ahead
        while untold:
            first = untold[0]
            if not first.has_ended and not self._tell_beginning(first, now):
                # One that waits may begin before the pump asks for how long to sleep.
                return first.started + VISIBLE_SECONDS if first.started else now + VISIBLE_SECONDS / 2
            untold.popleft()
        return None

    def _tell_beginning(self, held: Held, now: float) -> bool:
        if held.started is None or now < held.started + VISIBLE_SECONDS:
            return False
        self.pending.append(begun(held.taken, held.started))
        self._telling.append(held)
        return True

    def note_answer(self) -> None:
        """The server has answered a call: once nothing is pending, it has been told of all beginnings."""
        if self._telling and not self.pending:
            for held in self._telling:
                if not held.has_ended:  # else the entry may be another job's by now
                    keeper.page.note_known(held.entry)
            self._telling = []

    def oldest_waiting(self) -> Held | None:
        """Return the job taken ahead that has waited longest for a slot."""
        for held in self._ahead:
            if held.started is None and not held.has_ended:
                return held
        return None

    def runs_suspect(self) -> bool:
        """Say whether the job that it holds is to run alone: the server gives that to a worker that holds nothing."""
        return len(self.jobs) == 1 and next(iter(self.jobs.values())).taken.is_suspect

    # ---- writing ------------------------------------------------------------------------------------

    def outcomes_of_a_call(self) -> list[Outcome]:
        """Take from `pending` what one call carries: not too many outcomes, not too many bytes."""
        size, some = 0, self.pending[:CHUNK_JOBS]
        for i, outcome in enumerate(some):
            size += len(outcome.value or "")
            if outcome.printed:
                size += sum(map(len, outcome.printed))
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
        held = ((held.taken.base, held.taken.record.id) for held in self.jobs.values())
        return {*held, *((outcome.base, outcome.id) for outcome in (*self.pending, *self.unwritable))}

    def leases(self, newer_than: float = 0.0) -> list[Lease]:
        """Return the leases of all jobs that are held, as `Leases.extend` takes them, or of new ones."""
        found = [held.taken for held in self.jobs.values() if (held.started or newer_than) >= newer_than]
        return [
            Lease(taken.base, taken.record.id, taken.token, taken.record.attempts_started) for taken in found
        ]
