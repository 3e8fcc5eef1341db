"""The lease keeper: a small process that renews a worker's leases outside its GIL, and gives jobs back when it dies.

The worker's process holds the other end of a pipe. While the pipe is open the keeper renews, every third of a lease,
each lock that starts with a watched token: a function that hogs the interpreter for minutes keeps its job. When the
pipe closes without a goodbye - a killed kernel, a crash - the keeper puts the jobs back at once instead of letting
their leases run out. The keeper stays for a while when the last worker has closed: a cell that opens one worker after
another does not wait for an interpreter each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flownb.connection import Connection
from flownb.errors import FlownbError
from flownb.wire.lease_records import Lease
from flownb.wire.store import Store

LINGER_SECONDS = 10.0  # that a keeper stays when it watches no queue


@dataclass(frozen=True)
class WatchedQueue:
    """A queue in which the keeper renews the leases of one worker."""

    base: str
    prefix: str
    token: str  #: locks of this worker start with it
    lock_ms: int
    most: int  #: crashes after which a job is failed


class LeaseKeeper:
    """One end of the pipe: one keeper process for all workers of this process."""

    def __init__(self) -> None:
        # Workers start and close in any thread, and their pumps check: the lock is held for all of the following.
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._watched: dict[WatchedQueue, dict[str, object]] = {}  # with the address of its server

    def watch(self, queue: WatchedQueue, address: dict[str, object]) -> None:
        """Renew a worker's leases in a queue from now on."""
        with self._lock:
            if queue not in self._watched:
                self._watched[queue] = address
                self._send({"watch": queue.__dict__, "address": address})

    def forget(self, token: str) -> None:
        """Renew nothing for a worker that has closed: it holds no job any more."""
        with self._lock:
            for queue in _with_token(self._watched, token):
                del self._watched[queue]
            if self._process is not None:
                self._send({"forget": token})

    def check(self) -> None:
        """Start the keeper anew if it died by itself."""
        with self._lock:
            if self._watched and (self._process is None or self._process.poll() is not None):
                self._drop_process()
                for queue, address in self._watched.items():
                    self._send({"watch": queue.__dict__, "address": address})

    def _send(self, message: dict[str, Any]) -> None:
        if self._process is None or self._process.poll() is not None:
            self._drop_process()
            self._process = _spawn()
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()
        except OSError:
            self._drop_process()  # the keeper died; `check` starts another and sends it everything

    def _drop_process(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def after_fork(self) -> None:
        """Close the pipe in a forked child, where it would hide the parent's death."""
        self._lock = threading.Lock()
        if self._process is not None and self._process.stdin is not None:
            os.close(self._process.stdin.fileno())
        self._process = None
        self._watched = {}


keeper = LeaseKeeper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keeper.after_fork)


def _spawn() -> subprocess.Popen[bytes]:
    # A session of its own: an interrupt of the kernel's process group does not reach it.
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", "from flownb.worker.lease_keeper import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
    )
    threading.Thread(target=process.wait, name="flownb-keeper-reaper", daemon=True).start()
    return process


# ---- the process itself ------------------------------------------------------------------------------


def main() -> None:
    """Renew until the pipe closes, then give back what is still watched; end early when nothing is, for a while."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    stores: dict[WatchedQueue, Store] = {}
    lines = _Lines(sys.stdin.fileno())
    while not lines.closed:
        messages = lines.read(min((queue.lock_ms / 3000 for queue in stores), default=LINGER_SECONDS))
        if messages is None and not stores:
            return
        for message in messages or ():
            _obey(message, stores)
        for queue, store in stores.items():
            _renew(queue, store)
    for queue, store in stores.items():
        _give_back(queue, store)


def _obey(message: dict[str, Any], stores: dict[WatchedQueue, Store]) -> None:
    if "watch" in message:
        queue = WatchedQueue(**message["watch"])
        stores[queue] = Store(Connection.client_from_address(message["address"]), queue.prefix)
    else:
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


def _renew(queue: WatchedQueue, store: Store) -> None:
    try:
        leases = [Lease(queue.base, id, lock) for id, lock in _held(queue, store)]
        if leases:
            store.leases.extend([queue.base], leases, lock_ms=queue.lock_ms)
    except FlownbError:
        pass  # the server is away: the next round tries again, and the worker takes its leases anew


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
