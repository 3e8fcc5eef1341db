"""Job rows: jobs on their way into ``add_jobs``, with their parents and their flow's record.

A call holds hundreds of rows, so what repeats is said once: a row points at its queue, its options and its parents
by their positions, from 1, in lists that travel beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from flownb.wire import versions


class JobDetails(NamedTuple):
    """What few jobs have."""

    delay: float = 0  #: ms
    priority: int = 0
    lifo: bool = False
    has_children: bool = False
    bind: str | None = None  #: how a task's parameters are filled, as JSON
    #: ``<prefix>:`` of the flow's record, where the job lives under another one
    flow_prefix: str | None = None
    keep: str | None = None  #: which removals the job asks for, as JSON
    weights: str | None = None  #: what it weighs in units that its queue limits: ``tokens=12 usd=0.5``


class JobRow(NamedTuple):
    """A job to add. Made for every job: in the order of the fields, without keywords, where there are many."""

    queue: int
    id: str
    name: str
    data: str  #: JSON text
    opts: int
    parents: int | Sequence[int] | Literal[False]
    details: JobDetails | None = None


class Deduplication(NamedTuple):
    """One at a time of the jobs with this id is in line."""

    id: str
    ttl: int | None = None  #: ms; how long others are left out, also after the job's end; None: until its end
    extend: bool = False  #: each that is left out begins the time anew
    replace: bool = False  #: one that is delayed makes way for the next
    reschedule: bool = False  #: one that is delayed is due when the next would have been
    keep_last: bool = False  #: the last one that is added while one runs follows it


class DeduplicatedRow(NamedTuple):
    """A job to add, unless another one stands for its id."""

    job: JobRow
    deduplication: Deduplication


class ParentRow(NamedTuple):
    """A parent of jobs to add, under one policy."""

    key: str
    link: str  #: field `parent` of its children, JSON text
    policy: str  #: BullMQ's short word, or nothing
    is_outside: bool = False  #: it is not among the jobs of the flow: it must be there


class FieldRow(NamedTuple):
    """A field of one of flownb's own hashes, written with the jobs."""

    key: str
    field: str
    value: str | bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRecord:
    """The record of the flow that the jobs belong to."""

    id: str
    name: str | None = None  #: this name means the flow from now on
    fields: Mapping[str, str] | None = None  #: None: the record is there already
    is_stored: bool = False  #: these are the last jobs of the flow
    joins: bool = False  #: it has the account of the batch that its name has meant, not its own
    paused: str | None = None  #: why the flow is paused from the start on
    #: what its name meant when the caller looked which rows are there (nothing: no flow yet), and how many jobs of many
    #: rows it had, if that was asked; None: whatever is there, it does not matter
    seen: tuple[str, int | None] | None = None

    def packed(self) -> dict[str, Any]:
        """Return the record as the script reads it; hashes are written from lists there."""
        fields = None
        if self.fields is not None:
            whole = {"layout": str(versions.LAYOUT), **self.fields}
            fields = [part for pair in whole.items() for part in pair]
        return {
            "id": self.id,
            "name": self.name,
            "fields": fields,
            "is_stored": self.is_stored,
            "joins": self.joins,
            "paused": self.paused,
            "seen": self.seen,
        }
