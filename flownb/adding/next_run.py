"""When the next job of one of BullMQ's job schedulers is due, and the options that it gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from flownb.wire.store.job_records import number

_LAST_WEEKDAY = re.compile(r"\b([0-7])L\b")  # "5L", the last Friday: croniter reads "L5"
_FIELDS_FROM_MINUTES = 5  # a line may have seconds in front, or be a word such as @hourly
_OF_ONE_RUN = ("jobId", "timestamp", "delay", "prevMillis", "repeat", "repeatJobKey")


def next_run_ms(schedule: Mapping[str, str], at: int, now: int) -> int:
    """Return when the next job is due: after now, so that what a standstill has left out is not made up for.

    >>> next_run_ms({"every": "1000"}, 266, 300), next_run_ms({"every": "1000"}, 266, 4100)
    (1266, 4266)
    >>> next_run_ms({"pattern": "*/30 * * * * *", "tz": "UTC"}, 0, 31_000)
    60000
    """
    if "pattern" not in schedule:
        every = number(schedule["every"])
        return at + every * max((now - at) // every + 1, 1)
    return round(_next_match(schedule["pattern"], schedule.get("tz"), max(at, now) / 1000) * 1000)


def _next_match(pattern: str, zone_name: str | None, after: float) -> float:
    """Return when a cron line matches next, in a zone or in this machine's own; both in seconds since 1970.

    The line is matched at the offset from UTC that holds `after`; where that ends before, at the one that follows. As
    under BullMQ, a time that is left out when clocks go forward comes as much later, and what is due at an hour of the
    day comes once when they go back.
    """
    zone = ZoneInfo(zone_name) if zone_name else None
    offset = _offset(zone, after)
    found = _next_at_offset(pattern, after, offset)
    if _offset(zone, found) == offset:
        return found
    low, high = after, found  # the clocks are changed between these
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    change, new = round(high), _offset(zone, round(high))
    moved = (new - offset).total_seconds()
    if found < change + moved:  # it is left out
        return found
    is_repeated = moved < 0 and not _every_hour(pattern)
    return _next_at_offset(pattern, change - 1 - (moved if is_repeated else 0), new)


def _every_hour(pattern: str) -> bool:
    fields = pattern.split()
    return len(fields) < _FIELDS_FROM_MINUTES or fields[-4].startswith("*")


def _offset(zone: ZoneInfo | None, at: float) -> timedelta:
    offset = datetime.fromtimestamp(at, zone).astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _next_at_offset(pattern: str, after: float, offset: timedelta) -> float:
    from croniter import croniter  # few workers meet a schedule

    start = datetime.fromtimestamp(after, timezone(offset))
    return float(croniter(_LAST_WEEKDAY.sub(r"L\1", pattern), start, second_at_beginning=True).get_next())


def opts_of_run(
    opts: Mapping[str, Any], repeat: Mapping[str, Any], scheduler: str, count: int, due: int, now: int
) -> dict[str, Any]:
    """Return the stored options of a scheduler's job that is due then (ms); it is the scheduler's `count`-th.

    >>> opts_of_run({}, {"every": 1000}, "s", 2, 5000, 4200)["jobId"]
    'repeat:s:5000'
    """
    kept = {name: value for name, value in opts.items() if name not in _OF_ONE_RUN}
    if isinstance(kept.get("backoff"), (int, float)):
        kept["backoff"] = {"type": "fixed", "delay": kept["backoff"]}
    made = {
        "repeat": {**repeat, "count": count},
        "repeatJobKey": scheduler,
        "jobId": run_id(scheduler, due),
        "timestamp": now,
        "delay": max(due - now, 0),
    }
    past = {"prevMillis": due} if "pattern" in repeat else {}
    return {"attempts": 0, **kept, **made, **past}


def run_id(scheduler: str, due: int) -> str:
    """Return the id of a scheduler's job that is due then (ms).

    >>> run_id("s", 5000)
    'repeat:s:5000'
    """
    return f"repeat:{scheduler}:{due}"
