"""What a caller passes, read or refused: words, numbers, flags, durations, rates.

A refusal names the argument, what fits, and what was given: in a few characters, or by its kind alone where it is
large or of a class of the caller's. So nothing here asks a value whether it is true, equal or hashable, which an
array or a DataFrame cannot say.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from numbers import Integral, Real
from typing import Any, NamedTuple

from flownb.errors import OptionError

TEN_YEARS_MS = 10 * 365 * 24 * 3600 * 1000
_MOST_SHOWN = 60  # characters of a text in a message
_MOST_DIGITS = 30  # of a whole number in a message

_UNIT_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"^\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(ms|s|sec|m|min|h|d)\s*$")
_NUMBER = r"[0-9][0-9,_]{0,23}(?:\.[0-9]{1,18})?"
_RATE = re.compile(rf"^\s*({_NUMBER})\s*([^\W\d]\w*)?\s*/\s*([0-9]{{1,9}})?\s*(ms|s|sec|m|min|h|d)\s*$")
CALLS = "calls"  #: the unit of a rate that names none
MOST_OF_A_UNIT = 10**12  #: in a window


def shown(value: Any) -> str:
    """Return how a message shows what was given: a short text or number as it is, anything else by its kind.

    >>> shown("soon"), shown(2.5), shown([1, 2]), shown({}), shown(object())
    ("'soon'", '2.5', 'a list of 2', 'an empty dict', 'an object')
    >>> shown("x" * 100_000), shown(10**5000)
    ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'", 'a number of 5,001 digits')
    """
    if value is None or value is True or value is False:
        return repr(value)
    if isinstance(value, str):
        text = str.__str__(value[: _MOST_SHOWN + 1])
        return repr(text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}...")
    if type(value) in (list, tuple, dict, set, frozenset, bytes, bytearray):
        return f"{_with_article(value)} of {len(value):,}" if value else f"an empty {type(value).__name__}"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s"
    return _shown_number(value) if is_number(value) else _with_article(value)


def _shown_number(value: Any) -> str:
    if is_whole(value):
        digits = int(int(value).bit_length() * math.log10(2)) + 1
        return str(int(value)) if digits <= _MOST_DIGITS else f"a number of {digits:,} digits"
    return repr(float(value))


def _with_article(value: Any) -> str:
    return with_article(type(value).__name__[:_MOST_SHOWN])


def with_article(kind: str) -> str:
    """Return the name of a kind of thing with its article.

    >>> with_article("list"), with_article("object")
    ('a list', 'an object')
    """
    return f"{'an' if kind[:1] in 'aeiouAEIOU' else 'a'} {kind}"


def is_whole(value: Any) -> bool:
    """Say whether this is a whole number: an int or numpy's, but no bool and no span of time.

    >>> is_whole(3), is_whole(True), is_whole(3.0)
    (True, False, False)
    """
    if type(value) is int:
        return True
    return isinstance(value, Integral) and type(value).__name__ not in ("bool", "timedelta64")


def is_number(value: Any) -> bool:
    """Say whether this is a number with a fraction or without: Python's or numpy's, but no bool, no span of time.

    >>> is_number(2.5), is_number(True)
    (True, False)
    """
    if isinstance(value, float) or is_whole(value):
        return True
    return isinstance(value, Real) and not isinstance(value, Integral) and type(value).__module__ == "numpy"


def is_flag(value: Any) -> bool:
    """Say whether this is True or False, or one of numpy's.

    >>> is_flag(True), is_flag(1)
    (True, False)
    """
    kind = type(value)
    return kind is bool or (kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"))


def whole(what: str, value: Any, least: int, most: int) -> int:
    """Return a whole number between two others, or say that it is none.

    >>> whole("concurrency", 4, 1, 1000)
    4
    """
    if is_whole(value) and least <= int(value) <= most:
        return int(value)
    raise OptionError(f"{what}: a whole number from {least} to {most}, not {shown(value)}")


def flag(what: str, value: Any) -> bool:
    """Return True or False, numpy's too; refuse anything else.

    >>> flag("fix", True)
    True
    """
    if is_flag(value):
        return bool(value)
    raise OptionError(f"{what}: True or False, not {shown(value)}")


def text(what: str, value: Any) -> str:
    """Return a text as plain `str`, also where it is of a class of its own; refuse anything else, and no text.

    >>> text("name", "november")
    'november'
    """
    if isinstance(value, str) and value:
        return str.__str__(value)
    raise OptionError(f"{what}: a text, not {shown(value) if not isinstance(value, str) else 'an empty one'}")


def items(value: Any) -> list[Any] | None:
    """Return the items of a list or of what gives items, None for what gives none; what it raises is its own.

    >>> items(range(2)), items(5)
    ([0, 1], None)
    """
    try:
        found = iter(value)
    except TypeError:  # an array without a dimension has the method, too
        return None
    return list(found)


def is_unicode(text: str) -> bool:
    r"""Say whether a text has no half character (lone surrogate), which nothing that is stored has.

    >>> is_unicode("ä"), is_unicode("\ud83d")
    (True, False)
    """
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def path(what: str, value: Any) -> str:
    """Return the path of a file or folder; refuse what is none, a number of an open file too.

    >>> path("path", "report.html")
    'report.html'
    """
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(found, str) or not found:
        raise OptionError(f"{what}: the path of a file or folder, not {shown(value)}")
    if "\0" in found or not is_unicode(found):
        raise OptionError(
            f"{what}: {shown(value)} holds a zero or half a character, which no file's name does"
        )
    return str.__str__(found)


def one_of(what: str, value: Any, words: Collection[str]) -> str:
    """Return one of these words, or say that it is none of them.

    >>> one_of("if_exists", "reuse", ("reuse", "rerun"))
    'reuse'
    """
    if isinstance(value, str) and value in words:
        return str.__str__(value)
    *others, last = map(repr, words)
    raise OptionError(f"{what}: {', '.join(others)} or {last}, not {shown(value)}")


def seconds(value: Any, what: str) -> float:
    """Return a duration in seconds: a number of seconds, a timedelta, or text such as ``"30s"``.

    >>> seconds("1.5m", "timeout")
    90.0
    """
    return _duration(value, what, unit=1.0)


def milliseconds(value: Any, what: str) -> int:
    """Return a duration in milliseconds; a bare number is milliseconds, as in BullMQ's options.

    What is less than one, and not 0, is refused: it was meant as seconds, and would count as 0.

    >>> milliseconds("2s", "delay"), milliseconds(2000, "delay")
    (2000, 2000)
    """
    found = _duration(value, what, unit=0.001) * 1000
    if 0 < found < 1:
        raise OptionError(
            f"{what}: {shown(value)} is less than a millisecond; seconds are text, such as '0.2s'"
        )
    return round(found)


def both_forms(names: Iterable[str]) -> dict[str, str]:
    """Return BullMQ's names by the forms in which a caller may type them: camelCase, or Python's snake_case.

    >>> both_forms(["keepLogs"])
    {'keepLogs': 'keepLogs', 'keep_logs': 'keepLogs'}
    """
    return {form: name for name in names for form in (name, _snake(name))}


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def parts(
    value: Any, what: str, readers: Mapping[str, Callable[[Any, str], Any]], example: str
) -> dict[str, Any]:
    """Return the named parts of a dict, each as its reader reads it; a part that is None is not there.

    >>> parts({"age": None, "delay": "2s"}, "wait", {"age": seconds, "delay": milliseconds}, "{'delay': '2s'}")
    {'delay': 2000}
    """
    if not isinstance(value, Mapping):
        raise OptionError(f"{what}: a dict such as {example}, not {shown(value)}")
    names, read = both_forms(readers), dict[str, Any]()
    for said, part in value.items():
        name = names.get(said) if isinstance(said, str) else None
        if name is None:
            raise OptionError(f"{what}: no such part {shown(said)}; there are {', '.join(readers)}")
        if name in read:
            raise OptionError(f"{what}.{name}: given twice, as {name} and {said}")
        read[name] = None if part is None else readers[name](part, f"{what}.{name}")
    return {name: part for name, part in read.items() if part is not None}


def is_duration_text(text: str) -> bool:
    """Say whether a text is a duration such as ``"30s"``.

    >>> is_duration_text("30s"), is_duration_text("soon")
    (True, False)
    """
    return _DURATION.match(text) is not None


def _duration(value: Any, what: str, unit: float) -> float:
    """Return seconds; a bare number counts `unit` seconds each."""
    number = _read_duration(value, what, unit)
    if not math.isfinite(number) or number < 0 or number * 1000 > TEN_YEARS_MS:
        raise OptionError(f"{what}: {shown(value)} is not between 0 and ten years")
    return number


def _read_duration(value: Any, what: str, unit: float) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        match = _DURATION.match(value[:100])
        if not match:
            raise OptionError(
                f"{what}: {shown(value)} is no duration; write 30 or '30s', '5m', '2h', '500ms'"
            )
        return float(match[1]) * _UNIT_SECONDS[match[2]]
    if is_whole(value):
        return float(max(-1, min(int(value), 10**300))) * unit  # an int may be larger than any float
    if is_number(value):
        return float(value) * unit
    raise OptionError(f"{what}: a duration is a number, a timedelta or text, not {shown(value)}")


class Rate(NamedTuple):
    """So much may begin in each window of time: calls, or what they weigh in a unit."""

    most: float
    ms: int  #: of a window
    unit: str = CALLS

    def __str__(self) -> str:
        return f"{self.most:,.10g} {self.unit} {_each(self.ms)}"


def _each(ms: int) -> str:
    """Return how a sentence says a window: ``a minute``, ``in 90 s``."""
    words = {1000: "a second", 60_000: "a minute", 3_600_000: "an hour", 86_400_000: "a day"}
    return words.get(ms, f"in {ms / 1000:g} s")


def read_rates(limiter: Any, what: str = "limiter") -> tuple[Rate, ...]:
    """Return the rates of a limiter: ``"5/s"``, ``"60000 tokens/min"``, BullMQ's ``{"max", "duration"}``, or several.

    >>> read_rates(("500/min", "60000 tokens/min"))
    (Rate(most=500, ms=60000, unit='calls'), Rate(most=60000, ms=60000, unit='tokens'))
    """
    if limiter is None:
        return ()
    several = None if isinstance(limiter, (str, bytes, Mapping)) else items(limiter)
    rates = tuple(_read_rate(one, what) for one in ([limiter] if several is None else several))
    windows = [(rate.unit, rate.ms) for rate in rates]
    if len(set(windows)) < len(windows):
        raise OptionError(f"{what}: two limits count the same in the same time; give one of them")
    return rates


def _read_rate(limiter: Any, what: str) -> Rate:
    if isinstance(limiter, str):
        match = _RATE.match(limiter[:100])
        if not match:
            raise OptionError(
                f"{what}: {shown(limiter)} is no rate; write '5/s', '100/min' or, of a unit, '60000 tokens/min'"
            )
        ms = round(float(match[3] or 1) * _UNIT_SECONDS[match[4]] * 1000)
        if not 1 <= ms <= TEN_YEARS_MS:
            raise OptionError(f"{what}: {shown(limiter)}: a window is at least 1 ms and at most ten years")
        number = match[1].replace(",", "").replace("_", "")
        if match[2] in (None, CALLS, "call"):
            return Rate(whole(what, int(number) if number.isdecimal() else float(number), 1, 10**9), ms)
        if not 0 < float(number) <= MOST_OF_A_UNIT:
            raise OptionError(
                f"{what}: {shown(limiter)}: more than 0 and at most {MOST_OF_A_UNIT:,} in a window"
            )
        return Rate(float(number) if "." in number else int(number), ms, match[2])
    if isinstance(limiter, Mapping) and set(limiter) == {"max", "duration"}:
        return Rate(
            whole(f"{what}.max", limiter["max"], 1, 10**9),
            whole(f"{what}.duration", limiter["duration"], 1, 10**9),
        )
    raise OptionError(f"{what}: write '5/s' or {{'max': 5, 'duration': 1000}}, not {shown(limiter)}")


def calls_of(rates: Iterable[Rate]) -> dict[str, int] | None:
    """Return the limit of calls that lets the fewest begin, as BullMQ has it; its clients know one."""
    of_calls = [rate for rate in rates if rate.unit == CALLS]
    strictest = min(of_calls, key=lambda rate: rate.most / rate.ms, default=None)
    return None if strictest is None else {"max": int(strictest.most), "duration": strictest.ms}


def read_limiter(limiter: Any, what: str = "limiter") -> dict[str, int] | None:
    """Return BullMQ's ``{"max", "duration"}`` for a limiter of calls typed as such or as ``"5/s"``.

    >>> read_limiter("5/s"), read_limiter("100/min")
    ({'max': 5, 'duration': 1000}, {'max': 100, 'duration': 60000})
    """
    if limiter is None:
        return None
    rate = _read_rate(limiter, what)
    if rate.unit != CALLS:
        raise OptionError(
            f"{what}: {shown(limiter)}: a unit is counted for tasks alone: @flownb.task(limiter=...)"
        )
    return {"max": int(rate.most), "duration": rate.ms}
