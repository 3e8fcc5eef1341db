"""The run of a job whose function calls: what `spend`, what is printed and what is waited for belong to."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol


class Lane(Protocol):
    """Queues of a worker of this process that share slots."""

    bases: list[str]

    @property
    def width(self) -> int:
        """How many jobs run at a time."""


class JobInSlot(Protocol):
    """A job that holds a slot of this process."""

    abandoned: bool  #: it is past its timeout: its slot was given to another one

    @property
    def lane(self) -> Lane:
        """Whose slots run it."""


class LinesOfRun(Protocol):
    """Where the lines go that a run prints and logs."""

    def write(self, stream: str, text: str) -> int:
        """Take what is printed, in any pieces."""

    def note(self, stream: str, line: str) -> None:
        """Take a line."""


class CurrentRun(Protocol):
    """What a function's calls find of its run."""

    @property
    def slot(self) -> JobInSlot | None:
        """The job that holds a slot of this process; None in another process."""

    @property
    def log(self) -> LinesOfRun | None:
        """Where what is printed goes; None: it is left alone."""

    def add(self, amounts: Mapping[str, int]) -> None:
        """Add amounts that were spent."""


#: None where no job runs; workers write. One variable for all, as every job sets it and takes it back.
current: ContextVar[CurrentRun | None] = ContextVar("flownb_run", default=None)
