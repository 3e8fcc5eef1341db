"""Where the rows of a many-row job run: in the slot's thread or its process. Rows that have not begun can be taken."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from flownb.errors import JobCrashed
from flownb.wire.amounts import NOTHING, Amounts
from flownb.wire.outcomes import Outcome
from flownb.worker.calls_of_rows import CallsOfRows
from flownb.worker.hosts import GivenUp
from flownb.worker.row_calls import MOST_NEW_CHARACTERS, RowCalls
from flownb.worker.rows_page import MARKS, PRINTED, SPENT, STEP, read_line
from flownb.worker.steps_so_far import NoteStep, RowSoFar, StepsSoFar

if TYPE_CHECKING:
    from flownb.worker.job_process import JobProcess
    from flownb.worker.packed_job import PackedJob

End = str | Outcome  # what `RowCalls.call` returns
# A row, by its position in the job, has ended, after so many seconds, and has spent this:
Note = Callable[[int, End, float, Amounts], None]


class RowsToRun(NamedTuple):
    """What a runner is given."""

    positions: Sequence[int]  #: in the job
    note: Note
    steps: StepsSoFar | None  #: of rows with several: which are done
    note_step: NoteStep  #: called for these alone
    spent: Mapping[int, Amounts]  #: what rows have spent in former runs
    #: what all of them have spent in this one, also in processes that have died
    spent_so_far: Callable[[], Amounts]

    def so_far(self, positions: Sequence[int]) -> Mapping[int, RowSoFar]:
        """Return what the steps of these rows have come to."""
        return {} if self.steps is None else self.steps.rows(positions)


class RowRunner:
    """Runs the rows of one run of a job, in order; the base of those below.

    The slot's thread calls `begin` and `run`. Under the lock, another thread calls the others while that runs.
    """

    has_crashed = False  #: has a process died that ran rows? What these have spent the server alone knows
    notes_at_once = False  #: is a step noted where it runs, as it ends, and not when another process tells?

    def __init__(self) -> None:
        #: for what `run` changes, and `take_rest` and `note_ended` change as well
        self.lock = threading.Lock()

    def begin(self, rows: RowsToRun) -> None:
        """Make ready to run these rows."""
        raise NotImplementedError

    async def run(self) -> Outcome | None:
        """Run rows until none is left, or much was returned; return the outcome with which the job's run ends early.

        What `RowCalls.calling` raises ends the run, and so does `JobCrashed` where no row is to blame.
        """
        raise NotImplementedError

    def left(self) -> int:
        """Return how many rows have not begun."""
        raise NotImplementedError

    def take_rest(self) -> list[int]:
        """Take the rows that have not begun: they do not run here. No rows where that cannot be known now."""
        raise NotImplementedError

    def note_ended(self) -> None:
        """Note which rows have ended since this was called last."""


class RowsInThread(RowRunner):
    """Runs rows in the slot's own thread, or in the loop; each is noted as it ends."""

    notes_at_once = True

    def __init__(self, calls: RowCalls, note_row: Callable[[int], None]) -> None:
        super().__init__()
        self._calls = calls
        self._note_row = note_row  # that begins

    def begin(self, rows: RowsToRun) -> None:
        # The slot takes from the head, whoever takes the rest from the end: no lock.
        self._left = deque(rows.positions)
        self._note = rows.note
        self._calls.begin(rows.so_far(rows.positions), rows.note_step, rows.spent)

    async def run(self) -> Outcome | None:
        take, call, note, clock = self._left.popleft, self._calls.calling, self._note, time.monotonic
        note_row, account = self._note_row, self._calls.account
        began, characters = clock(), 0
        while characters < MOST_NEW_CHARACTERS:
            try:
                position = take()
            except IndexError:
                break
            note_row(position)
            end = await call(position)
            if isinstance(end, str):
                characters += len(end)
            elif end.kind == "returned":
                return end
            now = clock()
            note(position, end, now - began, account.take_row() if account.of_row else NOTHING)
            began = now
        return None

    def left(self) -> int:
        return len(self._left)

    def take_rest(self) -> list[int]:
        rest: list[int] = []
        while True:
            try:
                rest.append(self._left.pop())
            except IndexError:
                return rest[::-1]


class CallsInThread(RowRunner):
    """Calls a task that takes many rows at a time in the slot's own thread. What begins, begins for a whole call."""

    def __init__(self, calls: CallsOfRows, size: int) -> None:
        super().__init__()
        self._calls = calls
        self._size = size

    def begin(self, rows: RowsToRun) -> None:
        self._positions = list(rows.positions)
        # Where calls begin that have not: the slot takes from the head, whoever takes the rest from the end.
        self._starts = deque(range(0, len(self._positions), self._size))
        self._end = len(self._positions)
        self._note = rows.note
        self._calls.begin(rows.so_far(rows.positions), rows.note_step, rows.spent)

    async def run(self) -> Outcome | None:
        characters = 0
        while characters < MOST_NEW_CHARACTERS:
            try:
                start = self._starts.popleft()
            except IndexError:
                break
            for position, end, seconds in self._calls.call_each(self._positions[start : start + self._size]):
                if isinstance(end, str):
                    characters += len(end)
                elif end.kind == "returned":
                    return end
                self._note(position, end, seconds, self._calls.take_spent(position))
        return None

    def left(self) -> int:
        try:
            return self._end - self._starts[0]
        except IndexError:
            return 0

    def take_rest(self) -> list[int]:
        first = self._end
        while True:
            try:
                first = self._starts.pop()
            except IndexError:
                rest, self._end = self._positions[first : self._end], first
                return rest


class RowsInProcess(RowRunner):
    """Runs rows in a slot's process. When that dies, the row that ran has failed, and the others go on in a new one."""

    def __init__(
        self,
        process: JobProcess,
        pack: Callable[[Sequence[int], Mapping[int, RowSoFar], Mapping[int, Amounts], Amounts], PackedJob],
        outcome_of_crash: Callable[[JobCrashed, RowSoFar | None], Outcome],
    ) -> None:
        super().__init__()
        self._process = process
        self._page = process.page
        self._pack = pack  # the job, with the positions of the rows to run, and what their steps have come to
        self._outcome_of_crash = outcome_of_crash
        self.printed: list[str] = []  #: by the rows, under the lock

    def begin(self, rows: RowsToRun) -> None:
        self._rows = rows
        self._positions = list(rows.positions)  # of the rows that were sent last, or are to be sent
        self._ended = 0  # so many of them have ended
        self._is_sent = False

    async def run(self) -> Outcome | None:
        while self.left():
            try:
                return self._run_in_process()
            except JobCrashed as error:
                if self._process.is_closed:  # it was killed: whoever did that says what becomes of the rows
                    raise GivenUp from None
                with self.lock:
                    self._blame(error)
                if self.left():
                    self._process.prepare()
        return None

    def _run_in_process(self) -> Outcome | None:
        spent = self._rows.spent_so_far()
        with self.lock:
            self._positions = self._positions[self._ended :]
            self._ended = 0
            self._page.begin(len(self._positions))
            self._is_sent = True
        try:
            so_far = self._rows.so_far(self._positions)
            return self._process.run_rows(self._pack(self._positions, so_far, self._rows.spent, spent))
        finally:
            with self.lock:
                self.note_ended()
                self._is_sent = False

    def _blame(self, error: JobCrashed) -> None:
        """The rows that ran have failed; where none did, nor any before, raise the error for the whole job."""
        begun = self._page.begun()
        if begun <= self._ended == 0:
            raise error
        self.has_crashed = True
        steps = self._rows.steps
        for position in self._positions[self._ended : begun]:
            so_far = None if steps is None else steps.row(position)
            self._rows.note(position, self._outcome_of_crash(error, so_far), 0.0, NOTHING)
        self._ended = max(self._ended, begun)

    def left(self) -> int:
        return self._page.left() if self._is_sent else len(self._positions) - self._ended

    def take_rest(self) -> list[int]:
        stop = self._page.stop_before_rest() if self._is_sent else self._ended
        if stop is None:
            return []
        rest = self._positions[stop:]
        del self._positions[stop:]
        return rest

    def note_ended(self) -> None:
        if self._is_sent:
            note, positions, n, spent = self._rows.note, self._positions, self._ended, NOTHING
            for line in self._page.ended():
                if line[0] == PRINTED:
                    self.printed += json.loads(line[1:])
                elif line[0] == SPENT:  # by the step or the row of the next line
                    spent = json.loads(line[1:])
                elif line[0] == STEP:
                    text, seconds = read_line(line[1:])
                    self._rows.note_step(positions[n], str(text), seconds, spent)
                    spent = NOTHING
                else:
                    end, seconds = read_line(line) if line[0] in MARKS else (line, 0.0)
                    note(positions[n], end, seconds, spent)
                    n, spent = n + 1, NOTHING
            self._ended = n
