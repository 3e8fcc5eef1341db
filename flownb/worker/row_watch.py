"""A thread that looks at the many-row jobs running in this process: a row that takes long holds up no other row."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

log = logging.getLogger("flownb.worker")

LOOK_SECONDS = 0.025  # between two looks, while such jobs run


class Watched(Protocol):
    """A run that is looked at."""

    def look(self, now: float) -> bool:
        """See to the rows that nobody has begun; `now` is monotonic time. Says whether to look again."""


class RowWatch:
    """One a process; its thread starts with the first run and sleeps while there is none."""

    def __init__(self) -> None:
        self._runs: dict[int, Watched] = {}  # slots add and take out their own
        self._has_runs = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def add(self, run: Watched) -> None:
        """Look at a run until `remove`."""
        self._runs[id(run)] = run
        if not self._has_runs.is_set():
            self._has_runs.set()
        if self._thread is None or not self._thread.is_alive():  # a fork leaves a thread that does not live
            self._start()

    def remove(self, run: Watched) -> None:
        """Look at a run no more; a look that has begun may still go on."""
        self._runs.pop(id(run), None)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="flownb-row-watch", daemon=True)
                self._thread.start()

    def _loop(self) -> None:
        while True:
            self._has_runs.wait()
            self._has_runs.clear()
            while self._runs:
                time.sleep(LOOK_SECONDS)
                for run in list(self._runs.values()):
                    if not run.look(time.monotonic()):
                        self.remove(run)


row_watch = RowWatch()
