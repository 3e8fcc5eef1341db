"""The brakes of a batch: what it may cost, how many rows may fail, and a pilot that runs a few rows first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flownb.api.spending import checked_unit, in_parts
from flownb.arguments import is_whole, shown, whole
from flownb.errors import OptionError
from flownb.wire.amounts import Amounts

MOST_PILOT = 10_000  #: rows
_PERCENT = re.compile(r"^\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*$")


@dataclass(frozen=True)
class Brakes:
    """What a call asks for. With any of these a job holds one row, or one call of many, and none is taken ahead."""

    budget: Amounts
    most: str | None = None  #: rows that may fail
    percent: str | None = None  #: of the rows that ended, which may fail
    pilot: int | None = None  #: rows that run first

    @classmethod
    def read(cls, budget: Any, max_failures: Any, pilot: Any = None, where: str = "fan_out") -> Brakes:
        """Check what a caller gives; None is none."""
        most, percent = _failures(max_failures, f"{where}.max_failures")
        return cls(
            _budget(budget, f"{where}.budget"),
            most,
            percent,
            None if pilot is None else whole(f"{where}.pilot", pilot, 1, MOST_PILOT),
        )

    @property
    def is_set(self) -> bool:
        """Does the call ask for any of them?"""
        return self.holds or self.pilot is not None

    @property
    def holds(self) -> bool:
        """May what happens pause the batch?"""
        return bool(self.budget) or self.most is not None or self.percent is not None

    def fields(self) -> dict[str, str]:
        """Return what is stored of them."""
        found = {f"budget:{unit}": str(parts) for unit, parts in self.budget.items()}
        if self.most is not None:
            found["most"] = self.most
        if self.percent is not None:
            found["percent"] = self.percent
        return found


NO_BRAKES = Brakes({})


def _budget(budget: Any, where: str) -> dict[str, int]:
    if budget is None:
        return {}
    if not isinstance(budget, Mapping) or not budget:
        raise OptionError(f'{where}: amounts by unit, as in {{"usd": 5}}, not {shown(budget)}')
    found = {
        checked_unit(unit, where): in_parts(amount, f"{where}: {unit}") for unit, amount in budget.items()
    }
    for unit, parts in found.items():
        if not parts:
            raise OptionError(f"{where}: a budget of 0 {unit} runs nothing; leave it out, or give more")
    return found


def _failures(most: Any, where: str) -> tuple[str | None, str | None]:
    """Return how many rows may fail, or how many percent of them."""
    if most is None:
        return None, None
    if is_whole(most) and 0 <= int(most) <= 10**9:
        return str(int(most)), None
    found = _PERCENT.match(most) if isinstance(most, str) else None
    if found is None or float(found[1]) > 100:
        raise OptionError(f'{where}: a number of rows, or a share such as "5%", not {shown(most)}')
    return None, found[1].lstrip("0") or "0"


def pilot_of(rows: Sequence[Any], n: int) -> list[Any]:
    """Return `n` of the rows, evenly spaced, always the same.

    >>> pilot_of(range(100), 4), pilot_of([1, 2], 5)
    ([12, 37, 62, 87], [1, 2])
    """
    if n >= len(rows):
        return list(rows)
    return [rows[(2 * i + 1) * len(rows) // (2 * n)] for i in range(n)]
