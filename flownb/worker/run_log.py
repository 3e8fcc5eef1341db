"""What the function of one run prints and logs: kept as lines of the job's log, instead of in some cell's output."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from flownb.wire.log_lines import PrintedLine
from flownb.wire.secret_names import secrets_in, without

MOST_LINES = 1_000  # of one row in one attempt
MOST_CHARACTERS = 64_000  # of one row in one attempt
MOST_CHARACTERS_A_RUN = 500_000  # of all rows of one run of a job
CUT = (
    f"the rest is not kept: at most {MOST_LINES:,} lines and {MOST_CHARACTERS:,} characters a row, "
    f"and {MOST_CHARACTERS_A_RUN:,} characters a job"
)

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # and whatever else moves a terminal's cursor
_STEPS = re.compile(r"(\n|\x1b\[\d*A)")  # to the next line, or some lines up


class RunLog:
    """The lines of one run. They are written where the function runs: in one thread, or in the loop's.

    Most runs print nothing, and shall cost next to nothing: what lines need is made for the first one.
    """

    __slots__ = ("_lines", "attempt", "data", "row")

    def __init__(self, attempt: int, data: Callable[[], Any] = dict) -> None:
        self.attempt = attempt
        self.data = data  #: of the job, in which there may be secrets; asked once there is a line
        self.row: int | None = None  #: position in the batch of the row that runs, where rows share the job
        self._lines: _Lines | None = None

    def begin_row(self, row: int) -> None:
        """What follows is printed by this row."""
        if self._lines is not None:
            self._lines.end_row()
        self.row = row

    def write(self, stream: str, text: str) -> int:
        """Take what is printed, in any pieces; of a bar that is drawn over and over, the last state is kept."""
        self._of_run().write(stream, text)
        return len(text)

    def note(self, stream: str, line: str) -> None:
        """Keep a line, as long as there is room for more."""
        self._of_run().note(stream, line)

    def take(self) -> list[str]:
        """Return the lines since this was asked last."""
        return [] if self._lines is None else self._lines.take()

    def _of_run(self) -> _Lines:
        if self._lines is None:
            self._lines = _Lines(self)
        return self._lines


class _Lines:
    """What a run has printed, of which the last line of each stream may have no end yet."""

    def __init__(self, log: RunLog) -> None:
        self.lines: list[str] = []
        self._log = log
        self._secrets: list[str] | None = None
        self._begun: dict[str, str] = {}  # stream -> a line that has no end yet
        self._above: dict[str, int] = {}  # stream -> how many lines the cursor is above that line
        self._blank = 0  # of the lines, those at the end that say nothing
        self._lines_of_row = self._characters = self._characters_of_run = 0
        self._is_cut = False

    def end_row(self) -> None:
        """Let what follows be printed by another row."""
        if self._begun:
            self.end_lines()
        if self._lines_of_row:
            self._lines_of_row = self._characters = 0
            self._is_cut = self._characters_of_run >= MOST_CHARACTERS_A_RUN

    def write(self, stream: str, text: str) -> None:
        if "\x1b[" in text or stream in self._above:
            for part in _STEPS.split(text):
                self._step(stream, part)
        else:
            self._write(stream, text)

    def _step(self, stream: str, part: str) -> None:
        """Follow a cursor that goes up again: tqdm draws the bars of several threads below each other."""
        above = self._above.pop(stream, 0)
        if part.startswith("\x1b[") and part.endswith("A"):
            lines_up = int(part[2:-1] or 1)
            self._forget_blank(lines_up)
            if stream in self._begun:
                self._above[stream] = above + lines_up
        elif above and part in ("", "\n"):
            if above > len(part):
                self._above[stream] = above - len(part)
        else:
            if above and not part.startswith("\r"):
                self.end_lines()
            self._write(stream, part)

    def _forget_blank(self, most: int) -> None:
        """Forget the lines that were printed only to come further down."""
        blank = min(most, self._blank)
        del self.lines[len(self.lines) - blank :]
        self._lines_of_row -= blank
        self._blank -= blank

    def _write(self, stream: str, text: str) -> None:
        *whole, rest = (self._begun.pop(stream, "") + text).split("\n")
        for line in whole:
            self.note(stream, _drawn_last(line).rstrip("\r"))
        if rest:
            self._begun[stream] = _drawn_last(rest)[-MOST_CHARACTERS:]

    def note(self, stream: str, line: str) -> None:
        if self._is_cut:
            return
        line = _COLOURS.sub("", line)
        if not line.isascii():  # half a character would not pass the server
            line = line.encode("utf-8", "backslashreplace").decode()
        if self._secrets is None:
            self._secrets = secrets_in(self._log.data())
        if self._secrets:
            line = without(line, self._secrets)
        self._lines_of_row += 1
        self._characters += len(line)
        self._characters_of_run += len(line)
        if (
            self._lines_of_row > MOST_LINES
            or self._characters > MOST_CHARACTERS
            or self._characters_of_run > MOST_CHARACTERS_A_RUN
        ):
            self._is_cut, line, stream = True, CUT, "stderr"
        now, log = time.time_ns() // 1_000_000, self._log
        self.lines.append(PrintedLine(now, stream.replace(" ", "_"), log.row, log.attempt, line).stored())
        self._blank = 0 if line else self._blank + 1

    def end_lines(self) -> None:
        """What has no end yet is a line, too."""
        for stream, rest in self._begun.items():
            self.note(stream, rest.rstrip("\r"))
        self._begun, self._above = {}, {}

    def take(self) -> list[str]:
        if self._begun:
            self.end_lines()
        lines, self.lines, self._blank = self.lines, [], 0
        return lines


def _drawn_last(line: str) -> str:
    """Return what is seen of a line that returns to its beginning."""
    if "\r" not in line:
        return line
    drawn = [part for part in line.split("\r") if part]
    return (drawn[-1] if drawn else "") + ("\r" if line.endswith("\r") else "")
