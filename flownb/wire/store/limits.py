"""How much one call or one read carries, so that no other client of the server waits for long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

MOST_JOBS_A_CALL = 1000  #: a flow up to this size is stored by one call, all or nothing
MOST_BYTES_A_CALL = 16_000_000  #: of data; the server takes no argument over 512 MB, and stalls long before
CHUNK_JOBS = 500  #: jobs a call of a larger flow
CHUNK_BYTES = 2_000_000  #: of data in such a call
JOBS_A_CHANGE = 100  #: jobs that one call cancels, retries or removes
JOB_LINES_A_READ = 250  #: jobs of which few and short fields are read: such a read takes the server 1 to 2 ms
JOBS_A_READ = 100  #: jobs a read: no command holds the server up for over 1 ms, however many there are
FEW_JOBS = 1000  #: jobs of a flow that is small: whatever is asked of it, each of its jobs may be looked at
VALUES_A_READ = 1000  #: values of jobs that one read brings, where they are short, as most are
VALUE_BYTES_A_READ = 1_000_000  #: of values, after which such a read ends
IDS_A_READ = 1000  #: ids that one read takes from a queue's list or sorted set


def in_pieces(items: Sequence[T], size: int = JOBS_A_READ) -> Iterator[Sequence[T]]:
    """Yield the items, as many at a time as one read or call takes.

    >>> list(in_pieces("abcdefg", 3))
    ['abc', 'def', 'g']
    """
    for start in range(0, len(items), size):
        yield items[start : start + size]


def check_size(items: Sequence[Any], most: int, what: str = "jobs") -> None:
    """Refuse what Lua could only unpack in part: a script that fails midway keeps what it wrote."""
    if len(items) > most:
        raise ValueError(f"{len(items):,} {what} in one call, at most {most:,}")
