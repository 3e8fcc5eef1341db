"""Requests: what a person asks to be done to stored jobs or schedulers, as the scripts read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Retry(NamedTuple):
    """A job to run again."""

    key: str
    lifo: bool = False
    #: of a many-row job, which may have completed: positions of the rows to run again
    rows: Sequence[int] | None = None
    #: of these: how many had not ended when the job failed or was cancelled, or another program's worker completed it
    were_open: int = 0
    #: of a many-row job that has no value of its rows: its new field ``part``
    part: str | None = None
    #: it may have completed, and runs again all the same
    completed: bool = False
    #: of a job whose rows have steps: what is taken back of the counts of these
    steps: Sequence[int] = ()


class Detachment(NamedTuple):
    """A shared job that stays, and the parents that it loses."""

    key: str
    parents: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """One call of ``remove_jobs``."""

    jobs: Sequence[str]  #: keys of the jobs that go
    going: Sequence[str] = ()  #: those of their parents that go too, now or later
    staying: Sequence[Detachment] = ()
    top: str | None = None  #: the job whose other parents stay
    flow: str | None = None  #: the flow that goes as a whole
    name: str | None = None  #: its name, with its last call

    def packed(self) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "going": self.going,
            "staying": self.staying,
            "top": self.top,
            "flow": self.flow,
            "name": self.name,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduledJob:
    """The next job of a job scheduler."""

    name: str
    data: str = "{}"  #: JSON text
    opts: str  #: JSON text
    priority: int = 0

    def packed(self) -> dict[str, Any]:
        return {"name": self.name, "data": self.data, "opts": self.opts, "priority": self.priority}
