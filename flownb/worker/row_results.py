"""What the rows of a many-row job have come to so far: values, errors, times, and how many ended in this run."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from flownb.errors import FlowError, UnrecoverableError
from flownb.wire import codec
from flownb.wire.many_rows import RowsValue
from flownb.wire.outcomes import Outcome

TRACEBACK_CHARACTERS = 4_000  # of a row's traceback that are stored


class RowResults:
    """One a run of a many-row job; written by the thread that runs it."""

    def __init__(self, value: RowsValue, texts: list[str]) -> None:
        self.value = value
        self.texts = texts  #: of the values, as JSON; "null" for a row without one
        self.new_characters = 0  #: that this run has added to them
        self.done = self.failed = 0  #: rows that ended for good in this run

    @classmethod
    def empty(cls, rows: int) -> RowResults:
        """Nothing has run."""
        return cls(RowsValue(seconds=[0.0] * rows), ["null"] * rows)

    @classmethod
    def read(cls, part: str) -> RowResults:
        """What an earlier run has saved."""
        value = RowsValue.read(part)
        return cls(value, [codec.encode(each, "value") for each in value.values])

    @property
    def ended(self) -> tuple[int, int]:
        """The rows done and failed by this run, as an outcome's ``rows`` say them."""
        return self.done, self.failed

    def note_value(self, position: int, value: Any, attempts_made: int) -> None:
        """A row has returned. Raises UnrecoverableError when JSON cannot hold the value."""
        try:
            self.texts[position] = codec.encode(value, "the returned value", nan="null")
        except FlowError as error:
            raise UnrecoverableError(str(error)) from None
        self.new_characters += len(self.texts[position])
        self.value.errors.pop(position, None)
        if attempts_made:
            self.value.attempts[position] = attempts_made + 1
        self.done += 1

    def note_error(self, position: int, outcome: Outcome, attempts_made: int) -> None:
        """A row has failed, with what this would be for a job of its own."""
        trace = json.loads(outcome.stacktrace or "[]")[-1:] or [""]
        self.value.errors[position] = {
            "error": outcome.reason,
            "attempts": attempts_made + 1,
            "traceback": trace[0][-TRACEBACK_CHARACTERS:],
            **({"why": outcome.why} if outcome.why else {}),
        }
        if outcome.kind != "retry":
            self.failed += 1

    def cut(self, position: int, rows_a_job: int) -> None:
        """Keep the rows before `position`; those behind go on in jobs of `rows_a_job` each."""
        self.value.rest = rows_a_job
        self.texts, self.value.seconds = self.texts[:position], self.value.seconds[:position]

    def text(self, open: list[int] | None) -> str:
        """Return the results as JSON, with these rows still to be run."""
        return dataclasses.replace(self.value, open=open).text(self.texts)

    def summary(self, rows: int) -> str:
        """Return the reason for which the job as a whole fails."""
        first = self.value.errors[min(self.value.errors)]["error"]
        return f"{len(self.value.errors)} of {rows} rows failed, the first with {first}"
