"""Amounts that rows spend, by unit: whole numbers of a thousand-millionth of the unit, so that sums are exact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

PARTS = 10**9  #: of a unit, in which amounts are stored
MOST = 9_000_000_000  #: of a unit that one call may tell, and a budget may be: the server counts up to 2**63 parts
RESERVED = ("state", "error", "attempts", "seconds", "version", "would")  #: `table` has such columns

Amounts = Mapping[str, int]  #: unit -> parts

NOTHING: dict[str, int] = {}  #: what most runs and rows spend; shared, so never changed


def in_units(amounts: Amounts) -> dict[str, float]:
    """Return amounts as a person reads them.

    >>> in_units({"usd": 1_250_000_000, "tokens": 7 * PARTS})
    {'usd': 1.25, 'tokens': 7.0}
    """
    return {unit: parts / PARTS for unit, parts in amounts.items()}


def total(each: Iterable[Amounts]) -> dict[str, int]:
    """Add amounts up.

    >>> total([{"usd": 1}, {"usd": 2, "tokens": 3}])
    {'usd': 3, 'tokens': 3}
    """
    found: dict[str, int] = {}
    for amounts in each:
        for unit, parts in amounts.items():
            found[unit] = found.get(unit, 0) + parts
    return found


def shared(amounts: Amounts, rows: int) -> list[dict[str, int]]:
    """Share amounts equally between rows; the first ones have a part more, if need be.

    >>> shared({"usd": 5}, 2)
    [{'usd': 3}, {'usd': 2}]
    """
    return [
        {unit: parts // rows + (row < parts % rows) for unit, parts in amounts.items()} for row in range(rows)
    ]


def expected(spent: Amounts, rows: Mapping[str, int]) -> dict[str, int]:
    """Return what a batch will have spent when all its rows have ended, if they go on as before.

    `rows` are how many are in which state. Nothing before one has ended, and once all have.

    >>> expected({"usd": 6}, {"completed": 2, "failed": 1, "waiting": 7})
    {'usd': 20}
    """
    ended = rows.get("completed", 0) + rows.get("failed", 0)
    left = sum(rows.values()) - ended
    if not ended or not left:
        return {}
    return {unit: parts + round(parts / ended * left) for unit, parts in spent.items()}


def flat(amounts: Amounts) -> list[str | int]:
    """Return amounts as the scripts read them: unit, parts, unit, parts.

    >>> flat({"usd": 5, "tokens": 7})
    ['usd', 5, 'tokens', 7]
    """
    return [part for pair in amounts.items() for part in pair]


def most(one: Amounts, other: Amounts) -> dict[str, int]:
    """Return of each unit the larger amount.

    >>> most({"usd": 1, "tokens": 4}, {"usd": 2})
    {'usd': 2, 'tokens': 4}
    """
    return {**one, **{unit: max(parts, one.get(unit, 0)) for unit, parts in other.items()}}


def of_runs(text: str | None) -> dict[int, dict[str, int]]:
    """Read a job's field `spent`: what each of its runs has told, ``<attempt start>:<unit>:<parts> ...``.

    >>> of_runs("1:usd:5 2:usd:7 2:tokens:9"), of_runs(None)
    ({1: {'usd': 5}, 2: {'usd': 7, 'tokens': 9}}, {})
    """
    found: dict[int, dict[str, int]] = {}
    for entry in (text or "").split():
        run, _, rest = entry.partition(":")
        unit, _, parts = rest.partition(":")
        if run.isdecimal() and parts.isdecimal():
            amounts = found.setdefault(int(run), {})
            amounts[unit] = amounts.get(unit, 0) + int(parts)
    return found


def of_job(text: str | None) -> dict[str, int]:
    """Return what all runs together have told, of a job's field `spent`.

    >>> of_job("1:usd:5 2:usd:7 2:tokens:9"), of_job(None)
    ({'usd': 12, 'tokens': 9}, {})
    """
    return total(of_runs(text).values())


def noted(data: str, spent: Sequence[Amounts]) -> str:
    """Return the data of a job with what its rows have spent before, row by row; as they are where that is nothing.

    >>> noted('{"rows":[7,8]}', [{}, {"usd": 5}]), noted('{"rows":[7,8]}', [])
    ('{"rows":[7,8],"spent":[{},{"usd":5}]}', '{"rows":[7,8]}')
    """
    return f'{data[:-1]},"spent":{json.dumps(spent, separators=(",", ":"))}}}' if any(spent) else data


def flat_of_rows(sums: Mapping[int, Amounts]) -> list[str | int]:
    """Return what rows have spent as the scripts read it: position, unit, parts, position, unit, parts.

    >>> flat_of_rows({3: {"usd": 5, "tokens": 7}})
    [3, 'usd', 5, 3, 'tokens', 7]
    """
    return [part for row, amounts in sums.items() for pair in amounts.items() for part in (row, *pair)]


def of_rows(text: str | None) -> dict[int, dict[str, int]]:
    """Read a job's field `rspent`: what its rows have told, ``<position>:<unit>:<parts> ...``; the largest counts.

    >>> of_rows("0:usd:12 3:usd:7 3:usd:9"), of_rows(None)
    ({0: {'usd': 12}, 3: {'usd': 9}}, {})
    """
    found: dict[int, dict[str, int]] = {}
    for entry in (text or "").split():
        row, _, rest = entry.partition(":")
        unit, _, parts = rest.partition(":")
        if row.isdecimal() and parts.isdecimal():
            amounts = found.setdefault(int(row), {})
            amounts[unit] = max(amounts.get(unit, 0), int(parts))
    return found
