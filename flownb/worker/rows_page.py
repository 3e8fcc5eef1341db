"""Memory that a worker shares with a job process: which row has begun there, which is the last, how each has ended.

What stands in it survives the process, so a crash is charged to the row that ran and costs no other row its value.
Nothing here waits or asks the operating system while rows run; a row costs about half a microsecond more.
"""

from __future__ import annotations

import json
import mmap
import os
import time
import weakref
from collections.abc import Sequence

from flownb.wire.amounts import Amounts
from flownb.wire.outcomes import Outcome
from flownb.worker.shared_file import open_shared_file

# Words: rows that have begun; rows that may begin; bytes of the file that are written.
_BEGUN, _LIMIT, _END = range(3)
_WORD = 8  # bytes
_HEADER = 3 * _WORD
_FIRST_SIZE = 1 << 16  # bytes of the file; it grows as rows return more
PRINTED = ">"  # before a list of what the row has printed whose end follows
SPENT = "$"  # before what the row has spent whose end, or step, follows
STEP = "+"  # before what a step has returned that is not the row's last one
MARKS = "@!"  # before what a line says besides a value's text: the row's milliseconds, an outcome
_LARGEST_KEPT = 1 << 20  # bytes that the file keeps from one job to the next
SETTLE_SECONDS = 0.002  # far longer than a write of one processor takes to be seen by another


class RowsPage:
    """The worker's end. A row is named by its place among those that were sent, from 0."""

    def __init__(self) -> None:
        self.fd = open_shared_file("flownb-rows", _FIRST_SIZE)  #: the process inherits it
        weakref.finalize(self, os.close, self.fd)
        self._map = mmap.mmap(self.fd, _HEADER)
        self._words = memoryview(self._map).cast("q")
        self._read = _HEADER  # bytes of the file that `ended` has returned

    def begin(self, rows: int) -> None:
        """Make ready for so many rows; no process is at work in the memory."""
        self._words[_BEGUN], self._words[_LIMIT], self._words[_END] = 0, rows, _HEADER
        self._read = _HEADER

    def begun(self) -> int:
        """Return how many rows have begun."""
        return min(self._words[_BEGUN], self._words[_LIMIT])

    def left(self) -> int:
        """Return how many rows may still begin."""
        return max(self._words[_LIMIT] - self._words[_BEGUN], 0)

    def stop_before_rest(self) -> int | None:
        """Let no further row begin; return how many have begun, or None where that cannot be said now.

        The process first writes that a row begins, then looks whether it may. So where the new limit has had time to
        be seen, and the process has not passed it, it never will. Where it has, it stops there or takes no notice.
        """
        before, limit = self._words[_LIMIT], self._words[_BEGUN]
        self._words[_LIMIT] = limit
        time.sleep(SETTLE_SECONDS)
        if self._words[_BEGUN] <= limit:
            return limit
        self._words[_LIMIT] = before
        return None

    def ended(self) -> list[str]:
        """Return how rows have ended since this was asked last, in order, each as `line_of` has written it."""
        end = self._words[_END]
        text = os.pread(self.fd, end - self._read, self._read).decode()
        self._read = end
        return text.split("\n")[:-1]


def line_of(end: str | Outcome, ms: int) -> str:
    """Return the line that says how a row has ended: the value's JSON text mostly, which begins with neither mark.

    >>> line_of('{"a":1}', 0), line_of("7", 1200)
    ('{"a":1}', '@1200 7')
    """
    text = end if type(end) is str else f"!{json.dumps(end)}"
    return f"@{ms} {text}" if ms else text


def read_line(line: str) -> tuple[str | Outcome, float]:
    """Return what a line says: the end of a row, as `RowCalls.call` returns it, and its seconds.

    >>> read_line("@1200 7")
    ('7', 1.2)
    """
    ms = "0"
    if line[0] == "@":
        ms, _, line = line[1:].partition(" ")
    return Outcome(*json.loads(line[1:])) if line[0] == "!" else line, int(ms) / 1000


class RowsInPage:
    """The job process's end."""

    def __init__(self, fd: int) -> None:
        if os.fstat(fd).st_size > _LARGEST_KEPT:
            os.ftruncate(fd, _FIRST_SIZE)
        self._fd = fd
        self._open()
        self._at = _HEADER

    def _open(self) -> None:
        self._map = mmap.mmap(self._fd, 0)
        self._words = memoryview(self._map)[:_HEADER].cast("q")
        self._size = len(self._map)

    def may_begin(self, row: int) -> bool:
        """Write down that a row begins, and say whether it may."""
        self._words[_BEGUN] = row + 1
        return self._words[_LIMIT] > row

    def note(
        self, end: str | Outcome, seconds: float, printed: Sequence[str] = (), spent: Amounts | None = None
    ) -> None:
        """Write down how the row that began last has ended, what it has printed, and what it has spent."""
        ms = int(seconds * 1000 + 0.5)
        text = end + "\n" if not ms and type(end) is str else line_of(end, ms) + "\n"
        if spent:
            text = f"{SPENT}{json.dumps(spent)}\n{text}"
        self._write((f"{PRINTED}{json.dumps(printed)}\n{text}" if printed else text).encode())

    def note_step(self, text: str, seconds: float, spent: Amounts) -> None:
        """Write down that a step of the row that began last has ended, what it has spent, and another one follows."""
        line = f"{STEP}{line_of(text, int(seconds * 1000 + 0.5))}\n"
        self._write((f"{SPENT}{json.dumps(spent)}\n{line}" if spent else line).encode())

    def _write(self, line: bytes) -> None:
        at = self._at
        self._at = to = at + len(line)
        if to > self._size:
            os.ftruncate(self._fd, 2 * to)
            self._open()
        self._map[at:to] = line
        self._words[_END] = to
