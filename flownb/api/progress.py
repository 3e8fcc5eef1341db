"""How far a whole flow is, as a value that shows itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from flownb import hooks
from flownb.wire.amounts import Amounts, in_units
from flownb.wire.records import ACTIVE, COMPLETED, FAILED, FlowCounts

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Counts of jobs over the whole tree, at one moment.

    `fraction` is the part of all jobs that has ended, well or badly: 1.0 when the root has ended. `paused`
    says why the flow is held, as by `Flow.pause`. `spent` has what `spend` was told, by unit; of a batch by all runs of
    its name, until ``if_exists="rerun"``.

    >>> with Worker("doc-done", lambda job: 7):
    ...     add({"name": "total", "queueName": "doc-done"}).wait(timeout=30).progress()
    Progress(completed=1, failed=0, active=0, total=1, fraction=1.000)
    """

    completed: int
    failed: int
    active: int
    total: int
    counts: FlowCounts
    spent: Mapping[str, float] = field(default_factory=dict)
    _estimate: Callable[[], tuple[float, float] | None] = field(repr=False, compare=False)

    @classmethod
    def of(
        cls, counts: FlowCounts, estimate: Callable[[], tuple[float, float] | None], spent: Amounts
    ) -> Progress:
        """Sum up a flow's counts; `estimate` is asked for the time left when somebody wants to know."""
        return cls(
            completed=counts.count(COMPLETED),
            failed=counts.count(FAILED),
            active=counts.count(ACTIVE),
            total=counts.total,
            counts=counts,
            spent=in_units(spent),
            _estimate=estimate,
        )

    @property
    def fraction(self) -> float:
        """The part of all jobs that has ended, well or badly, from 0.0 to 1.0."""
        return (self.completed + self.failed) / self.total if self.total else 0.0

    @property
    def counting(self) -> bool:
        """Whether the numbers are not exact yet: of a large flow that other programs run, not all was seen."""
        return self.counts.counting

    @cached_property
    def eta(self) -> tuple[float, float] | None:
        """Seconds until the flow has ended, as a range ``(low, high)`` that the end should fall into.

        It is made of the times at which jobs ended, also before this handle was there. None while it cannot be
        known: until two jobs have ended, while nothing runs (`Flow.explain` says why), and while the flow is paused.
        What a paused batch takes once it goes on is in `Batch.estimate`.
        """
        is_held = self.paused is not None and self.completed + self.failed < self.total
        return None if is_held else self._estimate()

    @property
    def paused(self) -> str | None:
        """Why the flow is held: ``by hand``, by which brake, or what a worker has said; None while it is not.

        >>> add({"name": "total", "queueName": "doc-held"}).pause().progress().paused
        'by hand'
        """
        return (self.counts.paused_why or "by hand") if self.counts.paused else None

    @property
    def stages(self) -> pd.DataFrame:
        """A DataFrame with one row a queue and one column a state."""
        return hooks.tables.counts_frame(self.counts)

    def __repr__(self) -> str:
        return (
            f"Progress(completed={self.completed}, failed={self.failed}, active={self.active}, "
            f"total={self.total}, fraction={self.fraction:.3f}{', paused' if self.paused else ''})"
        )
