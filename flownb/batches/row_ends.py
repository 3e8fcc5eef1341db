"""Which rows have ended since the last poll, found without reading all; when to poll is `api/waiting.py`'s."""

from __future__ import annotations

from collections.abc import Callable

from flownb.batches.jobs_of_rows import Row
from flownb.batches.stored_rows import StoredRows
from flownb.wire.records import COMPLETED, FAILED, REMOVED
from flownb.wire.store.limits import CHUNK_JOBS

ENDED = (COMPLETED, FAILED, REMOVED)


class RowEnds:
    """The rows that have ended since the last look.

    `ended` counts the runs that have ended. Rows run about in their order, so a look reads from the first open row
    until it has found that many. Rows that run once together are found together. When the batch is over, the last look
    reads every row that is left, because rows that were removed are in no count and would never be found by it.
    """

    def __init__(self, rows: StoredRows, *, ended: Callable[[], int], is_over: Callable[[], bool]) -> None:
        self._rows = rows
        self._ended = ended
        self._is_over = is_over
        self.waiting = list(rows.runs)  #: positions of the runs that have not been found to have ended
        self._found = 0

    def look(self) -> list[tuple[int, Row]]:
        """Return each row that has ended since, with its position; where that fails, the next look finds them."""
        news = len(self.waiting) if self._is_over() else self._ended() - self._found
        found: list[tuple[int, Row]] = []
        still: list[int] = []
        for start in range(0, len(self.waiting), CHUNK_JOBS):
            if len(found) >= news:
                still += self.waiting[start:]
                break
            positions = self.waiting[start : start + CHUNK_JOBS]
            for position, row in zip(positions, self._rows.read(positions), strict=True):
                if row.state in ENDED:
                    found.append((position, row))
                else:
                    still.append(position)
        self.waiting = still
        self._found += len(found)
        repeats = self._rows.repeats
        return [(at, row) for position, row in found for at in repeats.get(position, (position,))]
