"""The progress of a flow in words, for every view: what runs for how long, and how much time is left."""

from __future__ import annotations

from flownb.views.words import duration, shown
from flownb.wire.records import ACTIVE, Snapshot

MOST_LETTERS = 200  # of a note
_STEPS_SECONDS = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1200, 1800, 2700, 3600)


def time_left(eta: tuple[float, float]) -> str:
    """A range of seconds as a person says it, no finer than it is known.

    >>> time_left((118.2, 290)), time_left((9.1, 9.9)), time_left((0.1, 0.4))
    ('2 min to 5 min left', 'about 10 s left', 'about 1 s left')
    """
    low, high = (_rounded(seconds) for seconds in eta)
    if low == high:
        return f"about {duration(high * 1000)} left"
    return f"{duration(low * 1000)} to {duration(high * 1000)} left"


def _rounded(seconds: float) -> int:
    if seconds <= _STEPS_SECONDS[-1]:
        return min(_STEPS_SECONDS, key=lambda step: abs(step - seconds) / step)
    return round(seconds / 1800) * 1800


def in_words(snapshot: Snapshot) -> str:
    """What runs and how long it takes yet, and what else is to be known.

    ``3 running, the oldest for 4 min · 2 min to 5 min left``
    """
    return " · ".join(filter(None, [_running(snapshot), note_of(snapshot)]))


def note_of(snapshot: Snapshot) -> str:
    """What else is to be known of the flow, as every view shows it."""
    return snapshot.note and shown(snapshot.note, MOST_LETTERS)


def _running(snapshot: Snapshot) -> str:
    """Nothing of a flow in which nothing runs."""
    active = snapshot.counts.count(ACTIVE)
    if not active:
        return ""
    words = f"{active} running"
    if snapshot.oldest is not None:
        since = max(snapshot.now - snapshot.oldest, 0) // 1000 * 1000
        words += f", {'the oldest ' if active > 1 else ''}for {duration(since)}"
    return words if snapshot.eta is None else f"{words} · {time_left(snapshot.eta)}"
