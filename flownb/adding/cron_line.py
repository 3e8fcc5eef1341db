"""Cron lines and time zones that a caller names, checked: one of the two is wrong, and the message says which."""

from __future__ import annotations

import difflib
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from flownb.adding.next_run import next_run_ms
from flownb.arguments import shown
from flownb.errors import OptionError


def check_line(line: str, what: str) -> None:
    """Refuse a line that cannot be read, or that no day matches.

    >>> check_line("0 6 * * mon-fri", "pattern")
    """
    from croniter import CroniterBadDateError  # few callers have a schedule

    try:
        next_run_ms({"pattern": line, "tz": "UTC"}, 0, 0)
    except CroniterBadDateError:
        raise OptionError(f"{what}: {shown(line)} never matches: there is no such day") from None
    except Exception as error:  # croniter's own, and what it trips over
        reason = str(error).rpartition("] ")[2]
        raise OptionError(
            f"{what}: {shown(line)} is no cron line (minute, hour, day, month, weekday): {reason}"
        ) from None


def checked_zone(tz: Any, what: str) -> str:
    """Return the name of a time zone that is known here; also of one of Python's `ZoneInfo`.

    >>> checked_zone(ZoneInfo("Europe/Berlin"), "tz")
    'Europe/Berlin'
    """
    if isinstance(tz, ZoneInfo) and tz.key:
        tz = tz.key
    known = available_timezones()
    if isinstance(tz, str) and tz in known:
        return str.__str__(tz)
    near = difflib.get_close_matches(tz[:60], known, n=1, cutoff=0.5) if isinstance(tz, str) else []
    raise OptionError(f"{what}: a time zone such as {(near or ['Europe/Berlin'])[0]!r}, not {shown(tz)}")
