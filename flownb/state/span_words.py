"""How durations are named in sentences."""

from __future__ import annotations

import math


def span(ms: float) -> str:
    """Return a duration a person reads at a glance.

    >>> span(400), span(59_000), span(240_000), span(7_300_000)
    ('0.4 s', '59 s', '4 min', '2 h')
    """
    if ms < 10_000:
        return f"{math.ceil(ms / 100) / 10:g} s"
    for unit, size, least in (("d", 86_400_000, 2), ("h", 3_600_000, 2), ("min", 60_000, 2)):
        if ms >= size * least:
            return f"{int(ms // size)} {unit}"
    return f"{math.ceil(ms / 1000)} s"
