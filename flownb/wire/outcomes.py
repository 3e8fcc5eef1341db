"""Outcomes: how the runs of jobs ended, as workers send them to ``finish_and_fetch``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

#: ``returned``: not run, back to the head of the line. ``put_off``: later, perhaps by another worker. ``parked``: the
#: job waits for children that it has added. ``unbegun``: taken, but its function was not called. ``begun``: no end; the
#: job was taken ahead, and its function has been called since.
Kind = Literal["completed", "failed", "retry", "returned", "put_off", "parked", "unbegun", "begun"]


class Retention(NamedTuple):
    """Which ended jobs of a queue BullMQ's ``removeOnComplete`` or ``removeOnFail`` keeps."""

    newest: int | None  #: so many of them
    age: float | None  #: those that ended at most so many ms ago
    limit: int | None  #: jobs that one call removes for their age


class Outcome(NamedTuple):
    """How one run of a job ended. The order of the fields is that of ``@row outcome`` in the script."""

    base: str
    id: str
    token: str  #: of the lease under which the job ran
    attempts_started: int
    kind: Kind
    value: str | None = None  #: completed: JSON text; unbegun: what its worker has found that the job weighs
    version: str | None = None  #: completed, failed: name of the code that ran; the field `cv` of the job
    #: ms since the function was called, of a job taken ahead; unbegun: since it was taken; None: 0
    ran: int | None = None
    reason: str | None = None  #: failed, retry: ``Type: message``
    stacktrace: str | None = None  #: failed, retry: JSON list of the job's tracebacks
    attempts: int = 1  #: failed: how many the job had at most
    why: str | None = None  #: failed: what ended it for good; the field `why` of the job
    delay: float = 0  #: retry, put_off: ms until the job is due
    lifo: bool = False  #: retry: to the head of the line
    #: returned: the whole queue starts nothing for so many ms; 0: nobody said for how long
    hold: float | None = None
    eager: Sequence[str] = ()  #: parked: children that end the wait when they fail
    retention: Retention | None = None
    rows: Sequence[int] | None = None
    """Of a many-row job: rows done, and failed for good, in this run; behind that, where they have steps, how many have
    done each step, then how many have failed at each."""
    printed: Sequence[str] | None = None  #: lines that the function has printed, for the job's log
    keep_logs: int | None = None  #: with lines: so many of the log, the newest; None: all
    spent: Sequence[str | int] | None = None  #: what the run has spent, see `amounts.flat`

    def packed(self) -> Sequence[object]:
        """Return what the script reads: of a job that completed with nothing more to say, the first fields alone."""
        is_usual = self.kind == "completed" and self[_USUAL:] == _UNSAID
        return self[:_USUAL] if is_usual else self


#: fields of an outcome that says no more than what the function returned
_USUAL = Outcome._fields.index("reason")
_UNSAID = Outcome("", "", "", 0, "completed")[_USUAL:]
