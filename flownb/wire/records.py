"""What the store hands out: plain records, read and never written to. No Redis, no pandas, no display code.

Points in time are milliseconds since the epoch, as on the wire; JSON stays text
until somebody needs the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flownb.wire.pauses import Pause

WAITING, ACTIVE, DELAYED, PRIORITIZED = "waiting", "active", "delayed", "prioritized"
WAITING_CHILDREN, COMPLETED, FAILED = "waiting-children", "completed", "failed"

CANCELLED = "cancelled"
"""How a flow ended that was cancelled; its jobs are in one of BullMQ's states all the same."""

NO_CAUSE = ("child", "cancelled")
"""What the `why` of a job says that did not fail by itself."""

CRASHED = "crashed its worker"
"""How the reason begins of a job whose workers died while it ran."""

POLICIES = ("fpof", "cpof", "idof", "rdof")
"""What a job's failure means for its parent: BullMQ's short words, as a job's ``parent`` field has them."""

OPTIONAL = ("idof", "rdof", "cpof")
"""The policies under which a job's failure does not fail its parent."""

REMOVED = "removed"
"""Said of a job that is gone where a state is asked for, and nobody has kept how it ended."""

STATES = (WAITING, ACTIVE, DELAYED, PRIORITIZED, WAITING_CHILDREN, COMPLETED, FAILED)
"""A job's states: BullMQ's words, in the order tables and pictures show them."""


def crashed(deaths: int) -> str:
    """Return the reason of a job or row whose workers died too often while it ran, as ``lib/stall.lua`` has it.

    >>> crashed(4)
    'crashed its worker 4 times'
    """
    return f"{CRASHED} {deaths} time{'' if deaths == 1 else 's'}"


@dataclass(slots=True)
class JobRecord:
    """One stored job, at one moment. Not frozen, as one is made for every job that runs: that costs half as much.

    First come the fields that a worker is given with a job, in the order of `taken_of`, which names none of them: for
    the same reason.
    """

    key: str  #: ``prefix:queue:id``
    id: str
    queue: str
    name: str
    state: str | None  #: one of `STATES`; None when nobody asked
    data: str = "{}"  #: JSON text
    opts: str = "{}"  #: JSON text, BullMQ's short keys
    timestamp: int = 0  #: created
    priority: int = 0
    attempts_made: int = 0
    attempts_started: int = 0
    stacktrace: str = "[]"  #: JSON list of texts, oldest first
    parent_key: str | None = None
    parent: str | None = None  #: JSON text of BullMQ's ``parent`` field
    flow: str | None = None  #: id of the flow that counts this job
    bind: str | None = None  #: how a task's parameters are filled; see docs/wire-format.md
    processed_on: int | None = None  #: last start
    finished_on: int | None = None
    delay: int = 0
    stalled: int = 0
    progress: str | None = None  #: JSON text
    returnvalue: str | None = None  #: JSON text
    failed_reason: str | None = None
    why: str | None = None  #: why it ended so: unrecoverable, timeout, stalled, child, cancelled
    keep: str | None = None  #: what is removed of a flow after its end; see docs/wire-format.md
    part: str | None = None  #: JSON text: what the rows of a many-row job have come to so far
    version: str | None = None  #: name of the code that ran it
    runs: str | None = None  #: when earlier runs that failed began and ended; see docs/wire-format.md
    spent: str | None = None  #: what each of its runs has spent; see `amounts.of_job`
    spent_by_rows: str | None = None  #: of a many-row job that has not completed; see `amounts.of_rows`


class JobLine(NamedTuple):
    """What a table shows of a job: a few of a `JobRecord`'s fields, quick to read and to make for many jobs."""

    name: str
    queue: str
    state: str
    attempts_made: int
    failed_reason: str | None
    timestamp: int
    processed_on: int | None
    finished_on: int | None
    runs: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowCounts:
    """How many jobs of a whole tree are in which state, and in which queue."""

    by_stage: Mapping[str, Mapping[str, int]]  #: queue -> state -> jobs (or rows), in order of adding
    rows_a_job: Mapping[str, float] = field(default_factory=dict)  #: of stages that are counted in rows
    by_step: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    """Of stages whose rows have several steps: step -> state -> rows, in the steps' order."""
    more_queues: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of stages whose rows go on in jobs of other queues: these queues, which are counted in the stage."""
    paused: bool = False  #: the flow is held: none of its jobs starts
    paused_why: str = ""  #: where a worker or a brake has paused it
    pause: Pause | None = None  #: the brake
    counting: bool = False  #: not all of the tree has been seen yet: the numbers still grow

    def count(self, state: str) -> int:
        return sum(states.get(state, 0) for states in self.by_stage.values())

    @property
    def total(self) -> int:
        return sum(sum(states.values()) for states in self.by_stage.values())

    @property
    def queues(self) -> list[str]:
        """All queues in which there are jobs."""
        return list(dict.fromkeys(queue for stage in self.by_stage for queue in self.queues_of(stage)))

    def queues_of(self, stage: str) -> tuple[str, ...]:
        """The queues in which the jobs of a stage are; rows that go from queue to queue end in the last one."""
        return (stage, *self.more_queues.get(stage, ()))

    @property
    def rows(self) -> int:
        """Of the total: rows that share jobs."""
        return sum(sum(self.by_stage.get(stage, {}).values()) for stage in self.rows_a_job)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One drawn node: a job, or many siblings folded into one.

    A folded node stands for `count` siblings of one queue whose names follow one
    template (``process-item-*``); `states` says how many of them are where.
    """

    id: str  #: unique in its snapshot, never a job's name
    name: str  #: the job's name, or the template of many
    queue: str
    states: Mapping[str, int]  #: state -> jobs; one entry of 1 for a single job
    count: int = 1
    job: JobRecord | None = None  #: None for a folded node
    optional: bool = False  #: its failure does not fail its parent
    children: tuple[str, ...] = ()  #: ids of nodes, in declared order
    key: str = ""  #: of the job; of a folded node that of its first job
    words: str = ""  #: how far it is, where `states` do not say it or are an estimate

    @property
    def folded(self) -> bool:
        return self.job is None and self.count > 1


class Lane(NamedTuple):
    """What a timeline calls the jobs of one queue."""

    name: str
    noun: str = "job"


@dataclass(frozen=True)
class HowFar:
    """How far a flow is at one moment, as a line of a terminal says it."""

    unit: str  #: what is counted: ``row`` or ``job``
    completed: int
    failed: int
    running: int
    total: int
    rate: float = 0.0  #: ends a second; 0 while it is not known
    left: tuple[float, float] | None = None  #: seconds, as a range
    still: float = 0.0  #: seconds since the last end, where another one should have come long since
    spent: str = ""  #: in words
    paused: str = ""  #: why, in words
    to_come: str = ""  #: why not all rows are stored, in words

    @classmethod
    def of(cls, unit: str, states: Mapping[str, int], **more: Any) -> HowFar:
        """Return how far it is, by how many rows or jobs are in which state.

        >>> HowFar.of("row", {"completed": 3, "active": 1, "waiting": 4}, spent="2 usd").total
        8
        """
        completed, failed, running = (states.get(state, 0) for state in (COMPLETED, FAILED, ACTIVE))
        return cls(unit, completed, failed, running, sum(states.values()), **more)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A flow at one moment, as small as a picture of it needs: what every view is made from."""

    name: str
    state: str  #: the root's state, or ``failing``, or ``cancelled``
    nodes: tuple[Node, ...]  #: the root first; a shared job stands here once
    counts: FlowCounts
    created: int
    finished: int | None = None
    now: int = 0
    oldest: int | None = None  #: when the job that runs longest was started
    eta: tuple[float, float] | None = None  #: seconds until it has ended, where somebody asked
    stopped: int | None = None  #: when the last job ended, where another one should have ended long since
    left_out: int = 0  #: jobs below nodes too many to draw
    single_rows: int = 0  #: rows that have a job each: `counts` has those jobs
    note: str = ""  #: what else is to be known of it, in words
    failures: tuple[JobRecord, ...] = field(default=())  #: failed jobs, oldest first, at most `MOST_FAILURES`

    @property
    def paused(self) -> str:
        """Why the flow is paused, in words; empty where it is not, or has ended."""
        is_held = self.counts.paused and self.finished is None
        return (self.counts.paused_why or "by hand") if is_held else ""


ALL_ENDED = "all ended"  #: words for rows of which it is not known how many failed
MOST_FAILURES = 100
MOST_NODES = 60
