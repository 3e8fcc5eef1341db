"""What the function of one run prints and logs: kept as lines of the job's log, instead of in some cell's output."""

from __future__ import annotations

import re
import time
from contextvars import ContextVar

from flownb.wire.log_lines import PrintedLine

MOST_LINES = 1_000  # of one row in one attempt
MOST_CHARACTERS = 64_000  # of one row in one attempt
MOST_CHARACTERS_A_RUN = 500_000  # of all rows of one run of a job
CUT = (
    f"the rest is not kept: at most {MOST_LINES:,} lines and {MOST_CHARACTERS:,} characters a row, "
    f"and {MOST_CHARACTERS_A_RUN:,} characters a job"
)

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # and whatever else moves a terminal's cursor

#: the log of the run whose function calls; None where no task runs
current: ContextVar[RunLog | None] = ContextVar("flownb_run_log", default=None)


class RunLog:
    """The lines of one run. They are written where the function runs: in one thread, or in the loop's."""

    __slots__ = (
        "_attempt",
        "_begun",
        "_characters",
        "_characters_of_run",
        "_is_cut",
        "_lines_of_row",
        "_row",
        "lines",
    )

    def __init__(self, attempt: int) -> None:
        self.lines: list[str] = []
        self._attempt = attempt
        self._row: int | None = None  # position in the batch of the row that runs, where rows share the job
        self._begun: dict[str, str] = {}  # stream -> a line that has no end yet
        self._lines_of_row = self._characters = self._characters_of_run = 0
        self._is_cut = False

    def begin_row(self, row: int) -> None:
        """What follows is printed by this row."""
        if self._begun:
            self.end_lines()
        self._row = row
        if self._lines_of_row:
            self._lines_of_row = self._characters = 0
            self._is_cut = self._characters_of_run >= MOST_CHARACTERS_A_RUN

    def write(self, stream: str, text: str) -> int:
        """Take what is printed, in any pieces; of a bar that is drawn over and over, the last state is kept."""
        *whole, rest = (self._begun.pop(stream, "") + text).split("\n")
        for line in whole:
            self.note(stream, _drawn_last(line).rstrip("\r"))
        if rest:
            self._begun[stream] = _drawn_last(rest)[-MOST_CHARACTERS:]
        return len(text)

    def note(self, stream: str, line: str) -> None:
        """Keep a line, as long as there is room for more."""
        if self._is_cut:
            return
        line = _COLOURS.sub("", line)
        if not line.isascii():  # half a character would not pass the server
            line = line.encode("utf-8", "backslashreplace").decode()
        self._lines_of_row += 1
        self._characters += len(line)
        self._characters_of_run += len(line)
        if (
            self._lines_of_row > MOST_LINES
            or self._characters > MOST_CHARACTERS
            or self._characters_of_run > MOST_CHARACTERS_A_RUN
        ):
            self._is_cut, line, stream = True, CUT, "stderr"
        now = time.time_ns() // 1_000_000
        self.lines.append(PrintedLine(now, stream.replace(" ", "_"), self._row, self._attempt, line).stored())

    def end_lines(self) -> None:
        """What has no end yet is a line, too."""
        for stream, rest in self._begun.items():
            self.note(stream, rest.rstrip("\r"))
        self._begun = {}

    def take(self) -> list[str]:
        """Return the lines since this was asked last."""
        if self._begun:
            self.end_lines()
        lines, self.lines = self.lines, []
        return lines


def _drawn_last(line: str) -> str:
    """Return what is seen of a line that returns to its beginning."""
    if "\r" not in line:
        return line
    drawn = [part for part in line.split("\r") if part]
    return (drawn[-1] if drawn else "") + ("\r" if line.endswith("\r") else "")
