"""How far a whole flow is, as a value that shows itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flownb.wire.records import ACTIVE, COMPLETED, FAILED, FlowCounts

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Counts of jobs over the whole tree, at one moment.

    `fraction` is the part of all jobs that has ended, well or badly: 1.0 when the root has ended.
    """

    completed: int
    failed: int
    active: int
    total: int
    counts: FlowCounts

    @classmethod
    def of(cls, counts: FlowCounts) -> Progress:
        """Sum up a flow's counts."""
        return cls(
            completed=counts.count(COMPLETED),
            failed=counts.count(FAILED),
            active=counts.count(ACTIVE),
            total=counts.total,
            counts=counts,
        )

    @property
    def fraction(self) -> float:
        return (self.completed + self.failed) / self.total if self.total else 0.0

    @property
    def stages(self) -> pd.DataFrame:
        """A DataFrame with one row a queue and one column a state."""
        from flownb.flows import display

        return display.stages(self.counts)

    def __repr__(self) -> str:
        return (
            f"Progress(completed={self.completed}, failed={self.failed}, active={self.active}, "
            f"total={self.total}, fraction={self.fraction:.3f})"
        )
