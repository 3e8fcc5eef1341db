"""Why a flow is paused, as it is stored: by hand, in a worker's own words, or by a brake, as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from flownb.wire.amounts import PARTS, Amounts

BY_HAND = "1"
#: the brakes, by the parameters that set them
BUDGET, MAX_FAILURES, PILOT = "budget", "max_failures", "pilot"
_MARK = '{"brake":'
_RAISED_BY = 2  # times a budget that is suggested in place of one that is used up


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A brake that has paused a batch."""

    brake: str
    unit: str = ""  #: of a budget
    spent: int = 0  #: of that unit, in parts
    budget: int = 0
    failed: int = 0  #: rows for good, of `ended`, in this run
    ended: int = 0
    most: str = ""  #: failed rows, or a share such as ``5%``
    rows: int = 0  #: of a pilot

    @property
    def words(self) -> str:
        """What a person is told.

        >>> read('{"brake":"max_failures","failed":"3","ended":"24","most":"5%"}').words
        'max_failures=5%: 3 of 24 rows failed'
        >>> read(of_budget("usd", 5 * PARTS + 1, 5 * PARTS)).words, read(of_pilot(20)).words
        ('its budget is used up: 5.000000001 of 5 usd', 'a pilot of 20 rows')
        """
        if self.brake == BUDGET:
            return f"its budget is used up: {in_words(self.spent)} of {in_words(self.budget)} {self.unit}"
        if self.brake == MAX_FAILURES:
            return f"max_failures={self.most}: {self.failed:,} of {self.ended:,} rows failed"
        return f"a pilot of {self.rows:,} row{'s' if self.rows != 1 else ''}"

    @property
    def resume_call(self) -> str:
        """The method of a batch that lets it go on.

        >>> read(of_budget("usd", 5 * PARTS, 5 * PARTS)).resume_call, read(of_pilot(20)).resume_call
        ('resume(budget={"usd": 10})', 'resume()')
        """
        if self.brake != BUDGET:
            return "resume()"
        more = in_words(max(self.spent, self.budget) * _RAISED_BY).replace(",", "_")
        return f'resume(budget={{"{self.unit}": {more}}})'


def in_words(parts: int) -> str:
    """Return an amount as a person reads it, to the last digit.

    >>> in_words(1_250_000_000), in_words(12_000 * PARTS), in_words(1)
    ('1.25', '12,000', '0.000000001')
    """
    whole, rest = divmod(parts, PARTS)
    return f"{whole:,}.{rest:09d}".rstrip("0").rstrip(".")


def amounts_in_words(amounts: Amounts, budget: Amounts | None = None) -> str:
    """Return what was spent as every view shows it: to four digits, as a sum of money is read; and of which budget.

    >>> amounts_in_words({"tokens": 12_345_678 * PARTS, "usd": 4_123_456_789})
    '12,345,678 tokens, 4.123 usd'
    >>> amounts_in_words({"tokens": 500 * PARTS, "usd": PARTS}, {"usd": 5 * PARTS})
    '500 tokens, 1 of 5 usd'
    """
    most = {unit: f" of {_rounded(parts)}" for unit, parts in (budget or {}).items()}
    return ", ".join(f"{_rounded(parts)}{most.get(unit, '')} {unit}" for unit, parts in amounts.items())


def forecast_in_words(amounts: Amounts) -> str:
    """Return what will have been spent, to the two digits that such a forecast is worth.

    >>> forecast_in_words({"tokens": 5_040 * PARTS, "usd": 2_008_900_000}), forecast_in_words({"usd": 2 * PARTS})
    ('5,000 tokens, 2.0 usd', '2 usd')
    """
    return ", ".join(f"{_to_two_digits(parts)} {unit}" for unit, parts in amounts.items())


def _to_two_digits(parts: int) -> str:
    amount = parts / PARTS
    rounded = float(f"{amount:.1e}")
    if rounded in (0.0, amount):
        return _rounded(parts)
    decimals = max(1 - math.floor(math.log10(rounded)), 0)
    return f"{rounded:,.{decimals}f}"


def _rounded(parts: int) -> str:
    amount = parts / PARTS
    return f"{amount:,.0f}" if amount >= 1000 else f"{amount:.4g}"


def of_pilot(rows: int) -> str:
    """Return what is stored of a pilot of so many rows."""
    return json.dumps({"brake": PILOT, "rows": rows}, separators=(",", ":"))


def of_budget(unit: str, spent: int, budget: int) -> str:
    """Return what is stored of a budget that is used up, as ``lib/brakes.lua`` has it."""
    about = {"brake": BUDGET, "unit": unit, "spent": str(spent), "budget": str(budget)}
    return json.dumps(about, separators=(",", ":"))


def read(why: str) -> Pause | None:
    """Read what is stored; None where no brake has paused the flow."""
    if not why.startswith(_MARK):
        return None
    found: dict[str, Any] = json.loads(why)
    numbers = {
        name: int(found[name]) for name in ("spent", "budget", "failed", "ended", "rows") if name in found
    }
    return Pause(brake=found["brake"], unit=found.get("unit", ""), most=found.get("most", ""), **numbers)
