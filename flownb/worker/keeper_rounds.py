"""What the keeper of leases does, from its pipe's first line to its end: renew, relieve, give back."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.connection import Connection
from flownb.errors import FlownbError
from flownb.wire import keys
from flownb.wire.lease_records import Death, FetchingWorker, FrozenWorker, Lease
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.frozen_process import ProcessWatch
from flownb.worker.held_page import Entry, HeldPage, State, name_of_start

LINGER_SECONDS = 10.0  # that a keeper stays when it watches no queue
OVERDUE_SECONDS = 1.0  # past its timeout, after which a job is ended whose worker does not end it
LOOK_SECONDS = 0.1  # between two looks at what waits in the workers
HELD_UP_SECONDS = 0.25  # without a look of a worker at its jobs, after which what waits there is given back
UNREAD_SECONDS = 1.0  # between two looks at calls whose answers a worker has yet to read


@dataclass(frozen=True)
class WatchedQueue:
    """A queue in which the keeper renews the leases of one worker."""

    base: str
    prefix: str
    token: str  #: locks of this worker start with it
    lock_ms: int
    most: int  #: crashes after which a job is failed


def keep(
    pipe: int,
    page: HeldPage | None,
    on_ready: Callable[[], None] = lambda: None,
    process: ProcessWatch | None = None,
) -> None:
    """Renew until the pipe closes, then give back what is still watched; end early when nothing is, for a while."""
    keeping = _Keeping(page, process)
    lines = _Lines(pipe)
    while not lines.closed:
        messages = lines.read(keeping.seconds_to_wait())
        if messages is None and not keeping.stores:
            break
        for message in messages or ():
            keeping.obey(message)
            on_ready()
        keeping.renew_if_due()
        if not lines.closed:
            keeping.relieve()
    keeping.give_back_all()
    os.close(pipe)


class _Keeping:
    """What the keeper knows from one round to the next."""

    def __init__(self, page: HeldPage | None, process: ProcessWatch | None) -> None:
        self.stores: dict[WatchedQueue, Store] = {}
        self._page = page
        self._process = process
        self._next_round = 0.0  # monotonic time
        self._kept: dict[WatchedQueue, dict[str, Lease]] = {}  # by id, as they were at the last round
        self._frozen: dict[WatchedQueue, FrozenWorker] = {}
        # Workers whose jobs were taken, and the server did not say that it has them:
        self._unrelieved = set[int]()
        # Jobs whose beginning was told here: their entry, and when they had begun.
        self._told = set[tuple[int, int]]()
        # Workers' calls that the server had answered at the last look at them:
        self._unread: dict[int, int] = {}
        self._next_look_at_calls = 0.0  # monotonic time
        self._given_up = set[
            tuple[int, int]
        ]()  # jobs that were ended here: their entry, and when they had begun

    def seconds_to_wait(self) -> float:
        """Return until when nothing is to be done that nobody asks for."""
        if not self.stores:
            return LINGER_SECONDS
        return min(max(self._next_round - time.monotonic(), 0.0), LOOK_SECONDS)

    def obey(self, message: dict[str, Any]) -> None:
        """Do what a line of the pipe says."""
        if self._process is not None:
            self._process.note_sign()
        if "page" in message:
            self._page = HeldPage(message["page"])
        elif "watch" in message:
            queue = WatchedQueue(**message["watch"])
            self.stores[queue] = Store(Connection.client_from_address(message["address"]), queue.prefix)
            self._next_round = 0.0  # a lease may be shorter than those before
        elif "forget" in message:
            for queue in with_token(self.stores, message["forget"]):
                self.stores.pop(queue).close()

    def renew_if_due(self) -> None:
        """Renew the leases of all workers, or give back their jobs, every quarter of the shortest lease."""
        if time.monotonic() < self._next_round:
            return
        if self._process is not None:
            self._process.look()
        for queue, store in self.stores.items():
            if worker := self._frozen_worker(queue):
                _give_back_of_frozen(queue, store, worker)
            elif queue in self._frozen:
                _note_thaw(queue, store, self._frozen)
            elif self._kept.get(queue) or self._may_hold_jobs(queue):
                self._kept[queue] = _renew(queue, store, self._kept.get(queue, {}))
        self._next_round = time.monotonic() + min((one.lock_ms / 4000 for one in self.stores), default=0.0)

    def relieve(self) -> None:
        """Do for the workers what they do not come to do."""
        if self._page is None:
            return
        self._relieve_held_up(self._page)
        self._give_back_unread(self._page)
        overdue = _overdue(self._page.limited(), self._page.workers())
        fresh = [one for one in overdue if one.run not in self._given_up]
        for queue, store in self.stores.items() if fresh else ():
            with contextlib.suppress(FlownbError):  # the server is away: the next look tries again
                _end_overdue(queue, store, {one.text: one.timeout for one in fresh})
                self._given_up = {one.run for one in overdue}

    def _relieve_held_up(self, page: HeldPage) -> None:
        """Where a function holds the interpreter, give back what waits behind it, and tell of what has begun.

        A worker that sleeps as nothing is to be done looks as seldom; it has told of all that runs.
        """
        if not (held_up := _held_up(page.workers())):
            return
        entries = page.entries()
        self._told &= {one.run for one in entries}
        untold = {one.worker for one in entries if one.is_untold and one.runs and one.run not in self._told}
        waited_for = {one.worker for one in entries if one.state is State.WAITING and not one.is_taken}
        due, self._unrelieved = untold | waited_for | self._unrelieved, set()
        for worker in held_up:
            if worker.number in due:
                self._relieve_worker(page, worker)

    def _relieve_worker(self, page: HeldPage, worker: Entry) -> None:
        waiting = {one.text for one in page.take_waiting(worker.number)}
        # Looked at now that nothing more begins: the job that holds the interpreter may just have begun.
        mine = [one for one in page.entries() if one.worker == worker.number]
        called = [one for one in mine if one.runs or one.state is State.ENDED]
        since = {one.text: one.since for one in called}
        for queue in with_token(self.stores, worker.text.decode()):
            try:
                _relieve_of(queue, self.stores[queue], waiting, since)
            except FlownbError:  # the server is away: the next look tries again
                self._unrelieved.add(worker.number)
        if worker.number not in self._unrelieved:
            self._told |= {one.run for one in called}

    def _give_back_unread(self, page: HeldPage) -> None:
        """Give back what calls have brought whose answers a worker has not come to read for two looks.

        A function that began meanwhile holds the interpreter, and those jobs are not in the page. A server that is slow
        is none of that: it shows the jobs as late as it answers.
        """
        if time.monotonic() < self._next_look_at_calls:
            return
        self._next_look_at_calls = time.monotonic() + UNREAD_SECONDS
        before, self._unread = self._unread, {}
        for worker in _held_up(page.workers()):
            if (call := page.open_call(worker.number)) is None:
                continue
            for queue in with_token(self.stores, worker.text.decode()):
                with contextlib.suppress(FlownbError):  # the server is away: a later look tries again
                    locks = self.stores[queue].queues.read_locks(queue.base, queue.token)
                    brought = {id: lock for id, lock in locks.items() if lock == f"{queue.token}{call}"}
                    if brought and before.get(worker.number) == call and page.take_call(worker.number, call):
                        self.stores[queue].leases.give_back(queue.base, brought)
                    elif brought:
                        self._unread[worker.number] = call

    def give_back_all(self) -> None:
        """The process is dead: give back its jobs, and charge those that had begun there."""
        entries = self._page.entries() if self._page is not None else []
        for queue, store in self.stores.items():
            _give_back(queue, store, entries)

    def _may_hold_jobs(self, queue: WatchedQueue) -> bool:
        """Say whether the queue's worker holds jobs, or ends of jobs that it has not come to write.

        A job leaves the page before its end is written. So a worker counts as idle only while it looks at its jobs: one
        that a function keeps from that has its leases renewed well before they end.
        """
        if self._page is None:
            return True
        entries = self._page.entries()
        worker = next(
            (one for one in entries if one.state is State.WORKER and one.text.decode() == queue.token), None
        )
        if worker is None or worker.value < time.monotonic_ns() - queue.lock_ms / 4 * 1e6:
            return True
        return any(one.worker == worker.number and one.state is not State.WORKER for one in entries)

    def _frozen_worker(self, queue: WatchedQueue) -> FrozenWorker | None:
        why = self._process and self._process.why_frozen(queue.lock_ms / 1000)
        if self._process is None or not why:
            return None
        return self._frozen.setdefault(queue, FrozenWorker(self._process.pid, why))


def with_token(queues: Iterable[WatchedQueue], token: str) -> list[WatchedQueue]:
    return [queue for queue in queues if queue.token == token]


def _held(queue: WatchedQueue, store: Store) -> dict[bytes, tuple[str, str]]:
    """Return ids and locks of the worker's jobs that are active, by the names of their starts."""
    locks = store.queues.read_locks(queue.base, queue.token)
    return {name_of_start(keys.job_in(queue.base, id), lock): (id, lock) for id, lock in locks.items()}


def _renew(queue: WatchedQueue, store: Store, kept: dict[str, Lease]) -> dict[str, Lease]:
    """Renew the worker's leases, those too that ran out since they were `kept`; return them by id."""
    try:
        active = store.queues.read_active(queue.base)
        leases = _leases(queue, store, [(id, lock) for id, lock in active if lock], kept)
        leases |= {id: kept[id] for id, lock in active if not lock and id in kept}
        if leases:
            store.leases.extend([queue.base], list(leases.values()), lock_ms=queue.lock_ms)
        return leases
    except FlownbError:
        return kept  # the server is away: the next round tries again, and the worker takes its leases anew


def _leases(
    queue: WatchedQueue, store: Store, locks: Sequence[tuple[str, str]], kept: dict[str, Lease]
) -> dict[str, Lease]:
    """Return the worker's leases among these ids and locks, each with the start of its job that it stands for."""
    mine = {id: lock for id, lock in locks if lock.startswith(queue.token)}
    known = {id: kept[id] for id, lock in mine.items() if id in kept and kept[id].token == lock}
    fresh = [id for id in mine if id not in known]
    records = store.jobs.read([keys.job_in(queue.base, id) for id in fresh], ("name", "ats"))
    found = {
        id: Lease(queue.base, id, mine[id], record.attempts_started)
        for id, record in zip(fresh, records, strict=True)
        if record is not None
    }
    return known | found


def _give_back_of_frozen(queue: WatchedQueue, store: Store, worker: FrozenWorker) -> None:
    """Let other workers have the jobs, and explain() and doctor() name the process."""
    try:
        store.leases.give_back(queue.base, store.queues.read_locks(queue.base, queue.token))
        store.leases.note_frozen(queue.base, queue.token, worker, last_ms=3 * queue.lock_ms)
    except FlownbError:
        pass  # the server is away: the next round tries again


def _note_thaw(queue: WatchedQueue, store: Store, frozen: dict[WatchedQueue, FrozenWorker]) -> None:
    try:
        store.leases.forget_frozen(queue.base, queue.token)
        del frozen[queue]
    except FlownbError:
        pass  # the next round tries again


def _held_up(workers: Iterable[Entry]) -> list[Entry]:
    """Return the workers that have not looked at their jobs for a while."""
    oldest_look = time.monotonic_ns() - HELD_UP_SECONDS * 1e9
    return [one for one in workers if one.value < oldest_look]


def _relieve_of(
    queue: WatchedQueue, store: Store, waiting: Collection[bytes], called: Mapping[bytes, int]
) -> None:
    """Give back the jobs that wait, and tell of those whose functions were `called`, and when."""
    held = _held(queue, store)
    store.leases.give_back(queue.base, dict(held[start] for start in held if start in waiting))
    leases = _leases(queue, store, [held[start] for start in held if start in called], {})
    now = time.monotonic_ns()
    begun = []
    for id, lease in leases.items():
        since = called[name_of_start(keys.job_in(queue.base, id), lease.token)]
        ran = (now - since) // 1_000_000
        begun.append(Outcome(queue.base, id, lease.token, lease.attempts_started or 0, "begun", ran=ran))
    worker = FetchingWorker(token=queue.token, lock_ms=queue.lock_ms)
    store.leases.finish_and_fetch([queue.base], outcomes=begun, want=0, worker=worker)


def _overdue(running: Sequence[Entry], workers: Iterable[Entry]) -> list[Entry]:
    """Return which of the jobs that run and have a timeout are past it, and their worker has not come to see it."""
    looks = {one.number: one.value for one in workers}
    ends = {one.number: one.since + one.timeout * 1_000_000 for one in running}
    latest = time.monotonic_ns() - OVERDUE_SECONDS * 1e9
    return [one for one in running if looks.get(one.worker, 0) < ends[one.number] < latest]


def _end_overdue(queue: WatchedQueue, store: Store, timeouts: Mapping[bytes, int]) -> None:
    from flownb.api.job import Job  # few keepers ever end a job
    from flownb.errors import JobTimeout
    from flownb.worker.retry_policy import BULLMQ
    from flownb.worker.run_outcomes import outcome_of_error

    overdue = {start: held for start, held in _held(queue, store).items() if start in timeouts}
    records = store.jobs.read([keys.job_in(queue.base, id) for id, _ in overdue.values()])
    outcomes = []
    for (start, (_, lock)), record in zip(overdue.items(), records, strict=True):
        if record is not None:
            limit = timeouts[start] / 1000
            error = JobTimeout(
                f"ran longer than its timeout of {limit:g} s, and holds its worker's interpreter"
            )
            taken = Taken(record=record, base=queue.base, token=lock, deferred=None)
            outcomes.append(outcome_of_error(taken, error, BULLMQ, Job(record, store=store)))
    worker = FetchingWorker(token=queue.token, lock_ms=queue.lock_ms)
    store.leases.finish_and_fetch([queue.base], outcomes=outcomes, want=0, worker=worker)


def _give_back(queue: WatchedQueue, store: Store, entries: Sequence[Entry]) -> None:
    until = time.monotonic() + queue.lock_ms / 1000
    running = {one.text: one.value for one in entries if one.state is State.BEGUN}
    ended = {one.text for one in entries if one.state is State.ENDED}
    while time.monotonic() < until:  # after that the leases have run out by themselves
        try:
            held = _held(queue, store)
            rows = {id: running[start] for start, (id, _) in held.items() if running.get(start, -1) >= 0}
            for starts, death in (  # what goes back last is the first to run again
                (held.keys() - running.keys() - ended, Death("unbegun")),
                (held.keys() & ended, None),
                (held.keys() & running.keys(), Death("begun", alone=len(running) == 1, rows=rows)),
            ):
                locks = dict(held[start] for start in held if start in starts)
                store.leases.give_back(queue.base, locks, death=death, most=queue.most)
            store.queues.leave_marker(queue.base)  # the dead one may just have taken one
            return
        except FlownbError:
            time.sleep(0.2)


class _Lines:
    """JSON lines from a pipe; a read waits no longer than asked."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self.closed = False

    def read(self, seconds: float) -> list[dict[str, Any]] | None:
        """Return what has come; None when nothing did."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return None
        got = os.read(self._fd, 1 << 16)
        self.closed = not got
        *whole, self._rest = (self._rest + got).split(b"\n")
        return [json.loads(line) for line in whole]
