"""When a schedule's ticks come: an interval or a cron line, read, or refused with what fits; how a tick is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flownb.adding.cron_line import check_line, checked_zone
from flownb.adding.next_run import next_run_ms
from flownb.arguments import is_duration_text, is_number, seconds, shown
from flownb.errors import OptionError

LEAST_INTERVAL_MS = 1000
_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000}
_MOST_CHARACTERS = 200  # of a cron line
_FIELDS = (5, 6)  # that a cron line has
_EXAMPLES = "an interval such as '30m', '1d' or 90 (seconds), or a cron line such as '0 6 * * mon-fri'"


@dataclass(frozen=True, slots=True)
class Timing:
    """When ticks come; either `every_ms` or `pattern` is set."""

    every_ms: int | None = None
    pattern: str | None = None  #: a cron line
    zone: str = "UTC"  #: in which the line is matched

    @classmethod
    def read(cls, when: Any, tz: Any) -> Timing:
        """Read what a caller gave.

        >>> Timing.read("1d", None).words, Timing.read("0 6 * * *", "Europe/Berlin").words
        ('1d', '0 6 * * *')
        """
        zone = "UTC" if tz is None else checked_zone(tz, "tz")
        if isinstance(when, str) and not is_duration_text(when):
            found = cls(pattern=" ".join(when.split()), zone=zone)
            found._check_pattern(when)
            return found
        if not isinstance(when, (str, timedelta)) and not is_number(when):
            raise OptionError(f"when: {_EXAMPLES}, not {shown(when)}")
        every_ms = round(seconds(when, "when") * 1000)
        if every_ms < LEAST_INTERVAL_MS:
            raise OptionError(f"when: at least one second between two flows, not {shown(when)}")
        if tz is not None:
            raise OptionError(
                f"tz: a day of an interval has 24 hours in every time zone; for {zone} give a cron line such as "
                "'0 6 * * *'"
            )
        return cls(every_ms=every_ms)

    @classmethod
    def of_stored(cls, fields: Mapping[str, str]) -> Timing:
        """Read the fields of a stored scheduler, another program's too."""
        if "pattern" in fields:
            return cls(pattern=fields["pattern"], zone=fields.get("tz", "UTC"))
        every = fields.get("every", "")
        return cls(every_ms=int(every) if every.isdecimal() else 0)

    def _check_pattern(self, given: str) -> None:
        pattern = self.pattern or ""
        if len(pattern) > _MOST_CHARACTERS or (len(pattern.split()) not in _FIELDS and pattern[:1] != "@"):
            raise OptionError(f"when: {_EXAMPLES}, not {shown(given)}")
        check_line(pattern, "when")

    @property
    def fields(self) -> dict[str, str]:
        """The fields of BullMQ's scheduler that say the same."""
        if self.pattern is None:
            return {"every": str(self.every_ms)}
        return {"pattern": self.pattern, "tz": self.zone}

    @property
    def repeat(self) -> dict[str, Any]:
        """BullMQ's option ``repeat`` that says the same."""
        return dict(self.fields) if self.pattern is not None else {"every": self.every_ms}

    @property
    def words(self) -> str:
        """What a caller would type."""
        if self.pattern is not None:
            return self.pattern
        every = self.every_ms or 0
        for unit, size in _UNITS_MS.items():
            if every % size == 0:
                return f"{every // size}{unit}"
        return f"{every / 1000:.3f}".rstrip("0") + "s"

    def first(self, now: int) -> int:
        """Return when the first tick comes (ms): of an interval now, as in BullMQ; of a cron line at its next time."""
        return now if self.pattern is None else self.next(0, now)

    def next(self, at: int, now: int) -> int:
        """Return when the tick after the one of `at` comes (ms), later than now."""
        return next_run_ms(self.fields, at, now)


def tick_name(name: str, due: int, zone: str) -> str:
    """Return the name of the flow that a schedule adds at a tick: the schedule's, and when the tick was due.

    An hour that comes twice when clocks go back is told apart by its zone.

    >>> tick_name("nightly", 1764568800000, "Europe/Berlin"), tick_name("nightly", 1764568807000, "UTC")
    ('nightly 2025-12-01 07:00', 'nightly 2025-12-01 06:00:07')
    >>> tick_name("nightly", 1761438600000, "Europe/Berlin")
    'nightly 2025-10-26 02:30 CEST'
    """
    local = datetime.fromtimestamp(due // 1000, ZoneInfo(zone))
    text = f"{local:%Y-%m-%d %H:%M}" + (f":{local:%S}" if local.second else "")
    is_twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return f"{name} {text}" + (f" {local:%Z}" if is_twice else "")
