"""`spend`: a task says what a call has cost; its run adds that up, and its worker tells the server at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from flownb.api.current_run import current
from flownb.arguments import is_number, shown
from flownb.errors import OptionError
from flownb.wire.amounts import MOST, NOTHING, PARTS, RESERVED, Amounts, shared, total

_MOST_LETTERS = 64  # of a unit's name
NO_ROWS: Mapping[int, Amounts] = MappingProxyType({})
_adding = threading.Lock()  # one for all accounts: a run has an account of its own, and few runs spend


class Account:
    """What one run has spent so far, by unit; of a job that holds many rows also by row.

    Threads and coroutines of one run add to it at the same time. What it holds is replaced, never changed: until
    something is spent it is what stands here, so that the many runs that spend nothing write nothing.
    """

    spent = NOTHING  #: unit -> parts, in the whole run
    of_row = NOTHING  #: the same since `take_row`; empty where nothing was spent
    rows: Sequence[int] = ()  #: of a job that holds many rows, which run: what is spent is theirs
    before: Mapping[int, Amounts] = NO_ROWS  #: what each of them has spent before `of_row`
    untold: Mapping[int, Amounts] = NO_ROWS  #: sums of rows that the server has not confirmed

    def begin_rows(self, rows: Sequence[int], before: Mapping[int, Amounts]) -> None:
        """Of a job that holds many rows these run now, and have spent so much in former runs."""
        self.rows = rows
        self.before = {row: before[row] for row in rows if row in before} if before else before

    def add(self, amounts: Mapping[str, int]) -> None:
        """Add amounts, and tell of them."""
        with _adding:
            self.spent = _sum(self.spent, amounts)
            self.of_row = _sum(self.of_row, amounts)
            if self.rows:
                self.untold = {**self.untold, **self._sums_of_rows()}
        self.tell()

    def tell(self) -> None:
        """Something was added: the account of a job's run says so to the server."""

    def take_row(self) -> dict[str, int]:
        """Return what was added since this was asked last: by the row that has ended now."""
        with _adding:
            if self.rows and self.of_row:
                self.before = {**self.before, **self._sums_of_rows()}
            found, self.of_row = self.of_row, NOTHING
        return found

    def to_tell(self) -> tuple[Amounts, Mapping[int, Amounts]]:
        """Return what the run has spent so far, and of each row of which that is not confirmed the sum of all that it
        has spent.

        Both are of one moment, and whoever asks gets them: so no call, whichever arrives last, tells more for the run
        than has been told for its rows.
        """
        with _adding:
            return self.spent, self.untold

    def confirm(self, sums: Mapping[int, Amounts]) -> None:
        """The server has confirmed these; rows may have spent more since."""
        if sums:
            with _adding:
                self.untold = {
                    row: amounts for row, amounts in self.untold.items() if sums.get(row) != amounts
                }

    def _sums_of_rows(self) -> dict[int, Amounts]:
        shares = shared(self.of_row, len(self.rows))
        return {
            row: total([self.before.get(row, {}), share])
            for row, share in zip(self.rows, shares, strict=True)
        }


def _sum(before: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    most = MOST * PARTS
    return {**before, **{unit: min(before.get(unit, 0) + parts, most) for unit, parts in more.items()}}


def spend(*without_unit: Any, **amounts: Any) -> None:
    """Say what a call has cost: ``fn.spend(usd=0.002, tokens=412)``, anywhere in a task or below it.

    Units are names of your choice; their amounts add up over all calls of a row, and attempts that failed count. A
    batch shows them: `Batch.table` has ``_usd`` and ``_tokens``, `Progress.spent` the sums, and ``fan_out(budget=)``
    stops at one. Amounts are numbers from 0 on, exact to a thousand-millionth; anything else is an `OptionError`.

    In a thread `spend` returns once the server has the amount, so that it counts though the worker is killed right
    after; where the server is away it returns after a second, and the end of the run tells the amount. In a coroutine
    it returns at once, as the loop must not wait. All that coroutines have said then goes to the server in one call,
    one call after the other: a kill loses what they said during the last two calls, which take some milliseconds.

    It counts for the job that runs it: in its thread, in coroutines, in `asyncio.to_thread`. Threads that a task starts
    by itself get it by ``contextvars.copy_context().run``. Outside a job, and in `Batch.debug`, it does nothing.

    >>> @task
    ... def ask(text):
    ...     spend(usd=0.25, tokens=len(text))
    ...     return text.upper()
    >>> fan_out(["ab", "c"], ask).wait(timeout=30).progress().spent
    {'tokens': 3.0, 'usd': 0.5}
    """
    if without_unit:
        raise OptionError(f"spend: say of which unit {shown(without_unit[0])} is, as in spend(usd=0.002)")
    read = {
        checked_unit(unit, "spend"): in_parts(amount, f"spend: {unit}") for unit, amount in amounts.items()
    }
    run = current.get()
    if run is not None and any(read.values()):
        run.add(read)


def checked_unit(unit: Any, where: str) -> str:
    """Return the name of a unit; raise `OptionError` for one that cannot be a column of `table`."""
    if not isinstance(unit, str) or not unit.isidentifier() or len(unit) > _MOST_LETTERS:
        raise OptionError(f"{where}: a unit is a short name, such as usd or tokens, not {shown(unit)}")
    if unit in RESERVED:
        raise OptionError(f"{where}: {unit!r} cannot be a unit: table() has a column _{unit} already")
    return str.__str__(unit)


def in_parts(amount: Any, where: str) -> int:
    """Return an amount as it is stored; raise `OptionError` where it is none.

    >>> in_parts(0.25, "spend: usd"), in_parts(3, "spend: tokens")
    (250000000, 3000000000)
    """
    if not (is_number(amount) or isinstance(amount, Decimal | Fraction)) or not _fits(amount):
        raise OptionError(f"{where}: a number from 0 to {MOST:,}, not {shown_amount(amount)}")
    exact = amount if isinstance(amount, Decimal | Fraction | int) else float(amount)
    return round(Fraction(exact) * PARTS)


def _fits(amount: Any) -> bool:
    is_nan = amount.is_nan() if isinstance(amount, Decimal) else amount != amount
    return not is_nan and 0 <= amount <= MOST


def shown_amount(amount: Any) -> str:
    """Return how a message shows what was given for an amount."""
    return str(amount) if isinstance(amount, Decimal | Fraction) else shown(amount)
