"""A `logging` record of every step a worker makes with a job.

The logger is ``flownb.worker.jobs``, the fields are ``flow job attempt state``. Nothing of a job's data or value is
told, and of an error only its type. Without a listener it costs a look a call.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from flownb.wire.records import JobRecord
from flownb.wire.store import Taken

log = logging.getLogger("flownb.worker.jobs")

_STATES = {
    "completed": "completed",
    "failed": "failed",
    "retry": "delayed",
    "parked": "waiting-children",
    "put_off": "delayed",
    "returned": "waiting",
}
_WORDS = {
    "completed": "completed",
    "retry": "failed an attempt and is tried again",
    "parked": "waits for children it has added",
    "put_off": "is put off: no task here takes it",
    "returned": "goes back to the line",
}


class Journal:
    """Writes down what one worker does."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], JobRecord] = {}  # only while somebody listens

    def started(self, jobs: Sequence[Taken]) -> None:
        """Note that the server has made these jobs active."""
        if not log.isEnabledFor(logging.INFO):
            return
        for taken in jobs:
            self._running[taken.base, taken.record.id] = taken.record
            _tell(logging.DEBUG, taken.record, "active", "starts")

    def ended(self, outcomes: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> None:
        """Note what the server has accepted."""
        if not self._running:
            return
        for outcome, answer in zip(outcomes, answers, strict=True):
            record = self._running.pop((outcome["base"], outcome["id"]), None)
            if record is None or answer not in ("done", "repeated"):
                continue
            kind = outcome["kind"]
            if kind == "failed":
                error = outcome["reason"].partition(":")[0] if outcome["why"] != "child" else "a child"
                _tell(logging.INFO, record, "failed", f"failed ({error})")
            else:
                level = logging.INFO if kind == "retry" else logging.DEBUG
                state = "waiting" if kind == "retry" and not outcome["delay"] else _STATES[kind]
                _tell(level, record, state, _WORDS[kind])


def _tell(level: int, record: JobRecord, state: str, word: str) -> None:
    job, attempt = f"{record.queue}:{record.id}", record.attempts_started
    about = {"flow": record.flow, "job": job, "attempt": attempt, "state": state}
    log.log(level, "job %s (%s), start %d, %s", record.name, job, attempt, word, extra=about)
