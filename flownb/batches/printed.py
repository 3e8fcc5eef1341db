"""What the rows of a batch have printed and logged, line by line: `Batch.logs`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from flownb.arguments import is_unicode, shown
from flownb.batches.row_selection import positions_of_all
from flownb.batches.stored_batch import StoredBatch
from flownb.errors import OptionError, printable
from flownb.wire.log_lines import PrintedLine

COLUMNS = ("label", "attempt", "time", "stream", "line")


class Wanted(NamedTuple):
    """Which lines are asked for."""

    pattern: re.Pattern[str] | None
    streams: frozenset[str] | None  #: levels of logging; None: whatever the stream

    def takes(self, line: PrintedLine) -> bool:
        if self.streams is not None and line.stream not in self.streams:
            return False
        return self.pattern is None or self.pattern.search(line.text) is not None


def read_wanted(grep: Any, level: Any) -> Wanted:
    """Check what a caller asks for; raise OptionError."""
    return Wanted(None if grep is None else _pattern(grep), None if level is None else _from_level_on(level))


def logs_table(stored: StoredBatch, rows: Any, wanted: Wanted) -> pd.DataFrame:
    """Return the lines of these rows, or of all, one after the other as the rows stand in the frame."""
    positions = range(len(stored.rows)) if rows is None else positions_of_all(stored.index, rows)
    return logs_at(stored, positions, wanted)


def logs_at(stored: StoredBatch, positions: Sequence[int], wanted: Wanted) -> pd.DataFrame:
    """Return the lines of the rows at these positions."""
    index = stored.index
    found = [
        (index[position], line.attempt, line.time, line.stream, printable(line.text))
        for position, line in lines_of(stored, positions)
        if wanted.takes(line)
    ]
    table = pd.DataFrame(found, columns=list(COLUMNS))
    table["attempt"] = table["attempt"].astype("Int64")
    table["time"] = pd.to_datetime(table["time"], unit="ms", utc=True).astype("datetime64[ms, UTC]")
    return table.astype({"stream": "str", "line": "str"})


def lines_of(stored: StoredBatch, positions: Sequence[int]) -> Iterator[tuple[int, PrintedLine]]:
    """Yield the lines of each row in turn, with its position. Lines of a job of many rows say whose they are."""
    ways = stored.rows.ways(positions)
    keys = list(dict.fromkeys(key for way in ways for key, _ in way))
    logs: dict[str, list[PrintedLine]] = {}
    for key, rows in zip(keys, stored.store.jobs.read_logs_of_each(keys), strict=True):
        if rows:
            logs[key] = list(map(PrintedLine.read, rows))
    numbers = stored.rows.numbers_in_logs(place for way in ways for place in way if place[0] in logs)
    for position, way in zip(positions, ways, strict=True):
        for key, within in way:
            for line in logs.get(key, ()):
                if within is None or line.row == numbers.get((key, within)):
                    yield position, line


def _pattern(grep: Any) -> re.Pattern[str]:
    if not isinstance(grep, str) or not is_unicode(grep):
        raise OptionError(f"grep: a regular expression, not {shown(grep)}")
    try:
        return re.compile(grep)
    except re.error as error:
        raise OptionError(f"grep: {shown(grep)} is no regular expression: {error}") from None


def _from_level_on(level: Any) -> frozenset[str]:
    known = logging.getLevelNamesMapping()
    given: Any = known.get(level.upper()) if isinstance(level, str) else level
    if not isinstance(given, int) or isinstance(given, bool):
        names = ", ".join(sorted(known, key=known.__getitem__))
        raise OptionError(f"level: one of {names}, or its number in logging, not {shown(level)}")
    return frozenset(name for name, number in known.items() if number >= given)
