"""Calls a step that takes many rows at a time: columns of the rows, and what the steps before have returned of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flownb.tasks.row_values import StepParameters
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.calls_of_rows import CallsOfRows, End
from flownb.worker.hosts import Host
from flownb.worker.step_calls import RowsWithSteps
from flownb.worker.steps_so_far import NOT_BEGUN
from flownb.worker.work import Work


class StepOfRows(RowsWithSteps, CallsOfRows):
    """The calls of one run of a job whose rows have come to such a step, in the process that makes them."""

    def __init__(self, taken: Taken, work: Work, store: Store, host: Host) -> None:
        super().__init__(taken, work, store, host)
        self._parameters = StepParameters.of(self._task)

    def call_each(self, positions: Sequence[int]) -> Iterator[End]:
        """As of any task; the text of a row's end has what all of its steps have returned so far."""
        is_last, write_down = self._work.last_step == len(self._work.names), None
        for position, end, seconds in super().call_each(positions):
            if not isinstance(end, str):
                yield position, end, seconds
                continue
            if not is_last:
                write_down = self._note_step(position, end, seconds, self.take_spent(position)) or write_down
            before = self._so_far.get(position, NOT_BEGUN).texts
            yield position, f"[{','.join([*before, end])}]", seconds
        if write_down:  # once for the call
            write_down()

    def _data(self, position: int) -> Any:
        returned = self._so_far.get(position, NOT_BEGUN).texts
        return self._parameters.filled(self.row_at(position, returned))


def calls_of_work(taken: Taken, work: Work, *given: Any) -> CallsOfRows:
    """Return what makes the calls of a job whose task takes many rows at a time."""
    return (StepOfRows if work.steps else CallsOfRows)(taken, work, *given)
