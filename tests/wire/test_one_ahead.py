"""Shows that long reads are one piece ahead of who takes them apart, in order, and end with the caller."""

from __future__ import annotations

import threading

import pytest

from flownb.wire.store.one_ahead import one_ahead


def test_the_next_piece_is_read_while_the_caller_has_one():
    started = {n: threading.Event() for n in range(3)}

    def read(n: int) -> int:
        started[n].set()
        return n * 10

    found = one_ahead(read, range(3))

    assert next(found) == 0
    assert started[1].wait(60)
    assert list(found) == [10, 20]


def test_nothing_is_read_behind_a_piece_that_fails():
    read: list[int] = []

    def fail_at_two(n: int) -> int:
        read.append(n)
        if n == 2:
            raise ValueError("gone")
        return n

    with pytest.raises(ValueError, match="gone"):
        list(one_ahead(fail_at_two, range(5)))

    assert read == [0, 1, 2]


def test_a_caller_that_stops_leaves_no_thread_behind():
    found = one_ahead(str, range(5))
    next(found)
    found.close()  # type: ignore[attr-defined]

    assert not [one for one in threading.enumerate() if one.name.startswith("flownb-reader")]


def test_the_callers_time_for_calls_holds_in_the_other_thread():
    from flownb.connection import patience

    with patience.CallTime(60):
        left = list(one_ahead(lambda _: patience.left(), range(3)))

    assert all(seconds is not None and seconds <= 60 for seconds in left)
