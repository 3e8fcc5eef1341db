"""The lease keeper: a small process that renews a worker's leases outside its GIL, and gives jobs back when it dies.

The worker's process holds the other end of a pipe. While the pipe is open the keeper renews, every quarter of a lease,
each lock that starts with a watched token: a function that hogs the interpreter for minutes keeps its job. A lock that
ran out meanwhile, as all do when the server's clock is set forward, it takes anew unless somebody has started the job
since. When the pipe closes without a goodbye - a killed kernel, a crash - the keeper puts the jobs back at once instead
of letting their leases run out; a page of memory that both share says which had begun, and are charged with the death.
It gives them back, too, while that process is stopped, and what waits in it behind a function that holds the
interpreter. The keeper stays for a while when the last worker has closed: a cell that opens one worker after another
does not wait for an interpreter each time.

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
from collections.abc import Callable
from typing import Any

from flownb.worker.frozen_process import ProcessWatch, is_stopped
from flownb.worker.held_page import HeldPage
from flownb.worker.interpreter import start_python
from flownb.worker.keeper_rounds import WatchedQueue, keep, with_token

START_SECONDS = 10.0  # after which a keeper that has not said a word counts as one that never will
READY = b"ready\n"  # its word

log = logging.getLogger("flownb.worker")


class LeaseKeeper:
    """One end of the pipe: one keeper for all workers of this process."""

    def __init__(self) -> None:
        # Workers start and close in any thread, and their pumps check: the lock is held for all of the following.
        self._lock = threading.Lock()
        self._keeper: _KeeperProcess | _KeeperThread | None = None
        self._in_thread = False  # no process could be started
        self.page = HeldPage()  #: of the jobs that this process holds
        self._watched: dict[WatchedQueue, dict[str, object]] = {}  # with the address of its server

    def watch(self, queue: WatchedQueue, address: dict[str, object]) -> None:
        """Renew a worker's leases in a queue from now on."""
        with self._lock:
            if queue not in self._watched:
                self._watched[queue] = address
                # A keeper that starts now is told of all.
                self._send({"watch": queue.__dict__, "address": address})

    def forget(self, token: str) -> None:
        """Renew nothing for a worker that has closed: it holds no job any more."""
        with self._lock:
            for queue in with_token(self._watched, token):
                del self._watched[queue]
            if self._keeper is not None:
                self._send({"forget": token})

    @property
    def pid(self) -> int | None:
        """The keeper's process; None where a thread does its work."""
        keeper = self._keeper
        return keeper.process.pid if isinstance(keeper, _KeeperProcess) else None

    def check(self) -> None:
        """Start the keeper anew if it died or was stopped; a thread keeps the leases if it never comes to its work."""
        with self._lock:
            keeper = self._keeper
            if isinstance(keeper, _KeeperProcess) and keeper.hangs():
                self._use_thread(f"{sys.executable} has started, but does not work as a Python")
            elif self._watched and (keeper is None or keeper.has_ended() or keeper.was_stopped()):
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
        self.page.let_begin()
        if self._in_thread:
            self._keeper = _KeeperThread(self.page)
        else:
            try:
                self._keeper = _KeeperProcess(self._note_failed_start, self.page)
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
        self.page = HeldPage()


class _KeeperProcess:
    """A keeper in a process of its own."""

    def __init__(self, on_failed_start: Callable[[_KeeperProcess, str], None], page: HeldPage) -> None:
        self.process = start_python(
            "flownb.worker.lease_keeper", isolated=True, stderr=subprocess.STDOUT, pass_fds=[page.fd]
        )
        self._on_failed_start = on_failed_start
        self._started = time.monotonic()
        self._works = False  # written by the thread that follows the process
        threading.Thread(target=self._follow, name="flownb-keeper-reaper", daemon=True).start()
        self.send({"page": page.fd})

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

    def was_stopped(self) -> bool:
        """Say whether somebody stopped the process: then kill it, for another is to renew the leases."""
        if stopped := is_stopped(self.process.pid):
            self.process.kill()
        return stopped

    def give_sign(self) -> None:
        """Let the keeper know that this process is alive, unless it does not listen."""
        with contextlib.suppress(OSError, ValueError):  # it has died, and its pipe is closed
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

    def __init__(self, page: HeldPage) -> None:
        ours, self._pipe = os.pipe()
        self._thread = threading.Thread(target=keep, args=[ours, page], name="flownb-keeper", daemon=True)
        self._thread.start()

    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def was_stopped(self) -> bool:
        return False

    def give_sign(self) -> None:
        """Do nothing: what stops this process stops the keeper."""

    def send(self, message: dict[str, Any]) -> None:
        # It may have just ended: the next check starts another and tells it everything.
        with contextlib.suppress(OSError):
            os.write(self._pipe, _line(message))

    def close(self) -> None:
        os.close(self._pipe)

    drop = close


keeper = LeaseKeeper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keeper.after_fork)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


# ---- the process ----------------------------------------------------------------------------------------


def main() -> None:
    """Keep leases in this process, which no signal of a terminal ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep(sys.stdin.fileno(), None, _say_ready, ProcessWatch(os.getppid()))


def _say_ready() -> None:
    with contextlib.suppress(OSError):  # the worker is dead already: its jobs are to be given back
        os.write(sys.stdout.fileno(), READY)
