"""What `Queue.upsert_job_scheduler` takes, when jobs are due and what they are; checked, and as BullMQ stores it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flownb.adding.cron_line import check_line, checked_zone
from flownb.adding.next_run import next_run_ms
from flownb.arguments import flag, is_number, milliseconds, parts, shown, whole
from flownb.errors import OptionError
from flownb.options import JobOptions, long_names
from flownb.wire import codec, keys
from flownb.wire.store.job_records import number

_MOST_RUNS, _MOST_MS, _MOST_CHARACTERS = 10**9, 2**53, 200
_ORDER = ("tz", "limit", "startDate", "endDate", "pattern", "every", "offset")


@dataclass(frozen=True, slots=True)
class Repeat:
    """When a job scheduler's jobs are due: `said` are BullMQ's options, either ``every`` (ms) or ``pattern``."""

    said: Mapping[str, Any]
    immediately: bool = False  #: of a pattern: the first job is due at once

    @classmethod
    def read(cls, given: Any, where: str = "repeat") -> Repeat:
        """Check what a caller gave.

        >>> Repeat.read({"every": "5m"}).said
        {'every': 300000}
        """
        read = parts(given, where, _READERS, "{'every': '5m'} or {'pattern': '0 6 * * *'}")
        if ("every" in read) == ("pattern" in read):
            raise OptionError(f"{where}: either every (a duration) or pattern (a cron line), one of the two")
        if read.get("immediately") and "startDate" in read:
            raise OptionError(f"{where}: either immediately or startDate; the first job is due at one time")
        return cls({name: read[name] for name in _ORDER if name in read}, read.get("immediately", False))

    def is_over(self, now: int) -> bool:
        """Say whether no job is due any more at all."""
        return bool(self.said.get("endDate")) and self.said["endDate"] <= now

    def due(self, before: int | None, stored: Mapping[str, str], now: int) -> int:
        """Return when the next job is due (ms); `before` is when the one of the scheduler that is there is."""
        start: int = max(self.said.get("startDate", 0), now)
        if "pattern" in self.said:
            return now if self.immediately else next_run_ms(self.said, 0, start)
        every: int = self.said["every"]
        if before is not None and stored.get("every") == str(every):
            return before
        if "startDate" in self.said:
            return start
        if "offset" not in self.said:
            return now
        due: int = now // every * every + self.said["offset"]
        return due if due > now else due + every

    def next(self, at: int, now: int) -> int:
        """Return when the job after the one of `at` is due (ms), later than now."""
        return next_run_ms({name: str(value) for name, value in self.said.items()}, at, now)

    def fields(self, stored: Mapping[str, str], due: int) -> dict[str, str]:
        """Return the fields of the scheduler's record that say the same; the offset of one that is there stays."""
        first = due % self.said["every"] if "every" in self.said else 0
        offset = self.said.get("offset", stored.get("offset", first))
        return {name: str(value) for name, value in {**self.said, "offset": offset}.items()}


@dataclass(frozen=True, slots=True)
class Template:
    """What a scheduler's jobs are."""

    name: str
    data: str | None  #: JSON text; None: nothing was said
    options: JobOptions
    opts: Mapping[str, Any]  #: as they are stored

    @classmethod
    def read(cls, given: Any, scheduler: str, where: str = "template") -> Template:
        """Check what a caller gave: name, data and opts, none of them needed."""
        read = {} if given is None else parts(given, where, _OF_A_JOB, "{'name': 'report', 'data': {}}")
        name = read.get("name", scheduler)
        if problem := keys.problem_with_name(name):
            raise OptionError(f"{where}: name {problem}")
        options = JobOptions.read(read.get("opts", {}), f"{where}: opts")
        for held in ("job_id", "delay"):
            if getattr(options, held):
                raise OptionError(
                    f"{where}: opts: the scheduler says itself when its jobs are due and what ids they have"
                )
        data = codec.encode(read["data"], "data") if "data" in read else None
        stored = dict(options.bullmq)
        if options.attempts == 0:
            stored.pop("attempts", None)
        return cls(str.__str__(name), data, options, stored)


def checked_scheduler(id: Any) -> str:
    """Return a job scheduler's id; refuse one from which its jobs' ids could not be cut again."""
    if not isinstance(id, str) or not id or len(id) > _MOST_CHARACTERS or ":" in id or not id.isprintable():
        raise OptionError(
            f"id: a text of 1 to {_MOST_CHARACTERS} characters without a colon, not {shown(id)}"
        )
    return str.__str__(id)


def as_bullmq_tells(scheduler: str, due: int, stored: Mapping[str, str]) -> dict[str, Any]:
    """Return what is stored of a scheduler as BullMQ tells of it."""
    found: dict[str, Any] = {"key": scheduler, "name": stored.get("name", scheduler), "next": due}
    numbers = {
        "ic": "iterationCount",
        **{name: name for name in ("limit", "startDate", "endDate", "every", "offset")},
    }
    found |= {called: number(stored[name]) for name, called in numbers.items() if name in stored}
    found |= {name: stored[name] for name in ("tz", "pattern") if name in stored}
    template = {name: codec.decode(stored[name]) for name in ("data", "opts") if name in stored}
    if isinstance(template.get("opts"), dict):
        template["opts"] = long_names(template["opts"])
    return found | ({"template": template} if template else {})


def _every(value: Any, what: str) -> int:
    ms = milliseconds(value, what)
    if ms < 1:
        raise OptionError(f"{what}: longer than 0, not {shown(value)}")
    return ms


def _pattern(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_CHARACTERS:
        raise OptionError(f"{what}: a text of 1 to {_MOST_CHARACTERS} characters, not {shown(value)}")
    check_line(value, what)
    return str.__str__(value)


def _moment(value: Any, what: str) -> int:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return round(value.timestamp() * 1000)
    if is_number(value) and 0 <= value <= _MOST_MS:
        ms: int = round(value)
        return ms
    raise OptionError(f"{what}: a datetime with a time zone, or ms since 1970, not {shown(value)}")


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "every": _every,
    "pattern": _pattern,
    "tz": checked_zone,
    "limit": lambda value, what: whole(what, value, 1, _MOST_RUNS),
    "startDate": _moment,
    "endDate": _moment,
    "offset": milliseconds,
    "immediately": lambda value, what: flag(what, value),
}
_OF_A_JOB: dict[str, Callable[[Any, str], Any]] = dict.fromkeys(
    ("name", "data", "opts"), lambda value, what: value
)
