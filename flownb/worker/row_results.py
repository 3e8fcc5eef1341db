"""What the rows of a many-row job have come to so far: values, errors, times, and how many ended in this run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable

from flownb.wire import codec
from flownb.wire.many_rows import RowsValue
from flownb.wire.outcomes import Outcome

TRACEBACK_CHARACTERS = 4_000  # of a row's traceback that are stored


class RowResults:
    """One a run of a many-row job."""

    def __init__(self, value: RowsValue, texts: list[str | None]) -> None:
        self.value = value
        self.texts = texts  #: of the values, as JSON; "null" of a failed row, None of one that is to be run
        self.opened: list[int] = list(range(len(texts)))  #: positions of the rows that this run has to run
        self.done = self.failed = 0  #: rows that ended for good in this run
        self.saved = (0, 0)  #: of these, those that are counted already

    @classmethod
    def empty(cls, rows: int) -> RowResults:
        """Nothing has run."""
        return cls(RowsValue(seconds=[0.0] * rows), [None] * rows)

    @classmethod
    def read(cls, part: str) -> RowResults:
        """What an earlier run has saved."""
        value = RowsValue.read(part)
        return cls(value, [codec.encode(each, "value") for each in value.values])

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
    def ended(self) -> tuple[int, int]:
        """The rows done and failed by this run that are not counted yet, as an outcome's ``rows`` say them."""
        return self.done - self.saved[0], self.failed - self.saved[1]

    def reopen(self, positions: Iterable[int]) -> None:
        """These rows are to be run, and no others."""
        self.opened = list(positions)
        for position in positions:
            self.texts[position] = None

    def note_value(self, position: int, text: str, seconds: float, attempts_made: int) -> None:
        """A row has returned a value with this text."""
        if self.value.errors:
            self.value.errors.pop(position, None)
        if attempts_made:
            self.value.attempts[position] = attempts_made + 1
        self.value.seconds[position] = round(seconds, 3)
        self.done += 1
        self.texts[position] = text  # last: whoever sees that it has ended sees all of its end

    def note_error(self, position: int, outcome: Outcome, seconds: float, attempts_made: int) -> None:
        """A row has failed, with what this would be for a job of its own."""
        trace = json.loads(outcome.stacktrace or "[]")[-1:] or [""]
        self.value.errors[position] = {
            "error": outcome.reason,
            "attempts": attempts_made + 1,
            "traceback": trace[0][-TRACEBACK_CHARACTERS:],
            **({"why": outcome.why} if outcome.why else {}),
        }
        self.value.seconds[position] = round(seconds, 3)
        if outcome.kind != "retry":
            self.failed += 1
        self.texts[position] = "null"

    def cut(self, position: int, rows_a_job: int) -> None:
        """Keep the rows before `position`; those behind go on in jobs of `rows_a_job` each.

        Rows may end in another thread meanwhile: the lists stay the same ones.
        """
        self.value.rest = rows_a_job
        del self.texts[position:], self.value.seconds[position:]
        self.opened = [each for each in self.opened if each < position]

    def text(self, open: list[int] | None) -> str:
        """Return the results as JSON, with these rows still to be run."""
        return dataclasses.replace(self.value, open=open).text([text or "null" for text in self.texts])

    def so_far(self, to_retry: list[int]) -> tuple[str, int, int]:
        """Return the results as JSON, and how many rows this run has done and failed for good in it.

        Rows may end in another thread meanwhile. Those to be retried are open, and so is what has not ended.
        """
        texts, errors = list(self.texts), dict(self.value.errors)
        open = sorted({*to_retry, *(n for n in self.opened if texts[n] is None)})
        ended = set(self.opened).difference(open)
        failed = len(ended & errors.keys())
        value = dataclasses.replace(self.value, errors=errors, open=open)
        return value.text([text or "null" for text in texts]), len(ended) - failed, failed

    def summary(self, rows: int) -> str:
        """Return the reason for which the job as a whole fails."""
        first = self.value.errors[min(self.value.errors)]["error"]
        return f"{len(self.value.errors)} of {rows} rows failed, the first with {first}"
