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
    """How one run of a job ended. Its fields are those of ``@row outcome`` and ``@row unusual``, in their order."""

    base: str
    id: str
    token: str  #: of the lease under which the job ran
    attempts_started: int
    kind: Kind
    value: str | None = None  #: completed: JSON text; unbegun: what its worker has found that the job weighs
    version: str | None = None  #: completed, failed: name of the code that ran; the field `cv` of the job
    ran: int = 0  #: ms since the function was called, of a job taken ahead; unbegun: since it was taken
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


USUAL = Outcome._fields.index("reason")  #: so many fields, the first, say all of most outcomes
_NOTHING_ELSE = ("completed", Outcome("", "", "", 0, "completed")[USUAL:])


def packed(outcomes: Sequence[Outcome]) -> list[object]:
    """Return what the script reads: the parts of one outcome behind those of another, in one list without lists.

    Parts are the first fields, and all others as one. False stands for what is not said, and for what is usual: the
    queue and the token of the outcome before, ``completed``.
    """
    parts: list[object] = []
    base_before = token_before = None
    for outcome in outcomes:
        base, id, token, attempts_started, kind, value, version, ran = outcome[:USUAL]
        others = outcome[USUAL:]
        parts += (
            base != base_before and base,
            id,
            token != token_before and token,
            attempts_started,
            kind != "completed" and kind,
            False if value is None else value,
            False if version is None else version,
            ran,
            (kind, others) != _NOTHING_ELSE and others,
        )
        base_before, token_before = base, token
    return parts
