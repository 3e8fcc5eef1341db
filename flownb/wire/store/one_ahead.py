"""Asks for the next piece of a long read while the caller takes the last one apart: neither waits for the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def one_ahead(read: Callable[[T], R], pieces: Sequence[T]) -> Iterator[R]:
    """Yield what `read` returns of each piece, in order; one more is being read while the caller has one.

    Where `read` raises, or the caller stops, nothing more is read. The caller's time for calls holds for these too.

    >>> list(one_ahead(len, ["ab", "c"]))
    [2, 1]
    """
    if len(pieces) < 2:
        yield from map(read, pieces)
        return
    context = copy_context()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="flownb-reader") as reader:
        coming = reader.submit(context.run, read, pieces[0])
        for piece in pieces[1:]:
            found, coming = coming.result(), reader.submit(context.run, read, piece)
            yield found
        yield coming.result()
