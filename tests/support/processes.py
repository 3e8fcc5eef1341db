"""Looks at processes that may end while they are looked at, and lets them go on."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import psutil

RUNS_JOBS = "process import main"  # part of the command line of a process that runs jobs


def is_alive(process: psutil.Process) -> bool:
    """Does the process run? One that has ended and was not waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def alive_below(process: psutil.Process, words: str) -> list[psutil.Process]:
    """Return what a process has started, itself or through others, whose command line holds `words`."""
    return [
        child for child in process.children(recursive=True) if is_alive(child) and words in _command(child)
    ]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def thaw(*pids: int) -> None:
    """Let processes go on that were stopped, as far as they live."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
