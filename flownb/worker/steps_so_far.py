"""Which steps of a many-row job's rows are done: what they returned, and how often the next one was tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flownb.wire import codec
from flownb.wire.amounts import Amounts
from flownb.wire.many_rows import RowsValue


class RowSoFar(NamedTuple):
    """What a row's steps have come to before a run of it."""

    texts: tuple[str, ...] = ()  #: JSON texts of what those that are done returned
    tried: int = 0  #: attempts that the next one has had


NOT_BEGUN = RowSoFar()

NoteStep = Callable[[int, str, float, Amounts], Callable[[], None] | None]
"""Called with a row's position, the text that a step of it returned, its seconds, and what it has spent; not of the
last step. Returns what writes it down, where that is to be done before the next step begins."""


class StepsSoFar:
    """One a run of a job whose rows have steps. The thread or process that runs them notes; others read."""

    def __init__(self, steps: int, rows: Mapping[int, RowSoFar], ms: dict[int, list[int | None]]) -> None:
        self.steps = steps
        self.ms = ms  #: how long each row's steps took, as in `RowsValue.step_ms`
        self._seconds: dict[int, float] = {}  # that steps of rows which have not ended took in this run
        self._rows = dict(rows)
        self._at_first = {position: len(row.texts) for position, row in rows.items()}
        self.has_news = False  #: has a step ended in this run?
        self.is_worth_saving = False  #: has one that took its time, since they were saved last?

    @classmethod
    def read(cls, steps: int, value: RowsValue, attempts_made: int) -> StepsSoFar:
        """Return what an earlier run has saved. A row that had been through all steps begins anew."""
        rows = {}
        for position, returned in enumerate(value.values):
            error = value.errors.get(position)
            tried = (
                error["attempts"]
                if error and attempts_made and error.get("step") == len(returned or ())
                else 0
            )
            if returned and len(returned) < steps:
                rows[position] = RowSoFar(tuple(codec.encode(each, "value") for each in returned), tried)
            elif tried:
                rows[position] = RowSoFar((), tried)
        return cls(steps, rows, value.step_ms)

    @classmethod
    def kept(cls, steps: int, kept: Iterable[Sequence[Any]]) -> StepsSoFar:
        """Return what jobs of an earlier batch have done, row by row."""
        texts = (tuple(codec.encode(each, "value") for each in row) for row in kept)
        return cls(steps, {position: RowSoFar(row) for position, row in enumerate(texts) if row}, {})

    def row(self, position: int) -> RowSoFar:
        """Return what a row's steps have come to."""
        return self._rows.get(position, NOT_BEGUN)

    def rows(self, positions: Iterable[int]) -> dict[int, RowSoFar]:
        """Return this of those rows of which there is something to say."""
        return {position: self._rows[position] for position in positions if position in self._rows}

    def note(self, position: int, text: str, seconds: float) -> None:
        """A step of a row has returned a value with this text, after so long, and another one follows."""
        texts = self.row(position).texts
        self._note_time(position, len(texts), seconds)
        self._seconds[position] = self._seconds.get(position, 0.0) + seconds
        self._rows[position] = RowSoFar((*texts, text))
        self.has_news = True

    def note_end(self, position: int, seconds: float) -> None:
        """A row has ended at the step that it was at, after so long with the steps that were noted before."""
        at = len(self.row(position).texts)
        if at < self.steps:
            self._note_time(position, at, max(seconds - self._seconds.pop(position, 0.0), 0.0))

    def _note_time(self, position: int, at: int, seconds: float) -> None:
        before = self.ms.get(position, ())[:at]
        unknown = [None] * (at - len(before))
        # A list of its own: another thread may be writing the one before down.
        self.ms[position] = [*before, *unknown, int(seconds * 1000 + 0.5)]

    def note_attempts(self, positions: Iterable[int], made: int) -> None:
        """These rows' next step has had so many attempts: those of the job, all of whose rows run in each."""
        for position in positions:
            row = self.row(position)
            if row.tried < made:
                self._rows[position] = row._replace(tried=made)

    def note_failure(self, position: int) -> tuple[int, int]:
        """A row has failed: return at which step, and how many attempts that has had."""
        row = self.row(position)
        return len(row.texts), row.tried + 1

    def cut(self, position: int) -> None:
        """Forget the rows from `position` on: they go on in other jobs."""
        for each in [each for each in self._rows if each >= position]:
            del self._rows[each]

    def text(self, position: int) -> str:
        """Return the value of a row that is not through, as JSON."""
        return f"[{','.join(self.row(position).texts)}]"

    def counts(self, done: Iterable[int], failed: Mapping[int, int], open: Iterable[int]) -> list[int]:
        """Return how many rows have done each step in this run, and how many have failed at each; see `Outcome.rows`.

        `failed` says at which step.
        """
        ended, lost = [0] * self.steps, [0] * self.steps
        for positions, is_through in ((done, True), (failed, False), (open, False)):
            for position in positions:
                now = self.steps if is_through else len(self.row(position).texts)
                for step in range(self._at_first.get(position, 0), now):
                    ended[step] += 1
        for step in failed.values():
            lost[step] += 1
        return [*ended, *lost]
