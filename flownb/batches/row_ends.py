"""Which rows have ended since the last poll, found without reading all; when to poll is `api/waiting.py`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from flownb.batches.jobs_of_rows import Row
from flownb.batches.stored_rows import StoredRows
from flownb.wire.records import COMPLETED, FAILED
from flownb.wire.store.limits import CHUNK_JOBS

ENDED = (COMPLETED, FAILED, "removed")


def as_they_end(
    rows: StoredRows, polls: Iterable[None], *, ended: Callable[[], int], is_over: Callable[[], bool]
) -> Iterator[tuple[int, Row]]:
    """Yield each row that has ended, with its position, at the first of the `polls` that finds it so.

    `ended` counts the rows that have ended. Rows run about in their order, so a poll reads from the first open row
    until it has found that many. When the batch is over, the last poll reads every row that is left, because
    rows that were removed are in no count and would never be found by it.
    """
    waiting, found = list(range(len(rows))), 0
    for _ in polls:
        news = len(waiting) if is_over() else ended() - found
        still: list[int] = []
        for start in range(0, len(waiting), CHUNK_JOBS):
            if news <= 0:
                still += waiting[start:]
                break
            positions = waiting[start : start + CHUNK_JOBS]
            for position, row in zip(positions, rows.read(positions), strict=True):
                if row.state in ENDED:
                    news -= 1
                    found += 1
                    yield position, row
                else:
                    still.append(position)
        waiting = still
        if not waiting:
            return
