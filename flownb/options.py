"""Options: checked once, with the place in the message, and kept as frozen records.

BullMQ's camelCase and Python's snake_case are both accepted, an unknown name is refused with the nearest
one. Bare numbers in a job's options are BullMQ's milliseconds; durations may also be a timedelta or text
such as ``"30s"``. `arguments.py` reads the values.
"""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flownb.arguments import (
    TEN_YEARS_MS,
    both_forms,
    flag,
    is_duration_text,
    is_flag,
    is_number,
    milliseconds,
    seconds,
    shown,
    whole,
)
from flownb.errors import OptionError

MAX_PRIORITY = 2_097_151
MOST_AT_A_TIME = 1_000_000  # jobs of a queue or flow, on all workers together
_MOST_SHOWN = 60  # characters of an option's name in a message
CUSTOM = "custom"  # the type of a backoff that a function decides
_BACKOFFS = ("fixed", "exponential", CUSTOM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """How long to wait before the next attempt."""

    type: str = "fixed"  #: ``fixed``, ``exponential`` or ``custom``: a function of the worker's says how long
    delay: int = 0  #: ms; of an exponential backoff, before the second attempt
    jitter: float = 0.0  #: 0 to 1: the part of the wait that is left to chance

    def wait_ms(self, attempts_made: int) -> int:
        """Return the wait after `attempts_made` failed attempts: delay, 2 delay, 4 delay, ...

        >>> [Backoff(type="exponential", delay=1000).wait_ms(n) for n in (1, 2, 3)]
        [1000, 2000, 4000]
        """
        most = self.delay
        if self.type == "exponential":
            most = min(self.delay * 2 ** min(attempts_made - 1, 40), TEN_YEARS_MS)
        if not self.jitter:
            return most
        return math.floor(random.random() * most * self.jitter + most * (1 - self.jitter))


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """Which ended jobs are kept: the newest `count`, and those that ended less than `age` ago."""

    count: int | None = None
    age: float | None = None  #: seconds
    limit: int = 1000  #: jobs that are too old, removed in one go


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOptions:
    """A job's options, checked. `wire` is what stands in the stored ``opts``, BullMQ's short keys.

    `bullmq` is what BullMQ itself would store: also what flownb keeps elsewhere or means otherwise.
    """

    job_id: str | None = None
    attempts: int = 0
    backoff: Backoff = field(default_factory=Backoff)
    priority: int = 0
    delay: int = 0  #: ms
    lifo: bool = False
    timeout: int | None = None  #: ms
    policy: str | None = None  #: fpof, cpof, idof or rdof; None when the caller named none
    stack_trace_limit: int = 10
    keep_logs: int | None = None
    size_limit: int | None = None
    remove_on_complete: Keep | None = None  #: None: all are kept
    remove_on_fail: Keep | None = None
    wire: Mapping[str, Any] = field(default_factory=dict)
    bullmq: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, opts: Mapping[str, Any] | None, where: str) -> JobOptions:
        """Check a caller's options; `where` is the node's path in the message.

        >>> JobOptions.read({"attempts": 3, "backoff": "exponential 1s"}, "root").backoff.delay
        1000
        """
        if opts is None:
            return _NO_OPTIONS
        if not isinstance(opts, Mapping):
            raise OptionError(f"{where}: opts is a dict, not {type(opts).__name__}")
        return _read(opts, where)

    @property
    def removes(self) -> bool:
        """Is the job to be removed some time after its end?"""
        return self.remove_on_complete is not None or self.remove_on_fail is not None

    @property
    def typed(self) -> dict[str, Any]:
        """The options as a caller may type them: `read` makes the same of them again."""
        return long_names(self.bullmq)

    @property
    def bullmq_policy(self) -> str | None:
        """The policy as BullMQ reads it, to which an explicit False means the same as none."""
        return next((short for short in _POLICIES.values() if self.bullmq.get(short)), None)

    @classmethod
    def from_wire(cls, opts: Mapping[str, Any]) -> JobOptions:
        """Read stored options as they are; what flownb does not know or cannot read is left alone."""
        known = {_LONG.get(name, name): value for name, value in opts.items()}
        kept = {name: known[name] for name in _READERS if known.get(name) is not None}
        if "backoff" in kept:
            kept["backoff"] = _known_backoff(kept["backoff"])
        while True:
            try:
                return _read(kept, "opts")
            except OptionError as error:  # a foreign producer's odd value: as if it were not there
                name = str(error).partition(":")[0].removeprefix("opts.")
                if kept.pop(name, None) is None:
                    return _NO_OPTIONS


def _read(opts: Mapping[str, Any], where: str) -> JobOptions:
    values: dict[str, Any] = {}
    wire: dict[str, Any] = {"attempts": 0}
    policies: dict[str, bool] = {}
    names: set[str] = set()
    for given, value in opts.items():
        name = _name_of(given, where)
        if name in names:
            raise OptionError(f"{where}.{name}: given twice, as {name} and {given}")
        names.add(name)
        if value is None:
            continue
        what = f"{where}.{name}"
        if name in _POLICIES:
            policies[name] = _flag(value, what)
            continue
        attribute, read = _READERS[name]
        values[attribute] = read(value, what)
        wire[_SHORT.get(name, name)] = _to_wire(values[attribute], value)
    values["policy"] = _policy(policies, where)
    bullmq = wire | {_POLICIES[name]: on for name, on in policies.items()}
    for name in _NOT_ON_THE_WIRE:
        wire.pop(name, None)
    if values["policy"]:
        wire[values["policy"]] = True
    return JobOptions(**values, wire=wire, bullmq=bullmq)


def _known_backoff(stored: Any) -> Any:
    """Return a stored backoff with a type that flownb knows: BullMQ's clients give their own any name."""
    if isinstance(stored, Mapping):
        kind = stored.get("type")
        if isinstance(kind, str) and kind not in _BACKOFFS:
            return {**stored, "type": CUSTOM}
    return stored


def _name_of(given: Any, where: str) -> str:
    name = _CAMEL.get(given) if isinstance(given, str) else None
    if name is None:
        said = given[:_MOST_SHOWN] if isinstance(given, str) else shown(given)
        near = difflib.get_close_matches(said, _CAMEL, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(_READERS))}"
        raise OptionError(f"{where}.{said}: no such option{hint}")
    return name


def _policy(policies: dict[str, bool], where: str) -> str | None:
    chosen = [name for name, on in policies.items() if on]
    if len(chosen) > 1:
        raise OptionError(f"{where}: {chosen[0]} and {chosen[1]} contradict each other; keep one")
    if chosen:
        return _POLICIES[chosen[0]]
    # The guide: "failParentOnFailure: false // Parent continues even if this fails".
    return "idof" if policies.get("failParentOnFailure") is False else None


def _flag(value: Any, what: str) -> bool:
    return flag(what, value)


def _whole(least: int, most: int) -> Callable[[Any, str], int]:
    return lambda value, what: whole(what, value, least, most)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise OptionError(f"{what}: text, not {type(value).__name__}")
    return str.__str__(value)


def _backoff(value: Any, what: str) -> Backoff:
    if isinstance(value, str):
        return _backoff_of_text(value, what)
    if isinstance(value, Mapping):
        return _backoff_of_parts(value, what)
    return Backoff(delay=milliseconds(value, what))


def _backoff_of_text(value: str, what: str) -> Backoff:
    kind, _, rest = value.partition(" ")
    if kind in ("fixed", "exponential") and rest:
        return Backoff(type=kind, delay=milliseconds(rest, what))
    if not is_duration_text(value):
        raise OptionError(f"{what}: {shown(value)} is no backoff; write 'exponential 1s', 'fixed 5s' or '5s'")
    return Backoff(delay=milliseconds(value, what))


def _backoff_of_parts(value: Mapping[Any, Any], what: str) -> Backoff:
    unknown = [shown(name) for name in value if name not in ("type", "delay", "jitter")]
    if unknown:
        raise OptionError(f"{what}: no such part {unknown[0]}; a backoff has type, delay and jitter")
    kind = value.get("type", "fixed")
    if not isinstance(kind, str) or kind not in _BACKOFFS:
        raise OptionError(f"{what}: the type is 'fixed', 'exponential' or 'custom', not {shown(kind)}")
    jitter = 0 if value.get("jitter") is None else value["jitter"]
    if not is_number(jitter) or not 0 <= jitter <= 1:
        raise OptionError(f"{what}: jitter is a number from 0 to 1, not {shown(jitter)}")
    return Backoff(type=kind, delay=milliseconds(value.get("delay", 0), what), jitter=float(jitter))


def _timeout(value: Any, what: str) -> int:
    time = milliseconds(value, what)
    if time < 1:
        raise OptionError(f"{what}: a timeout is longer than 0")
    return time


def _keep(value: Any, what: str) -> Keep | None:
    """BullMQ's ways to say it: True (remove at once), False, a number to keep, or age (seconds) and count."""
    if is_flag(value):
        return Keep(count=0) if value else None
    if isinstance(value, Mapping):
        return _keep_of_parts(value, what)
    return Keep(count=_COUNT(value, what))


def _keep_of_parts(value: Mapping[Any, Any], what: str) -> Keep:
    readers: dict[str, Callable[[Any, str], Any]] = {"age": seconds, "count": _COUNT, "limit": _COUNT}
    unknown = [shown(name) for name in value if name not in readers]
    if unknown or not value:
        problem = f"no such part {unknown[0]}" if unknown else "nothing is said"
        raise OptionError(f"{what}: {problem}; there are age, count and limit")
    given = {name: value[name] for name in ("count", "age", "limit") if value.get(name) is not None}
    return Keep(**{name: readers[name](part, f"{what}.{name}") for name, part in given.items()})


def _to_wire(value: Any, given: Any) -> Any:
    if isinstance(value, Keep) and isinstance(given, Mapping):
        limit = value.limit if given.get("limit") is not None else None
        said = {"age": value.age, "count": value.count, "limit": limit}
        return {name: part for name, part in said.items() if part is not None}
    if isinstance(value, Keep):
        return True if is_flag(given) else value.count
    if value is None:  # removeOnComplete: False
        return False
    if isinstance(value, Backoff):
        kept: dict[str, Any] = {"type": value.type, "delay": value.delay}
        return kept | {"jitter": value.jitter} if value.jitter else kept
    return value


_COUNT = _whole(0, 1_000_000_000)
_READERS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "jobId": ("job_id", _text),
    "attempts": ("attempts", _whole(0, 1000)),
    "backoff": ("backoff", _backoff),
    "priority": ("priority", _whole(0, MAX_PRIORITY)),
    "delay": ("delay", milliseconds),
    "lifo": ("lifo", _flag),
    "timeout": ("timeout", _timeout),
    "stackTraceLimit": ("stack_trace_limit", _whole(0, 1000)),
    "keepLogs": ("keep_logs", _whole(1, 1_000_000)),
    "sizeLimit": ("size_limit", _whole(1, 1 << 30)),
    "removeOnComplete": ("remove_on_complete", _keep),
    "removeOnFail": ("remove_on_fail", _keep),
}
_POLICIES = {
    "failParentOnFailure": "fpof",
    "continueParentOnFailure": "cpof",
    "ignoreDependencyOnFailure": "idof",
    "removeDependencyOnFailure": "rdof",
}
#: flownb's flows keep these elsewhere: Node's workers would remove a job before its flow has ended
_NOT_ON_THE_WIRE = ("jobId", "removeOnComplete", "removeOnFail")
_SHORT = {"keepLogs": "kl"}
_LONG = {short: long for long, short in (_POLICIES | _SHORT).items()}


_CAMEL = both_forms([*_READERS, *_POLICIES])
_NO_OPTIONS = JobOptions(wire={"attempts": 0}, bullmq={"attempts": 0})


def long_names(opts: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored options under the names by which a caller gives them.

    >>> long_names({"kl": 5, "attempts": 3})
    {'keepLogs': 5, 'attempts': 3}
    """
    return {_LONG.get(name, name): value for name, value in opts.items()}
