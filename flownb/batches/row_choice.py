"""Which rows of a batch a view asks for, found, filtered and sorted by what is known of them, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flownb.batches.label_search import LabelMatches
from flownb.batches.row_facts import STATE_NAMES, Mask, Numbers, RowFacts
from flownb.wire.records import ACTIVE, COMPLETED, FAILED

PAGE_ROWS = 40
_STATE_RANKS = {FAILED: 0, ACTIVE: 1, COMPLETED: 3}
# By the number of a state; -1, of one that is not read, is the last.
_RANKS = np.array([*(_STATE_RANKS.get(state, 2) for state in STATE_NAMES), 2], dtype=np.int8)


@dataclass(frozen=True)
class RowQuery:
    """Which rows a page asks for."""

    start: int
    text: str
    state: str | None
    kind: str | None  #: of errors
    sort: str | None
    descending: bool

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> RowQuery:
        """The query in a page's message."""
        return cls(
            start=int(message.get("start") or 0),
            text=str(message.get("text") or "").strip(),
            state=message.get("state") or None,
            kind=message.get("kind") or None,
            sort=message.get("sort"),
            descending=bool(message.get("descending")),
        )


def wanted_rows(facts: RowFacts, query: RowQuery, found: LabelMatches | None) -> Numbers:
    """The positions of all rows that are asked for; what was searched for keeps its order."""
    is_wanted = _is_wanted(facts, query)
    if is_wanted is None:
        return np.arange(len(facts)) if found is None else found.positions
    return np.flatnonzero(is_wanted) if found is None else found.positions[is_wanted[found.positions]]


def _is_wanted(facts: RowFacts, query: RowQuery) -> Mask | None:
    """Which rows have the state and the kind of error that are asked for; None: neither is."""
    if query.kind is not None:
        code = facts.kinds.index(query.kind) if query.kind in facts.kinds else len(facts.kinds)
        has_kind: Mask = facts.rows_in(FAILED) & (facts.kind == code)
        return has_kind & facts.rows_in(query.state) if query.state else has_kind
    return facts.rows_in(query.state) if query.state else None


def page_of(facts: RowFacts, wanted: Numbers, query: RowQuery, found: LabelMatches | None) -> Numbers:
    """The positions of one page; what was searched for keeps its order, unless it is to be sorted."""
    values: npt.NDArray[Any]
    if query.sort == "row":
        values = wanted
    elif query.sort in ("attempts", "seconds"):
        values = getattr(facts, query.sort)[wanted].astype(np.float32)
    elif query.sort == "spent":
        values = _amounts(facts)[wanted]
    elif query.sort == "state" or found is None:
        values = _RANKS[facts.state[wanted]]
    else:
        return wanted[query.start : query.start + PAGE_ROWS]
    is_unknown = ~(values >= 0) if query.sort in ("attempts", "seconds") else None
    if query.descending:
        values = -values
    if is_unknown is not None:
        values[is_unknown] = np.inf  # last, whichever way
    return wanted[first_of(values, query.start, PAGE_ROWS)]


def _amounts(facts: RowFacts) -> Numbers:
    """What each row has spent of the first unit, as lists of groups have it."""
    units = sorted(facts.spent)
    return facts.spent[units[0]] if units else np.zeros(len(facts), dtype=np.int64)


def first_of(keys: npt.NDArray[Any], start: int, count: int) -> Numbers:
    """The indexes of `count` entries from the `start`-th smallest on, equal ones in their order; others are not sorted.

    >>> first_of(np.array([3, 1, 2, 1]), 1, 2).tolist()
    [3, 2]
    """
    end = min(start + count, len(keys))
    if end < len(keys) // 4:
        limit = np.partition(keys, end)[end]
        below, equal = np.flatnonzero(keys < limit), np.flatnonzero(keys == limit)  # very many may be equal
        ordered = below[np.argsort(keys[below], kind="stable")]
        return np.concatenate([ordered, equal[: end - len(ordered)]])[start:end]
    return np.argsort(keys, kind="stable")[start:end]
