"""How fast a part of a batch's rows goes, a group's or a step's, and how long it takes: made of the whole's estimate.

What a table says of its lines thus never contradicts what stands above them, and no part takes longer than the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from flownb.state.eta import Estimate
from flownb.views import progress_words

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PartThroughput:
    """A part's ends a second, 0 where nothing of it ends, and its seconds left, if these are known."""

    rate: float
    left: Range | None

    @property
    def words(self) -> str:
        """The time left as a person says it."""
        return progress_words.span_of_time(self.left) if self.left else ""

    @property
    def most_seconds(self) -> float:
        """By which lines are sorted."""
        return self.left[1] if self.left else 0.0


_STILL = PartThroughput(0.0, None)


@dataclass(frozen=True, slots=True)
class WholeThroughput:
    """How fast all rows of a batch go, how many of them have not ended, and how long all of it takes."""

    rate: float = 0.0
    rows: int = 0
    left: Range | None = None

    @classmethod
    def of(cls, estimate: Estimate, queue: str, rows: int) -> WholeThroughput:
        """By an estimate of the batch, whose rows are the jobs of `queue`."""
        return cls(estimate.rate(queue), rows, estimate.left if estimate.stopped is None else None)

    def of_part(self, rows: int, speed: float) -> PartThroughput:
        """Return that of a part of which so many rows have not ended; `speed` is its ends for each of the whole's.

        >>> half = WholeThroughput(rate=4.0, rows=100, left=(20.0, 30.0)).of_part(rows=25, speed=0.5)
        >>> half.rate, half.left, half.words
        (2.0, (10.0, 15.0), '10 s to 15 s')
        >>> WholeThroughput(rate=4.0, rows=100, left=(20.0, 30.0)).of_part(rows=60, speed=0.1).left
        (20.0, 30.0)
        """
        if not rows or not speed:
            return _STILL
        if self.left is None or not self.rows:
            return PartThroughput(self.rate * speed, None)
        share = min(rows / (speed * self.rows), 1.0)  # what is slow goes faster once the others have ended
        return PartThroughput(self.rate * speed, (share * self.left[0], share * self.left[1]))
