"""Leases live outside the GIL: a small process renews them, and gives jobs back when this one dies.

The worker's process holds the other end of a pipe. While the pipe is open the keeper renews, every third
of a lease, each lock that starts with a watched token: a function that hogs the interpreter for minutes
keeps its job. When the pipe closes without a goodbye - a killed kernel, a crash - the keeper puts the
jobs back at once instead of letting their leases run out. It stays for a while when the last worker has
closed: a cell that opens one worker after another does not wait for an interpreter each time.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flownb.connection import Connection
from flownb.errors import FlownbError
from flownb.wire.store import Store

LINGER_SECONDS = 10.0  # that a keeper stays when it watches no queue


@dataclass(frozen=True)
class WatchedQueue:
    """What the keeper looks after for one worker in one queue."""

    base: str
    prefix: str
    token: str  #: locks of this worker start with it
    lock_ms: int
    most: int  #: crashes after which a job is failed


class LeaseKeeper:
    """One end of the pipe: one keeper process for all workers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._watches: dict[WatchedQueue, dict[str, object]] = {}

    def watch(self, watch: WatchedQueue, address: dict[str, object]) -> None:
        """Look after a worker's jobs in a queue from now on."""
        with self._lock:
            if watch not in self._watches:
                self._watches[watch] = address
                self._say({"watch": watch.__dict__, "address": address})

    def forget(self, token: str) -> None:
        """A worker has closed: it holds no job any more."""
        with self._lock:
            for watch in [watch for watch in self._watches if watch.token == token]:
                del self._watches[watch]
            if self._process is not None:
                self._say({"forget": token})

    def check(self) -> None:
        """Start the keeper anew if it died by itself."""
        with self._lock:
            if self._watches and (self._process is None or self._process.poll() is not None):
                self._drop_process()
                for watch, address in self._watches.items():
                    self._say({"watch": watch.__dict__, "address": address})

    def _say(self, message: dict[str, Any]) -> None:
        if self._process is None or self._process.poll() is not None:
            self._drop_process()
            self._process = _spawn()
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()
        except OSError:
            self._drop_process()  # it died; `check` starts another and tells it everything

    def _drop_process(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _after_fork(self) -> None:
        """A forked child must not hold the pipe open: it would hide its parent's death."""
        self._lock = threading.Lock()
        if self._process is not None and self._process.stdin is not None:
            os.close(self._process.stdin.fileno())
        self._process = None
        self._watches = {}


keeper = LeaseKeeper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keeper._after_fork)


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
    """Renew until the pipe closes, then give back what was not said goodbye to; or end when nobody came for a while."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watches: dict[WatchedQueue, Store] = {}
    lines = _Lines(sys.stdin.fileno())
    while not lines.closed:
        pause = min((watch.lock_ms / 3000 for watch in watches), default=LINGER_SECONDS)
        messages = lines.read(pause)
        if messages is None and not watches:
            return
        for message in messages or ():
            if "watch" in message:
                watch = WatchedQueue(**message["watch"])
                watches[watch] = Store(Connection.client_from_address(message["address"]), watch.prefix)
            else:
                for watch in [watch for watch in watches if watch.token == message["forget"]]:
                    watches.pop(watch).close()
        for watch, store in watches.items():
            _renew(watch, store)
    for watch, store in watches.items():
        _give_back(watch, store)


def _held(watch: WatchedQueue, store: Store) -> list[tuple[str, str]]:
    return [
        (id, lock)
        for id, lock in store.queues.read_active(watch.base)
        if lock and lock.startswith(watch.token)
    ]


def _renew(watch: WatchedQueue, store: Store) -> None:
    try:
        leases = [(watch.base, id, lock) for id, lock in _held(watch, store)]
        if leases:
            store.leases.extend([watch.base], leases, lock_ms=watch.lock_ms)
    except FlownbError:
        pass  # the server is away: the next round tries again, and the worker takes its leases anew


def _give_back(watch: WatchedQueue, store: Store) -> None:
    until = time.monotonic() + watch.lock_ms / 1000
    while time.monotonic() < until:  # after that the leases have run out by themselves
        try:
            ids = [id for id, _ in _held(watch, store)]
            store.leases.give_back(watch.base, ids, token=watch.token, charge=True, most=watch.most)
            return
        except FlownbError:
            time.sleep(0.2)


class _Lines:
    """JSON lines from a pipe, without waiting longer than asked."""

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
