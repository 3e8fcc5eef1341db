"""The pump: one thread that fetches jobs, hands them to slots, writes many outcomes in one call, ends the worker."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from enum import Enum
from queue import Empty, SimpleQueue

from flownb.connection import patience
from flownb.errors import ServerError, printable
from flownb.wire.lease_records import FetchingWorker
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS
from flownb.worker.blocker import Blocker, wake_another_worker
from flownb.worker.fetching import Fetching
from flownb.worker.follow_up import follow_up
from flownb.worker.held_jobs import VISIBLE_SECONDS, HeldJobs
from flownb.worker.lease_keeper import keeper
from flownb.worker.middleware import Hooks, Middleware
from flownb.worker.next_runs import add_next_runs
from flownb.worker.own_calls import belongs_to
from flownb.worker.recovery import Recovery
from flownb.worker.run_outcomes import as_failure
from flownb.worker.runners import Runner
from flownb.worker.settings import WorkerSettings
from flownb.worker.slots import Held, Slots
from flownb.worker.upkeep import Upkeep

log = logging.getLogger("flownb.worker")

GATHER_SECONDS = 0.002  # for which outcomes are collected while the slots have work
LAST_CALLS_SECONDS = 3.0  # that a closing worker in which nothing runs any more has to write the last results
FEW_QUEUES = 2  # which need no shares: one that has work, and that of batches' roots, which take no time
IDLE_CHECK_SECONDS = 0.5  # between two looks whether a paused worker's thread lives
JOIN_SECONDS = LAST_CALLS_SECONDS + 1.0  # after the grace, until `stop` waits no longer
MOST_NAMED = 5  # of the jobs that a message is about
HANG_UP_SECONDS = 1.0  # in which a call ends whose connection is closed


class Signal(Enum):
    """What may come into the inbox besides the ends of runs."""

    WAKE = "a queue may have a job"
    STOP = "take no more"
    PAUSE = "take no more for now"
    RESUME = "take some again"
    QUEUES_CHANGED = "other queues are served now"


Message = Signal | tuple[Held, Outcome, float]


class Pump:
    """One thread that owns a worker's connection. Slots, blocker and callers reach it through its inbox alone.

    There is no lock because there is nothing to share: all that changes while the worker runs - the held jobs, what
    to fetch, failures, due times - is read and written by the pump's thread. `start` makes the parts in the caller's
    thread, before any thread of the worker runs.
    """

    _store: Store
    _slots: Slots
    _held: HeldJobs
    _blocker: Blocker
    _upkeep: Upkeep
    _thread: threading.Thread
    _entry: int  # in the page of held jobs
    recovery: Recovery
    _grace_ends: (
        float  # `stop` writes it before it sends STOP; the pump's thread reads it after STOP has come
    )

    def __init__(
        self,
        settings: WorkerSettings,
        make_runner: Callable[[], Runner],
        middleware: Iterable[Middleware] = (),
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self._make_runner = make_runner
        self._hooks = Hooks(middleware)
        self._inbox: SimpleQueue[Message] = SimpleQueue()  # all threads put, the pump's thread gets
        self._fetching = Fetching(settings.concurrency)
        self._calls = 0  # written by the pump's thread
        self._next_beginning: float | None = (
            None  # monotonic time at which one is to be told; the pump's thread
        )
        self._stopping = False  # written by the pump's thread
        self._is_paused = is_paused
        self._is_idle = (
            threading.Event()
        )  # a paused worker holds no job; `pause` clears it, the pump's thread sets it
        self._calls_end = math.inf  # monotonic time, of a worker that closes; written by the pump's thread
        self._latest_end = math.inf  # of the grace; `hurry` writes it, the pump's thread reads it

    # ---- start and stop -----------------------------------------------------------------------------

    def start(self) -> None:
        settings, connection = self.settings, self.settings.connection
        self._client = connection.worker_client()
        self._store = Store(self._client, connection.prefix)
        for on_start in self._hooks.on_start:
            on_start(settings)
        self._entry = keeper.page.add_worker(settings.identity)
        self._slots = Slots(settings, self._make_runner, self._send_end, self._hooks, self._entry)
        self._held = HeldJobs(self._slots, self._entry)
        self.recovery = Recovery(settings, self._store, self._held)
        self._upkeep = Upkeep(settings, self._store, self._hooks, self.recovery)
        self._blocker = Blocker(settings.name, connection, lambda: self._inbox.put(Signal.WAKE))
        self._thread = threading.Thread(target=self._loop, name=f"flownb-{settings.name}-pump", daemon=True)
        self._slots.start()
        self._blocker.start()
        self._upkeep.watch_queues()
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Take no more, let running jobs end (at most `grace` seconds), write their results, give back the rest."""
        self._grace_ends = time.monotonic() + grace
        self._inbox.put(Signal.STOP)
        self._thread.join(min(grace + JOIN_SECONDS, threading.TIMEOUT_MAX))
        if self._thread.is_alive():  # a call from before the end, to a server that does not answer
            self._client.connection_pool.disconnect(inuse_connections=True)
            self._thread.join(HANG_UP_SECONDS)
        if left := sorted(id for _, id in self._held.known()):
            others = f" and {len(left) - MOST_NAMED:,} more" if len(left) > MOST_NAMED else ""
            some = ", ".join(map(printable, left[:MOST_NAMED])) + others
            log.warning("closed without an answer of the server, so what it held runs again: %s", some)
        for on_stop in self._hooks.on_stop:  # now that no other hook can run, and while there are connections
            on_stop()
        self._blocker.close()
        self._slots.close()
        keeper.forget(self.settings.identity)
        keeper.page.free(self._entry)
        self._client.close()

    def pause(self) -> None:
        """Give back what has not begun: the worker takes no more jobs until `resume`."""
        self._is_idle.clear()
        self._inbox.put(Signal.PAUSE)

    def resume(self) -> None:
        self._inbox.put(Signal.RESUME)
        self._is_idle.set()  # nobody waits for the end of a pause that is over

    def wait_until_idle(self) -> None:
        """Wait until the worker, which is paused, holds no job any more, or its thread has ended."""
        while not self._is_idle.wait(IDLE_CHECK_SECONDS) and self._thread.is_alive():
            pass

    def hurry(self, grace: float) -> None:
        """Let a `stop` that waits in another thread wait for `grace` seconds more at most."""
        self._latest_end = time.monotonic() + grace

    def queues_changed(self) -> None:
        """Serve the queues that there are now."""
        self._inbox.put(Signal.QUEUES_CHANGED)

    def _send_end(self, held: Held, outcome: Outcome, seconds: float) -> None:
        self._inbox.put((held, outcome, seconds))

    # ---- the loop -----------------------------------------------------------------------------------

    def _loop(self) -> None:
        belongs_to(self.settings.identity)
        while not (self._stopping and self._may_leave()):
            try:
                self._step()
            except Exception as error:
                self.recovery.note_fault(error)
                self.recovery.is_unsure = self._fetching.may_have_work = True

    def _step(self) -> None:
        self._collect()
        now = time.monotonic()
        keeper.page.beat(self._entry)
        self._fetching.note_time(now)
        self._next_beginning = self._held.tell_beginnings(now)
        if self._held.pending or self._wants_jobs():
            with patience.until(self._last_call_ends() if self._stopping else None):
                self._call_server()
        if not self._stopping and self._upkeep.run_if_due(now):
            self._fetching.may_have_work = True
        self._held.end_overdue()
        self._give_back_what_waits()
        if self._is_paused() and not self._held.jobs and not self._held.pending:
            self._is_idle.set()

    def _may_leave(self) -> bool:
        if self._held.jobs:
            if time.monotonic() >= min(self._grace_ends, self._latest_end):
                self._held.give_back_all()
            return False
        return not self._held.pending or time.monotonic() >= self._last_call_ends()

    def _last_call_ends(self) -> float:
        """Return until when a worker that closes may call the server."""
        grace_ends = min(self._grace_ends, self._latest_end)
        ends = grace_ends if self._held.jobs else min(time.monotonic(), grace_ends)
        self._calls_end = min(self._calls_end, ends + LAST_CALLS_SECONDS)
        return self._calls_end

    def _room(self) -> int:
        """How many more jobs to hold."""
        if self._stopping or self._is_paused() or self._held.runs_suspect():
            return 0
        return self._fetching.room(len(self._held.jobs), self._held.waiting())

    def _wants_jobs(self) -> bool:
        return self._fetching.may_have_work and self._room() > 0

    def _give_back_what_waits(self) -> None:
        """A job turned out to be long: those fetched ahead of their time are for workers that are free."""
        oldest = self._held.oldest_waiting()
        if oldest is not None and time.monotonic() >= oldest + VISIBLE_SECONDS:
            self._held.give_back_unstarted()
            self._fetching.note_long_job()

    # ---- collecting ---------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Wait for something to do; then gather outcomes for a moment as long as the slots have work."""
        try:
            seconds = self._seconds_to_wait()
            # A timeout that has passed before the wait begins makes this queue wait for ever (CPython's, seen with
            # 0.1 ms on a busy machine): where there is work already, it is only asked.
            self._take_in(self._inbox.get(timeout=seconds) if seconds else self._inbox.get_nowait())
            gather_until = time.monotonic() + GATHER_SECONDS
            while True:
                while not self._inbox.empty():
                    self._take_in(self._inbox.get())
                if not self._held.pending or not self._held.waiting() or time.monotonic() > gather_until:
                    break
                time.sleep(GATHER_SECONDS / 4)
        except Empty:
            pass

    def _seconds_to_wait(self) -> float:
        """For how long to wait for a message: until the first thing that is due."""
        if self.recovery.failures:
            return 0.01
        if self._held.pending or self._wants_jobs():
            return 0.0
        longest = 0.05 if self._stopping else 1.0 if self._held.has_timeouts() else 5.0
        due = self._held.deadlines()
        if self._fetching.next_due is not None:
            due.append(self._fetching.next_due)
        if self._next_beginning is not None:
            due.append(self._next_beginning)
        now = time.monotonic()
        if not self._held.all_have_begun():
            due.append(now + VISIBLE_SECONDS / 2)
        return max(min(longest, self._upkeep.check_seconds, *(at - now for at in due)), 0.002)

    def _take_in(self, message: Message) -> None:
        if not isinstance(message, tuple):
            self._obey(message)
            return
        held, outcome, seconds = message
        if held.abandoned:  # given up or given back: the outcome that counts is on its way already
            keeper.page.free(held.entry)
            return
        self._held.end(held, outcome, seconds)
        if outcome.kind != "unbegun":
            self._fetching.note_run(seconds, held.taken.base)

    def _obey(self, signal: Signal) -> None:
        if signal is Signal.STOP:
            self._stopping = True
            self._held.give_back_unstarted()
            return
        if signal is Signal.PAUSE:
            self._held.give_back_unstarted()
        self._fetching.may_have_work = True
        if signal is Signal.QUEUES_CHANGED:
            self._blocker.interrupt()
            self._upkeep.queues_changed()
        elif signal is Signal.WAKE and self._room() <= 0:  # all slots were taken since the blocker was armed
            wake_another_worker(self._client, self.settings.bases())

    # ---- one call -----------------------------------------------------------------------------------

    def _call_server(self) -> None:
        """Write what has ended and fetch what there is room for, in one call."""
        self._calls += 1
        outcomes = self._held.outcomes_of_a_call()
        bases = self._fetching.queues_in_turn(self.settings.bases())
        want = min(max(self._room(), 0), CHUNK_JOBS)
        suspect_in = self._fetching.suspect_in if want else None
        if suspect_in is not None:
            bases, want = [suspect_in], 1
        try:
            turn = self._store.leases.finish_and_fetch(
                bases,
                outcomes=outcomes,
                want=want if bases else 0,
                worker=self._about(bases, alone=suspect_in is not None),
            )
        except ServerError as error:
            self._held.write_again(outcomes)
            self.recovery.complain(error)
            self._recover()
            return
        except Exception:  # an answer that cannot be read: what it brought is to be given back
            self._held.write_again(outcomes)
            raise
        self.recovery.failures = 0
        self._note_answers(outcomes, turn.answers)
        if turn.failed_parents:
            self._held.give_back_unstarted()  # some of them, perhaps, are needed no more
        self.recovery.note_unknown_flows(turn.unknown_flows)
        follow_up(turn, self.settings)
        add_next_runs(self._store, turn.taken)
        self._held.hand_out(turn.taken)
        if self.recovery.is_unsure:
            self._recover()
        if want:
            self._fetching.note_answer(want, len(turn.taken), turn.again_ms, turn.suspect_in)
            if not self._fetching.may_have_work and not self._stopping:
                self._blocker.arm(bases)

    def _about(self, bases: list[str], *, alone: bool) -> FetchingWorker:
        settings = self.settings
        limiters = {base: limiter for base in bases if (limiter := settings.limiter_of(base))}
        token = f"{settings.identity}{self._calls}"
        return FetchingWorker(
            token=token,
            lock_ms=settings.lock_ms,
            limiters=limiters,
            shares=self._held.shares(bases, self._fetching) if len(bases) > FEW_QUEUES else None,
            free=max(settings.concurrency - len(self._held.jobs), 0),
            alone=alone,
        )

    def _recover(self) -> None:
        self._fetching.may_have_work = True
        self.recovery.recover()

    def _note_answers(self, outcomes: list[Outcome], answers: list[str]) -> None:
        for outcome, answer in zip(outcomes, answers, strict=True):
            if outcome.kind == "begun" or (outcome.kind == "unbegun" and answer == "stale"):
                continue  # the job has ended meanwhile, or the keeper has given it back
            if answer == "stale":
                log.warning("a late end of job %s was refused: another worker has started it", outcome.id)
            elif answer == "damaged":
                self._held.write_later(outcome)
                self.recovery.note_damage(outcome.base)
            elif reason := _REFUSED.get(answer):
                self._held.pending.append(as_failure(outcome, *reason))
            for on_outcome in self._hooks.on_outcome:
                on_outcome(outcome, answer)


# Answers after which a job ends as failed: the reason, and why in a word.
_REFUSED = {
    "failed-children": ("a child failed while the job ran", "child"),
    "pending-children": ("the job returned while children of it were pending", None),
}
