"""What the rows of a many-row job have come to so far: values, errors, times, and how many ended in this run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from flownb.wire import codec
from flownb.wire.amounts import Amounts, total
from flownb.wire.many_rows import RowsValue
from flownb.wire.outcomes import Outcome
from flownb.worker.steps_so_far import StepsSoFar

TRACEBACK_CHARACTERS = 4_000  # of a row's traceback that are stored


class RowResults:
    """One a run of a many-row job."""

    def __init__(self, value: RowsValue, texts: list[str | None], steps: StepsSoFar | None = None) -> None:
        self.value = value
        self.steps = steps  #: of rows that have several
        self.texts = texts  #: of the values, as JSON; "null" of a failed row, None of one that is to be run
        self.opened: list[int] = list(range(len(texts)))  #: positions of the rows that this run has to run
        self.done = self.failed = 0  #: rows that ended for good in this run
        self.spent_now: Amounts = {}  #: by what has ended in this run
        self.spent_known: Amounts = {}  #: of that, what the server has been told for certain
        self.spent_by_rows_known: Mapping[int, Amounts] = {}  #: the same of `value.spent`
        self.saved: Sequence[int] = (0, 0)  #: of these, those that are counted already

    @classmethod
    def empty(cls, rows: int, steps: StepsSoFar | None = None) -> RowResults:
        """Nothing has run, but for the steps that an earlier job has done."""
        return cls(RowsValue(ms=[0] * rows, step_ms=steps.ms if steps else {}), [None] * rows, steps)

    @classmethod
    def of(cls, value: RowsValue, steps: int = 0, attempts_made: int = 0) -> RowResults:
        """What an earlier run has saved, of rows that have so many steps, if several."""
        so_far = StepsSoFar.read(steps, value, attempts_made) if steps else None
        return cls(value, [codec.encode(each, "value") for each in value.values], so_far)

    def run_by(self, version: str | None, open: list[int]) -> None:
        """From now on a code of this name runs the rows; those that are not `open` ran by the one before."""
        value = self.value
        if value.version not in (None, version):
            value.versions |= dict.fromkeys(
                set(range(len(self.texts))).difference(open, value.versions), value.version
            )
        value.version = version
        for place in open:
            value.versions.pop(place, None)

    @property
    def ended(self) -> Sequence[int]:
        """The rows done and failed by this run that are not counted yet, as an outcome's ``rows`` say them."""
        if self.steps is None:
            return self.done - self.saved[0], self.failed - self.saved[1]
        return self.not_saved(self.all_ended)

    def not_saved(self, counts: Sequence[int]) -> list[int]:
        """Return what of these counts of the whole run is not counted yet."""
        return [n - before for n, before in zip_longest(counts, self.saved, fillvalue=0)]

    def _steps_ended(
        self, texts: Sequence[str | None], errors: Mapping[int, Mapping[str, Any]], open: Sequence[int]
    ) -> list[int]:
        """Return the counts of steps, where `open` rows have failed, but not for good, or have not ended."""
        if self.steps is None:
            return []
        ended = set(self.opened).difference(open)
        failed = {n: errors[n].get("step", 0) for n in ended if n in errors}
        done = [n for n in ended if n not in errors and texts[n] is not None]
        left = set(self.opened).difference(failed, done)
        return self.steps.counts(done, failed, left)

    def reopen(self, positions: Iterable[int]) -> None:
        """These rows are to be run, and no others."""
        self.opened = list(positions)
        for position in positions:
            self.texts[position] = None

    def without_rows_through(self, open: list[int]) -> list[int]:
        """Return these rows without those whose steps are all done, which have their values: an earlier batch had
        further steps.
        """
        steps = self.steps
        if steps is None:
            return open
        through = {place for place in open if len(steps.row(place).texts) == steps.steps}
        for place in through:
            self.note_value(place, steps.text(place), 0.0, 0)
        return [place for place in open if place not in through]

    def take_values(self, kept: Iterable[Sequence[Any]]) -> None:
        """Take what an earlier batch's rows have returned, row by row; of some there is nothing."""
        for place, values in enumerate(kept):
            for value in values:
                self.note_value(place, codec.encode(value, "value"), 0.0, 0)

    def note_value(self, position: int, text: str, seconds: float, attempts_made: int) -> None:
        """A row has returned a value with this text."""
        if self.value.errors:
            self.value.errors.pop(position, None)
        if attempts_made:
            self.value.attempts[position] = attempts_made + 1
        self.value.ms[position] = int(seconds * 1000 + 0.5)
        if self.steps is not None:
            self.steps.note_end(position, seconds)
        self.done += 1
        self.texts[position] = text  # last: whoever sees that it has ended sees all of its end

    def note_passed(self, position: int, seconds: float) -> None:
        """A row has come to a step that has jobs of its own: it stays open until it is moved there."""
        self.value.errors.pop(position, None)
        self.value.ms[position] = int(seconds * 1000 + 0.5)

    def note_error(self, position: int, outcome: Outcome, seconds: float, attempts_made: int) -> None:
        """A row has failed, with what this would be for a job of its own."""
        trace = json.loads(outcome.stacktrace or "[]")[-1:] or [""]
        error = {
            "error": outcome.reason,
            "attempts": attempts_made + 1,
            "traceback": trace[0][-TRACEBACK_CHARACTERS:],
            **({"why": outcome.why} if outcome.why else {}),
        }
        if self.steps is not None:
            error["step"], error["attempts"] = self.steps.note_failure(position)
            self.steps.note_end(position, seconds)
        self.value.errors[position] = error
        self.value.ms[position] = int(seconds * 1000 + 0.5)
        if outcome.kind != "retry":
            self.failed += 1
        self.texts[position] = "null" if self.steps is None else self.steps.text(position)

    def note_spent(self, position: int, spent: Amounts) -> None:
        """A row, or a step of it, that is about to have ended has spent this."""
        self.value.spent[position] = total([self.value.spent.get(position, {}), spent])
        self.spent_now = total([self.spent_now, spent])
        if self.steps is not None:
            before = self.value.step_spent.get(position, [])
            at = min(len(self.steps.row(position).texts), self.steps.steps - 1)
            # A list of its own: another thread may be writing the one before down.
            by_step = [*before, *({} for _ in range(at + 1 - len(before)))]
            by_step[at] = total([by_step[at], spent])
            self.value.step_spent[position] = by_step

    def cut(self, position: int, rows_a_job: int) -> None:
        """Keep the rows before `position`; those behind go on in jobs of `rows_a_job` each.

        Rows may end in another thread meanwhile: the lists stay the same ones.
        """
        self.value.rest = rows_a_job
        del self.texts[position:], self.value.ms[position:]
        self.opened = [each for each in self.opened if each < position]
        if self.steps is not None:
            self.steps.cut(position)

    def text(self, open: list[int] | None) -> str:
        """Return the results as JSON, with these rows still to be run; without any, what moved rows took along is left
        out.
        """
        texts = self._in_full(self.texts)
        for position in self.value.moved_places if open is None else ():
            texts[position] = "null"
        return dataclasses.replace(self.value, open=open).text(texts)

    def _in_full(self, texts: Sequence[str | None]) -> list[str]:
        if self.steps is None:
            return [text or "null" for text in texts]
        return [text or self.steps.text(n) for n, text in enumerate(texts)]

    def so_far(self, to_retry: list[int]) -> tuple[str, list[int], Sequence[int]]:
        """Return the results as JSON, the open rows, and what this run has ended, as an outcome's ``rows`` say it.

        Rows may end in another thread meanwhile. Those to be retried are open, and so is what has not ended.
        """
        texts, errors, moved = list(self.texts), dict(self.value.errors), self.value.moved_places
        open = sorted({*to_retry, *(n for n in self.opened if texts[n] is None)} - moved)
        ended = set(self.opened).difference(open, moved)
        failed = len(ended & errors.keys())
        now = self.value
        value = dataclasses.replace(
            now,
            errors=errors,
            open=open,
            spent=dict(now.spent),
            due=dict(now.due),
            step_ms=dict(now.step_ms),
            step_spent=dict(now.step_spent),
        )
        counts = len(ended) - failed, failed, *self._steps_ended(texts, errors, open)
        return value.text(self._in_full(texts)), open, counts

    def left_by(self, open: Sequence[int]) -> Sequence[int]:
        """Return what an outcome's ``rows`` say where the job fails as a whole, with the rows that are open in it."""
        left = len(open) - sum(self.saved[:2])
        if self.steps is None:
            return 0, left
        done = [n for n in open if n not in self.value.errors and self.texts[n] is not None]
        failed = {n: len(self.steps.row(n).texts) for n in set(open).difference(done)}
        return [0, left, *self.not_saved([0, 0, *self.steps.counts(done, failed, ())])[2:]]

    @property
    def all_ended(self) -> Sequence[int]:
        """What this run has ended, counted already or not."""
        return self.done, self.failed, *self._steps_ended(self.texts, self.value.errors, ())

    @property
    def has_news(self) -> bool:
        """Is there anything to keep?"""
        return bool(self.done or self.value.errors or self.value.due or (self.steps and self.steps.has_news))

    def summary(self, rows: int) -> str:
        """Return the reason for which the job as a whole fails."""
        first = self.value.errors[min(self.value.errors)]["error"]
        return f"{len(self.value.errors)} of {rows} rows failed, the first with {first}"
