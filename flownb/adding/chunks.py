"""Cutting a large flow into calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flownb.wire.store.limits import CHUNK_BYTES, CHUNK_JOBS


def calls_of(sizes: Sequence[int]) -> Iterator[range]:
    """Cut jobs into calls that are neither long nor large; `sizes` are the bytes of each job's data.

    The server does nothing else during a call.

    >>> [list(call) for call in calls_of([1, 1_500_000, 1_500_000])]
    [[0, 1], [2]]
    """
    start = size = 0
    for i, more in enumerate(sizes):
        if i > start and (i - start == CHUNK_JOBS or size + more > CHUNK_BYTES):
            yield range(start, i)
            start, size = i, 0
        size += more
    yield range(start, len(sizes))
