"""The pump: one thread that fetches jobs, hands them to slots, writes many outcomes in one call, ends the worker."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from enum import Enum
from functools import partial
from queue import Empty, SimpleQueue

from flownb.connection import patience
from flownb.errors import ServerError, printable
from flownb.wire.lease_records import FetchingWorker
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.limits import CHUNK_JOBS
from flownb.worker.blocker import wake_another_worker
from flownb.worker.follow_up import follow_up
from flownb.worker.held_jobs import VISIBLE_SECONDS, HeldJobs
from flownb.worker.lanes import Lane, Lanes
from flownb.worker.lease_keeper import keeper
from flownb.worker.middleware import Hooks, Middleware
from flownb.worker.next_runs import add_next_runs
from flownb.worker.own_calls import belongs_to
from flownb.worker.recovery import Recovery
from flownb.worker.run_outcomes import as_failure
from flownb.worker.settings import WorkerSettings
from flownb.worker.slots import End, Held, Running, SlotsOfWorker
from flownb.worker.upkeep import Upkeep

log = logging.getLogger("flownb.worker")

GATHER_SECONDS = 0.002  # for which outcomes are collected while the slots have work
LAST_CALLS_SECONDS = 3.0  # that a closing worker in which nothing runs any more has to write the last results
SHORTEST_WAIT_SECONDS = 0.002  # for a message
IDLE_CHECK_SECONDS = 0.5  # between two looks whether a paused worker's thread lives
JOIN_SECONDS = LAST_CALLS_SECONDS + 1.0  # after the grace, until `stop` waits no longer
MOST_NAMED = 5  # of the jobs that a message is about
HANG_UP_SECONDS = 1.0  # in which a call ends whose connection is closed


class Signal(Enum):
    """What may come into the inbox besides the ends of runs."""

    STOP = "take no more"
    PAUSE = "take no more for now"
    RESUME = "take some again"
    QUEUES_CHANGED = "other queues are served now"


Message = Signal | Lane | Held | End  # a lane: one of its queues may have a job; a held job is for a thread


class Pump:
    """One thread that owns a worker's connection. Slots, blocker and callers reach it through its inbox alone.

    There is no lock because there is nothing to share: all that changes while the worker runs - the held jobs, what
    to fetch, failures, due times - is read and written by the pump's thread. `start` makes the parts in the caller's
    thread, before any thread of the worker runs.
    """

    _store: Store
    _lanes: Lanes
    _held: HeldJobs
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
        running: Running,
        middleware: Iterable[Middleware] = (),
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.settings = settings
        self._running = running
        self.hooks = Hooks(middleware)
        self._inbox: SimpleQueue[Message] = SimpleQueue()  # all threads put, the pump's thread gets
        self._calls = 0  # written by the pump's thread
        # Monotonic time at which one is to be told; written by the pump's thread:
        self._next_beginning: float | None = None
        self._stopping = False  # written by the pump's thread
        self._is_paused = is_paused
        # A paused worker holds no job; `pause` clears it, the pump's thread sets it:
        self._is_idle = threading.Event()
        self._calls_end = math.inf  # monotonic time, of a worker that closes; written by the pump's thread
        self._latest_end = math.inf  # of the grace; `hurry` writes it, the pump's thread reads it

    # ---- start and stop -----------------------------------------------------------------------------

    def start(self) -> None:
        settings, connection = self.settings, self.settings.connection
        self._client = connection.worker_client()
        self._store = Store(self._client, connection.prefix)
        self.hooks.look()  # a listener may have come since
        for on_start in self.hooks.on_start:
            on_start(settings)
        self._entry = keeper.page.add_worker(settings.identity)
        slots = SlotsOfWorker(settings, self._entry, self._running, self._inbox.put, self.hooks)
        self._lanes = Lanes(settings, partial(Lane, slots, self._inbox.put))
        self._held = HeldJobs(self._lanes, self._entry)
        self.recovery = Recovery(settings, self._store, self._held)
        self._upkeep = Upkeep(settings, self._store, self.hooks, self.recovery)
        self._thread = threading.Thread(target=self._loop, name=f"flownb-{settings.name}-pump", daemon=True)
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
        for on_stop in self.hooks.on_stop:  # now that no other hook can run, and while there are connections
            on_stop()
        self._lanes.close()
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

    def holds_jobs(self) -> bool:
        """Does it hold jobs, as far as another thread can see?"""
        return bool(self._held.jobs)

    def hurry(self, grace: float) -> None:
        """Let a `stop` that waits in another thread wait for `grace` seconds more at most."""
        self._latest_end = time.monotonic() + grace

    def queues_changed(self) -> None:
        """Serve the queues that there are now."""
        self._inbox.put(Signal.QUEUES_CHANGED)

    # ---- the loop -----------------------------------------------------------------------------------

    def _loop(self) -> None:
        belongs_to(self.settings.identity)
        while not (self._stopping and self._may_leave()):
            try:
                self._step()
            except Exception as error:
                self.recovery.note_fault(error)
                self.recovery.is_unsure = True
                self._lanes.wake()

    def _step(self) -> None:
        self._collect()
        now = time.monotonic()
        keeper.page.beat(self._entry)
        self._running.loop.look(now)
        self._lanes.note_time(now)
        self._next_beginning = self._held.tell_beginnings(now)
        lane, room = self._wanting()
        if self._held.pending or lane is not None:
            with patience.until(self._last_call_ends()) if self._stopping else nullcontext():
                self._call_server(lane, room)
        if not self._stopping and self._upkeep.run_if_due(now):
            self._lanes.wake()
        self._held.end_overdue()
        self._give_back_what_waits(now)
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

    def _room(self, lane: Lane) -> int:
        """Return how many more jobs a lane is to hold."""
        room = self._lanes.room(lane, len(self._held.jobs))
        if room <= 0 or self._stopping or self._is_paused() or self._held.runs_suspect():
            return 0
        return room

    def _wanting(self) -> tuple[Lane | None, int]:
        """Return a lane that wants more jobs, each first in turn, and how many."""
        for lane in self._lanes:
            if lane.fetching.may_have_work and (room := self._room(lane)) > 0:
                return lane, room
        return None, 0

    def _give_back_what_waits(self, now: float) -> None:
        """A job turned out to be long: those fetched ahead of their time are for workers that are free."""
        oldest = self._held.oldest_waiting()
        if oldest is not None and now >= oldest.held_since + VISIBLE_SECONDS:
            self._held.give_back_unstarted(oldest.lane)
            oldest.lane.fetching.note_long_job()
        for lane in self._lanes:
            if lane.is_held_up(now):
                self._held.give_back_unstarted(lane)
                lane.fetching.may_have_work = True

    # ---- collecting ---------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Wait for something to do; then gather outcomes for a moment as long as the slots have work."""
        try:
            self._take_in(self._first_message())
            gather_until = time.monotonic() + GATHER_SECONDS
            while True:
                while not self._inbox.empty():
                    self._take_in(self._inbox.get())
                if not self._held.pending or not self._held.waiting() or time.monotonic() > gather_until:
                    break
                time.sleep(GATHER_SECONDS / 4)
        except Empty:
            pass

    def _first_message(self) -> Message:
        """Wait for a message, or raise Empty where there is something to do without one."""
        if self._held.jobs and not self._held.pending and not self._wanting()[0]:
            with suppress(Empty):  # mostly a job ends before it would be found out for how long to wait
                return self._next_message(SHORTEST_WAIT_SECONDS)
        return self._next_message(self._seconds_to_wait())

    def _next_message(self, seconds: float) -> Message:
        """Return a message, or raise Empty after so long.

        The first wait after a `put` waits for ever where the thread is put off past the timeout before it begins
        (CPython to 3.12: 5 of 160,000 waits of 0.1 ms on a busy machine). So the queue is asked before each wait.
        """
        if seconds and self._inbox.empty():
            return self._inbox.get(timeout=seconds)
        return self._inbox.get_nowait()

    def _seconds_to_wait(self) -> float:
        """For how long to wait for a message: until the first thing that is due."""
        if self.recovery.failures:
            return 0.01
        if self._held.pending or self._wanting()[0]:
            return 0.0
        longest = 0.05 if self._stopping else 1.0 if self._held.has_timeouts() else 5.0
        due = self._held.deadlines() + self._lanes.due()
        if not self._stopping:
            due.append(self._upkeep.next_due())
        if self._next_beginning is not None:
            due.append(self._next_beginning)
        now = time.monotonic()
        if not self._held.all_have_begun():
            due.append(now + VISIBLE_SECONDS / 2)
        looks = self._upkeep.check_seconds / 2, self._running.loop.look_seconds  # the keeper sees each look
        return max(min(longest, *looks, *(at - now for at in due)), SHORTEST_WAIT_SECONDS)

    def _take_in(self, message: Message) -> None:
        if isinstance(message, tuple):
            held, outcome, seconds = message
            if held.abandoned:  # given up or given back: the outcome that counts is on its way already
                keeper.page.free(held.entry)
                return
            self._held.end(held, outcome, seconds)
            if outcome.kind != "unbegun":
                held.lane.fetching.note_run(seconds, held.taken.base)
        elif isinstance(message, Lane):
            message.fetching.may_have_work = True
            if self._room(message) <= 0:  # all slots were taken since the blocker was armed
                wake_another_worker(self._client, message.bases)
        elif isinstance(message, Held):
            message.lane.put_in_thread(message)
        else:
            self._obey(message)

    def _obey(self, signal: Signal) -> None:
        if signal is Signal.STOP:
            self._stopping = True
            self._held.give_back_unstarted()
            return
        if signal is Signal.PAUSE:
            self._held.give_back_unstarted()
        self._lanes.wake()
        if signal is Signal.QUEUES_CHANGED:
            self._lanes.queues_changed()
            self._upkeep.queues_changed()

    # ---- one call -----------------------------------------------------------------------------------

    def _call_server(self, lane: Lane | None, room: int) -> None:
        """Write what has ended and fetch what a lane has room for, in one call."""
        self._calls += 1
        keeper.page.begin_call(self._entry, self._calls)
        outcomes = self._held.outcomes_of_a_call()
        want, suspect_in = 0, None
        if lane is None:
            bases = self.settings.bases()
        else:
            bases = lane.fetching.queues_in_turn(lane.bases)
            want = min(room, CHUNK_JOBS)
            suspect_in = lane.fetching.suspect_in
        if suspect_in is not None:
            bases, want = [suspect_in], 1
        try:
            turn = self._store.leases.finish_and_fetch(
                bases,
                outcomes=outcomes,
                want=want if bases else 0,
                worker=self._about(lane, bases, alone=suspect_in is not None),
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
        self._held.note_answer()
        self._note_answers(outcomes, turn.answers)
        if turn.failed_parents:
            self._held.give_back_unstarted()  # some of them, perhaps, are needed no more
        self.recovery.note_unknown_flows(turn.unknown_flows)
        follow_up(turn, self.settings)
        add_next_runs(self._store, turn.taken)
        self._held.hand_out(turn.taken, self._calls)
        if self.recovery.is_unsure:
            self._recover()
        if lane is not None:
            lane.fetching.note_answer(want, len(turn.taken), turn.again_ms, turn.suspect_in)
            self._lanes.turn()
            if not lane.fetching.may_have_work and not self._stopping:
                lane.blocker.arm(bases)

    def _about(self, lane: Lane | None, bases: list[str], *, alone: bool) -> FetchingWorker:
        settings = self.settings
        limiters = {base: limiter for base in bases if (limiter := settings.limiter_of(base))}
        token = f"{settings.identity}{self._calls}"
        return FetchingWorker(
            token=token,
            lock_ms=settings.lock_ms,
            limiters=limiters,
            shares=self._held.shares(bases, lane) if lane is not None and lane.shares and not alone else None,
            free=0 if lane is None else max(lane.width - lane.held, 0),
            alone=alone,
        )

    def _recover(self) -> None:
        self._lanes.wake()
        self.recovery.recover()

    def _note_answers(self, outcomes: list[Outcome], answers: list[str]) -> None:
        if answers.count("done") < len(outcomes):
            self._note_refusals(outcomes, answers)
        for on_answers in self.hooks.on_answers if outcomes else ():
            on_answers(outcomes, answers)

    def _note_refusals(self, outcomes: list[Outcome], answers: list[str]) -> None:
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


# Answers after which a job ends as failed: the reason, and why in a word.
_REFUSED = {
    "failed-children": ("a child failed while the job ran", "child"),
    "pending-children": ("the job returned while children of it were pending", None),
}
