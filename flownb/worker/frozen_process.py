"""Whether a worker's process is frozen: stopped (Ctrl-Z, a debugger), or without a sign of life for minutes.

A function that holds the interpreter gives no sign either, with or without using the CPU: it is given minutes.
"""

from __future__ import annotations

import os
import subprocess
import time

SILENT_SECONDS = 120.0  # without a sign of life, after which a process counts as frozen; at least four leases
STOPPED, TRACED = "T", "t"  # states of a process


def is_stopped(pid: int) -> bool:
    """Say whether a process is stopped, or held by a debugger."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        if os.path.isdir("/proc/self"):
            return False
        told = subprocess.run(
            ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        state = told.stdout.strip()[:1]
    return state in (STOPPED, TRACED)


class ProcessWatch:
    """What the lease keeper has seen of the process whose leases it keeps; asked once a round."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._last_sign = time.monotonic()
        self._stopped_since: float | None = None

    def note_sign(self) -> None:
        """The process has said something."""
        self._last_sign = time.monotonic()

    def look(self) -> None:
        """See whether it is stopped now."""
        if not is_stopped(self.pid):
            self._stopped_since = None
        elif self._stopped_since is None:
            self._stopped_since = time.monotonic()

    def why_frozen(self, lease_seconds: float) -> str | None:
        """Say why the process counts as frozen for leases of this length; None where it does not."""
        now = time.monotonic()
        if self._stopped_since is not None:
            return "is stopped" if now - self._stopped_since >= lease_seconds else None
        is_silent = now - self._last_sign >= max(SILENT_SECONDS, 4 * lease_seconds)
        return "has given no sign of life for minutes" if is_silent else None
