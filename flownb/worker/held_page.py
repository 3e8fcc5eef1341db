"""Memory that a process shares with its lease keeper: which jobs its workers hold, and which of these have begun.

What stands in it survives the process. So a death is charged to what had begun, and to nothing else; and where a
function holds the interpreter, the keeper gives back what waits behind it, and tells of what has begun. Writing costs a
job about a microsecond.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from flownb.worker.shared_file import open_shared_file

ENTRIES = 8192  # that fit; a job beyond them is held all the same, and charged with no death
ENTRY_BYTES = 256  # of a text that is longer, the end is kept
_WORD = 8  # bytes
_WORDS = ENTRY_BYTES // _WORD
_TEXT = 8 * _WORD  # where an entry's text begins
MOST_TEXT = ENTRY_BYTES - _TEXT  # bytes
_STATE, _VALUE, _OWNER, _TAKEN, _SINCE, _TIMEOUT, _UNTOLD, _LENGTH = range(8)  # words of an entry
# Of a worker's entry, in place of what those of jobs say: the numbers of the call that its pump makes, of the last one
# whose jobs are in the page, and of one whose jobs the keeper has given back.
_ASKED, _HANDED, _CALL_TAKEN = _SINCE, _TIMEOUT, _OWNER
_AFTER_STATE = struct.Struct(f"7q{MOST_TEXT}s")  # an entry from its value on
_USED = _VALUE  # word of entry 0: entries that are, or were, in use
SETTLE_SECONDS = 0.002  # far longer than a write of one processor takes to be seen by another


class State(IntEnum):
    """What an entry says."""

    FREE = 0
    WORKER = 1  #: its value: when the worker last looked at its jobs (ns)
    WAITING = 2  #: a job whose function was not called
    BEGUN = 3  #: its value: the row that runs, or -1
    ELSEWHERE = 4  #: begun, in another process
    ENDED = 5


# As plain numbers, which are written in a third of the time: each job writes four of them.
_FREE, _WORKER, _WAITING, _BEGUN, _ELSEWHERE, _ENDED = map(int, State)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, as the keeper reads it."""

    number: int
    state: State
    value: int
    worker: int  #: the entry of the worker that holds the job
    since: int  #: when a job has begun (ns)
    timeout: int  #: of a job (ms); 0: it has none
    is_taken: bool  #: the keeper has given the job back: it will not begin
    is_untold: bool  #: its worker has not told the server, as far as it knows, that the job has begun
    text: bytes  #: of a job, its start, as `name_of_start` has it; of a worker, what its locks begin with

    @property
    def runs(self) -> bool:
        """Was a job's function called, and has not returned yet?"""
        return self.state in (State.BEGUN, State.ELSEWHERE)

    @property
    def run(self) -> tuple[int, int]:
        """Return what tells a job's run from all others of its process: the entry, and when it has begun."""
        return self.number, self.since


class HeldPage:
    """One a process. The pumps take and free entries; a slot writes to that of the job it runs."""

    def __init__(self, fd: int | None = None) -> None:
        #: the keeper inherits it
        self.fd = open_shared_file("flownb-held", ENTRIES * ENTRY_BYTES) if fd is None else fd
        self._map = mmap.mmap(self.fd, ENTRIES * ENTRY_BYTES)
        self._words = memoryview(self._map).cast("q")
        # Pumps of several workers take from it and put back, the last one first: both are atomic.
        self._free = deque(range(1, ENTRIES))

    # ---- the process's end --------------------------------------------------------------------------

    def add_worker(self, token: str) -> int:
        """Return the entry of a worker that starts; its locks begin with `token`."""
        return self._take(_WORKER, time.monotonic_ns(), 0, 0, False, token.encode())

    def add_job(
        self, key: str, lock: str, worker: int, timeout: int | None, *, is_ahead: bool = False
    ) -> int:
        """Return the entry of a job that waits for a slot; -1 where there is none left.

        Of one that was taken ahead, the server has yet to be told that it has begun.
        """
        return self._take(_WAITING, -1, worker, timeout or 0, is_ahead, name_of_start(key, lock))

    def _take(self, state: int, value: int, owner: int, timeout: int, is_untold: bool, text: bytes) -> int:
        try:
            number = self._free.popleft()
        except IndexError:
            return -1
        words, start = self._words, number * ENTRY_BYTES
        if number >= words[_USED]:
            words[_USED] = number + 1
        _AFTER_STATE.pack_into(
            self._map, start + _WORD, value, owner, 0, 0, timeout, is_untold, len(text), text
        )
        words[number * _WORDS] = state  # last: who sees it sees all of the entry
        return number

    def free(self, number: int) -> None:
        """The job has ended, or the worker has."""
        if number >= 0:
            self._words[number * _WORDS] = _FREE
            self._free.appendleft(number)

    def beat(self, worker: int) -> None:
        """The worker looks at its jobs."""
        self._words[worker * _WORDS + _VALUE] = time.monotonic_ns()

    def begin_call(self, worker: int, call: int) -> None:
        """The worker asks the server for jobs."""
        self._words[worker * _WORDS + _ASKED] = call

    def end_call(self, worker: int, call: int) -> bool:
        """Write down that the jobs of a call are in the page, and say whether they may be handed out.

        The keeper writes that it takes them, then looks whether they are here: so one of the two sees the other.
        """
        words, at = self._words, worker * _WORDS
        words[at + _HANDED] = call
        return words[at + _CALL_TAKEN] != call

    def begin(self, number: int, worker: int, *, elsewhere: bool) -> int:
        """Write down that a job's function is called, and return when (monotonic ns); 0: it may not be.

        The keeper first writes that it takes what waits, then looks what does: so one of the two sees the other.
        """
        now = time.monotonic_ns()
        if number < 0:
            return now
        at, words = number * _WORDS, self._words
        words[at + _SINCE] = now
        words[at] = _ELSEWHERE if elsewhere else _BEGUN
        if not words[worker * _WORDS + _TAKEN] and not words[at + _TAKEN]:
            return now
        words[at] = _WAITING
        return 0

    def end(self, number: int) -> None:
        """The job's function has returned."""
        if number >= 0:
            self._words[number * _WORDS] = _ENDED

    def note_known(self, number: int) -> None:
        """The server knows that the job has begun."""
        if number >= 0:
            self._words[number * _WORDS + _UNTOLD] = 0

    def note_row(self, number: int, row: int) -> None:
        """A row of a many-row job begins, by its position in the job."""
        if number >= 0:
            self._words[number * _WORDS + _VALUE] = row

    # ---- the keeper's end ---------------------------------------------------------------------------

    def take_waiting(self, worker: int) -> list[Entry]:
        """Return the jobs of a worker that wait now; none of them will begin."""
        words = self._words
        words[worker * _WORDS + _TAKEN] = 1
        time.sleep(SETTLE_SECONDS)
        waiting = [
            one
            for one in self.entries()
            if one.state is State.WAITING and one.worker == worker and self._take_from_worker(one)
        ]
        words[worker * _WORDS + _TAKEN] = 0
        return waiting

    def open_call(self, worker: int) -> int | None:
        """Return the number of the call that a worker makes, if the jobs that it brings are not in the page yet."""
        words, at = self._words, worker * _WORDS
        return words[at + _ASKED] if words[at + _ASKED] > words[at + _HANDED] else None

    def take_call(self, worker: int, call: int) -> bool:
        """Take the jobs that a call has brought, unless they are in the page by now: none of them will begin."""
        words, at = self._words, worker * _WORDS
        words[at + _CALL_TAKEN] = call
        time.sleep(SETTLE_SECONDS)
        return words[at + _HANDED] < call

    def _take_from_worker(self, job: Entry) -> bool:
        """Write down that a job will not begin; say whether it is that job still.

        A worker that is slow, and not held up, may have freed the entry since, and given it to another job. That one
        would wait until the worker comes to it.
        """
        at = job.number * _WORDS
        self._words[at + _TAKEN] = 1
        is_the_same = self._words[at] == State.WAITING and self._text(at) == job.text
        if not is_the_same:
            self._words[at + _TAKEN] = 0
        return is_the_same

    def let_begin(self) -> None:
        """Let jobs of all workers begin: a keeper that died has perhaps not said so."""
        for number in range(1, self._words[_USED]):
            if self._words[number * _WORDS] == State.WORKER:
                self._words[number * _WORDS + _TAKEN] = 0

    def entries(self) -> list[Entry]:
        """Return all entries that are in use."""
        words = self._words
        return [self._entry(at, state) for at in self._places() if (state := words[at])]

    def workers(self) -> list[Entry]:
        """Return the entries of workers alone: the keeper looks at these ten times a second."""
        words = self._words
        return [self._entry(at, _WORKER) for at in self._places() if words[at] == _WORKER]

    def limited(self) -> list[Entry]:
        """Return the jobs that run in this process and have a timeout."""
        words = self._words
        return [
            self._entry(at, _BEGUN) for at in self._places() if words[at] == _BEGUN and words[at + _TIMEOUT]
        ]

    def _places(self) -> range:
        """Return the first words of all entries that are, or were, in use."""
        return range(_WORDS, self._words[_USED] * _WORDS, _WORDS)

    def _entry(self, at: int, state: int) -> Entry:
        words = self._words
        return Entry(
            number=at // _WORDS,
            state=State(state),
            value=words[at + _VALUE],
            worker=words[at + _OWNER],
            since=words[at + _SINCE],
            timeout=words[at + _TIMEOUT],
            is_taken=bool(words[at + _TAKEN]),
            is_untold=bool(words[at + _UNTOLD]),
            text=self._text(at),
        )

    def _text(self, at: int) -> bytes:
        start = at * _WORD + _TEXT
        return self._map[start : start + self._words[at + _LENGTH]]


def name_of_start(key: str, lock: str) -> bytes:
    """Return what an entry calls a job's start: a worker may take a job anew that was given back, with another lock."""
    return f"{key} {lock}".encode(errors="surrogateescape")[-MOST_TEXT:]
