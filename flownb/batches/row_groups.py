"""The groups of a batch's rows, and any group's rows, in numbers: by what is known of each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flownb.batches.row_facts import STATE_NAMES, Mask, Numbers, RowFacts, Seconds
from flownb.batches.stored_batch import StoredBatch
from flownb.wire.amounts import Amounts
from flownb.wire.records import WAITING

GroupNumbers = npt.NDArray[np.int32]


class RowGroup(NamedTuple):
    """The rows below one job."""

    key: str  #: of the job
    states: dict[str, int]  #: rows that nobody has read yet count as waiting
    share: float  #: of the rows that ended last
    median: float | None  #: seconds
    spent: Amounts


class RunTimes(NamedTuple):
    """How long some rows took: seconds, and the positions of those that took longest."""

    p50: float
    p95: float
    slowest: list[tuple[int, float]]


def read_groups(stored: StoredBatch, facts: RowFacts) -> list[RowGroup]:
    """Count the rows below each job that has rows right below it."""
    parents, group_of = stored.rows.parents
    groups = len(parents)
    counts = {
        state: np.bincount(group_of[facts.state == code], minlength=groups)
        for code, state in enumerate(STATE_NAMES)
    }
    counts[WAITING] = counts[WAITING] + np.bincount(group_of[facts.state < 0], minlength=groups)
    shares, medians = shares_of_ends(facts, group_of, groups), _medians(facts, group_of, groups)
    spent = {
        unit: np.bincount(group_of, weights=of, minlength=groups) for unit, of in sorted(facts.spent.items())
    }
    return [
        RowGroup(
            parent,
            {state: int(of[number]) for state, of in counts.items()},
            shares[number],
            medians.get(number),
            {unit: int(of[number]) for unit, of in spent.items() if of[number]},
        )
        for number, parent in enumerate(parents)
    ]


def rows_of_group(facts: RowFacts, group_of: GroupNumbers, number: int | None) -> Mask:
    """Which rows are in the group of this number; None: all of them."""
    return np.ones(len(facts), dtype=np.bool_) if number is None else group_of == number


def count_states(facts: RowFacts, mine: Mask) -> dict[str, int]:
    """Count these rows by state; those that nobody has read yet count as waiting."""
    states = {state: int((mine & facts.rows_in(state)).sum()) for state in STATE_NAMES}
    states[WAITING] += int((mine & (facts.state < 0)).sum())
    return states


def spent_by(facts: RowFacts, mine: Mask) -> Amounts:
    """What these rows have spent, as far as they were read."""
    return _sums({unit: of[mine] for unit, of in facts.spent.items()})


def spent_at_step(facts: RowFacts, number: int) -> Amounts:
    """What all rows have spent at the step of this number, as far as they were read."""
    return _sums(facts.step_spent[number])


def _sums(columns: Mapping[str, Numbers]) -> Amounts:
    sums = {unit: int(of.sum(dtype=np.float64)) for unit, of in sorted(columns.items())}
    return {unit: parts for unit, parts in sums.items() if parts}


def seconds_of(facts: RowFacts, mine: Mask) -> Seconds:
    """How long each row took; NaN of one that is not among these."""
    return np.where(mine, facts.seconds, np.float32(np.nan))


def run_times(took: Seconds, most: int) -> RunTimes | None:
    """How long rows took, of the seconds of each by position, and at most so many of the slowest; None of none."""
    positions = np.flatnonzero(~np.isnan(took))
    if not positions.size:
        return None
    seconds = took[positions]
    half, most_of_them = np.percentile(seconds, [50, 95])
    longest = np.argpartition(-seconds, min(most, len(seconds)) - 1)[:most]
    slowest = sorted(
        ((int(positions[at]), float(seconds[at])) for at in longest), key=lambda row: (-row[1], row[0])
    )
    return RunTimes(float(half), float(most_of_them), slowest)


def shares_of_ends(facts: RowFacts, group_of: GroupNumbers, groups: int) -> list[float]:
    """Which part of the rows that ended last each group has."""
    newest = np.array(facts.newest, dtype=np.int64)
    if not newest.size:
        return [0.0] * groups
    found: list[float] = (np.bincount(group_of[newest], minlength=groups) / newest.size).tolist()
    return found


def share_of_ends(facts: RowFacts, mine: Mask) -> float:
    """Which part of the rows that ended last are among these."""
    newest = np.array(facts.newest, dtype=np.int64)
    return float(mine[newest].mean()) if newest.size else float(mine.all())


def _medians(facts: RowFacts, group_of: GroupNumbers, groups: int) -> dict[int, float]:
    known = np.flatnonzero(~np.isnan(facts.seconds))
    order = known[np.lexsort((facts.seconds[known], group_of[known]))]
    ends = np.searchsorted(group_of[order], np.arange(groups + 1))
    middles = {
        number: order[(ends[number] + ends[number + 1]) // 2]
        for number in range(groups)
        if ends[number] < ends[number + 1]
    }
    return {number: float(facts.seconds[at]) for number, at in middles.items()}
