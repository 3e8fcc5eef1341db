"""How many rows a job holds, and which."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from flownb.arguments import is_whole, shown
from flownb.batches.row_ids import base32
from flownb.errors import OptionError
from flownb.wire.many_rows import MOST_ROWS

JOB_SECONDS = 0.1  #: that a job of many short rows takes
FEWEST_JOBS = 32  #: of a batch, so that no worker stands idle while another works off a long job
MOST_CHARACTERS = 1_000_000  #: of rows in one job; a larger row is alone in its job


def checked(rows_per_job: Any) -> int | None:
    """Return the number of rows a job, None for "auto".

    >>> checked(100), checked("auto")
    (100, None)
    """
    if isinstance(rows_per_job, str) and rows_per_job == "auto":
        return None
    if not is_whole(rows_per_job) or not 1 <= rows_per_job <= MOST_ROWS:
        raise OptionError(
            f'rows_per_job: "auto" or a whole number from 1 to {MOST_ROWS}, not {shown(rows_per_job)}'
        )
    return int(rows_per_job)


def in_calls(rows_per_job: int | None, batch_size: int | None) -> int | None:
    """Return the number of rows a job; raise `OptionError` where it is no whole number of a task's calls.

    >>> in_calls(64, 32), in_calls(None, 32), in_calls(50, None)
    (64, None, 50)
    """
    if rows_per_job is not None and batch_size is not None and rows_per_job % batch_size:
        raise OptionError(
            f"rows_per_job={rows_per_job}: the task takes {batch_size} rows at a time (batch_size), so a job holds a "
            f"multiple of {batch_size}"
        )
    return rows_per_job


def fitting(rows: int, seconds: float | None) -> int:
    """Return how many rows a job should hold, of a batch of `rows` whose task takes so many seconds a row.

    Where that is not known, a job finds out with its first rows, and delegates those that do not fit.

    >>> fitting(100_000, None), fitting(100_000, 0.01), fitting(100_000, 2.5), fitting(20, None)
    (500, 10, 1, 1)
    """
    fit = MOST_ROWS if seconds is None or seconds * MOST_ROWS < JOB_SECONDS else round(JOB_SECONDS / seconds)
    return max(1, min(fit, math.ceil(rows / FEWEST_JOBS), MOST_ROWS))


def cut(positions: Sequence[int], texts: Sequence[str], most: int) -> Iterator[list[int]]:
    """Cut rows into jobs of at most `most` rows, and of no more text than one job should carry.

    >>> list(cut([0, 1, 2, 3], ["a", "b", "c" * 2_000_000, "d"], 3))
    [[0, 1], [2], [3]]
    """
    some: list[int] = []
    size = 0
    for position in positions:
        more = len(texts[position])
        if some and (len(some) == most or size + more > MOST_CHARACTERS):
            yield some
            some, size = [], 0
        some.append(position)
        size += more
    if some:
        yield some


def id_of(ids: Sequence[str]) -> str:
    """Return the id of the job that holds these rows: ``m`` and 16 of ``a-z2-7``."""
    return "m" + base32(hashlib.blake2b(",".join(ids).encode(), digest_size=10).digest())
