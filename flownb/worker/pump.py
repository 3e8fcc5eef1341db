"""The heart of a worker: fetch jobs, hand them out, collect their outcomes, write them - many in one call."""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from flownb.connection import Connection
from flownb.errors import FlownbError, ServerError
from flownb.state.catch_up import SharedJobs
from flownb.steering import cancel
from flownb.wire import keys
from flownb.wire.store import CHUNK, MOST_BYTES_A_CALL, Store, Taken, Turn
from flownb.worker.auto_remover import AutoRemover
from flownb.worker.lease_keeper import WatchedQueue, keeper
from flownb.worker.outcomes import Outcome, as_failure, returned
from flownb.worker.presence import Presence
from flownb.worker.runners import InThread
from flownb.worker.slots import Held, Slots

log = logging.getLogger("flownb.worker")

PREFETCH_JOBS = 100  # at most, fetched beyond the slots when jobs are short
PREFETCH_SECONDS = 0.02  # of work that are fetched ahead
UNSTARTED_SECONDS = 0.2  # after which jobs fetched ahead of a long one are given back
GATHER_SECONDS = 0.002  # for which outcomes are collected while the slots have work
IDLE_SECONDS = 5.0  # that an idle worker sleeps at most before it asks the server

_WAKE, _STOP, _QUEUES = "wake", "stop", "queues"


class Pump:
    """One thread that owns a worker's connection; the slots and the blocker talk to it through its inbox."""

    def __init__(
        self,
        *,
        name: str,
        connection: Connection,
        bases: Callable[[], list[str]],
        make_runner: Callable[[], InThread],
        concurrency: int,
        lock_ms: int,
        stalled_interval: float,
        max_stalled_count: int,
        limiter_of: Callable[[str], dict[str, int] | None],
    ) -> None:
        self.name = name
        self.connection = connection
        self.bases = bases
        self.concurrency = concurrency
        self.lock_ms = lock_ms
        self.stalled_interval = stalled_interval
        self.max_stalled_count = max_stalled_count
        self.limiter_of = limiter_of
        self.identity = secrets.token_hex(6)
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.held: dict[tuple[str, str], Held] = {}
        self._make_runner = make_runner
        self._pending: list[Outcome] = []  # written, but not known to have arrived
        self._calls = 0
        self._seconds_a_job = 0.0
        self._last_move = 0.0  # when a job was taken or ended
        self._may_have_work = True  # the server may have work for us
        self._unsure = False  # an answer was lost, and with it perhaps jobs that were taken for us
        self._next_due: float | None = None  # when a delayed job is due, or a limit ends
        self._failures = 0
        self._last_complaint = 0.0
        self._next_sweep = 0.0
        self._next_check = 0.0
        self._round = 0
        self._stopping = False

    # ---- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        self._client = self.connection.worker_client()
        self._store = Store(self._client, self.connection.prefix)
        self._auto_remover = AutoRemover(self.name, Store(self.connection.client(), self.connection.prefix))
        self._shared_jobs = SharedJobs(self._store)
        self._presence = Presence(self.connection)
        self._slots = Slots(self.name, self.concurrency, self._make_runner, self._done)
        self._blocker = Blocker(self.name, self.connection, self.inbox)
        self._watch_queues()
        self._thread = threading.Thread(target=self._loop, name=f"flownb-{self.name}-pump", daemon=True)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Take no more, let running jobs end (at most `grace` seconds), write their results, give back the rest."""
        self._grace_ends = time.monotonic() + grace
        self.inbox.put(_STOP)
        self._thread.join(grace + 15)
        self._auto_remover.close()
        self._blocker.close()
        self._slots.close()
        self._presence.close()
        keeper.forget(f"{self.identity}:")
        self._client.close()

    def queues_changed(self) -> None:
        self.inbox.put(_QUEUES)

    def _done(self, held: Held, outcome: Outcome, seconds: float) -> None:
        self.inbox.put((held, outcome, seconds))

    def _watch_queues(self) -> None:
        address = self.connection.address()
        for base in self.bases():
            keeper.watch(
                WatchedQueue(
                    base, self.connection.prefix, f"{self.identity}:", self.lock_ms, self.max_stalled_count
                ),
                address,
            )

    # ---- the loop -----------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not (self._stopping and self._may_leave()):
            try:
                self._step()
            except Exception as error:
                # A fault of ours must not leave jobs to a worker that only looks alive.
                self._failures += 1
                log.exception("the worker goes on after an unexpected %s", type(error).__name__)
                time.sleep(min(0.1 * self._failures, 1.0))

    def _step(self) -> None:
        self._collect()
        now = time.monotonic()
        if self._next_due is not None and now >= self._next_due:
            self._may_have_work, self._next_due = True, None
        if self._pending or (self._may_have_work and self._room() > 0):
            self._turn()
        if not self._stopping and now >= self._next_sweep:
            self._next_sweep = now + self.stalled_interval
            self._sweep()
        if not self._stopping and now >= self._next_check:
            self._next_check = now + min(self.stalled_interval, self.lock_ms / 4000)
            keeper.check()
        self._end_overdue()
        self._return_what_waits()

    def _may_leave(self) -> bool:
        if self._pending:
            return time.monotonic() > self._grace_ends + 10
        if not self.held:
            return True
        if time.monotonic() < self._grace_ends:
            return False
        # What still runs is not waited for: it goes back to the line, and its late end is refused.
        self._pending += [returned(held.taken) for held in self.held.values()]
        for held in self.held.values():
            held.abandoned = True
        self.held.clear()
        return False

    def _room(self) -> int:
        """How many more jobs to hold: one a slot, and a little ahead when they are short."""
        if self._stopping:
            return 0
        ahead = 0
        if self._seconds_a_job:
            ahead = min(int(PREFETCH_SECONDS * self.concurrency / self._seconds_a_job), PREFETCH_JOBS)
        room = self.concurrency + ahead - len(self.held)
        # With work at hand, a few more are not worth a call of their own.
        return room if room >= min(self.concurrency, ahead // 2) or not self._slots.waiting() else 0

    def _collect(self) -> None:
        """Wait for something to do; then gather outcomes for a moment as long as the slots have work."""
        try:
            patience = self._patience()
            # A timeout that has passed before the wait begins makes this queue wait for ever (CPython's, seen with
            # 0.1 ms on a busy machine): where there is work already, it is only asked.
            self._take_in(self.inbox.get(timeout=patience) if patience else self.inbox.get_nowait())
            gather_until = time.monotonic() + GATHER_SECONDS
            while True:
                while not self.inbox.empty():
                    self._take_in(self.inbox.get())
                if not self._pending or not self._slots.waiting() or time.monotonic() > gather_until:
                    break
                time.sleep(GATHER_SECONDS / 4)
        except Empty:
            pass

    def _patience(self) -> float:
        if self._failures:
            return 0.01
        if self._pending or (self._may_have_work and self._room() > 0):
            return 0.0
        limits = [
            self.stalled_interval,
            self.lock_ms / 4000,
            1.0 if self._stopping or self._has_timeouts() else 5.0,
        ]
        if self._stopping:
            limits.append(0.05)
        if self._next_due is not None:
            limits.append(self._next_due - time.monotonic())
        if self._slots.waiting():
            limits.append(self._last_move + UNSTARTED_SECONDS - time.monotonic())
        limits += [held.started + held.timeout / 1000 - time.monotonic() for held in self._with_timeout()]
        return max(min(limits), 0.002)

    def _with_timeout(self) -> list[Any]:
        return [h for h in self.held.values() if h.timeout is not None and h.started is not None]

    def _has_timeouts(self) -> bool:
        return any(held.timeout is not None for held in self.held.values())

    def _take_in(self, message: Any) -> None:
        if message is _WAKE:
            self._may_have_work = True
            if self._room() <= 0:
                self._wake_another_worker()
        elif message is _QUEUES:
            self._may_have_work = True
            self._blocker.interrupt()
            self._watch_queues()
            self._next_sweep = 0.0  # which tells that the new ones are served
        elif message is _STOP:
            self._stopping = True
            self._return_unstarted()
        else:
            held, outcome, seconds = message
            self._last_move = time.monotonic()
            if not held.abandoned:
                self.held.pop(_key(held.taken), None)
                self._pending.append(outcome)
                self._seconds_a_job += (
                    (seconds - self._seconds_a_job) * 0.1 if self._seconds_a_job else seconds
                )

    # ---- one call -----------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._calls += 1
        token = f"{self.identity}:{self._calls}"
        outcomes, self._pending = _first_call(self._pending)
        want = min(max(self._room(), 0), CHUNK)
        bases = self._rotated()
        try:
            turn = self._store.finish_and_fetch(
                bases, outcomes=outcomes, want=want if bases else 0, worker=self._about(token, bases)
            )
        except ServerError as error:
            self._pending = outcomes + self._pending
            self._complain(error)
            self._recover()
            return
        self._failures = 0
        self._settle(outcomes, turn)
        if turn.doomed:
            self._return_unstarted()  # some of them, perhaps, are needed no more
            self._in_background(cancel.cancel_below, turn.doomed)
        if turn.shared:
            self._in_background(Store.notify_parents, turn.shared)
        self._last_move = time.monotonic()
        for taken in turn.taken:
            held = Held(taken)
            self.held[_key(taken)] = held
            self._slots.put(held)
        if self._unsure:
            self._recover()
        if want:
            self._may_have_work = len(turn.taken) >= want
            self._next_due = None if turn.again_ms is None else time.monotonic() + turn.again_ms / 1000
            if not self._may_have_work and not self._stopping:
                self._blocker.arm([keys.part(base, "marker") for base in bases])

    def _about(self, token: str, bases: list[str]) -> dict[str, Any]:
        limiters = {base: limiter for base in bases if (limiter := self.limiter_of(base))}
        return {"token": token, "lock_ms": self.lock_ms, "name": None, "limiters": limiters or None}

    def _rotated(self) -> list[str]:
        """The queues in turn: with many, each is asked first in some calls."""
        bases = self.bases()
        if len(bases) > 1:
            self._round = (self._round + 1) % len(bases)
        return bases[self._round :] + bases[: self._round] if len(bases) > 1 else bases

    def _settle(self, outcomes: list[Outcome], turn: Turn) -> None:
        for outcome, answer in zip(outcomes, turn.answers, strict=True):
            if answer == "stale":
                log.warning("a late end of job %s was refused: another worker has started it", outcome["id"])
            elif answer == "failed-children":
                self._pending.append(as_failure(outcome, "a child failed while the job ran", "child"))
            elif answer == "pending-children":
                self._pending.append(
                    as_failure(outcome, "the job returned while children of it were pending", None)
                )

    def _in_background(self, deed: Callable[[Store, list[str]], Any], jobs: list[str]) -> None:
        """Do what follows from the ends of many jobs beside the work, as it may be much. Cut short, it is done by the
        worker that meets the jobs, or at somebody's next look.
        """

        def do() -> None:
            try:
                deed(Store(self.connection.client(), self.connection.prefix), jobs)
            except Exception as error:  # also the end of a closed connection
                log.debug("what follows from the ends of jobs is left to others: %s", error)

        threading.Thread(target=do, name=f"flownb-{self.name}-background", daemon=True).start()

    def _wake_another_worker(self) -> None:
        """All slots are taken since the blocker was armed: the wake is for another worker."""
        try:
            for base in self.bases():
                self._client.zadd(keys.part(base, "marker"), {"0": 0})
        except Exception as error:
            log.debug("could not pass on a wake: %s", error)

    # ---- trouble ------------------------------------------------------------------------------------

    def _complain(self, error: FlownbError) -> None:
        """Say it once in ten seconds, and wait a little longer after each failure in a row."""
        self._failures += 1
        if time.monotonic() - self._last_complaint > 10:
            self._last_complaint = time.monotonic()
            log.warning("%s (failure %d in a row; trying again)", error, self._failures)
        time.sleep(min(0.05 * 2 ** min(self._failures, 6), 1.0) * random.uniform(0.5, 1.0))

    def _recover(self) -> None:
        """A call whose answer was lost may have taken jobs we do not know: give those back. And while the
        server was away leases may have run out: take them anew, unless somebody started the job since.
        Where this fails too, it is done again after the next call that arrives.
        """
        self._unsure = self._may_have_work = True
        known = {*self.held, *((outcome["base"], outcome["id"]) for outcome in self._pending)}
        mine = f"{self.identity}:"
        try:
            for base in self.bases():
                lost = [
                    id
                    for id, lock in self._store.read_active(base)
                    if lock and lock.startswith(mine) and (base, id) not in known
                ]
                self._store.give_back(base, lost, token=mine, charge=False, most=self.max_stalled_count)
            leases = [
                (held.taken.base, held.taken.record.id, held.taken.token, held.taken.record.attempts_started)
                for held in self.held.values()
            ]
            if leases:
                self._store.extend_leases([leases[0][0]], leases, lock_ms=self.lock_ms)
            self._unsure = False
        except ServerError:
            pass

    def _sweep(self) -> None:
        bases = self.bases()
        self._presence.show(bases)
        if not bases:
            return
        try:
            self._auto_remover.remove_due()
            stalled = self._store.sweep_stalled(
                bases, interval=max(int(self.stalled_interval * 1000), 1), most=self.max_stalled_count
            )
        except ServerError as error:
            self._complain(error)
            return
        self._look_after_shared_jobs()
        if stalled:
            log.warning(
                "%d jobs had lost their worker and wait again: %s", len(stalled), ", ".join(stalled[:5])
            )
            self._may_have_work = True

    def _look_after_shared_jobs(self) -> None:
        """Further parents of jobs that another program's worker ended: they are told by whoever is there."""
        try:
            self._shared_jobs.notify_parents()
        except ServerError as error:
            self._complain(error)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for held in self._with_timeout():
            if now >= held.started + held.timeout / 1000 and not held.abandoned:
                self.held.pop(_key(held.taken), None)
                self._pending.append(self._slots.abandon(held))

    def _return_what_waits(self) -> None:
        """A job turned out to be long: those fetched ahead of their time are for workers that are free."""
        if self._slots.waiting() and time.monotonic() >= self._last_move + UNSTARTED_SECONDS:
            self._return_unstarted()
            self._seconds_a_job = max(self._seconds_a_job, 2 * PREFETCH_SECONDS * self.concurrency)
            self._may_have_work = True

    def _return_unstarted(self) -> None:
        """Each goes to the head of the line, so the last one goes first."""
        for held in reversed(self._slots.take_back()):
            self.held.pop(_key(held.taken), None)
            self._pending.append(returned(held.taken))


class Blocker:
    """One thread that sleeps on the queues' markers and wakes the pump; asleep only while it is armed."""

    def __init__(self, name: str, connection: Connection, inbox: SimpleQueue[Any]) -> None:
        self._connection = connection
        self._inbox = inbox
        self._markers: list[str] = []
        self._armed = threading.Event()
        self._closed = threading.Event()
        self._client = connection.blocking_client()
        self._thread = threading.Thread(target=self._loop, name=f"flownb-{name}-blocker", daemon=True)
        self._thread.start()

    def arm(self, markers: list[str]) -> None:
        self._markers = markers
        self._armed.set()

    def interrupt(self) -> None:
        """Other queues now: end the present sleep by waking from another connection."""
        if self._armed.is_set() and self._markers:
            try:
                self._connection.client().zadd(self._markers[0], {"0": 0})
            except Exception as error:
                log.debug("could not wake the blocker: %s", error)

    def close(self) -> None:
        self._closed.set()
        self._armed.set()
        self._client.connection_pool.disconnect(inuse_connections=True)
        self._thread.join(2)
        self._client.close()

    def _loop(self) -> None:
        while self._armed.wait() and not self._closed.is_set():
            try:
                self._client.bzpopmin(self._markers, timeout=IDLE_SECONDS)
            except Exception as error:  # also the end of a closed worker's connection
                log.debug("the blocking connection broke: %s", error)
                self._closed.wait(0.2)
            self._armed.clear()
            self._inbox.put(_WAKE)
            if self._closed.is_set():  # `close` may have armed it just before it was cleared
                return


def _first_call(outcomes: list[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Cut off what one call carries: not too many outcomes, not too many bytes."""
    size = 0
    for i, outcome in enumerate(outcomes[:CHUNK]):
        size += len(outcome.get("value") or "")
        if i and size > MOST_BYTES_A_CALL:
            return outcomes[:i], outcomes[i:]
    return outcomes[:CHUNK], outcomes[CHUNK:]


def _key(taken: Taken) -> tuple[str, str]:
    return taken.base, taken.record.id
