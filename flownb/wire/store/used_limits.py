"""What is used up of a queue's limits by weight, as ``lua/lib/weights.lua`` keeps it; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flownb.arguments import Rate
from flownb.wire.store.queue_settings import rates_of_text


@dataclass(frozen=True, slots=True)
class FullLimit:
    """A limit in whose window there is no room for the next job."""

    rate: Rate
    used: float
    weight: float  #: of the next job
    ends: int  #: when the window does: ms, by the server's clock
    left_ms: int  #: until then


def full_limits(
    limits: str | None, used: Mapping[str, str], weights: str | None, now: int
) -> tuple[FullLimit, ...]:
    """Return the limits that hold back a job of these weights; `used` is the account of its queue.

    >>> full_limits("10 1000 tokens", {"tokens/1000": "5000 8"}, "tokens=3", 5400)[0].left_ms
    600
    """
    of = dict(part.partition("=")[::2] for part in (weights or "").split())
    found = []
    for rate in rates_of_text(limits):
        try:
            start, amount = map(float, used[f"{rate.unit}/{rate.ms}"].split())
            weight = float(of.get(rate.unit, 1))
        except (KeyError, ValueError):
            continue
        past = (now - start) // rate.ms
        amount = max(amount - past * rate.most, 0)
        if weight > 0 and amount > 0 and amount + weight > rate.most * (1 + 1e-9):
            ends = int(start + (past + 1) * rate.ms)
            found.append(FullLimit(rate, amount, weight, ends, ends - now))
    return tuple(found)
