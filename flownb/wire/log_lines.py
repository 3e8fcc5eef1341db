"""Lines of a job's log that hold what a task printed: when and how, in which attempt, and of which row.

They stand in BullMQ's logs of the job, where its dashboards show them, beside what functions log themselves.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

LOGGED = "log"  #: the stream of a line that a function has logged itself, with `Job.log`

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z (?P<stream>\S+) "
    r"(?:row (?P<row>\d+) )?attempt (?P<attempt>\d+): (?P<text>.*)",
    re.DOTALL,
)


class PrintedLine(NamedTuple):
    """One line, as it is stored and read."""

    time: int | None  #: ms; None: a function has logged the line itself
    stream: str  #: ``stdout``, ``stderr``, a level of logging, or `LOGGED`
    row: int | None  #: position in the batch of a row that shares its job with others
    attempt: int | None
    text: str

    def stored(self) -> str:
        """Return the line as it stands in the job's log.

        >>> PrintedLine(0, "stdout", 17, 1, "half").stored()
        '1970-01-01T00:00:00.000Z stdout row 17 attempt 1: half'
        """
        time = datetime.fromtimestamp((self.time or 0) / 1000, UTC).isoformat(timespec="milliseconds")[:-6]
        row = "" if self.row is None else f"row {self.row} "
        return f"{time}Z {self.stream} {row}attempt {self.attempt}: {self.text}"

    @classmethod
    def read(cls, stored: str) -> PrintedLine:
        """Read a line of a job's log, whoever has written it.

        >>> PrintedLine.read("1970-01-01T00:00:01.000Z stderr attempt 2: slow"), PrintedLine.read("begun").stream
        (PrintedLine(time=1000, stream='stderr', row=None, attempt=2, text='slow'), 'log')
        """
        found = _LINE.fullmatch(stored)
        if found is None:
            return cls(None, LOGGED, None, None, stored)
        time = datetime.fromisoformat(found["time"]).replace(tzinfo=UTC)
        row = None if found["row"] is None else int(found["row"])
        return cls(round(time.timestamp() * 1000), found["stream"], row, int(found["attempt"]), found["text"])
