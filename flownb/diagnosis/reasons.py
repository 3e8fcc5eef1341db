"""Reasons why a flow does not end, collected job by job: each is told once, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from flownb.diagnosis import reason_words
from flownb.wire import keys

_LONGEST_PATH = 100  # names


class Urgency(IntEnum):
    """In which order reasons are told."""

    WHOLE = 0  #: holds up the whole flow
    NEVER = 1  #: does not mend by itself
    NOW = 2  #: waits for a person
    LATER = 3  #: will wait for a person
    IN_TIME = 4  #: mends by itself in a while
    WELL = 5  #: the job goes on
    REST = 6  #: what else a parent waits for


class Reason(NamedTuple):
    """One thing that keeps a flow from ending, or that ended it."""

    job: str  #: the names from the root down; and how many more jobs it keeps
    why: str
    fix: str
    lasts: bool = False  #: it does not mend by itself, nor by a worker that starts


class Why(NamedTuple):
    """What keeps one job. Jobs for which `kind` and `about` are the same have one reason together."""

    urgency: Urgency
    kind: str
    about: str  #: the key of a queue or job
    why: str
    fix: str
    rank: float = 0  #: of the jobs that share a reason, the one with the least is named


def in_words(reasons: Sequence[Reason]) -> str:
    """Return the first reason as one line, and how many there are.

    >>> in_words([Reason("total > load", "queue 'loads' is paused", "resume it"), Reason("total", "", "")])
    "total > load: queue 'loads' is paused; resume it (1 more reason: explain() tells it)"
    """
    if not reasons:
        return "nothing keeps it from ending"
    first, more = reasons[0], len(reasons) - 1
    rest = f" ({more} more reason{'s: explain() tells them' if more > 1 else ': explain() tells it'})"
    return f"{first.job}: {first.why}; {first.fix}{rest if more else ''}"


@dataclass
class _Collected:
    """A reason, and the jobs that it keeps; `why` is that of the one that is named."""

    why: Why
    job: str
    jobs: int = 1


class Reasons:
    """Collects reasons, and knows by which way each job was reached from the root."""

    def __init__(self, root: str, name: str) -> None:
        #: of each job that was reached, its parent on the way
        self.parent_of: dict[str, str | None] = {root: None}
        self.names: dict[str, str] = {root: name}  #: of each job whose record was read
        self._collected: dict[tuple[str, str], _Collected] = {}

    def reach(self, parent: str, children: Iterable[str], most: int) -> list[str]:
        """Note the parent of at most `most` children that were not reached before; return those."""
        fresh = [child for child in children if child not in self.parent_of][: max(most, 0)]
        self.parent_of.update(dict.fromkeys(fresh, parent))
        return fresh

    def add(self, job: str, why: Why | None) -> None:
        """Note what keeps a job; a reason that is there already only counts it."""
        if why is None:
            return
        found = self._collected.setdefault((why.kind, why.about), _Collected(why, job, jobs=0))
        found.jobs += 1
        if (why.urgency, why.rank) < (found.why.urgency, found.why.rank):
            found.why, found.job = why, job

    def are_all_well(self) -> bool:
        """Say whether every job that was looked at goes on."""
        return all(found.why.urgency >= Urgency.WELL for found in self._collected.values())

    def in_order(self) -> list[Reason]:
        """Return the reasons, the worst first."""
        found = sorted(self._collected.values(), key=lambda one: one.why.urgency)
        return [
            Reason(
                job=self._path_to(one.job) + (f" and {one.jobs - 1:,} more" if one.jobs > 1 else ""),
                why=one.why.why,
                fix=one.why.fix,
                lasts=one.why.urgency == Urgency.NEVER,
            )
            for one in found
        ]

    def name_above(self, job: str) -> str:
        """Return how the parent through which a job was reached is called in a reason."""
        parent = self.parent_of.get(job)
        return repr(reason_words.plain(self.names.get(parent, ""))) if parent else "the flow"

    def _path_to(self, job: str) -> str:
        names: list[str] = []
        step: str | None = job
        while step is not None and len(names) < _LONGEST_PATH:
            names.append(self.names.get(step) or keys.id_of(step))
            step = self.parent_of.get(step)
        return reason_words.path(names[::-1])
