"""Where the rows of a many-row job run: in the slot's thread or its process. Rows that have not begun can be taken."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flownb.errors import JobCrashed
from flownb.wire.outcomes import Outcome
from flownb.worker.row_calls import MOST_NEW_CHARACTERS, RowCalls
from flownb.worker.rows_page import MARKS, PRINTED, read_line

if TYPE_CHECKING:
    from flownb.worker.job_process import JobProcess
    from flownb.worker.packed_job import PackedJob


End = str | Outcome  # what `RowCalls.call` returns
Note = Callable[
    [int, End, float], None
]  # a row, by its position in the job, has ended, after so many seconds


class RowRunner:
    """Runs the rows of one run of a job, in order; the base of those below.

    The slot's thread calls `begin` and `run`. Under the lock, another thread calls the others while that runs.
    """

    def __init__(self) -> None:
        self.lock = (
            threading.Lock()
        )  # for what changes in `run` and is changed by `take_rest` and `note_ended`

    def begin(self, positions: Sequence[int], note: Note) -> None:
        """Make ready to run the rows at these positions."""
        raise NotImplementedError

    def run(self) -> Outcome | None:
        """Run rows until none is left, or much was returned; return the outcome with which the job's run ends early.

        What `RowCalls.call` raises ends the run, and so does `JobCrashed` where no row is to blame.
        """
        raise NotImplementedError

    def left(self) -> int:
        """Return how many rows have not begun."""
        raise NotImplementedError

    def take_rest(self) -> list[int]:
        """Take the rows that have not begun: they do not run here. Returns none where that cannot be known now."""
        raise NotImplementedError

    def note_ended(self) -> None:
        """Note which rows have ended since this was called last."""


class RowsInThread(RowRunner):
    """Runs rows in the slot's own thread; each is noted as it ends."""

    def __init__(self, calls: RowCalls, note_row: Callable[[int], None]) -> None:
        super().__init__()
        self._calls = calls
        self._note_row = note_row  # that begins

    def begin(self, positions: Sequence[int], note: Note) -> None:
        self._left = deque(
            positions
        )  # the slot takes from the head, whoever takes the rest from the end: no lock
        self._note = note

    def run(self) -> Outcome | None:
        take, call, note, clock = self._left.popleft, self._calls.call, self._note, time.monotonic
        note_row = self._note_row
        began, characters = clock(), 0
        while characters < MOST_NEW_CHARACTERS:
            try:
                position = take()
            except IndexError:
                break
            note_row(position)
            end = call(position)
            if isinstance(end, str):
                characters += len(end)
            elif end.kind == "returned":
                return end
            now = clock()
            note(position, end, now - began)
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


class RowsInProcess(RowRunner):
    """Runs rows in a slot's process. When that dies, the row that ran has failed, and the others go on in a new one."""

    def __init__(
        self,
        process: JobProcess,
        pack: Callable[[Sequence[int]], PackedJob],
        outcome_of_crash: Callable[[JobCrashed], Outcome],
    ) -> None:
        super().__init__()
        self._process = process
        self._page = process.page
        self._pack = pack  # the job, with the positions of the rows to run
        self._outcome_of_crash = outcome_of_crash
        self.printed: list[str] = []  #: by the rows, under the lock

    def begin(self, positions: Sequence[int], note: Note) -> None:
        self._positions = list(positions)  # of the rows that were sent last, or are to be sent
        self._ended = 0  # so many of them have ended
        self._is_sent = False
        self._note = note

    def run(self) -> Outcome | None:
        while self.left():
            try:
                return self._run_in_process()
            except JobCrashed as error:
                with self.lock:
                    self._blame(error)
                if self.left():
                    self._process.prepare()
        return None

    def _run_in_process(self) -> Outcome | None:
        with self.lock:
            self._positions = self._positions[self._ended :]
            self._ended = 0
            self._page.begin(len(self._positions))
            self._is_sent = True
        try:
            return self._process.run_rows(self._pack(self._positions))
        finally:
            with self.lock:
                self.note_ended()
                self._is_sent = False

    def _blame(self, error: JobCrashed) -> None:
        """The row that ran has failed; where none did, nor any before it, raise the error for the whole job."""
        if self._ended < self._page.begun():
            self._note(self._positions[self._ended], self._outcome_of_crash(error), 0.0)
            self._ended += 1
        elif not self._ended:
            raise error

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
            note, positions, n = self._note, self._positions, self._ended
            for line in self._page.ended():
                if line[0] == PRINTED:
                    self.printed += json.loads(line[1:])
                    continue
                if line[0] in MARKS:
                    note(positions[n], *read_line(line))
                else:
                    note(positions[n], line, 0.0)
                n += 1
            self._ended = n
