"""The progress of a flow in words, for every view: what runs for how long, and how much time is left."""

from __future__ import annotations

from flownb.views.words import duration, shown
from flownb.wire.records import ACTIVE, HowFar, Snapshot

MOST_LETTERS = 200  # of a note
_STEPS_SECONDS = (1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1200, 1800, 2700, 3600)


def time_left(eta: tuple[float, float]) -> str:
    """A range of seconds as a person says it, no finer than it is known.

    >>> time_left((118.2, 290)), time_left((9.1, 9.9)), time_left((0.1, 0.4))
    ('2 min to 5 min left', 'about 10 s left', 'about 1 s left')
    """
    return f"{span_of_time(eta)} left"


def still(seconds: float) -> str:
    """Since when a flow stands still, as every view says it in the place of the time left.

    >>> still(40.9), still(312)
    ('nothing has ended for 40 s', 'nothing has ended for 5 min 12 s')
    """
    return f"nothing has ended for {duration(int(seconds) * 1000)}"


def outlook(left: tuple[float, float] | None, still_seconds: float) -> str:
    """How long a flow still takes, or that it stands still; nothing where nobody knows.

    >>> outlook((9.1, 9.9), 0.0), outlook((9.1, 9.9), 40.0), outlook(None, 0.0)
    ('about 10 s left', 'nothing has ended for 40 s', '')
    """
    return still(still_seconds) if still_seconds else time_left(left) if left else ""


def span_of_time(seconds: tuple[float, float]) -> str:
    """A range of seconds to come, in the same words wherever it stands.

    >>> span_of_time((118.2, 290)), span_of_time((9.1, 9.9))
    ('2 min to 5 min', 'about 10 s')
    """
    low, high = (rounded(end) for end in seconds)
    if low == high:
        return f"about {duration(high * 1000)}"
    return f"{duration(low * 1000)} to {duration(high * 1000)}"


def rounded(seconds: float) -> int:
    """Seconds as a person says them of a time to come.

    >>> rounded(932), rounded(0.2), rounded(9000)
    (900, 1, 9000)
    """
    if seconds <= _STEPS_SECONDS[-1]:
        return min(_STEPS_SECONDS, key=lambda step: abs(step - seconds) / step)
    return round(seconds / 1800) * 1800


def how_far_in_words(how_far: HowFar) -> str:
    """How far a flow is, in one line.

    >>> far = HowFar(unit="row", completed=812, failed=3, running=8, total=1000, rate=12.04, left=(118.2, 290))
    >>> print(how_far_in_words(far))
    812 of 1,000 rows completed, 3 failed, 8 running · 12 a second · 2 min to 5 min left
    """
    return " · ".join(filter(None, [counts_so_far(how_far), rate_and_spent(how_far)]))


def counts_so_far(how_far: HowFar) -> str:
    """How many rows or jobs have completed, have failed and run, of how many.

    >>> counts_so_far(HowFar(unit="job", completed=1, failed=0, running=1, total=2))
    '1 of 2 jobs completed, 1 running'
    """
    of_all = f"{how_far.total:,} {how_far.unit}{'' if how_far.total == 1 else 's'}"
    counts = [f"{how_far.completed:,} of {of_all} completed"]
    counts += [f"{n:,} {word}" for word, n in (("failed", how_far.failed), ("running", how_far.running)) if n]
    return ", ".join(counts)


def rate_and_spent(how_far: HowFar) -> str:
    """How fast it goes, how long it takes, what it has spent, why it is paused or half stored; as far as known.

    >>> rate_and_spent(HowFar(unit="row", completed=1, failed=0, running=0, total=2, still=40.0, spent="2 usd spent"))
    'nothing has ended for 40 s · 2 usd spent'
    """
    paused = how_far.paused and paused_in_words(how_far.paused)
    left = outlook(how_far.left, how_far.still)
    words = [rate_in_words(how_far.rate), left, how_far.spent, paused, how_far.to_come]
    return " · ".join(filter(None, words))


def paused_in_words(why: str) -> str:
    """That a flow is paused, and why, as every view says it.

    >>> paused_in_words("by hand")
    'paused (by hand)'
    """
    return f"paused ({shown(why, MOST_LETTERS)})"


def rate_in_words(per_second: float) -> str:
    """How many end in which time, as the live view says it; nothing of none.

    >>> rate_in_words(1250.4), rate_in_words(1.26), rate_in_words(0.05), rate_in_words(0.001), rate_in_words(0)
    ('1,250 a second', '1.3 a second', '3 a minute', '3.6 an hour', '')
    """
    if not per_second:
        return ""
    for factor, unit in ((1, "a second"), (60, "a minute")):
        if per_second * factor >= 1:
            return f"{_figure(per_second * factor)} {unit}"
    return f"{_figure(per_second * 3600)} an hour"


def _figure(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}".removesuffix(".0")


def in_words(snapshot: Snapshot) -> str:
    """How long a flow still takes, or that it stands still or is paused, and what else is to be known.

    ``2 min to 5 min left · 4.1 of 5 usd spent``
    """
    if snapshot.paused:
        return " · ".join(filter(None, [note_of(snapshot), paused_in_words(snapshot.paused)]))
    still_seconds = 0.0 if snapshot.stopped is None else max(snapshot.now - snapshot.stopped, 0) / 1000
    return " · ".join(filter(None, [outlook(snapshot.eta, still_seconds), note_of(snapshot)]))


def note_of(snapshot: Snapshot) -> str:
    """What else is to be known of the flow, as every view shows it."""
    return snapshot.note and shown(snapshot.note, MOST_LETTERS)


def oldest_in_words(snapshot: Snapshot) -> str:
    """For how long what runs has run, as it stands behind how many run: ``, the oldest for 4 min``."""
    active = snapshot.counts.count(ACTIVE)
    if not active or snapshot.oldest is None:
        return ""
    since = max((snapshot.now - snapshot.oldest) // 1000, 1) * 1000
    return f", {'the oldest ' if active > 1 else ''}for {duration(since)}"
