"""What a batch will come to: its rows, its time, what it spends and what fails, by the rows that have ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import pandas as pd

from flownb.api.progress import Progress
from flownb.batches.stored_batch import StoredBatch
from flownb.batches.typed_columns import floats
from flownb.wire.amounts import PARTS
from flownb.wire.records import COMPLETED, FAILED

SPREAD = 1.645  #: standard deviations on both sides, between which nine of ten lie


class Range(NamedTuple):
    """Between what a figure will be, and what is likely."""

    low: float | None
    likely: float | None
    high: float | None


UNKNOWN = Range(None, None, None)


def estimate(stored: StoredBatch, progress: Progress) -> pd.DataFrame:
    """Return the figures as `Batch.estimate` gives them."""
    located = stored.rows  # once: those of another kernel's iterator come meanwhile
    rows, spent = located.read(), stored.spent()
    ended, total = [row for row in rows if row.state in (COMPLETED, FAILED)], len(rows)
    seconds = _seconds(stored.estimate(progress.counts).left) if ended else UNKNOWN
    found = {"rows": Range(total, total, total), "seconds": seconds}
    # Rows with equal arguments, with `unique`, are one run, which is paid for once.
    runs = [rows[position] for position in located.runs]
    ended_runs = [row for row in runs if row.state in (COMPLETED, FAILED)]
    for unit in sorted(spent):
        amounts = [(row.spent or {}).get(unit, 0) / PARTS for row in ended_runs]
        found[unit] = sum_of(amounts, len(runs) - len(ended_runs), spent[unit] / PARTS)
    found["failures"] = share_of(sum(row.state == FAILED for row in ended), len(ended), total - len(ended))
    columns = {name: floats([getattr(figures, name) for figures in found.values()]) for name in Range._fields}
    return pd.DataFrame(columns, index=list(found))


def _seconds(eta: tuple[float, float] | None) -> Range:
    return UNKNOWN if eta is None else Range(eta[0], math.sqrt(eta[0] * eta[1]), eta[1])


def sum_of(amounts: Sequence[float], left: int, before: float) -> Range:
    """Return to what `before` grows when `left` rows more take what these took, drawn at random.

    >>> sum_of([0.5] * 10, 90, 5.0), sum_of([], 9, 0.0)
    (Range(low=50.0, likely=50.0, high=50.0), Range(low=None, likely=None, high=None))
    """
    n = len(amounts)
    if not n:
        return UNKNOWN
    mean = fmean(amounts)
    deviation = stdev(amounts) if n > 1 else mean  # one row says little
    doubt = SPREAD * deviation * math.sqrt(left + left * left / n)
    likely = before + left * mean
    return Range(max(likely - doubt, before), likely, likely + doubt)


def share_of(failed: int, ended: int, left: int) -> Range:
    """Return how many rows will have failed when `left` more have ended: by Wilson's range for a share.

    >>> share_of(1, 20, 0), share_of(0, 0, 9)
    (Range(low=1.0, likely=1.0, high=1.0), Range(low=None, likely=None, high=None))
    """
    if not ended:
        return UNKNOWN
    share, square = failed / ended, SPREAD**2
    centre = (share + square / (2 * ended)) / (1 + square / ended)
    half = SPREAD * math.sqrt(share * (1 - share) / ended + square / (4 * ended**2)) / (1 + square / ended)
    low, high = max(centre - half, 0.0), min(centre + half, 1.0)
    return Range(*(round(failed + left * part, 1) for part in (low, share, high)))
