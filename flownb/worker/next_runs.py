"""Lets BullMQ's job schedulers go on: when a job of one begins, the next one is added, as BullMQ's workers do it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from flownb.errors import ServerError
from flownb.wire import codec, keys
from flownb.wire.store import Store
from flownb.wire.store.job_records import Taken, number

log = logging.getLogger("flownb.worker")

_LAST_WEEKDAY = re.compile(r"\b([0-7])L\b")  # "5L", the last Friday: croniter reads "L5"
_FIELDS_FROM_MINUTES = 5  # a line may have seconds in front, or be a word such as @hourly
_OF_ONE_RUN = ("jobId", "timestamp", "delay", "prevMillis", "repeat", "repeatJobKey")


def add_next_runs(store: Store, taken: Sequence[Taken]) -> None:
    """Add the next job of each scheduler that has added one of these. A worker that dies before is made up for by the
    next one that takes the job.
    """
    for one in taken:
        if one.scheduler is None:
            continue
        try:
            _add_next_run(store, one, one.scheduler)
        except ServerError as error:
            log.warning(
                "the next run of schedule %r is added when this job is taken again: %s", one.scheduler, error
            )
        except Exception as error:  # a pattern or a time zone that is none
            queue = keys.queue_of_base(one.base)
            log.warning("schedule %r of queue %r cannot go on: %s", one.scheduler, queue, error)


def _add_next_run(store: Store, taken: Taken, scheduler: str) -> None:
    record, now = taken.record, store.server.read_time()
    opts = codec.decode_object(record.opts)
    repeat = opts["repeat"] if isinstance(opts.get("repeat"), dict) else {}
    schedule = {
        **{name: str(value) for name, value in repeat.items()},
        **store.schedules.read(taken.base, scheduler),
    }
    at = number(record.id.rpartition(":")[2])
    count = number(repeat.get("count", 1))
    if _is_over(schedule, count, now):
        return
    next_ms = next_run_ms(schedule, at, now)
    store.schedules.add_next_run(
        taken.base,
        scheduler,
        at=at,
        next=next_ms,
        opts=json.dumps(
            _opts_of_next(opts, repeat, scheduler, count + 1, next_ms, now), separators=(",", ":")
        ),
        priority=record.priority,
        name=record.name,
        data=record.data,
    )


def _is_over(schedule: Mapping[str, str], count: int, now: int) -> bool:
    limit, end = number(schedule.get("limit", 0)), number(schedule.get("endDate", 0))
    return bool(limit and count >= limit) or bool(end and now > end)


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


def _opts_of_next(
    opts: Mapping[str, Any], repeat: Mapping[str, Any], scheduler: str, count: int, next_ms: int, now: int
) -> dict[str, Any]:
    kept = {name: value for name, value in opts.items() if name not in _OF_ONE_RUN}
    if isinstance(kept.get("backoff"), (int, float)):
        kept["backoff"] = {"type": "fixed", "delay": kept["backoff"]}
    made = {
        "repeat": {**repeat, "count": count},
        "repeatJobKey": scheduler,
        "jobId": f"repeat:{scheduler}:{next_ms}",
        "timestamp": now,
        "delay": max(next_ms - now, 0),
    }
    past = {"prevMillis": next_ms} if "pattern" in repeat else {}
    return {"attempts": 0, **kept, **made, **past}
