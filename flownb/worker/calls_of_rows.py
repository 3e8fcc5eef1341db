"""Call a task for many rows of a job at a time; a call that fails for good is halved until the bad row is alone."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from time import monotonic
from typing import Any

from flownb import hooks
from flownb.api.job import Job
from flownb.errors import FlowError, JobElsewhere, RateLimitError
from flownb.tasks.binding import UnknownTask
from flownb.tasks.row_errors import RowErrors
from flownb.tasks.rows_as_arguments import call_with_rows
from flownb.tasks.setup import SetupFailed
from flownb.wire.amounts import Amounts, shared, total
from flownb.wire.outcomes import Outcome
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken
from flownb.worker.error_texts import reason_of, stacktrace_with
from flownb.worker.file_values import NoFolder
from flownb.worker.row_calls import RowCalls
from flownb.worker.run_outcomes import failed, held, outcome_of_error, rate_limited

#: of a row: its position; the JSON text of its value, or what its error means; its share of the call's seconds
End = tuple[int, str | Outcome, float]
# Why a call has failed that is not made again with half of its rows:
_OF_ALL_ROWS = frozenset({"cancelled", "crashed"})
_MOST_KNOWN = 1000  # flows whose index is remembered


class _UnfitValues(Exception):
    """What a call has returned is not one value a row: a fault of the function, not of its rows."""


class _RunEnds(Exception):
    """The job's run ends with this outcome: its queue is held, or the server away."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class CallsOfRows(RowCalls):
    """The calls of one run of a job whose task has a `batch_size`, in the process that makes them."""

    def __init__(self, taken: Taken, *given: Any) -> None:
        super().__init__(taken, *given)
        assert self._work.task is not None
        self._task = self._work.task
        self._index = _index_of(taken, self._store)
        self._spent: dict[int, dict[str, int]] = {}  # by position, of calls that have been made

    def call_each(self, positions: Sequence[int]) -> Iterator[End]:
        """Call the function for these rows; yield how each has ended, in their order.

        An outcome that is ``returned`` is one of the job, and the last. Raises as `RowCalls.call` does.
        """
        self.begin_rows(positions)
        try:
            yield from self._each(positions)
        except _RunEnds as ends:
            yield positions[0], ends.outcome, 0.0

    def _each(self, positions: Sequence[int]) -> Iterator[End]:
        job, began = self._job(self._row_record).holding({"rows": self.rows}), monotonic()

        def share() -> float:
            return (monotonic() - began) / len(positions)

        try:
            ends = self._ends(job, positions)
        except (UnknownTask, JobElsewhere, SetupFailed, _RunEnds):
            raise
        except NoFolder as error:
            raise _RunEnds(held(self._taken, error, self._store)) from None
        except RateLimitError as error:
            raise _RunEnds(rate_limited(self._taken, error, self._work.retry, job)) from None
        except _UnfitValues as error:
            yield from zip(positions, repeat(self._unfit(error)), repeat(share()), strict=False)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            yield from self._after(error, job, positions, share())
        else:
            yield from zip(positions, ends, repeat(share()), strict=False)

    def _unfit(self, error: _UnfitValues) -> Outcome:
        told = FlowError(*error.args)
        return failed(self._taken, reason_of(told), stacktrace_with(told, "[]", 1))

    def _after(self, error: BaseException, job: Job, positions: Sequence[int], share: float) -> Iterator[End]:
        """The call has failed: so have its rows, unless that is for good and may be the fault of one of them."""
        ended = self._end_by(error, job)
        if ended.kind != "failed" or ended.why in _OF_ALL_ROWS or len(positions) == 1:
            yield from zip(positions, repeat(ended), repeat(share), strict=False)
            return
        for half in halves(positions):
            self.rows = self.read_rows()  # the function may have changed what it got
            yield from self._each(half)

    def _end_by(self, error: BaseException, job: Job) -> Outcome:
        outcome = outcome_of_error(self._taken, error, self._work.retry, job)
        if outcome.kind == "returned":
            raise _RunEnds(outcome)
        return outcome

    def _ends(self, job: Job, positions: Sequence[int]) -> list[str | Outcome]:
        index = self._index[list(positions)]
        data = [self._data(position) for position in positions]
        try:
            returned = self._call(job, data, index, positions)
        except RowErrors as errors:
            return self._ends_around(errors, job, positions, index)
        return self._texts_of(returned, job, positions, index)

    def _data(self, position: int) -> Any:
        """What a row brings to the call."""
        return self.job(position).data

    def _call(self, job: Job, data: Sequence[Any], index: Any, positions: Sequence[int]) -> Any:
        spent = {row: total([self._spent_before.get(row, {}), self._spent.get(row, {})]) for row in positions}
        self.account.begin_rows(positions, spent)
        try:
            call = self._host.call
            end = call(self._task.is_async, call_with_rows, self._task, job, data, index)
            assert isinstance(end, tuple)  # in a slot's thread
            value, error = end
            if error is not None:
                raise error
            return value
        finally:
            if self.account.of_row:
                self._share_spent(positions)

    def _share_spent(self, positions: Sequence[int]) -> None:
        """What a call has spent its rows have spent, each an equal share; the first ones a part more, if need be."""
        shares = shared(self.account.take_row(), len(positions))
        for position, share in zip(positions, shares, strict=True):
            self._spent[position] = total([self._spent.get(position, {}), share])

    def take_spent(self, position: int) -> Amounts:
        """Return what a row has spent that has ended."""
        return self._spent.pop(position, {}) if self._spent else {}

    def _ends_around(
        self, errors: RowErrors, job: Job, positions: Sequence[int], index: Any
    ) -> list[str | Outcome]:
        """Some rows have failed, each with its own error; what becomes of them, and of the others."""
        bad = self._bad_rows(errors.errors, positions, index.tolist())
        others = [n for n, position in enumerate(positions) if position not in bad]
        ends: dict[int, str | Outcome] = {
            position: self._end_by(error, job) for position, error in bad.items()
        }
        rest = [positions[n] for n in others]
        if errors.values is not None:
            ends |= zip(rest, self._texts_of(errors.values, job, rest, index[others]), strict=True)
        elif rest:
            ends |= {position: end for position, end, _ in self._each(rest)}
        return [ends[position] for position in positions]

    def _bad_rows(
        self, errors: Mapping[Any, BaseException], positions: Sequence[int], labels: list[Any]
    ) -> dict[int, BaseException]:
        """Return the errors by position; raise one that is no row's, but says that the queue is to be held."""
        for error in errors.values():
            if isinstance(error, RateLimitError | JobElsewhere):
                raise error
        if unknown := [label for label in errors if label not in labels]:
            raise _UnfitValues(
                f"task {self._task.name} raised RowErrors for {unknown[0]!r}, no label of its rows"
            )
        return {
            position: errors[label]
            for position, label in zip(positions, labels, strict=True)
            if label in errors
        }

    def _texts_of(self, returned: Any, job: Job, positions: Sequence[int], index: Any) -> list[str | Outcome]:
        """Return the JSON texts of the values; a row whose value has none has failed."""
        try:
            values = hooks.calls.values_of(returned, index, self._task.name)
        except FlowError as error:
            raise _UnfitValues(str(error)) from None
        return [
            self._end_with(value, job, position) for value, position in zip(values, positions, strict=True)
        ]

    def _end_with(self, value: Any, job: Job, position: int) -> str | Outcome:
        try:
            return self._text_of(value, position)
        except NoFolder:
            raise
        except Exception as error:
            return self._end_by(error, job)


def calls_of(rows: Sequence[int], size: int, left: Sequence[Sequence[int]] = ()) -> list[list[int]]:
    """Return the calls in which rows are run: `left` are those of an earlier run, as far as their rows are open yet.

    >>> calls_of([0, 1, 2, 3, 4, 5], 2, left=[[4], [9]])
    [[4], [0, 1], [2, 3], [5]]
    """
    is_open = set(rows)
    kept = [some for call in left if (some := [row for row in call if row in is_open])]
    rest = sorted(is_open.difference(*kept))
    return kept + [rest[start : start + size] for start in range(0, len(rest), size)]


def halves(rows: Sequence[int]) -> list[Sequence[int]]:
    """Return the two halves of some rows.

    >>> halves([1, 2, 3])
    [[1], [2, 3]]
    """
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]]


def _index_of(taken: Taken, store: Store) -> Any:
    """The index of a job's rows."""
    record = taken.record
    bind = json.loads(record.bind or "{}")
    spec = None if record.flow is None else _spec_of(store, record.flow)
    return hooks.calls.index_of(spec, bind.get("labels"), bind["first"], bind["rows"])


_known: weakref.WeakKeyDictionary[Store, dict[str, Any]] = weakref.WeakKeyDictionary()


def _spec_of(store: Store, flow: str) -> Mapping[str, Any] | None:
    """What the record of a batch says of its index."""
    known = _known.setdefault(store, {})
    if flow not in known:
        if len(known) >= _MOST_KNOWN:
            known.clear()
        known[flow] = json.loads(store.flows.read(flow, "spec").get("spec", "{}")).get("index")
    found: Mapping[str, Any] | None = known[flow]
    return found
