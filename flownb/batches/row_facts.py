"""What is known of each row of a batch, as columns of numbers: views search, sort and count in them, not on the server.

A million rows take some twenty bytes each. What has ended is read once; the rest is read again, a piece at a time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flownb.batches.jobs_of_rows import Row
from flownb.batches.stored_batch import StoredBatch
from flownb.wire.amounts import Amounts
from flownb.wire.error_kinds import kind_of, type_and_message
from flownb.wire.records import COMPLETED, FAILED, REMOVED, STATES

UNREAD = -1  #: in each column: nobody has looked yet, or there is nothing
STATE_CODES: Mapping[str, int] = {state: code for code, state in enumerate((*STATES, REMOVED))}
STATE_NAMES = tuple(STATE_CODES)
_ENDED = np.array([STATE_CODES[COMPLETED], STATE_CODES[FAILED], STATE_CODES[REMOVED]], dtype=np.int8)
_PIECE = 500  # rows read at once: a few milliseconds
_MOST_NEW = 400  # of the rows that ended last, kept by their order

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Seconds = npt.NDArray[np.float32]


class RowFacts:
    """The rows of one batch by position: state, attempts, seconds, amounts, kind of the error. Any thread may ask."""

    def __init__(self, stored: StoredBatch) -> None:
        self._stored = stored
        self._lock = threading.RLock()
        # Below: written under the lock.
        self._is_whole = False
        self._next = 0  # the position from which rows that have not ended are read next
        self._seen_for: dict[str, int] | None = None  # what was counted when all had been looked at
        self._resize(0)
        # Positions of rows that are counted, where some are not: see `StoredRows.runs`.
        self._runs: Numbers | None = None
        self.kinds: list[str] = []  #: of errors, by their code
        self._codes: dict[str, int] = {}
        self._errors: list[str | None] = []  # of each kind its one text, None where they differ
        self.newest: deque[int] = deque(maxlen=_MOST_NEW)  #: positions of rows as they were seen to end

    def _resize(self, rows: int) -> None:
        self.state = np.full(rows, UNREAD, dtype=np.int8)
        self.attempts = np.full(rows, UNREAD, dtype=np.int16)
        self.seconds = np.full(rows, np.nan, dtype=np.float32)
        self.kind = np.full(rows, UNREAD, dtype=np.int16)
        #: seconds that each step of a row took last, a column a step; none where rows have one task
        self.step_seconds = [np.full(rows, np.nan, dtype=np.float32) for _ in self._stored.steps]
        #: by unit: what each row has spent, in parts (see `wire.amounts`)
        self.spent: dict[str, Numbers] = {}
        #: of that, what each step of a row has, a mapping a step
        self.step_spent: list[dict[str, Numbers]] = [{} for _ in self._stored.steps]

    def __len__(self) -> int:
        return len(self.state)

    @property
    def known(self) -> int:
        """How many rows were read at all."""
        return int(np.count_nonzero(self.state != UNREAD))

    # ---- reading -------------------------------------------------------------------------------------

    def refresh(self, seconds: float) -> bool:
        """Read rows that may have changed, for about so long; say whether all were looked at."""
        deadline = time.monotonic() + seconds
        with self._lock:
            counted = self._look_at_counts()
            if counted == self._seen_for:
                return True
            open, at = self._open_rows(), 0
            goes_on = True  # rows end about in the order of the frame: on at the front while some have
            while at < len(open):
                piece = open[at : at + _PIECE]
                has_ended = self._read(piece)
                at += len(piece)
                if not goes_on:
                    self._next = int(piece[-1]) + 1
                elif not has_ended:
                    goes_on, at = False, max(at, int(np.searchsorted(open, self._next)))
                if time.monotonic() > deadline:
                    return False
            self._next, self._seen_for = 0, counted
            return True

    def _look_at_counts(self) -> dict[str, int]:
        """What the server counts by state. Where it counts fewer ends than were seen, rows run again: they are read."""
        if not self._is_whole:
            self._is_whole = self._stored.is_whole()
            if len(self) != len(self._stored.rows):
                self._resize(len(self._stored.rows))
                runs = self._stored.rows.runs
                self._runs = np.array(runs, dtype=np.int64) if len(runs) < len(self) else None
        counted = dict(self._stored.row_states())
        for state in (FAILED, COMPLETED):
            seen = self.rows_in(state)
            if np.count_nonzero(seen if self._runs is None else seen[self._runs]) > counted.get(state, 0):
                self.state[seen] = UNREAD
                self._seen_for = (
                    None  # the same may be counted as before: jobs, where other programs' workers had some
                )
        return counted

    def note(self, positions: Sequence[int], rows: Iterable[Row]) -> None:
        """Take over what somebody has read of these rows."""
        with self._lock:
            self._note(np.asarray(positions, dtype=np.int64), list(rows))

    def _open_rows(self) -> Numbers:
        is_open = np.ones(len(self), dtype=np.bool_)
        for code in _ENDED:
            is_open &= self.state != code
        return np.flatnonzero(is_open)

    def _read(self, positions: Numbers) -> bool:
        """Read these rows; say whether any has ended."""
        return self._note(positions, self._stored.rows.read(positions.tolist()))

    def _note(self, positions: Numbers, rows: Sequence[Row]) -> bool:
        """Write the columns at these positions; say whether any of these rows has just ended.

        Each column is written at once: a number at a time takes several times as long.
        """
        states = np.array([STATE_CODES.get(row.state, UNREAD) for row in rows], dtype=np.int8)
        has_just_ended = np.isin(states, _ENDED) & (states != self.state[positions])
        self.newest.extend(positions[has_just_ended].tolist())
        self.state[positions] = states
        self.attempts[positions] = [UNREAD if row.attempts is None else row.attempts for row in rows]
        self.seconds[positions] = [np.nan if row.seconds is None else row.seconds for row in rows]
        self.kind[positions] = [self._code_of(row.error) if row.state == FAILED else UNREAD for row in rows]
        for step, column in enumerate(self.step_seconds):
            column[positions] = [_seconds_of_step(row, step) for row in rows]
        self._note_spent(self.spent, positions, [row.spent or {} for row in rows])
        for step, columns in enumerate(self.step_spent):
            spent = [row.step_spent[step] if step < len(row.step_spent) else {} for row in rows]
            self._note_spent(columns, positions, spent)
        return bool(has_just_ended.any())

    def _note_spent(self, columns: dict[str, Numbers], positions: Numbers, spent: Sequence[Amounts]) -> None:
        for unit in set().union(*spent) - columns.keys():
            columns[unit] = np.zeros(len(self), dtype=np.int64)
        for unit, column in columns.items():
            column[positions] = [one.get(unit, 0) for one in spent]

    def _code_of(self, error: str | None) -> int:
        kind = kind_of(*type_and_message(error)) or "no message"
        if kind not in self._codes:
            if len(self.kinds) >= np.iinfo(np.int16).max:
                return self._codes[self.kinds[0]]
            self._codes[kind] = len(self.kinds)
            self.kinds.append(kind)
            self._errors.append(error)
        code = self._codes[kind]
        if self._errors[code] != error:
            self._errors[code] = None
        return code

    # ---- asking --------------------------------------------------------------------------------------

    def rows_in(self, state: str) -> Mask:
        """Which rows are in this state, as far as they were read."""
        return np.asarray(self.state == STATE_CODES.get(state, UNREAD - 1))

    def error_of_all(self, kind: str) -> str | None:
        """The text that all errors of a kind have, as far as they were read; None where they differ."""
        return self._errors[self._codes[kind]]

    def failures(self) -> list[tuple[str, Numbers]]:
        """The kinds of errors, the most frequent first, each with the positions of its rows."""
        with self._lock:
            failed = np.flatnonzero(self.rows_in(FAILED))
            kinds = self.kind[failed]
            found = [(self.kinds[code], failed[kinds == code]) for code in np.unique(kinds) if code >= 0]
        return sorted(found, key=lambda item: -len(item[1]))


def _seconds_of_step(row: Row, step: int) -> float:
    """How long a step of a row took last; NaN where it is not known."""
    if step < len(row.step_ms):
        ms = row.step_ms[step]
        return np.nan if ms is None else ms / 1000
    # Nothing is stored of a row whose steps took no millisecond.
    return 0.0 if row.state == COMPLETED and not row.step_ms else np.nan
