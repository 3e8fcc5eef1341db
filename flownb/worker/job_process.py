"""A slot's process from both ends: the worker starts, asks, kills and replaces it; inside, it runs packed jobs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from typing import Any

from flownb.errors import JobCrashed
from flownb.tasks import setup
from flownb.wire.outcomes import Outcome
from flownb.worker import edited_modules
from flownb.worker.interpreter import start_python, take_over_path
from flownb.worker.packed_job import PackedJob, UnknownWork, run_packed
from flownb.worker.rows_page import RowsPage

log = logging.getLogger("flownb.worker")

_LENGTH = struct.Struct(">Q")

# What a process answers that has not run a job: it has not been given what runs it, or modules were edited since.
UNKNOWN, EDITED = "unknown", "edited"

_END = b""  # in place of a job: close what was loaded, and end
CLOSE_SECONDS = 5.0  # that a process has for that


class JobProcess:
    """The worker's end: a packed job goes in, an outcome comes out; of rows, `page` says more than that."""

    def __init__(self) -> None:
        # The slot's thread runs jobs; the pump's thread kills where a job is overdue, a closing thread always: the lock
        # is held for what follows, but not while a job runs.
        self._lock = threading.Lock()
        self.page = RowsPage()  #: what is known of the rows that run in the process
        self._process: subprocess.Popen[bytes] | None = None
        self._busy = False  # the slot's thread waits for an answer, and will bury the process itself
        self.is_closed = False  #: for good: it is not started again
        self._sent = set[bytes]()  # digests of what the process has been given to run; the slot's thread's
        self._loaded = set[bytes]()  # of these, what has loaded in the process what it needs

    def prepare(self) -> None:
        """Start the process unless it runs, and wait until it takes jobs."""
        with self._lock:
            if self.is_closed or self._process is not None:
                return
            try:
                self._process = start_python(
                    "flownb.worker.job_process", isolated=False, pass_fds=[self.page.fd]
                )
                self._busy = True
                self._sent.clear()
                self._loaded.clear()
            except OSError as error:  # too many processes, no memory
                log.error("no process could be started: %s", error)
                return
        if not _answer(self._process):
            self._give_up(self._process)
        self._busy = False

    def run(self, packed: PackedJob) -> Outcome:
        """Run one job and return its outcome; raise `JobCrashed` if the process dies of it."""
        return Outcome(*self._ask(packed))

    def run_rows(self, packed: PackedJob) -> Outcome | None:
        """Run rows of a job, as `page` lets them begin; return the outcome with which the job's run ends early.

        Raises `JobCrashed` if the process dies; `page` says of which row.
        """
        answer = self._ask(packed)
        return Outcome(*answer) if answer else None

    def load(self, packed: PackedJob) -> str | None:
        """Have what runs jobs loaded, with what it needs, and return why that failed.

        Raises `JobCrashed` if the process dies of it.
        """
        digest = packed.work.digest
        if digest in self._loaded:
            return None
        [problem] = self._ask(packed)
        if problem is None:
            self._loaded.add(digest)
        return None if problem is None else str(problem)

    def close(self) -> None:
        """End the process; it closes what it has loaded first, unless it runs something."""
        with self._lock:
            process = self._process
            if process is not None and self._loaded and not self._busy and not self.is_closed:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if _send(process, _END, _END):
                        process.wait(CLOSE_SECONDS)
        self.kill()

    def _ask(self, packed: PackedJob) -> Any:
        while (answer := self._ask_once(packed)) in (EDITED, UNKNOWN):
            if answer == EDITED:
                self._renew()
            self._sent.discard(packed.work.digest)  # what it was given long ago may no longer be there
        return answer

    def _ask_once(self, packed: PackedJob) -> Any:
        with self._lock:
            process, self._busy = self._process, True
        if process is None:
            raise JobCrashed("its process could not be started, or its worker closed")
        digest, data = packed.work
        answer = _ask(process, packed.job, b"" if digest in self._sent else data)
        if answer is None:
            raise JobCrashed(_how_it_died(self._give_up(process)))
        self._sent.add(digest)
        self._busy = False
        return answer

    def _renew(self) -> None:
        """Replace the process, which runs nothing: it has loaded modules as they were before they were edited."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            _kill(process)
            _bury(process)
        self.prepare()

    def _give_up(self, process: subprocess.Popen[bytes]) -> int:
        with self._lock:
            self._process, self._busy = None, False
        return _bury(process)

    def kill(self) -> None:
        """End the process and all it has started, now; what runs in it ends in `JobCrashed`."""
        with self._lock:
            self.is_closed, process = True, self._process
            if process is not None:
                _kill(process)
                if not self._busy:
                    self._process = None
                    _bury(process)


def _ask(process: subprocess.Popen[bytes], *pieces: bytes) -> Any:
    """Send a packed job, and what runs it unless that is there, and return the answer; None when the process ends."""
    return _answer(process) if _send(process, *pieces) else None


def _send(process: subprocess.Popen[bytes], *pieces: bytes) -> bool:
    """Send to the process; say whether it still reads."""
    assert process.stdin is not None
    try:
        for piece in pieces:
            process.stdin.write(_LENGTH.pack(len(piece)))
            process.stdin.write(piece)
        process.stdin.flush()
    except OSError:
        return False
    return True


def _answer(process: subprocess.Popen[bytes]) -> Any:
    """Return the next answer of the process; None when it ends instead."""
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
    except OSError:
        return None
    return json.loads(line) if line.endswith(b"\n") else None


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _bury(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process that is dead, or no longer answers; return its exit code."""
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        _kill(process)
        code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    return code


def _how_it_died(code: int) -> str:
    if code >= 0:
        return f"the process that ran it ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = "; out of memory, perhaps" if name == "SIGKILL" else ""
    return f"the process that ran it died of {name}{hint}"


# ---- the process itself ------------------------------------------------------------------------------


def _end_at_once() -> None:
    """The worker is gone: end, and with it all that was started here."""
    os.killpg(0, signal.SIGKILL) if hasattr(os, "killpg") else os._exit(0)


def main() -> None:
    """Run job after job until the worker is gone; then end at once, whatever runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    take_over_path()
    edited_modules.watch()
    jobs_in = os.fdopen(os.dup(0), "rb")
    answers_out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a function prints is no answer
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while len(length := jobs_in.read(_LENGTH.size)) == _LENGTH.size:
            pieces.put(jobs_in.read(_LENGTH.unpack(length)[0]))
        _end_at_once()

    threading.Thread(target=read, daemon=True).start()
    answer: Any = "ready"
    while True:
        try:
            answers_out.write(json.dumps(answer).encode() + b"\n")
            answers_out.flush()
        except BrokenPipeError:  # the worker was killed while this ran
            _end_at_once()
        packed_job, packed_work = pieces.get(), pieces.get()
        if packed_job == _END:
            setup.close_all()
            os._exit(0)
        if edited_modules.some():
            answer = EDITED
            continue
        try:
            answer = run_packed(packed_job, packed_work)
        except UnknownWork:
            answer = UNKNOWN
        del packed_job, packed_work
        sys.stdout.flush()
