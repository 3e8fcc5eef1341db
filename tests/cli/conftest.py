"""What the tests of the command line share: a folder with a space in its name, and real processes in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flownb.connection import server_files

ROOT = str(Path(__file__).parents[2])


class Terminal:
    """Starts `flownb` in a folder, as a person would, and looks after what it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / ".flownb"
        self.environment = {**os.environ, "PYTHONPATH": ROOT, "COLUMNS": "80"}
        for name in ("FLOWNB_URL", "FLOWNB_PASSWORD", "FORCE_COLOR"):
            self.environment.pop(name, None)
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "flownb", *words],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, *words: str, **variables: str) -> tuple[int, str, str]:
        """Run it to its end; return exit status, stdout and stderr."""
        process = self.start(*words, **variables)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    @staticmethod
    def until(condition: Callable[[], object], seconds: float = 30.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not so after {seconds} s"
            time.sleep(0.005)
        return value

    def clean_up(self) -> None:
        """End what was started, then the folder's server, without waiting for its grace period."""
        for process in self._started:
            process.kill()
            process.communicate()
        if not (self.data / server_files.LOCK_FILE).exists():
            return
        if supervisor := (server_files.read_link(str(self.data)) or {}).get("supervisor_pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(str(supervisor)), signal.SIGTERM)
        with open(self.data / server_files.LOCK_FILE) as lock:
            self.until(lambda: _locked(lock.fileno()))


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Give a terminal in an empty folder whose name has a space."""
    folder = tmp_path / "my folder"
    folder.mkdir()
    made = Terminal(folder)
    yield made
    made.clean_up()
