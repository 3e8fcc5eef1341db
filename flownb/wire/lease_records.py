"""Leases: the right of a worker to run a job for a while, as workers ask for it and renew it."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from flownb.wire import versions


class Lease(NamedTuple):
    """A lease to renew."""

    base: str
    id: str
    token: str
    #: known: a lease that ran out is taken again if nobody started the job since
    attempts_started: int | None = None


class QueueShare(NamedTuple):
    """What a worker that serves several queues says of one, so that these share its slots equally."""

    held: int  #: jobs of the queue that it holds
    may_wait: bool  #: they are short: some may be taken ahead, and wait for a slot


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchingWorker:
    """What a worker says of itself in one call that fetches jobs."""

    token: str  #: of the leases that it takes with this call
    lock_ms: int  #: how long they last
    layout: int = versions.LAYOUT  #: the newest layout of flows that it knows
    name: str | None = None  #: field `pb` of the jobs
    limiters: Mapping[str, Mapping[str, int]] | None = None
    """Queue key -> the worker's own ``{"max", "duration"}``; the queue's own settings go before it."""
    shares: Sequence[QueueShare] | None = None
    """One for each queue that it asks; None: the queues are asked in their order, each for all that is wanted."""
    free: int | None = None
    """Slots that run nothing. Jobs beyond these are taken ahead; None: all that are taken begin at once."""
    alone: bool = False  #: it holds no job, and takes one that is to run alone

    def packed(self) -> dict[str, Any]:
        return {
            "token": self.token,
            "lock_ms": self.lock_ms,
            "layout": self.layout,
            "name": self.name,
            "limiters": self.limiters or None,
            "shares": self.shares,
            "free": self.free,
            "alone": self.alone or None,
        }


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a worker's process, for jobs that it had taken."""

    of: Literal["begun", "unbegun"] | None  #: what they were; None: nobody died
    alone: bool = False  #: nothing else had begun in the process
    rows: Mapping[str, int] = field(default_factory=dict)  #: id of a many-row job -> the row that ran


@dataclass(frozen=True, slots=True)
class FrozenWorker:
    """A worker's process that is stopped, or gives no sign of life."""

    pid: int
    why: str  #: what is with it, in words: "is stopped"
    host: str = field(default_factory=socket.gethostname)


@dataclass(frozen=True, slots=True)
class StoppedTask:
    """A task that stands still on one worker, as its setup failed there."""

    name: str
    why: str
    pid: int
    host: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnRun:
    """The run that a job's function belongs to: it may write to its job, or add children to it, while it counts."""

    key: str
    token: str
    attempts_started: int

    def packed(self) -> dict[str, Any]:
        return {"key": self.key, "token": self.token, "attempts_started": self.attempts_started}
