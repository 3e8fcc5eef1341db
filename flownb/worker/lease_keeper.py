"""The lease keeper: a small process that renews a worker's leases outside its GIL, and gives jobs back when it dies.

The worker's process holds the other end of a pipe. While the pipe is open the keeper renews, every quarter of a lease,
each lock that starts with a watched token: a function that hogs the interpreter for minutes keeps its job. A lock that
ran out meanwhile, as all do when the server's clock is set forward, it takes anew unless somebody has started the job
since. When the pipe closes without a goodbye - a killed kernel, a crash - the keeper puts the jobs back at once instead
of letting their leases run out. It gives them back, too, while that process is stopped. The keeper stays for a while
when the last worker has closed: a cell that opens one worker after another does not wait for an interpreter each time.

Where no such process can be started, a thread of the worker's own process does the same work, and a warning says so.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.connection import Connection
from flownb.errors import FlownbError
from flownb.wire import keys
from flownb.wire.lease_records import FrozenWorker, Lease
from flownb.wire.store import Store
from flownb.worker.frozen_process import ProcessWatch
from flownb.worker.interpreter import start_python

LINGER_SECONDS = 10.0  # that a keeper stays when it watches no queue
START_SECONDS = 10.0  # after which a keeper that has not said a word counts as one that never will
READY = b"ready\n"  # its word

log = logging.getLogger("flownb.worker")


@dataclass(frozen=True)
class WatchedQueue:
    """A queue in which the keeper renews the leases of one worker."""

    base: str
    prefix: str
    token: str  #: locks of this worker start with it
    lock_ms: int
    most: int  #: crashes after which a job is failed


class LeaseKeeper:
    """One end of the pipe: one keeper for all workers of this process."""

    def __init__(self) -> None:
        # Workers start and close in any thread, and their pumps check: the lock is held for all of the following.
        self._lock = threading.Lock()
        self._keeper: _KeeperProcess | _KeeperThread | None = None
        self._in_thread = False  # no process could be started
        self._watched: dict[WatchedQueue, dict[str, object]] = {}  # with the address of its server

    def watch(self, queue: WatchedQueue, address: dict[str, object]) -> None:
        """Renew a worker's leases in a queue from now on."""
        with self._lock:
            if queue not in self._watched:
                self._watched[queue] = address
                self._send(
                    {"watch": queue.__dict__, "address": address}
                )  # one that starts now is told of all

    def forget(self, token: str) -> None:
        """Renew nothing for a worker that has closed: it holds no job any more."""
        with self._lock:
            for queue in _with_token(self._watched, token):
                del self._watched[queue]
            if self._keeper is not None:
                self._send({"forget": token})

    @property
    def pid(self) -> int | None:
        """The keeper's process; None where a thread does its work."""
        keeper = self._keeper
        return keeper.process.pid if isinstance(keeper, _KeeperProcess) else None

    def check(self) -> None:
        """Start the keeper anew if it died by itself; a thread keeps the leases if it does not come to its work."""
        with self._lock:
            keeper = self._keeper
            if isinstance(keeper, _KeeperProcess) and keeper.hangs():
                self._use_thread(f"{sys.executable} has started, but does not work as a Python")
            elif self._watched and (keeper is None or keeper.has_ended()):
                self._start()
            elif keeper is not None:
                keeper.give_sign()

    def _send(self, message: dict[str, Any]) -> None:
        if self._keeper is None or self._keeper.has_ended():
            self._start()
        else:
            self._keeper.send(message)

    def _start(self) -> None:
        """Start a keeper, and tell it all that is watched."""
        if self._keeper is not None:
            self._keeper.close()
        if self._in_thread:
            self._keeper = _KeeperThread()
        else:
            try:
                self._keeper = _KeeperProcess(self._note_failed_start)
            except (OSError, ValueError, TypeError) as error:  # also where `sys.executable` is no path
                return self._use_thread(str(error))
        for queue, address in self._watched.items():
            self._keeper.send({"watch": queue.__dict__, "address": address})

    def _note_failed_start(self, process: _KeeperProcess, reason: str) -> None:
        with self._lock:
            if self._keeper is process:
                self._use_thread(reason)

    def _use_thread(self, reason: str) -> None:
        """Keep the leases in a thread from now on: what could not be started once is not tried again."""
        self._in_thread = True
        log.warning(
            "no process could be started that keeps the leases of running jobs (%s); a thread keeps them, so "
            "a function that holds the interpreter for longer than its lease loses its job, which another worker then "
            "runs too. What starts must be a Python with this one's packages: see sys.executable",
            reason,
        )
        self._start()

    def after_fork(self) -> None:
        """Close the pipe in a forked child, where it would hide the parent's death."""
        self._lock = threading.Lock()
        if self._keeper is not None:
            self._keeper.drop()
        self._keeper = None
        self._watched = {}


class _KeeperProcess:
    """A keeper in a process of its own."""

    def __init__(self, on_failed_start: Callable[[_KeeperProcess, str], None]) -> None:
        self.process = start_python("flownb.worker.lease_keeper", isolated=True, stderr=subprocess.STDOUT)
        self._on_failed_start = on_failed_start
        self._started = time.monotonic()
        self._works = False  # written by the thread that follows the process
        threading.Thread(target=self._follow, name="flownb-keeper-reaper", daemon=True).start()

    def _follow(self) -> None:
        """Wait for the first word of the process, then for its end."""
        assert self.process.stdout is not None
        last = b""
        with self.process.stdout as lines:
            for line in lines:
                self._works = self._works or line == READY
                last = line.strip() or last
        code = self.process.wait()
        if not self._works:
            said = f", {last.decode(errors='replace')[:200]}" if last else ""
            self._on_failed_start(self, f"{sys.executable} ended with {code}{said}")

    def hangs(self) -> bool:
        return not self._works and time.monotonic() > self._started + START_SECONDS

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def give_sign(self) -> None:
        """Let the keeper know that this process is alive, unless it does not listen."""
        if self.process.stdin is not None and select.select([], [self.process.stdin], [], 0)[1]:
            self.send({"alive": True})

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(_line(message))
            self.process.stdin.flush()
        except (OSError, ValueError):
            self.close()  # it has died: the next check starts another and tells it everything

    def close(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if not self._works:  # it does not read, so it would not see that
            self.process.kill()

    def drop(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            os.close(self.process.stdin.fileno())


class _KeeperThread:
    """A keeper in a thread of this process, for want of a process."""

    def __init__(self) -> None:
        ours, self._pipe = os.pipe()
        self._thread = threading.Thread(target=_keep, args=[ours], name="flownb-keeper", daemon=True)
        self._thread.start()

    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def give_sign(self) -> None:
        """Do nothing: what stops this process stops the keeper."""

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(
            OSError
        ):  # it has just ended: the next check starts another and tells it everything
            os.write(self._pipe, _line(message))

    def close(self) -> None:
        os.close(self._pipe)

    drop = close


keeper = LeaseKeeper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keeper.after_fork)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


# ---- the keeper itself ------------------------------------------------------------------------------


def main() -> None:
    """Keep leases in this process, which no signal of a terminal ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _keep(sys.stdin.fileno(), _say_ready, ProcessWatch(os.getppid()))


def _say_ready() -> None:
    with contextlib.suppress(OSError):  # the worker is dead already: its jobs are to be given back
        os.write(sys.stdout.fileno(), READY)


def _keep(
    pipe: int, on_ready: Callable[[], None] = lambda: None, process: ProcessWatch | None = None
) -> None:
    """Renew until the pipe closes, then give back what is still watched; end early when nothing is, for a while."""
    stores: dict[WatchedQueue, Store] = {}
    keep_round = _Rounds(stores, process)
    lines = _Lines(pipe)
    next_round = 0.0  # monotonic time
    while not lines.closed:
        messages = lines.read(max(next_round - time.monotonic(), 0.0) if stores else LINGER_SECONDS)
        if messages is None and not stores:
            break
        for message in messages or ():
            if process is not None:
                process.note_sign()
            if "alive" not in message:
                _obey(message, stores)
                next_round = 0.0  # a lease may be shorter than those before
            on_ready()
        if time.monotonic() >= next_round:
            keep_round()
            next_round = time.monotonic() + min((queue.lock_ms / 4000 for queue in stores), default=0.0)
    for queue, store in stores.items():
        _give_back(queue, store)
    os.close(pipe)


class _Rounds:
    """What the keeper knows from one round to the next."""

    def __init__(self, stores: dict[WatchedQueue, Store], process: ProcessWatch | None) -> None:
        self._stores = stores
        self._process = process
        self._kept: dict[WatchedQueue, dict[str, Lease]] = {}  # by id, as they were at the last round
        self._frozen: dict[WatchedQueue, FrozenWorker] = {}

    def __call__(self) -> None:
        """Renew the leases of all workers, or give back their jobs."""
        if self._process is not None:
            self._process.look()
        for queue, store in self._stores.items():
            if worker := self._frozen_worker(queue):
                _give_back_of_frozen(queue, store, worker)
            elif queue in self._frozen:
                _note_thaw(queue, store, self._frozen)
            else:
                self._kept[queue] = _renew(queue, store, self._kept.get(queue, {}))

    def _frozen_worker(self, queue: WatchedQueue) -> FrozenWorker | None:
        why = self._process and self._process.why_frozen(queue.lock_ms / 1000)
        if self._process is None or not why:
            return None
        return self._frozen.setdefault(queue, FrozenWorker(self._process.pid, why))


def _obey(message: dict[str, Any], stores: dict[WatchedQueue, Store]) -> None:
    if "watch" in message:
        queue = WatchedQueue(**message["watch"])
        stores[queue] = Store(Connection.client_from_address(message["address"]), queue.prefix)
    elif "forget" in message:
        for queue in _with_token(stores, message["forget"]):
            stores.pop(queue).close()


def _with_token(queues: Iterable[WatchedQueue], token: str) -> list[WatchedQueue]:
    return [queue for queue in queues if queue.token == token]


def _held(queue: WatchedQueue, store: Store) -> list[tuple[str, str]]:
    """Return ids and locks of the worker's jobs that are active."""
    return [
        (id, lock)
        for id, lock in store.queues.read_active(queue.base)
        if lock and lock.startswith(queue.token)
    ]


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
        ids = [id for id, _ in _held(queue, store)]
        store.leases.give_back(queue.base, ids, token=queue.token, charge=False, most=queue.most)
        store.leases.note_frozen(queue.base, queue.token, worker, last_ms=3 * queue.lock_ms)
    except FlownbError:
        pass  # the server is away: the next round tries again


def _note_thaw(queue: WatchedQueue, store: Store, frozen: dict[WatchedQueue, FrozenWorker]) -> None:
    try:
        store.leases.forget_frozen(queue.base, queue.token)
        del frozen[queue]
    except FlownbError:
        pass  # the next round tries again


def _give_back(queue: WatchedQueue, store: Store) -> None:
    until = time.monotonic() + queue.lock_ms / 1000
    while time.monotonic() < until:  # after that the leases have run out by themselves
        try:
            ids = [id for id, _ in _held(queue, store)]
            store.leases.give_back(queue.base, ids, token=queue.token, charge=True, most=queue.most)
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
